"""Floor 5: what a snapshot is made of: what the store has, and what a task that runs knows of itself."""

from collections.abc import Mapping, Sequence

from syncd.daemon.status.status import HoldStatus, Progress, TroubleStatus
from syncd.errors import NO_USE_TO_WAIT, Cause
from syncd.store.people.report import MailboxReport, StoreReport
from syncd.sync.activity import Activity
from syncd.sync.pace import eta_s
from syncd.sync.wanted import Wanted
from syncd.values import Value


class Seen(Value):
    """What the store has, and when it was read; mailboxes: those that are synced, by account."""

    report: StoreReport
    mailboxes: Mapping[int, Sequence[MailboxReport]]
    wanted: Mapping[tuple[int, str | None], Wanted]
    holds: tuple[HoldStatus, ...]
    troubles: tuple[TroubleStatus, ...]
    now: float

    def still_wanted(self, mailbox_id: int, device: str | None = None) -> Wanted:
        return self.wanted.get((mailbox_id, device), Wanted())

    def held(self, *, account: str | None = None, device: str | None = None) -> int:
        """Count what waits for a person, of an account or of a device."""
        mine = (one for one in self.holds if (one.account == account if account else one.device == device))
        return sum(max(one.count, 1) for one in mine if one.state == "held")


def progress_of(
    done: int, left: int, done_bytes: int, left_bytes: int, activity: Activity | None, *, now: float
) -> Progress:
    """Return how far somebody is, and at the pace of its task how long the rest takes."""
    rate = activity.pace.rate(now) if activity is not None and left else None
    return Progress(
        done,
        done + left,
        done_bytes,
        done_bytes + left_bytes,
        messages_s=None if rate is None else rate.messages_s,
        bytes_s=None if rate is None or not rate.bytes_s else rate.bytes_s,
        eta_s=eta_s(rate, messages=left, size_bytes=left_bytes),
    )


def doing_of(activity: Activity | None) -> str:
    """Return what a task does, in words."""
    return activity.doing if activity else "not running"


def since_of(activity: Activity | None) -> float | None:
    """Return since when it does that."""
    return activity.since or None if activity else None


def error_of(activity: Activity | None, recorded: str | None) -> str | None:
    """Return the error that stands: while a daemon runs, it knows better than the store what is over."""
    return activity.error if activity else recorded


def cause_of(activity: Activity | None, recorded: str | None) -> Cause | None:
    """Return the cause of the error that stands; a store may be of a later version, which knows more of them."""
    if activity is not None:
        return activity.cause if activity.error is not None else None
    return Cause(recorded) if recorded in set(Cause) else None


def is_lasting_of(activity: Activity | None, error: str | None) -> bool:
    """Return whether waiting does not help against an error; the store has of that what the text says."""
    if error is None:
        return False
    return activity.is_lasting if activity else error.endswith(NO_USE_TO_WAIT)
