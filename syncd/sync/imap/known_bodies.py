"""Floor 4: bodies bound to messages without a download, because the store has them from another mailbox."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from functools import partial

from sqlalchemy import Connection

from syncd.errors import RefusedError
from syncd.imap.commands.headers import Header
from syncd.imap.connection import ImapConnection
from syncd.log import log
from syncd.mail.message import facts_of
from syncd.mail.uidset import UidSet
from syncd.store.bodies.known_bodies import KnownBody, known_bodies
from syncd.store.bodies.wanted_bodies import WantedBody
from syncd.store.engine.database import Database
from syncd.store.trees import troubles
from syncd.store.trees.accounts import MailboxRow
from syncd.store.trees.server_tree import bind_bodies


async def bind_known_bodies(
    db: Database,
    connection: ImapConnection,
    mailbox: MailboxRow,
    wanted: Sequence[WantedBody],
    *,
    on_commit: Callable[[int, int], None],
) -> Sequence[WantedBody]:
    """Bind the bodies that are known to be those of these messages; return the messages that are to be fetched.

    A message of the same size and date is known by its header, which is fetched; the mailbox must be selected.
    """
    bound = await find_known_bodies(db, connection, mailbox, wanted)
    if bound:
        await db.write(partial(_bind, mailbox_id=mailbox.id, bound=bound))
        log.info("bodies_bound", mailbox_id=mailbox.id, count=len(bound))
        on_commit(len(bound), sum(one.size_bytes for one in wanted if one.message_id in bound))
    return [one for one in wanted if one.message_id not in bound]


async def find_known_bodies(
    db: Database,
    connection: ImapConnection,
    mailbox: MailboxRow,
    wanted: Sequence[WantedBody],
    *,
    is_renumbered: bool = False,
) -> Mapping[int, int]:
    """Return the bodies that are known to be those of these messages, by row id, and bind none.

    is_renumbered: what the mailbox has under other UIDVALIDITYs is known, too.
    """
    ids = [one.message_id for one in wanted]
    find = partial(known_bodies, account_id=mailbox.account_id, message_ids=ids, is_renumbered=is_renumbered)
    known = await db.read(find)
    certain = {id_: _the_only(one for one in bodies if one.is_certain) for id_, bodies in known.items()}
    bound = {id_: body_id for id_, body_id in certain.items() if body_id is not None}
    alike = {one.uid: known[one.message_id] for one in wanted if one.message_id in known.keys() - bound.keys()}
    by_header = await _by_header(connection, alike)
    return bound | {one.message_id: by_header[one.uid] for one in wanted if one.uid in by_header}


async def _by_header(connection: ImapConnection, alike: Mapping[int, Sequence[KnownBody]]) -> Mapping[int, int]:
    """Return the body of each UID whose header only one of its likes has.

    A server that does not give headers gives whole bodies, perhaps: that is not decided here.
    """
    found: dict[int, int] = {}
    if not alike:
        return found
    try:
        async with aclosing(connection.fetch_headers(UidSet.of(alike))) as outcomes:
            async for outcome in outcomes:
                if isinstance(outcome, Header):
                    digest = facts_of((outcome.octets,)).header_digest
                    body_id = _the_only(one for one in alike[outcome.uid] if one.header_digest == digest)
                    if body_id is not None:
                        found[outcome.uid] = body_id
    except RefusedError as error:
        log.info("headers_refused", error=str(error))
    return found


def _the_only(bodies: Iterable[KnownBody]) -> int | None:
    """Return the one body that there is; None when there are more, for then only the octets tell."""
    ids = {body.body_id for body in bodies}
    return ids.pop() if len(ids) == 1 else None


def _bind(conn: Connection, *, mailbox_id: int, bound: Mapping[int, int]) -> None:
    bind_bodies(conn, mailbox_id, bound)
    troubles.resolve(conn, bound, device_id=None)
