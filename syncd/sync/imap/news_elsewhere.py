"""Floor 4: whether a server that tells of all mailboxes (NOTIFY) is to be asked how they are.

Theory. A server tells of what we did there as well, so what it tells is compared with what is known. Where that differs
a pass looks at all mailboxes, as when a poll is due, for what went from one may be in another. Of thousands of
mailboxes that takes a server long, and mail may come every second: so nine times as long as the last pass took, though
not above ten seconds, goes by before news are a cause for another.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from syncd.imap.elsewhere import News
from syncd.store.trees.accounts import MailboxRow
from syncd.sync.imap.listing import is_news

_PAUSES = 9
_PAUSE_MAX_S = 10.0


class NewsElsewhere:
    """Hear of mailboxes that are not selected, and say when there is cause to look at them."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._is_any = False
        self._not_before = 0.0

    def begin(self) -> None:
        """Begin on another connection: its first pass looks at everything."""
        self._is_any = False

    def hear(self, told: News, known: Iterable[MailboxRow]) -> None:
        """Compare what was told with what is known of the mailboxes of the account."""
        self._is_any |= is_news(told, known)

    def wait_s(self) -> float | None:
        """Return the time until a pass is due, None when nothing is new."""
        return max(self._not_before - self._now(), 0.0) if self._is_any else None

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Note how long a pass takes, which sees all that was told before it."""
        self._is_any, began = False, self._now()
        try:
            yield
        finally:
            ended = self._now()
            self._not_before = ended + min(_PAUSES * (ended - began), _PAUSE_MAX_S)
