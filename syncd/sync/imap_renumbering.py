"""Floor 4: a mailbox under a new UIDVALIDITY is read again, and its rows are bound to their messages by content.

Theory. Nothing is concluded until everything is known: all rows and all bodies under the new UIDVALIDITY. Until then
the new rows have no body, so no replica looks at them, and the old rows keep what devices see. One transaction
then gives each old row the UID under which its octets are found. What a device changed meanwhile is merged after that.
"""

from collections.abc import Callable, Mapping
from contextlib import aclosing
from functools import partial
from pathlib import Path

from sqlalchemy import Connection

from syncd.errors import ProtocolError, Reach
from syncd.imap.bodies import Body, Wanted
from syncd.imap.connection import ImapConnection
from syncd.imap.observe import list_uids
from syncd.imap.rows import Items
from syncd.log import log
from syncd.mail.uidset import UidSet
from syncd.store import bodies, renumbering, server_tree
from syncd.store.accounts import MailboxRow
from syncd.store.database import Database
from syncd.sync.body_batches import FileSpool, encoded
from syncd.sync.imap_observed import cursor_of, observed_of


async def renumber(
    db: Database,
    connection: ImapConnection,
    mailbox: MailboxRow,
    *,
    spool_directory: Path | None,
    clock: Callable[[], float],
) -> None:
    """Bind the rows of a mailbox to their messages under the UIDVALIDITY that it has now.

    ProtocolError, and nothing changes, if not all of the mailbox can be read.
    """
    selected = await connection.select(mailbox.wire_name, condstore="CONDSTORE" in connection.capabilities)
    here = await list_uids(connection)
    if selected.uidvalidity is None or not here.is_complete:
        raise _inconclusive()
    cursor = cursor_of(selected, selected.uidvalidity, here.uids)
    await _record_rows(db, connection, mailbox, cursor.uidvalidity, here.uids)
    find = partial(renumbering.messages_of, mailbox_id=mailbox.id, uidvalidity=cursor.uidvalidity)
    messages = {uid: row_id for uid, row_id in (await db.read(find)).items() if uid in here.uids}
    if len(messages) != len(here.uids):
        raise _inconclusive()
    body_ids = await _bodies_of(db, connection, messages, spool_directory, clock)
    if len(body_ids) != len(messages):
        raise _inconclusive()
    bind = partial(renumbering.rebind, mailbox_id=mailbox.id, cursor=cursor, bodies=body_ids, now=clock())
    done = await db.write(bind)
    log.warning("mailbox_renumbered", mailbox_id=mailbox.id, found=done.found, new=done.new, gone=done.gone)


async def _record_rows(
    db: Database, connection: ImapConnection, mailbox: MailboxRow, uidvalidity: int, uids: UidSet
) -> None:
    async with aclosing(connection.fetch_rows(uids, items=Items.ALL)) as batches:
        async for batch in batches:
            rows = observed_of(batch.rows)

            def record(conn: Connection, rows: tuple[server_tree.ObservedMessage, ...] = rows) -> None:
                server_tree.record_messages(conn, mailbox.id, uidvalidity, rows)

            await db.write(record)


async def _bodies_of(
    db: Database,
    connection: ImapConnection,
    messages: Mapping[int, int],
    spool_directory: Path | None,
    clock: Callable[[], float],
) -> Mapping[int, int]:
    """Return the body of each message that the server gives, by row id; the bodies are in the store then."""
    wanted = [Wanted(uid, 0) for uid in messages]
    found: dict[int, int] = {}
    fetched = connection.fetch_bodies(wanted, spool=lambda _: FileSpool(spool_directory))
    async with aclosing(fetched) as outcomes:
        async for outcome in outcomes:
            if not isinstance(outcome, Body) or not isinstance(outcome.content, bytes | FileSpool):
                raise _inconclusive()
            with await encoded(outcome.content) as body:
                put = partial(bodies.put_body, encoded=body, now=clock())
                found[messages[outcome.uid]] = await db.write(put, weight_bytes=body.stored_bytes)
    return found


def _inconclusive() -> ProtocolError:
    return ProtocolError(
        "the mailbox has a new uidvalidity and could not be read as a whole; nothing is concluded yet",
        reach=Reach.MAILBOX,
    )
