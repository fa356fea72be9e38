"""Floor 5: the status as values, the same from a running daemon and from a store at rest; the CLI reads it as JSON."""

from dataclasses import dataclass

from syncd.daemon.status.config_status import ConfigStatus

FORMAT = 1
"""Of `Status`: raised when a field of it changes its meaning or goes, not when one comes."""


@dataclass(frozen=True, slots=True)
class DaemonStatus:
    """Describe the running daemon."""

    pid: int
    version: str
    started_at: float


@dataclass(frozen=True, slots=True)
class Progress:
    """Say how far somebody is with all that there is to do, and how fast; what is done equals the total at rest.

    bytes_total 0: sizes are not counted. messages_s, bytes_s: of the last half minute, None while nobody can say.
    eta_s: how long the rest takes at that rate; None: nobody can say.
    """

    messages_done: int = 0
    messages_total: int = 0
    bytes_done: int = 0
    bytes_total: int = 0
    messages_s: float | None = None
    bytes_s: float | None = None
    eta_s: float | None = None

    @property
    def is_done(self) -> bool:
        return self.messages_done >= self.messages_total


@dataclass(frozen=True, slots=True)
class ConnectionStatus:
    """Describe a connection to a server, with is_open false that of the last session of POP3.

    tls_version None: nothing is encrypted. changes_by: how changes are learnt, `qresync`, `condstore` or `listing`,
    which is to compare everything; None for POP3.
    """

    since_at: float
    is_open: bool
    tls_version: str | None
    changes_by: str | None


@dataclass(frozen=True, slots=True)
class NewsStatus:
    """Say how news of a server arrives: pushed for one mailbox, None for no one now, and polled for the others.

    can_push: the server offers it. all_pushed: it tells of the others as well (NOTIFY), so that none is polled.
    why_polled: `pop3`, `no_idle`, `one_mailbox_per_connection`, `not_told` (NOTIFY is of a person's own mailboxes);
    None where nothing is polled for news, or nobody knows. next_poll_at None: one is under way, or no daemon runs.
    """

    can_push: bool
    pushed: str | None
    polled: int
    why_polled: str | None
    poll_interval_s: float
    next_poll_at: float | None
    all_pushed: bool = False


@dataclass(frozen=True, slots=True)
class MailboxStatus:
    """Count a mailbox on its server; fetched: those whose body is in the store. changes_by: as of a connection."""

    name: str
    messages: int
    fetched: int
    error: str | None
    changes_by: str | None = None


@dataclass(frozen=True, slots=True)
class AccountStatus:
    """Describe an account. doing, since_at, connection, retry_at, done and total say nothing while no daemon runs.

    done, total: how far it is with what it is doing, in messages; total 0 where that is not counted.
    lag_s: seconds since all of it was last seen to be in sync; None: never. failures: in a row, the first of which was
    at failing_since_at. cause: `errors.Cause` of the error, and remedy: what a person can do. is_lasting: waiting does
    not help. kept: messages that are safe here, and stay in its maildrop as `keep` says. kept_until_at: the first of
    them goes then; None: for ever, or there is none.
    """

    name: str
    type: str
    server: str
    security: str
    doing: str
    since_at: float | None
    connection: ConnectionStatus | None
    news: NewsStatus
    succeeded_at: float | None
    lag_s: float | None
    error: str | None
    cause: str | None
    remedy: str | None
    failed_at: float | None
    failing_since_at: float | None
    failures: int
    retry_at: float | None
    messages: int
    mailbox_count: int
    set_aside: int
    held: int
    progress: Progress
    mailboxes: tuple[MailboxStatus, ...]
    done: int = 0
    total: int = 0
    is_lasting: bool = False
    kept: int = 0
    kept_until_at: float | None = None


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """Count a device's copy of a mailbox. waiting: server changes to come; the others: not yet synced.

    missing: not found at one look; deleted: nor at a second, and on its way to the server, or held. flagged: files with
    other flags than the server has. is_gone: the server has the mailbox no more, and its directory is still there.
    """

    account: str
    mailbox: str
    on_server: int
    delivered: int
    waiting: int
    new: int
    missing: int
    deleted: int
    edited: int
    flagged: int = 0
    is_gone: bool = False

    @property
    def unsynced(self) -> int:
        """Count the files with changes of the device that its server has not heard of."""
        return self.new + self.missing + self.deleted + self.edited + self.flagged


@dataclass(frozen=True, slots=True)
class LeftAloneStatus:
    """Name a directory on a device that no mailbox can be called, why that is, and what to do, for people."""

    directory: str
    why: str
    remedy: str


