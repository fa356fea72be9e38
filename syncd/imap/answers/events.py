"""Floor 3: what a server reports of the selected mailbox unasked, gathered in bounded space."""

import asyncio

from syncd.imap.types import Exists, Expunge, Fetched, FetchRow, MailboxEvents, Untagged, Vanished
from syncd.mail.uidset import UidSet

KEPT_MAX = 10_000
"""Rows, and separate VANISHED responses, that are kept between two drains."""


class EventLog:
    """Gather events until they are drained; of several FETCHes of one UID the last counts."""

    def __init__(self) -> None:
        self.exists = 0
        self._news = asyncio.Event()
        self._exists: int | None = None
        self._expunged = 0
        self._vanished: list[UidSet] = []
        self._rows: dict[int, FetchRow] = {}
        self._is_partial = False

    def add(self, response: Untagged) -> None:
        """Take a response; those that say nothing of the mailbox are passed over."""
        match response:
            case Exists(count):
                # NOTE: some servers repeat EXISTS at every IDLE; only another count is news.
                if count == self.exists:
                    return
                self.exists = self._exists = count
            case Expunge():
                self.exists = max(0, self.exists - 1)
                self._expunged += 1
            case Vanished(earlier=False, uids=uids):  # else they were not counted any more (RFC 7162 §3.2.10)
                self.exists = max(0, self.exists - len(uids))
                if len(self._vanished) < KEPT_MAX:
                    self._vanished.append(uids)
                else:
                    self._is_partial = True
            case FetchRow(uid=uid):
                if len(self._rows) < KEPT_MAX or uid in self._rows:
                    self._rows[uid] = response
                else:
                    self._is_partial = True
            case Fetched(row=row):
                self._is_partial = self._is_partial or not row.uid
            case _:
                return
        self._news.set()

    def __bool__(self) -> bool:
        """Tell whether `peek` returns any."""
        is_any = self._exists is not None or self._expunged or self._is_partial or self._rows or any(self._vanished)
        return bool(is_any)

    @property
    def has_losses(self) -> bool:
        """Tell whether messages may have gone by what they say."""
        return bool(self._expunged or self._is_partial or any(self._vanished))

    def drain(self) -> MailboxEvents:
        """Return the events so far and forget them."""
        drained = self.peek()
        self.clear()
        return drained

    def peek(self) -> MailboxEvents:
        """Return the events so far."""
        vanished = UidSet.union(self._vanished)
        rows = tuple(self._rows.values())
        return MailboxEvents(self._exists, self._expunged, vanished, rows, self._is_partial)

    def clear(self) -> None:
        """Forget the events: they belong to another mailbox, or were said before encryption."""
        self._news.clear()
        self._exists, self._expunged, self._is_partial = None, 0, False
        self._vanished.clear()
        self._rows.clear()

    def begin_anew(self) -> None:
        """Forget the events, and how many messages there are: another mailbox is selected."""
        self.clear()
        self.exists = 0

    async def wait(self) -> bool:
        """Wait until there are events that were not drained."""
        return await self._news.wait()
