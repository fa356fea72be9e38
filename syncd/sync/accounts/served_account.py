"""Floor 4: one account that is served: who it is, where that is recorded, who takes its mail, and how it fares."""

from collections.abc import Callable

from syncd.store.engine.database import Database
from syncd.sync.activity import Activity
from syncd.sync.policies import Takers
from syncd.sync.wakes import Wake, Wakes
from syncd.values import Value


class ServedAccount(Value):
    """Say which account is served, to its task and to all that does a part of its work."""

    name: str
    id: int
    db: Database
    takers: Takers
    wakes: Wakes
    activity: Activity
    clock: Callable[[], float]

    @property
    def wake(self) -> Wake:
        """Return the event that means: a device changed something of it, or somebody asks for a round."""
        return self.wakes.account(self.name)

    def wake_devices(self) -> None:
        """Tell the devices that select it that something changed, also what they cannot see the whole of yet."""
        for device in self.takers.devices_of(self.name):
            self.wakes.device(device).set()
