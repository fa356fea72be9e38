"""Floor 4: what each task is doing, and how it has fared, for status, metrics and watchdog; no mail depends on it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Self

from syncd.errors import LoginRefusedError, SecretError, SyncdError, Temper


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
    lacks_password: bool = False
    """Whether it was for want of a password: the server refuses it for good, or there is none to be had."""
    is_lasting: bool = False
    """Whether waiting does not help against it."""
    logins: int = 0
    refusals: int = 0
    failures: int = 0
    """How often it was let in, was not, and a run ended with an error of any kind."""
    rests_s: float | None = None
    """How long it waits at most for something to do, from `since` on; None while it works."""

    def now(self, doing: str, at: float, *, done: int = 0, total: int = 0) -> None:
        """Say what is being done, and how far it is when that can be counted."""
        self.doing, self.since, self.done, self.total = doing, at, done, total

    def logged_in(self) -> None:
        """Note that a server let it in: what went wrong before is over."""
        self.logins += 1
        self.recovered()

    def recovered(self) -> None:
        """Note that what went wrong before is over."""
        self.error = self.retry_at = None
        self.is_lasting = self.lacks_password = False

    def failed(self, error: Exception, text: str, *, retry_at: float) -> None:
        """Note that a run ended with an error, and its text for people."""
        self.error, self.retry_at = text, retry_at
        self.is_refused = isinstance(error, LoginRefusedError)
        self.is_lasting = isinstance(error, SyncdError) and error.temper is Temper.GIVE_UP
        self.lacks_password = isinstance(error, SecretError) or (self.is_refused and self.is_lasting)
        self.failures += 1
        self.refusals += self.is_refused

    def successor(self) -> Self:
        """Return what describes the task that takes its place: it begins, and what was so far is no less true."""
        return replace(self, doing="starting", since=0.0, done=0, total=0, retry_at=None, mode="", rests_s=None)

    @contextmanager
    def resting(self, doing: str, at: float, *, at_most_s: float) -> Iterator[None]:
        """Say that nothing is done inside, and for how long at most; a task that is still there much later hangs."""
        self.now(doing, at)
        self.rests_s = at_most_s
        try:
            yield
        finally:
            self.rests_s = None


@dataclass(slots=True)
class Activities:
    """Hold the activities of all running tasks by name."""

    accounts: dict[str, Activity] = field(default_factory=dict)
    devices: dict[str, Activity] = field(default_factory=dict)
