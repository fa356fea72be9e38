"""Floor 4: whether the UIDs of a mailbox still name the messages that they named.

Theory. A server that was set back to a backup keeps its UIDVALIDITY and gives UIDs a second time. Size and date show
it; where these differ the header decides, for a server may count sizes anew. A mailbox in which a UID names another
message is set *adrift*: it is to be read by content, like one that was renumbered (`renumbering`).
"""

from collections.abc import Sequence
from contextlib import aclosing
from functools import partial
from typing import NoReturn

from syncd.errors import ProtocolError, Reach, RefusedError
from syncd.imap.commands.headers import Header
from syncd.imap.commands.rows import Items
from syncd.imap.connection import ImapConnection
from syncd.imap.types import FetchRow
from syncd.log import log
from syncd.mail.message import facts_of
from syncd.mail.uidset import EMPTY, UidSet
from syncd.store.engine.database import Database
from syncd.store.mailboxes import renumbering
from syncd.store.trees import server_tree
from syncd.store.trees.accounts import MailboxRow
from syncd.store.trees.server_tree import ObservedMessage, Unlike


class RenumberedError(ProtocolError):
    """The mailbox has another UIDVALIDITY than its rows."""

    reach = Reach.MAILBOX


async def fetch_facts(connection: ImapConnection, uids: UidSet, *, is_pipelined: bool = False) -> list[FetchRow]:
    """Return the rows of messages of the selected mailbox, with size and date."""
    rows: list[FetchRow] = []
    async with aclosing(connection.fetch_rows(uids, items=Items.ALL, is_pipelined=is_pipelined)) as batches:
        async for batch in batches:
            rows += batch
    return rows


async def find_unlike(db: Database, mailbox: MailboxRow, observed: Sequence[ObservedMessage]) -> Sequence[Unlike]:
    """Return which of these have another size or date than is recorded of their UIDs."""
    uidvalidity = mailbox.cursor.uidvalidity
    find = partial(
        server_tree.unlike_messages, mailbox_id=mailbox.id, uidvalidity=uidvalidity, observed=tuple(observed)
    )
    return await db.read(find)


async def ensure_same(
    db: Database, connection: ImapConnection, mailbox: MailboxRow, observed: Sequence[ObservedMessage]
) -> None:
    """Record size and date of messages of the selected mailbox that differ from what they were.

    RenumberedError, with the mailbox adrift, if one of their UIDs names another message than it did.
    """
    unlike = await find_unlike(db, mailbox, observed)
    if not unlike:
        return
    if await _others(connection, unlike):
        await set_adrift(db, mailbox, "known uids name other messages")
    uids = {one.uid for one in unlike}
    same = tuple(one for one in observed if one.uid in uids)
    uidvalidity = mailbox.cursor.uidvalidity
    await db.write(partial(server_tree.record_facts, mailbox_id=mailbox.id, uidvalidity=uidvalidity, observed=same))


async def set_adrift(db: Database, mailbox: MailboxRow, why: str) -> NoReturn:
    """Let a mailbox be read anew by content."""
    log.warning("server_went_back", mailbox_id=mailbox.id, reason=why)
    uidvalidity = mailbox.cursor.uidvalidity
    await db.write(partial(renumbering.set_adrift, mailbox_id=mailbox.id, uidvalidity=uidvalidity))
    raise RenumberedError("the server went back to an older state of this mailbox")


async def _others(connection: ImapConnection, unlike: Sequence[Unlike]) -> UidSet:
    """Return the UIDs that name other messages; where no header can tell, the date does."""
    told = {one.uid: one.header_digest for one in unlike if one.header_digest is not None}
    digests: dict[int, bytes] = {}
    try:
        async with aclosing(connection.fetch_headers(UidSet.of(told))) as headers:
            async for header in headers:
                if isinstance(header, Header):
                    digests[header.uid] = facts_of([header.octets]).header_digest
    except RefusedError as error:
        log.info("headers_refused", error=str(error))
    others = EMPTY
    for one in unlike:
        is_same = digests[one.uid] == told[one.uid] if one.uid in digests else one.is_same_date
        others |= EMPTY if is_same else UidSet.of([one.uid])
    return others
