"""Floor 4: copies into Trash on servers without MOVE: journaled before they are made, and found after an interruption.

Theory. A COPY whose answer was lost may have been done, and a second one would be a second message. So what is known
before the command (UIDVALIDITY and UIDNEXT of the target) is committed, and afterwards the messages that came since
then are compared: by size, INTERNALDATE and the digest of the whole header, each of them standing for one copy.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import aclosing
from functools import partial

from syncd.imap.commands.headers import Header
from syncd.imap.commands.rows import Items
from syncd.imap.connection import ImapConnection
from syncd.imap.types import FetchRow
from syncd.mail.message import facts_of
from syncd.mail.uidset import UidSet
from syncd.store.engine.database import Database
from syncd.store.trees import accounts, journal
from syncd.store.trees.accounts import MailboxRow
from syncd.store.trees.journal import CopyRow, CopyState
from syncd.sync.imap.identity import RenumberedError


async def copied_already(
    db: Database, connection: ImapConnection, source: MailboxRow, message_ids: Collection[int]
) -> frozenset[int]:
    """Return those of these messages that an earlier try has copied; `source` is selected when this ends.

    RenumberedError where it was made anew meanwhile, so that its UIDs name other messages.
    """
    known = await db.read(partial(journal.copies, message_ids=message_ids))
    made = {row.message_id for row in known.values() if row.state is CopyState.MADE}
    begun = [row for row in known.values() if row.state is CopyState.BEGUN]
    for target_id in {row.target_id for row in begun}:
        target = await db.read(partial(accounts.mailbox_by_id, mailbox_id=target_id))
        made |= await _found(connection, target, [row for row in begun if row.target_id == target_id])
    if begun:
        await db.write(partial(journal.copies_made, message_ids=made))
        selected = await connection.select(source.wire_name)
        if selected.uidvalidity != source.cursor.uidvalidity:
            raise RenumberedError("the server gave this mailbox a new uidvalidity")
    return frozenset(made)


async def begin(
    db: Database, connection: ImapConnection, target: MailboxRow, message_ids: Sequence[int], *, now: float
) -> None:
    """Journal what is about to be copied."""
    status = await connection.status(target.wire_name)
    write = partial(
        journal.begin_copies,
        message_ids=message_ids,
        account_id=target.account_id,
        target_id=target.id,
        uidvalidity=status.uidvalidity or 0,
        uidnext=status.uidnext or 1,
        now=now,
    )
    await db.write(write)


async def _found(connection: ImapConnection, target: MailboxRow, rows: Sequence[CopyRow]) -> frozenset[int]:
    selected = await connection.select(target.wire_name)
    first = min(row.uidnext if row.uidvalidity == selected.uidvalidity else 1 for row in rows)
    # NOTE: `n:*` names the last message even if its UID is below n.
    uids = UidSet.of(uid for uid in await connection.search_uids(f"UID {first}:*") if uid >= first)
    alike = {(row.size_bytes, row.internaldate) for row in rows}
    came = {row.uid: row for row in await _rows(connection, uids) if _facts(row) in alike}
    there = Counter[tuple[object, ...]]()
    async with aclosing(connection.fetch_headers(UidSet.of(came))) as headers:
        async for header in headers:
            if isinstance(header, Header):
                there[(*_facts(came[header.uid]), facts_of([header.octets]).header_digest)] += 1
    found: set[int] = set()
    for row in sorted(rows, key=lambda row: row.message_id):
        key = (row.size_bytes, row.internaldate, row.header_digest)
        if there[key]:
            there[key] -= 1
            found.add(row.message_id)
    return frozenset(found)


async def _rows(connection: ImapConnection, uids: UidSet) -> list[FetchRow]:
    rows: list[FetchRow] = []
    async with aclosing(connection.fetch_rows(uids, items=Items.ALL)) as batches:
        async for batch in batches:
            rows += batch
    return rows


def _facts(row: FetchRow) -> tuple[int | None, int | None]:
    return row.size_bytes, row.internaldate
