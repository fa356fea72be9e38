"""Floor 4: what each task is doing, and how it has fared, for status and metrics; nothing is decided by it."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Activity:
    """Describe a running account or device. Times are seconds since 1970."""

    doing: str = "starting"
    since: float = 0.0
    done: int = 0
    total: int = 0
    error: str | None = None
    retry_at: float | None = None
    mode: str = ""
    """How news of the server arrives: push or poll, and why."""
    succeeded_at: float | None = None
    """When all that a server has was read last, which the store may have of some time before."""
    is_refused: bool = False
    """Whether the last failure was a login that the server refused."""
    logins: int = 0
    refusals: int = 0
    failures: int = 0
    """How often it was let in, was not, and a run ended with an error of any kind."""

    def now(self, doing: str, at: float, *, done: int = 0, total: int = 0) -> None:
        """Say what is being done, and how far it is when that can be counted."""
        self.doing, self.since, self.done, self.total = doing, at, done, total

    def logged_in(self) -> None:
        """Note that a server let it in: what went wrong before is over."""
        self.logins += 1
        self.error = self.retry_at = None

    def failed(self, error: str, *, retry_at: float, is_refusal: bool) -> None:
        """Note that a run ended with an error; is_refusal: with a login that the server refused."""
        self.error, self.retry_at, self.is_refused = error, retry_at, is_refusal
        self.failures += 1
        self.refusals += is_refusal


@dataclass(slots=True)
class Activities:
    """Hold the activities of all running tasks by name."""

    accounts: dict[str, Activity] = field(default_factory=dict)
    devices: dict[str, Activity] = field(default_factory=dict)
