"""Floor 5: how a sync ended; apart from what else a control socket answers, which one without a daemon never needs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Failure:
    """Say who could not be synced, and why. kind: account, device or mailbox."""

    kind: str
    name: str
    error: str


@dataclass(frozen=True, slots=True)
class SyncReport:
    """Tell how a sync ended.

    unfinished: names of accounts and devices that still have something to do, though they did not fail. set_aside:
    messages that could not be fetched, delivered or changed and are tried again later. held: removals and
    deletions that wait for a person. sweep_error: why the sweep after it failed, where no daemon does that.
    """

    failures: tuple[Failure, ...]
    unfinished: tuple[str, ...]
    set_aside: int
    held: int
    sweep_error: str | None = None

    @property
    def is_complete(self) -> bool:
        return not (self.failures or self.unfinished or self.set_aside or self.held)
