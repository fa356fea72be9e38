"""Floor 5: what the control socket answers, as values."""

from dataclasses import dataclass, field

from syncd.config.changes import Difference
from syncd.daemon.status.status import HoldStatus
from syncd.store.people.entries import Entry


@dataclass(frozen=True, slots=True)
class PlanLine:
    """Describe one effect: of which device, in words, and as the JSON object of `reconcile.effects`.

    uid: of its message, None for a new one. held: why it would be held, if it would.
    """

    account: str
    mailbox: str
    device: str
    text: str
    effect: dict[str, object]
    uid: int | None = None
    held: str | None = None


@dataclass(frozen=True, slots=True)
class PlanWait:
    """Say how many messages wait for what: fetch, first_look (of nobody knows how many), take_in, second_look, retry.

    device None: on the side of the server.
    """

    account: str
    mailbox: str
    device: str | None
    what: str
    messages: int


@dataclass(frozen=True, slots=True)
class PlanReport:
    """Hold a plan, whether it is all of it, and what is not in it: what waits for a person, or for something else.

    unseen: the accounts that were never looked at, of which nothing can be planned.
    """

    effects: tuple[PlanLine, ...]
    is_whole: bool
    holds: tuple[HoldStatus, ...] = ()
    waits: tuple[PlanWait, ...] = ()
    unseen: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HistoryReport:
    """Hold the newest lines of the history that were asked for, oldest first, and whether these are all.

    unknown: `mailbox` or `message`, where there is none of the name that was asked for.
    """

    entries: tuple[Entry, ...]
    is_whole: bool
    unknown: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """Tell that something happened, as `kind` says (`daemon.control.happening.Kind`).

    entry: the line of the history, for the kind history only. error: why, where something failed. state: of a device.
    """

    at: float
    kind: str
    account: str | None = None
    device: str | None = None
    state: str | None = None
    error: str | None = None
    entry: Entry | None = None


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """Name the accounts to sync; none: all."""

    accounts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HoldsReport:
    """Hold what waits for a person, oldest first, and whether it is all of it."""

    holds: tuple[HoldStatus, ...]
    is_whole: bool


@dataclass(frozen=True, slots=True)
class HoldDetail:
    """Hold what happens once a hold is released, one line for each effect, and whether these are all."""

    hold: HoldStatus
    effects: tuple[str, ...]
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """Name the holds to release or to discard, or all that there are."""

    ids: tuple[int, ...] = ()
    is_all: bool = False


@dataclass(frozen=True, slots=True)
class RestoreRequest:
    """Name deleted messages: by number or Message-ID, or all of an account, a mailbox and a time.

    mailbox: where they were; with or without its account before it. since: when they were deleted at the earliest.
    to: the mailbox that gets them, None for that where each was. is_dry: only say what would be done.
    """

    messages: tuple[str, ...] = ()
    account: str | None = None
    mailbox: str | None = None
    since: float | None = None
    to: str | None = None
    is_dry: bool = False


@dataclass(frozen=True, slots=True)
class RestoreLine:
    """Say what becomes of one message: `fate` is a `reconcile.recoveries.Fate`.

    mailbox: where it was. to: where it is to be. there: where its octets are now. deleted_at: None of one that is
    there. sender, subject: as its header has them.
    """

    message: int
    account: str
    mailbox: str
    to: str
    fate: str
    there: str | None
    deleted_at: float | None
    size_bytes: int
    sender: str = field(default="", repr=False)
    subject: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """Hold what becomes of messages, the last deleted at the end, and of how many, by fate.

    lines: of those that are named, or of those that come back; is_whole: these are all of them. is_dry: nothing was
    done.
    """

    lines: tuple[RestoreLine, ...]
    counts: dict[str, int]
    is_dry: bool
    is_whole: bool = True


@dataclass(frozen=True, slots=True)
class PurgeRequest:
    """Name accounts and devices that the configuration does not have. is_dry: only say what; none is all of them."""

    accounts: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    is_dry: bool = True


@dataclass(frozen=True, slots=True)
class PurgeLine:
    """Say what the store has of an account, or of a device, and whether its mail is on no server."""

    kind: str
    name: str
    messages: int
    is_only_copy: bool


@dataclass(frozen=True, slots=True)
class PurgeReport:
    """Hold what is purged, or would be."""

    lines: tuple[PurgeLine, ...]


@dataclass(frozen=True, slots=True)
class RenameRequest:
    """Name an account as the store has it, and as the configuration has it now."""

    account: str
    to: str


@dataclass(frozen=True, slots=True)
class LoginRequest:
    """Name an account, the application that asked for access, and what was granted (`oauth.grants.Grant.as_text`).

    has_secret: whether that application proves itself by a secret. grant: empty to ask whether it could be kept.
    """

    account: str
    client_id: str
    token_url: str
    has_secret: bool
    grant: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class ReloadReport:
    """Tell what became of the configuration file as it is: its problems, or what was started, ended or changed.

    keys: others that count from now on. at_restart: those that do after a restart only. None of all: it runs already.
    """

    path: str
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    accounts: Difference = field(default_factory=Difference)
    devices: Difference = field(default_factory=Difference)
    keys: tuple[str, ...] = ()
    at_restart: tuple[str, ...] = ()

    @property
    def is_changed(self) -> bool:
        """Tell whether anything counts now that did not before."""
        return bool(self.accounts or self.devices or self.keys)


@dataclass(frozen=True, slots=True)
class AdoptRequest:
    """Name the device whose directory is to be its own as it is; leaves_others: with files that are in no mailbox."""

    device: str
    leaves_others: bool = False


@dataclass(frozen=True, slots=True)
class AdoptReport:
    """Say what was found in a directory that is the device's now, and whether that was nothing.

    left: words on files of accounts that are not configured.
    """

    device: str
    found: str
    is_empty: bool
    files: int = 0
    mailboxes: int = 0
    left: str = ""
