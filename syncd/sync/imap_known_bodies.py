"""Floor 4: bodies bound to messages without a download, because the store has them from another mailbox."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial

from sqlalchemy import Connection

from syncd.imap.connection import ImapConnection
from syncd.imap.headers import Header
from syncd.log import log
from syncd.mail.message import facts_of
from syncd.mail.uidset import UidSet
from syncd.store import troubles
from syncd.store.accounts import MailboxRow
from syncd.store.database import Database
from syncd.store.known_bodies import KnownBody, known_bodies
from syncd.store.server_tree import WantedBody, bind_bodies


async def bind_known_bodies(
    db: Database,
    connection: ImapConnection,
    mailbox: MailboxRow,
    wanted: Sequence[WantedBody],
    *,
    on_commit: Callable[[int], None],
) -> Sequence[WantedBody]:
    """Bind the bodies that are known to be those of these messages; return the messages that are to be fetched.

    A message of the same size and date is known by its header, which is fetched; the mailbox must be selected.
    """
    ids = [one.message_id for one in wanted]
    known = await db.read(partial(known_bodies, account_id=mailbox.account_id, message_ids=ids))
    if not known:
        return wanted
    bound = {
        id_: one
        for id_, bodies in known.items()
        if (one := _the_only({each.body_id for each in bodies if each.is_certain})) is not None
    }
    by_uid = {one.uid: one.message_id for one in wanted if one.message_id in known}
    alike = {uid: known[id_] for uid, id_ in by_uid.items() if id_ not in bound}
    bound |= {by_uid[uid]: body_id for uid, body_id in (await _by_header(connection, alike)).items()}
    if bound:
        await db.write(partial(_bind, mailbox_id=mailbox.id, bound=bound))
        log.info("bodies_bound", mailbox_id=mailbox.id, count=len(bound))
        on_commit(len(bound))
    return [one for one in wanted if one.message_id not in bound]


async def _by_header(connection: ImapConnection, alike: Mapping[int, Sequence[KnownBody]]) -> Mapping[int, int]:
    """Return the body of each UID whose header only one of its likes has."""
    found: dict[int, int] = {}
    if not alike:
        return found
    async with aclosing(connection.fetch_headers(UidSet.of(alike))) as outcomes:
        async for outcome in outcomes:
            if isinstance(outcome, Header):
                digest = facts_of((outcome.octets,)).header_digest
                bodies = {one.body_id for one in alike[outcome.uid] if one.header_digest == digest}
                if (body_id := _the_only(bodies)) is not None:
                    found[outcome.uid] = body_id
    return found


def _the_only(bodies: set[int]) -> int | None:
    """Return the one member; None when there are more, for then only the octets tell."""
    return next(iter(bodies)) if len(bodies) == 1 else None


def _bind(conn: Connection, *, mailbox_id: int, bound: Mapping[int, int]) -> None:
    bind_bodies(conn, mailbox_id, bound)
    troubles.resolve(conn, bound, device_id=None)
