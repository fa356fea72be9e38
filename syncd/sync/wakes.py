"""Floor 4: wake-ups between the tasks of one process; they carry nothing, what happened is in the store."""

import asyncio
from collections import defaultdict

from syncd.sync.halves import Halves


class Wakes:
    """Wake an account's or a device's task by name; a wake-up before anybody waits is kept."""

    def __init__(self) -> None:
        self._accounts: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._devices: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.halves = Halves()
        """Says when devices are better not woken yet."""

    def account(self, name: str) -> asyncio.Event:
        """Return the event that means: a device changed something of this account, or somebody asks for a round."""
        return self._accounts[name]

    def device(self, name: str) -> asyncio.Event:
        """Return the event that means: the server tree of one of this device's mailboxes changed."""
        return self._devices[name]