@dataclass(frozen=True, slots=True)
class OddFileStatus:
    """Name what lies among the messages of a device and is none by its path below the root, why, and what to do."""

    file: str
    why: str
    remedy: str


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """Describe a device.

    state: active, away (its root is not there), foreign (not ours), adopting (being compared), or new.

    waiting: server changes to come; unsynced: changes of its own that servers have not heard of.
    lag_s: 0 while nothing waits, else seconds since the oldest of what waits, at most; None: nobody can say.
    done, total, cause, remedy, is_lasting: as of an account. accounts: those whose mail it takes.
    left_alone: while a daemon runs; odd_files: those that are not empty likewise.
    """

    name: str
    path: str
    state: str
    doing: str
    since_at: float | None
    settled_at: float | None
    waiting: int
    unsynced: int
    held: int
    lag_s: float | None
    error: str | None
    cause: str | None
    remedy: str | None
    failing_since_at: float | None
    retry_at: float | None
    messages: int
    mailbox_count: int
    progress: Progress
    replicas: tuple[ReplicaStatus, ...]
    done: int = 0
    total: int = 0
    is_lasting: bool = False
    accounts: tuple[str, ...] = ()
    left_alone: tuple[LeftAloneStatus, ...] = ()
    odd_files: tuple[OddFileStatus, ...] = ()


@dataclass(frozen=True, slots=True)
class TroubleStatus:
    """Describe a message that is set aside, or with is_mailbox a whole mailbox that a device made or removed.

    device None: on the server's side. uid None: it has none yet, being in a POP3 maildrop still, or, with a device, a
    file that was added there and that the server did not take. retry_at None: not by itself.
    """

    account: str
    mailbox: str
    uid: int | None
    device: str | None
    error: str
    attempts: int
    since_at: float
    retry_at: float | None
    is_mailbox: bool = False


@dataclass(frozen=True, slots=True)
class HoldStatus:
    """Describe what waits for a person. state: held, or released for the next round; why: reason in words.

    scope: device for removals on the device, by_device for deletions by it, which its server has not heard of, account
    for those by all devices together; then device is None. count 0: of a mailbox without messages, the mailbox.
    """

    id: int
    scope: str
    device: str | None
    account: str
    mailbox: str
    count: int
    reason: str
    why: str
    state: str
    held_at: float

    @property
    def what(self) -> str:
        """Say in words what is held: how many of which, and of whom."""
        noun, whose = {
            "by_device": ("deletion", f"by {self.device}"),
            "account": ("deletion", "by all devices together"),
        }.get(self.scope, ("removal", f"on {self.device}"))
        if not self.count:
            return f"the removal of the mailbox {whose}"
        return f"{self.count:,} {noun}{'s' if self.count != 1 else ''} {whose}"


@dataclass(frozen=True, slots=True)
class HookStatus:
    """Describe a hook, since the daemon started. error: why its last run was no good one.

    retry_at: when it is told the same again; None: only when there is something new. given_up: messages and troubles
    that it was told in vain. is_lasting: waiting does not help, for its program is not there.
    """

    name: str
    is_running: bool
    runs: int
    failures: int
    given_up: int
    error: str | None
    retry_at: float | None
    is_lasting: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """Say one thing that is not well, and what to do; needs_person: no daemon ends it by itself.

    kind: daemon_down, account_failing, device_failing, device_away, device_foreign, held, config_refused, set_aside,
    restart_needed, mailbox_failing or hook_failing. name: of the account, device or hook. since_at: None where nobody
    knows.
    """

    kind: str
    name: str | None
    text: str
    remedy: str | None
    needs_person: bool
    since_at: float | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """Hold what `syncd status` shows. Times are seconds since 1970; daemon and config are None while none runs.

    format: a number that rises when a field changes its meaning or goes. findings: what is not well, the most important
    first. changed_at: when the last message of all was changed. counted_at: when what is counted was read from the
    store. store_used_at: while no daemon runs, when one, or another command that changes something, ended last.
    store_owner_pid: while no daemon answers, the process that has the store all the same, where that can be told.
    hooks: those that are configured; none while no daemon runs.
    """

    at: float
    daemon: DaemonStatus | None
    accounts: tuple[AccountStatus, ...]
    devices: tuple[DeviceStatus, ...]
    troubles: tuple[TroubleStatus, ...]
    holds: tuple[HoldStatus, ...]
    config: ConfigStatus | None = None
    hooks: tuple[HookStatus, ...] = ()
    format: int = FORMAT
    findings: tuple[Finding, ...] = ()
    changed_at: float | None = None
    counted_at: float | None = None
    store_used_at: float | None = None
    store_owner_pid: int | None = None


@dataclass(frozen=True, slots=True)
class Going:
    """Say how far one account or device is with what it is doing."""

    kind: str
    name: str
    doing: str
    progress: Progress
    error: str | None


def progress_of(status: Status) -> tuple[Going, ...]:
    """Return how far everybody is."""
    accounts = (Going("account", one.name, one.doing, one.progress, one.error) for one in status.accounts)
    devices = (Going("device", one.name, one.doing, one.progress, one.error) for one in status.devices)
    return (*accounts, *devices)
