"""Floor 4: what each task is doing, and how it has fared, for status, metrics and watchdog; no mail depends on it."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from syncd.errors import Cause, LoginRefusedError, SecretError, SyncdError, Temper, cause_of
from syncd.maildir.naming.misnamed import Misnamed
from syncd.maildir.news.odd_files import OddFile
from syncd.sync.pace import Pace
from syncd.sync.wakes import Wake
from syncd.values import Record, Value, field, replace

IDLE = "idle"
"""What a task does that has nothing left to do."""


class Link(Value):
    """Say how an account is connected, or was in its last session: since when, how encrypted, how changes are learnt.

    tls_version: as the TLS library calls it; None: not encrypted. rung: `imap.news.observe.Rung` in lower case, None
    for POP3. has_push: whether the server tells of news by itself.
    """

    since: float
    tls_version: str | None
    rung: str | None = None
    has_push: bool = False
    is_open: bool = True

    @classmethod
    def over(
        cls, encryption: ssl.SSLObject | None, since: float, *, rung: str | None = None, has_push: bool = False
    ) -> Self:
        """Return what a connection is of which this is the encryption."""
        return cls(since, None if encryption is None else encryption.version(), rung, has_push)


class Activity(Record):
    """Describe a running account or device. Times are seconds since 1970."""

    doing: str = "starting"
    since: float = 0.0
    done: int = 0
    total: int = 0
    error: str | None = None
    retry_at: float | None = None
    cause: Cause | None = None
    """What kind of thing the error is, where it ended a run."""
    failing_since: float | None = None
    """When the first run ended with an error since it was idle last: to be let in again is not to be well."""
    link: Link | None = None
    """None: not connected; it stays after a session of POP3."""
    watched: str | None = None
    """The mailbox of which the server tells news by itself."""
    heard: frozenset[int] | None = None
    """The ids of the mailboxes of which it tells over a second connection; None: there is none."""
    demoted: dict[int, str] = field(default_factory=dict)
    """By mailbox id, the rung to which a server that contradicted itself fell there."""
    polls_at: float | None = None
    """When the server is asked next without a cause, as of the last rest."""
    expected: tuple[int, int] = (0, 0)
    """Messages and bytes that a maildrop had to give when its session began, and `taken`: those that it gave since."""
    taken: tuple[int, int] = (0, 0)
    pace: Pace = field(default_factory=Pace)
    left_alone: tuple[Misnamed, ...] = ()
    """The directories of a device that no mailbox can be called."""
    odd_files: dict[str, tuple[OddFile, ...]] = field(default_factory=dict)
    """What lies among the messages of a device and is left alone, by the directory of its mailbox."""
    wake: Wake | None = None
    """What wakes a device, and knows since when it was to be woken."""
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
        if doing == IDLE:
            self.failing_since = None

    def logged_in(self) -> None:
        """Note that a server let it in: what went wrong before is over."""
        self.logins += 1
        self.recovered()

    def recovered(self) -> None:
        """Note that what went wrong before is over, as far as it is known yet."""
        self.error = self.retry_at = self.cause = None
        self.is_lasting = self.lacks_password = False

    def failed(self, error: Exception, text: str, *, retry_at: float) -> None:
        """Note that a run ended with an error, and its text for people; `now` said what is done about it."""
        self.error, self.retry_at, self.cause = text, retry_at, cause_of(error)
        self.failing_since = self.since if self.failing_since is None else self.failing_since
        self.is_refused = isinstance(error, LoginRefusedError)
        self.is_lasting = isinstance(error, SyncdError) and error.temper is Temper.GIVE_UP
        self.lacks_password = isinstance(error, SecretError) or (self.is_refused and self.is_lasting)
        self.failures += 1
        self.refusals += self.is_refused

    def successor(self) -> Self:
        """Return what describes the task that takes its place: it begins, and what was so far is no less true."""
        return replace(
            self,
            doing="starting",
            since=0.0,
            done=0,
            total=0,
            retry_at=None,
            rests_s=None,
            link=None,
            watched=None,
            heard=None,
            polls_at=None,
            demoted={},
            pace=Pace(),
        )

    def expect(self, messages: int, size_bytes: int) -> None:
        """Note that a maildrop has so much to give, none of which was taken yet."""
        self.expected, self.taken = (messages, size_bytes), (0, 0)

    def took(self, at: float, messages: int, size_bytes: int) -> None:
        """Note that so much of what is expected was taken."""
        self.taken = self.taken[0] + messages, self.taken[1] + size_bytes
        self.pace.add(at, messages, size_bytes)

    @contextmanager
    def resting(self, doing: str, at: float, *, at_most_s: float) -> Iterator[None]:
        """Say that nothing is done inside, and for how long at most; a task that is still there much later hangs."""
        self.now(doing, at)
        self.rests_s = at_most_s
        try:
            yield
        finally:
            self.rests_s = None


class Activities(Record):
    """Hold the activities of all running tasks by name."""

    accounts: dict[str, Activity] = field(default_factory=dict)
    devices: dict[str, Activity] = field(default_factory=dict)
