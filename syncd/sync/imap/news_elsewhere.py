"""Floor 4: whether what a server tells of all mailboxes (NOTIFY) is a cause to look at them, and how soon.

Theory. A server tells of what we did there as well, so what it tells is compared with what is known: when it is heard,
and once more when the account has done what it was at. Where that differs a pass looks at all mailboxes, as when a poll
is due, for what went from one may be in another. Of thousands of mailboxes that takes a server long, and mail may come
every second: so nine times as long as the last pass took, though not above ten seconds, goes by before news are a cause
for another.
"""

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

from syncd.imap.answers.elsewhere import Elsewhere
from syncd.store.trees.accounts import MailboxRow
from syncd.sync.imap.listing import is_news

_PAUSES = 9
_PAUSE_MAX_S = 10.0


class NewsElsewhere:
    """Hold what a server tells of its mailboxes until a pass has looked, and say when that is due."""

    def __init__(
        self, known: Callable[[], Awaitable[Sequence[MailboxRow]]], *, now: Callable[[], float] = time.monotonic
    ) -> None:
        """known: returns the mailboxes of the account as they are known."""
        self.told = Elsewhere()
        self._known = known
        self._now = now
        self._is_any = False
        self._not_before = 0.0

    async def compare(self) -> bool:
        """Forget what was told if all of it is known by now, and tell whether there is news where there was none."""
        if not self.told:
            return False
        known, was_any = await self._known(), self._is_any
        self._is_any = is_news(self.told, known)
        if not self._is_any:
            self.told.forget()
        return self._is_any and not was_any

    def wait_s(self) -> float | None:
        """Return the time until a pass is due, None when nothing is new."""
        return max(self._not_before - self._now(), 0.0) if self._is_any else None

    @property
    def is_due(self) -> bool:
        return self.wait_s() == 0.0

    def forget(self) -> None:
        """Begin with another connection of the account: its first pass looks at everything."""
        self.told.forget()
        self._is_any = False

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Note how long a pass takes, which sees all that was told before it."""
        self.forget()
        began = self._now()
        try:
            yield
        finally:
            ended = self._now()
            self._not_before = ended + min(_PAUSES * (ended - began), _PAUSE_MAX_S)
