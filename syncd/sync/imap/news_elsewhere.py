"""Floor 4: what a server has told of mailboxes that are not selected, until it was looked at, and how soon that is.

Theory. What is told is compared with what is known: when it is heard, and once more when the account has done what it
was at. Other counts of a mailbox are a cause to read that one; other names, and what cannot be understood, are one for
a whole pass. A server tells of what we did as well, which is mostly not known by its counts: it is read like what
others did. Mail may come every second, and a pass over thousands of mailboxes takes a server long: so nine times as
long as the last look took, though not above ten seconds, goes by before the next one.
"""

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

from syncd.imap.answers.elsewhere import Elsewhere
from syncd.store.trees.accounts import MailboxRow
from syncd.sync.imap.heard import NOTHING, Heard, heard

_PAUSES = 9
_PAUSE_MAX_S = 10.0
_STRANGERS_MAX = 10_000


class NewsElsewhere:
    """Hold what a server tells of its mailboxes until somebody has looked, and say when that is due."""

    def __init__(
        self, known: Callable[[], Awaitable[Sequence[MailboxRow]]], *, now: Callable[[], float] = time.monotonic
    ) -> None:
        """known: returns the mailboxes of the account as they are known."""
        self.told = Elsewhere()
        self.known = known
        self._now = now
        self._heard = NOTHING
        self._strangers: set[bytes] = set()
        self._not_before = 0.0

    async def compare(self) -> bool:
        """Forget what was told if all of it is known by now, and tell whether there is news where there was none."""
        if not self.told:
            return False
        known, before = await self.known(), self._heard
        self._heard = heard(self.told, known, strangers=self._strangers)
        if not self._heard:
            self.told.forget()
        return bool(self._heard) and not before

    @property
    def has_names(self) -> bool:
        """Tell whether it is news that a mailbox came or went."""
        return self._heard.has_names

    def wait_s(self) -> float | None:
        """Return the time until a look is due, None when nothing is new."""
        return max(self._not_before - self._now(), 0.0) if self._heard else None

    @property
    def due(self) -> Heard:
        """Return what is to be looked at now."""
        return self._heard if self.wait_s() == 0.0 else NOTHING

    def forget(self) -> None:
        """Begin with another connection of the account: its first pass looks at everything."""
        self.told.forget()
        self._heard = NOTHING

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Note how long a look takes, which sees all that was told before it."""
        if len(self._strangers) < _STRANGERS_MAX:
            self._strangers |= self._heard.strangers  # it asks for LIST, and who is not on it has another name there
        self.forget()
        began = self._now()
        try:
            yield
        finally:
            ended = self._now()
            self._not_before = ended + min(_PAUSES * (ended - began), _PAUSE_MAX_S)
