"""Floor 4: what a server has told of mailboxes that are not selected, until it was looked at, and how soon that is.

Theory. What is told is compared with what is known: when it is heard, and once more when the account has done what it
was at. Other counts of a mailbox are a cause to read that one; other names, and what cannot be understood, are one for
a whole pass. A server tells of what we did as well, which is mostly not known by its counts: it is read like what
others did. What is about to be looked at is forgotten in that moment, and nothing else is. Mail may come every second,
and a pass over thousands of mailboxes takes a server long: so looks are to take a tenth of the time. Who has taken more
waits, though for ten seconds at most, and a few short looks are free.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

from syncd.imap.answers.elsewhere import Elsewhere
from syncd.store.trees.accounts import MailboxRow
from syncd.sync.imap.heard import NOTHING, Heard, heard, unknown_of
from syncd.values import replace

_SHARE = 10
_PAUSE_MAX_S = 10.0
_FREE_S = 2.0
"""So much of the pauses may be owed before a look waits for them."""
_STRANGERS_MAX = 10_000


class NewsElsewhere:
    """Hold what a server tells of its mailboxes until somebody has looked, and say when that is due."""

    def __init__(
        self, known: Callable[[], Awaitable[Sequence[MailboxRow]]], *, now: Callable[[], float] = time.monotonic
    ) -> None:
        """known: returns the mailboxes of the account as they are known."""
        self.told = Elsewhere()
        self.heard = NOTHING
        """What is news of it, as of the last `compare`."""
        self.known = known
        self._now = now
        self._strangers: frozenset[bytes] = frozenset()
        self._paused_until = 0.0
        """Until when nothing would be looked at if each look was followed by its pause."""

    async def compare(self) -> Heard:
        """Forget what was told if all of it is known by now, and return what is news that was none before."""
        if not self.told:
            return NOTHING
        known, before = await self.known(), self.heard
        self.heard = heard(self.told, known, strangers=self._strangers)
        if not self.heard:
            self.told.forget()
        return Heard(
            {id_: octets for id_, octets in self.heard.mailboxes.items() if id_ not in before.mailboxes},
            self.heard.names - before.names,
            self.heard.strangers - before.strangers,
            self.heard.is_partial and not before.is_partial,
        )

    def wait_s(self) -> float | None:
        """Return the time until a look is due, None when nothing is new."""
        return max(self._paused_until - _FREE_S - self._now(), 0.0) if self.heard else None

    @property
    def due(self) -> Heard:
        """Return what is to be looked at now."""
        return self.heard if self.wait_s() == 0.0 else NOTHING

    def forget(self) -> None:
        """Begin with another connection of the account: its first pass looks at everything."""
        self.told.forget()
        self.heard = NOTHING

    @asynccontextmanager
    async def passing(self) -> AsyncIterator[None]:
        """Make a pass, which sees all that was told before it."""
        strangers = self.heard.strangers
        self.forget()
        with self._timed():
            yield
        # A name that LIST has not shown is another one of something that it has.
        self._strangers = unknown_of(self._strangers | strangers, await self.known())
        if len(self._strangers) > _STRANGERS_MAX:
            self._strangers = frozenset()

    @contextmanager
    def looking_at(self, mailbox_ids: Collection[int]) -> Iterator[None]:
        """Look at some mailboxes, which shows all that was told of those before it."""
        left = {id_: octets for id_, octets in self.heard.mailboxes.items() if id_ not in mailbox_ids}
        self.told.forget_counts(octets for id_, octets in self.heard.mailboxes.items() if id_ not in left)
        self.heard = replace(self.heard, mailboxes=left)
        with self._timed():
            yield

    @contextmanager
    def _timed(self) -> Iterator[None]:
        began = self._now()
        try:
            yield
        finally:
            ended = self._now()
            paused_until = max(self._paused_until, began) + _SHARE * (ended - began)
            self._paused_until = min(paused_until, ended + _FREE_S + _PAUSE_MAX_S)
