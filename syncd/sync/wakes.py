"""Floor 4: wake-ups between the tasks of one process; they carry nothing, what happened is in the store."""

import asyncio
import time
from collections import defaultdict

from syncd.sync.halves import Halves


class Wake(asyncio.Event):
    """Know since when somebody is to be woken who has not said since that nothing is left to do."""

    def __init__(self) -> None:
        super().__init__()
        self.since: float | None = None
        """In seconds since 1970."""
        self._last = 0.0

    def set(self) -> None:
        if not self.is_set():
            self._last = time.time()
            self.since = self._last if self.since is None else self.since
        super().set()

    def answered(self) -> None:
        """Note that nothing is left to do, but for what came just now."""
        self.since = self._last if self.is_set() else None


class Wakes:
    """Wake an account's or a device's task by name; a wake-up before anybody waits is kept."""

    def __init__(self) -> None:
        self._accounts: defaultdict[str, Wake] = defaultdict(Wake)
        self._devices: defaultdict[str, Wake] = defaultdict(Wake)
        self.halves = Halves()
        """Says when devices are better not woken yet."""

    def account(self, name: str) -> Wake:
        """Return the event that means: a device changed something of this account, or somebody asks for a round."""
        return self._accounts[name]

    def device(self, name: str) -> Wake:
        """Return the event that means: the server tree of one of this device's mailboxes changed."""
        return self._devices[name]
