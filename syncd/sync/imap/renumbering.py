"""Floor 4: a mailbox under a new UIDVALIDITY is read again, and its rows are bound to their messages by content.

Theory. Nothing is concluded until everything is known: all rows and all bodies under the new UIDVALIDITY, but for those
that the server says it does not give. Until then the new rows have no body, so no replica looks at them, and the old
rows keep what devices see. One transaction then gives each old row the UID under which its octets are found. What a
device changed meanwhile is merged after that. A message that is found nowhere may be one that the server lost, or does
not give, so that its removal on devices is held in the same transaction; should it come back, it is reclaimed.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path

from sqlalchemy import Connection

from syncd.errors import ProtocolError, Reach
from syncd.imap.commands.bodies import Body, NoBody, Wanted
from syncd.imap.commands.rows import Items
from syncd.imap.connection import ImapConnection
from syncd.imap.news.observe import list_uids
from syncd.log import log
from syncd.mail.uidset import UidSet
from syncd.store.bodies import bodies
from syncd.store.bodies.wanted_bodies import WantedBody
from syncd.store.engine.database import Database
from syncd.store.mailboxes import renumbering
from syncd.store.rounds import holds
from syncd.store.trees import server_tree, troubles
from syncd.store.trees.accounts import MailboxRow
from syncd.sync.body_batches import FileSpool, encoded
from syncd.sync.imap.known_bodies import find_known_bodies
from syncd.sync.imap.observed import cursor_of, observed_of


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
    selected = await connection.select(mailbox.wire_name)
    here = await list_uids(connection)
    if selected.uidvalidity is None or not here.is_complete:
        raise _inconclusive()
    cursor = cursor_of(selected, selected.uidvalidity, here.uids)
    await _record_rows(db, connection, mailbox, cursor.uidvalidity, here.uids, clock=clock)
    find = partial(renumbering.messages_of, mailbox_id=mailbox.id, uidvalidity=cursor.uidvalidity)
    messages = {uid: row_id for uid, row_id in (await db.read(find)).items() if uid in here.uids}
    if len(messages) != len(here.uids):
        raise _inconclusive()
    body_ids, lacking = await _bodies_of(
        db, connection, mailbox, messages, spool_directory=spool_directory, clock=clock
    )
    if len(body_ids) + len(lacking) != len(messages):
        raise _inconclusive()

    def bind(conn: Connection) -> renumbering.Renumbered:
        now = clock()
        done = renumbering.rebind(conn, mailbox_id=mailbox.id, cursor=cursor, bodies=body_ids, lacking=lacking, now=now)
        holds.hold_lost(conn, mailbox_id=mailbox.id, message_ids=done.lost, now=now)
        return done

    done = await db.write(bind)
    log.warning("mailbox_renumbered", mailbox_id=mailbox.id, found=done.found, new=done.new, lost=len(done.lost))


async def reclaim_lost(
    db: Database,
    connection: ImapConnection,
    mailbox: MailboxRow,
    wanted: Sequence[WantedBody],
    *,
    spool_directory: Path | None,
    clock: Callable[[], float],
) -> Sequence[WantedBody]:
    """Find among messages without a body those that the server had lost; return what is to be fetched still."""
    lost = await db.read(partial(holds.lost_messages, mailbox_id=mailbox.id))
    sizes = (await db.read(partial(server_tree.sizes_of, message_ids=lost))).values() if lost else ()
    alike = {one.uid: one.message_id for one in wanted if one.size_bytes in sizes}
    if not alike:
        return wanted
    bodies_, _ = await _bodies_of(db, connection, mailbox, alike, spool_directory=spool_directory, clock=clock)

    def reclaim(conn: Connection) -> int:
        new = renumbering.reclaim(conn, mailbox_id=mailbox.id, lost=lost, bodies=bodies_)
        server_tree.bind_bodies(conn, mailbox.id, new)
        troubles.resolve(conn, bodies_, device_id=None)
        return len(bodies_) - len(new)

    log.warning("messages_reclaimed", mailbox_id=mailbox.id, count=await db.write(reclaim))
    return [one for one in wanted if one.message_id not in bodies_]


async def _record_rows(
    db: Database,
    connection: ImapConnection,
    mailbox: MailboxRow,
    uidvalidity: int,
    uids: UidSet,
    *,
    clock: Callable[[], float],
) -> None:
    async with aclosing(connection.fetch_rows(uids, items=Items.ALL)) as batches:
        async for batch in batches:
            rows = observed_of(batch)

            def record(conn: Connection, rows: tuple[server_tree.ObservedMessage, ...] = rows) -> None:
                server_tree.record_messages(conn, mailbox.id, uidvalidity, rows, now=clock())

            await db.write(record)


async def _bodies_of(
    db: Database,
    connection: ImapConnection,
    mailbox: MailboxRow,
    messages: Mapping[int, int],
    *,
    spool_directory: Path | None,
    clock: Callable[[], float],
) -> tuple[Mapping[int, int], frozenset[int]]:
    """Return the body of each message, by row id, and the rows whose body the server does not give.

    The bodies are in the store then. messages: row ids by UID. What is known by its header is not fetched.
    """
    sizes = await db.read(partial(server_tree.sizes_of, message_ids=messages.values()))
    wanted = [WantedBody(row_id, uid, sizes[row_id]) for uid, row_id in messages.items()]
    found = dict(await find_known_bodies(db, connection, mailbox, wanted, is_renumbered=True))
    unknown = [Wanted(one.uid, one.size_bytes) for one in wanted if one.message_id not in found]
    lacking: set[int] = set()
    fetched = connection.fetch_bodies(unknown, spool=lambda _: FileSpool(spool_directory))
    async with aclosing(fetched) as outcomes:
        async for outcome in outcomes:
            match outcome:
                case Body(uid, bytes() | FileSpool() as content):
                    with await encoded(content) as body:
                        put = partial(bodies.put_body, encoded=body, now=clock())
                        found[messages[uid]] = await db.write(put, weight_bytes=body.stored_bytes)
                case NoBody(uid):
                    lacking.add(messages[uid])
    return found, frozenset(lacking)


def _inconclusive() -> ProtocolError:
    return ProtocolError(
        "the mailbox has a new uidvalidity and could not be read as a whole; nothing is concluded yet",
        reach=Reach.MAILBOX,
    )
