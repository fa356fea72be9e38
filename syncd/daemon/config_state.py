"""Floor 5: whether the daemon runs on the configuration as its file is now, for whoever watches it."""

from dataclasses import dataclass


@dataclass(slots=True)
class ConfigState:
    """Remember how the file was found when it was read last; the first time it was good, else there were no daemon."""

    applied_at: float
    """When a configuration was applied last, in seconds since 1970."""
    is_good: bool = True
    """Whether the file was good when it was read last."""

    def applied(self, now: float) -> None:
        """Note that the file was read, and what it says is done."""
        self.applied_at, self.is_good = now, True

    def refused(self) -> None:
        """Note that the file was read, and cannot be used: the last good one goes on."""
        self.is_good = False
