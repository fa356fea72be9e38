"""Floor 5: the status as values, the same from a running daemon and from a store at rest; the CLI reads it as JSON."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DaemonStatus:
    """Describe the running daemon."""

    pid: int
    version: str
    started_at: float


@dataclass(frozen=True, slots=True)
class ConfigStatus:
    """Say which configuration a daemon runs: that of its file, as of `loaded_at`, or an earlier one.

    problems: why the file cannot be used as it is now, each with its line, and since_at: since when; else it runs.
    at_restart: keys that are others in the file, and count after a restart only.
    """

    loaded_at: float
    path: str = ""
    problems: tuple[str, ...] = ()
    since_at: float | None = None
    at_restart: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MailboxStatus:
    """Count a mailbox on its server; fetched: those whose body is in the store."""

    name: str
    messages: int
    fetched: int
    error: str | None


@dataclass(frozen=True, slots=True)
class AccountStatus:
    """Describe an account. doing, since_at, mode, retry_at, done and total say nothing while no daemon runs.

    done, total: how far it is with what it is doing, in messages; total 0 where that is not counted.
    lag_s: seconds since all of it was last seen to be in sync; None: never. failures: in a row.
    """

    name: str
    type: str
    doing: str
    since_at: float | None
    mode: str
    succeeded_at: float | None
    lag_s: float | None
    error: str | None
    failed_at: float | None
    failures: int
    retry_at: float | None
    mailboxes: tuple[MailboxStatus, ...]
    done: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """Count a device's copy of a mailbox. waiting: server changes to come; the others: not yet synced.

    missing: not found at one look; deleted: nor at a second, and on its way to the server, or held. is_gone: the server
    has the mailbox no more, and its directory is still there.
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
    is_gone: bool = False


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """Describe a device.

    state: active, away (its root is not there), foreign (not ours), adopting (being compared), or new.

    lag_s: 0 while nothing waits, else seconds since the last delivery; None: something waits and nothing came yet.
    done, total: as of an account.
    """

    name: str
    path: str
    state: str
    doing: str
    since_at: float | None
    settled_at: float | None
    waiting: int
    lag_s: float | None
    error: str | None
    retry_at: float | None
    replicas: tuple[ReplicaStatus, ...]
    done: int = 0
    total: int = 0


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
    that it was told in vain.
    """

    name: str
    is_running: bool
    runs: int
    failures: int
    given_up: int
    error: str | None
    retry_at: float | None


@dataclass(frozen=True, slots=True)
class Status:
    """Hold what `syncd status` shows. Times are seconds since 1970; daemon and config are None while none runs.

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


@dataclass(frozen=True, slots=True)
class Progress:
    """Say how far one account or device is: messages done of all that there are."""

    kind: str
    name: str
    doing: str
    done: int
    total: int
    error: str | None


def progress_of(status: Status) -> tuple[Progress, ...]:
    """Return how far everybody is."""
    accounts = (
        Progress(
            "account",
            one.name,
            one.doing,
            done=sum(mailbox.fetched for mailbox in one.mailboxes),
            total=sum(mailbox.messages for mailbox in one.mailboxes),
            error=one.error,
        )
        for one in status.accounts
    )
    devices = (
        Progress(
            "device",
            one.name,
            one.doing,
            done=sum(replica.delivered for replica in one.replicas),
            total=max(
                sum(replica.on_server for replica in one.replicas) if one.waiting else 0,
                sum(replica.delivered for replica in one.replicas),
            ),
            error=one.error,
        )
        for one in status.devices
    )
    return (*accounts, *devices)
