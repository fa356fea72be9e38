"""Floor 4: one device that is served: what it is to have, where that is recorded, whom it meets, and how it fares."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from syncd.config.model import DeviceConfig
from syncd.reconcile.guard import Rule
from syncd.store.engine.database import Database
from syncd.sync.activity import Activity
from syncd.sync.commons import FileSystems
from syncd.sync.device.turns import DeviceTurns
from syncd.sync.wakes import Wake, Wakes
from syncd.values import Value


class ServedDevice(Value):
    """Say which device is served, to its task and to what does a part of its work.

    rule: which deletions by it are too many to be believed. file_systems: with which other devices it shares files.
    turns: in which it begins.
    """

    name: str
    config: DeviceConfig
    rule: Rule
    db: Database
    file_systems: FileSystems
    turns: DeviceTurns
    wakes: Wakes
    activity: Activity
    clock: Callable[[], float]

    @property
    def wake(self) -> Wake:
        """Return the event that means: the server tree of one of its mailboxes changed, or somebody asks for a pass."""
        return self.wakes.device(self.name)

    def wake_accounts(self, names: Iterable[str]) -> None:
        """Tell accounts that the device has changed something of theirs."""
        for name in names:
            self.wakes.account(name).set()

    @contextmanager
    def telling(self) -> Iterator[set[str]]:
        """Wake the accounts that are added to the set, whatever ends it: of what is committed nobody else tells."""
        names: set[str] = set()
        try:
            yield names
        finally:
            self.wake_accounts(names)
