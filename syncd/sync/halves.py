"""Floor 4: halves: an account that has seen what went from a mailbox, and not yet what came into the others.

Theory. What a server moves is two changes in two mailboxes, of which one is read before the other. Were a device to
plan in between, it would remove a file and write it again. So devices put an account off while it looks at both, which
is a few round trips, and no longer than they would wait for each other: what comes too late is right, too.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

_PATIENCE_S = 30.0


class Waking(Protocol):
    """Wakes a device."""

    def set(self, *, is_more_coming: bool = False) -> None: ...


class Halves:
    """Know which accounts are between two halves, and whom to wake when they are not any more."""

    def __init__(self) -> None:
        self._begun: dict[str, asyncio.TimerHandle] = {}
        self._put_off: defaultdict[str, set[Waking]] = defaultdict(set)

    def begin(self, account: str) -> None:
        """Let devices put this account off until `end`."""
        if account not in self._begun:
            loop = asyncio.get_running_loop()
            self._begun[account] = loop.call_later(_PATIENCE_S, self._wake, account)

    def end(self, account: str, *, is_more_coming: bool = False) -> None:
        """Let devices plan what this account has seen, if they do not yet; is_more_coming: as `Wake.set`."""
        if account in self._begun:
            self._begun.pop(account).cancel()
            self._wake(account, is_more_coming=is_more_coming)

    @contextmanager
    def unseen(self, account: str) -> Iterator[None]:
        """Let devices put this account off meanwhile, and longer if they did so before."""
        is_ours = account not in self._begun
        self.begin(account)
        try:
            yield
        finally:
            if is_ours:
                self.end(account)

    def are_seen(self, account: str, *, wake: Waking) -> bool:
        """Tell whether a device may plan what this account has seen; if not, it is woken when it may."""
        begun = self._begun.get(account)
        if begun is None or begun.when() <= asyncio.get_running_loop().time():
            return True
        self._put_off[account].add(wake)
        return False

    def _wake(self, account: str, *, is_more_coming: bool = False) -> None:
        for wake in self._put_off.pop(account, ()):
            wake.set(is_more_coming=is_more_coming)
