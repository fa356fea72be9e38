"""Floor 4: bodies of new messages that are asked for before their rows are recorded, since both take a while."""

from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from itertools import accumulate

from sqlalchemy import Connection

from syncd.imap.commands.bodies import WINDOW_BYTES, Wanted
from syncd.imap.connection import ImapConnection
from syncd.imap.types import FetchRow
from syncd.mail.uidset import UidSet
from syncd.reconcile.planner import Selection
from syncd.store.bodies import known_bodies
from syncd.store.engine.database import Database
from syncd.store.files import uploads
from syncd.store.trees import server_tree
from syncd.store.trees.accounts import MailboxRow
from syncd.values import Value

_MESSAGES_MAX = 100
_BYTES_MAX = 2 * 1024 * 1024
_NEWEST_BYTES_MAX = WINDOW_BYTES
_NEWEST_ONE_MAX_BYTES = 1024 * 1024
"""Larger ones would have to wait in a file."""


class EarlyBodies(Value):
    """Ask for what devices will take of a few new messages; it is in memory until their rows are recorded."""

    db: Database
    connection: ImapConnection
    mailbox: MailboxRow
    selections: Sequence[Selection]

    async def ask(self, rows: Sequence[FetchRow]) -> None:
        """Ask for the bodies of messages that came; of many, or of large ones, they are fetched later, like any."""
        if not 0 < len(rows) <= _MESSAGES_MAX:
            return
        new = [_New(row.uid, row.size_bytes or 0, row.internaldate or 0) for row in rows]
        wanted = [one for one in new if any(selection.takes(one) for selection in self.selections)]
        if wanted and sum(one.size_bytes for one in wanted) <= _BYTES_MAX and await self._is_news(wanted):
            self.connection.fetch_ahead(
                Wanted(one.uid, one.size_bytes) for one in sorted(wanted, key=lambda one: one.uid, reverse=True)
            )

    async def ask_newest(
        self,
        rows: Iterable[FetchRow],
        *,
        under_way: frozenset[int],
        behind: Callable[[], Coroutine[None, None, None]] | None = None,
    ) -> None:
        """Ask for the newest bodies of a mailbox that was never read, unless the store may have any of them.

        Then their headers are to be compared first, and the rest would come in a round trip more. under_way: messages
        whose bodies the store is about to have. behind: what is asked of the next mailbox at once, if nothing else of
        this one is to be asked before.
        """
        new = (_New(row.uid, row.size_bytes or 0, row.internaldate or 0) for row in rows if self.selections)
        taken = [one for one in new if any(selection.takes(one) for selection in self.selections)]
        newest = sorted(taken, key=lambda one: one.uid, reverse=True)[:_MESSAGES_MAX]
        small = [one for one in newest if one.size_bytes <= _NEWEST_ONE_MAX_BYTES]
        sizes = accumulate(one.size_bytes for one in small)
        wanted = [one for one, size_bytes in zip(small, sizes, strict=True) if size_bytes <= _NEWEST_BYTES_MAX]
        if not wanted:
            return
        are_unlike = partial(_are_unlike_any, mailbox=self.mailbox, new=newest, under_way=under_way)
        if await self.db.read(are_unlike):
            are_all = len(wanted) == len(newest)
            sized = (Wanted(one.uid, one.size_bytes) for one in wanted)
            self.connection.fetch_ahead(sized, behind=behind if are_all else None)

    async def _is_news(self, wanted: Sequence["_New"]) -> bool:
        uids = UidSet.of(one.uid for one in wanted)
        return await self.db.read(partial(_is_news, mailbox=self.mailbox, uids=uids))


class _New(Value):
    uid: int
    size_bytes: int
    internaldate: int


def _is_news(conn: Connection, *, mailbox: MailboxRow, uids: UidSet) -> bool:
    """Tell whether none of these messages is what a device brought, of which the store has the bodies already."""
    uidvalidity = mailbox.cursor.uidvalidity
    if server_tree.known_uids(conn, mailbox_id=mailbox.id, uidvalidity=uidvalidity, among=uids):
        return False
    return not uploads.is_any_begun(conn, account_id=mailbox.account_id, mailbox_id=mailbox.id)


def _are_unlike_any(conn: Connection, *, mailbox: MailboxRow, new: Sequence[_New], under_way: frozenset[int]) -> bool:
    """Tell whether the store can have none of these bodies, from elsewhere or from a device."""
    if uploads.is_any_begun(conn, account_id=mailbox.account_id, mailbox_id=mailbox.id):
        return False
    facts = [(one.internaldate, one.size_bytes) for one in new]
    return not known_bodies.may_be_any(conn, facts, under_way=under_way)
