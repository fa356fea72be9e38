"""Floor 4: wake-ups between the tasks of one process; they carry nothing, what happened is in the store."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from syncd.sync.halves import Halves


class Wake(asyncio.Event):
    """Know since when somebody is to be woken who has not said since that nothing is left to do."""

    def __init__(self) -> None:
        super().__init__()
        self.since: float | None = None
        """In seconds since 1970."""
        self._last = 0.0
        self._is_all_there = asyncio.Event()
        self._is_at_rest = asyncio.Event()
        self._is_at_rest.set()
        self._is_heard = True

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Say that somebody is there to be woken, and afterwards that nobody is, so that no answer is waited for."""
        self._is_heard = True
        if self.since is not None:
            self._is_at_rest.clear()
        try:
            yield
        finally:
            self._is_heard = False
            self._is_at_rest.set()

    def set(self, *, is_more_coming: bool = False) -> None:
        """Wake whoever waits; is_more_coming: there will be more at once, for which some may wait (`gathered`)."""
        if not is_more_coming:
            self._is_all_there.set()
        if not self.is_set():
            self._last = time.time()
            self.since = self._last if self.since is None else self.since
            if self._is_heard:
                self._is_at_rest.clear()
        super().set()

    def clear(self) -> None:
        super().clear()
        self._is_all_there.clear()

    @property
    def is_more_coming(self) -> bool:
        """Tell whether whoever has woken us since the last `clear` is about to do so again."""
        return self.is_set() and not self._is_all_there.is_set()

    async def gathered(self, longest_s: float) -> None:
        """Return when somebody has woken us, since the last `clear`, with no more to come, or after so long."""
        if self._is_all_there.is_set():
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(longest_s):
                await self._is_all_there.wait()

    def answered(self) -> None:
        """Note that nothing is left to do, but for what came just now."""
        self.since = self._last if self.is_set() else None
        if self.since is None:
            self._is_at_rest.set()

    async def rest(self) -> None:
        """Return when nothing is left to do for who has woken us, or nobody is there who would do it."""
        await self._is_at_rest.wait()


class Wakes:
    """Wake an account's or a device's task by name; a wake-up before anybody waits is kept."""

    def __init__(self) -> None:
        self._accounts: defaultdict[str, Wake] = defaultdict(Wake)
        self._devices: defaultdict[str, Wake] = defaultdict(Wake)
        self.halves = Halves()
        """Says when devices are better not woken yet."""

    def account(self, name: str) -> Wake:
        """Return the event that means that an account may have something to do.

        A device changed something of it, somebody asks for a round, or its server tells of another mailbox than INBOX.
        """
        return self._accounts[name]

    def device(self, name: str) -> Wake:
        """Return the event that means: the server tree of one of this device's mailboxes changed."""
        return self._devices[name]
