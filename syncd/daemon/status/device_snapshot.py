"""Floor 5: the status of a device, put together from the store and what its task is doing, if that runs."""

from collections.abc import Sequence

from syncd.config.model import DeviceConfig
from syncd.daemon.status.remedies import device_remedy
from syncd.daemon.status.seen import Seen, cause_of, doing_of, error_of, is_lasting_of, progress_of, since_of
from syncd.daemon.status.status import (
    AccountStatus,
    DeviceStatus,
    LeftAloneStatus,
    OddFileStatus,
    Progress,
    ReplicaStatus,
)
from syncd.maildir.naming.names import FileName
from syncd.maildir.news.odd_files import empty_file
from syncd.store.people.report import DeviceReport, ReplicaReport, StoreReport
from syncd.sync.activity import Activity
from syncd.values import replace

LEFT_ALONE_MAX = 100


def device_status(
    name: str,
    config: DeviceConfig,
    row: DeviceReport | None,
    activity: Activity | None,
    seen: Seen,
    *,
    accounts: Sequence[AccountStatus],
) -> DeviceStatus:
    """Return the status of one device, which gets its mail from these accounts; activity: None when it has no task."""
    mine = [one for one in seen.report.replicas if row is not None and one.device_id == row.id]
    replicas = sorted(_replicas(mine, seen.report), key=lambda one: (one.account, one.mailbox))
    waiting = sum(one.waiting for one in replicas)
    settled_at = row.settled_at if row else None
    state = row.state if row else "new"
    error = error_of(activity, row.error if row else None)
    cause = cause_of(activity, row.cause if row else None)
    layout = row.layout if row and row.layout != config.layout.value else None
    status = DeviceStatus(
        name=name,
        path=str(config.path),
        state=state,
        doing=doing_of(activity),
        since_at=since_of(activity),
        settled_at=settled_at,
        waiting=waiting,
        unsynced=sum(one.unsynced for one in replicas),
        held=seen.held(device=name),
        lag_s=_lag_s(activity, settled_at, now=seen.now) if waiting else 0.0,
        error=error,
        cause=None if cause is None else cause.value,
        remedy=device_remedy(cause, state, name, str(config.path), layout=layout, is_running=activity is not None),
        is_lasting=is_lasting_of(activity, error),
        failing_since_at=activity.failing_since if activity and error is not None else None,
        retry_at=activity.retry_at if activity else None,
        messages=sum(one.delivered for one in replicas),
        mailbox_count=len(replicas),
        progress=_progress(name, mine, activity, seen),
        left_alone=_left_alone(activity),
        odd_files=_odd_files(row, activity, seen.report),
        replicas=tuple(replicas),
        done=activity.done if activity else 0,
        total=activity.total if activity else 0,
    )
    return _after(accounts, status)


def _after(accounts: Sequence[AccountStatus], device: DeviceStatus) -> DeviceStatus:
    """Return a device with the accounts from which it gets its mail; it is not done before those are."""
    device = replace(device, accounts=tuple(one.name for one in accounts))
    fetching = [one.progress for one in accounts if not one.progress.is_done]
    if device.progress.is_done or not fetching:
        return device
    etas = [one.eta_s for one in (device.progress, *fetching)]
    known = [one for one in etas if one is not None]
    return replace(device, progress=replace(device.progress, eta_s=max(known) if len(known) == len(etas) else None))


def _lag_s(activity: Activity | None, settled_at: float | None, *, now: float) -> float | None:
    """Return for how long something has been waiting: since it was to wake the device, else since files last came."""
    since = activity.wake.since if activity is not None and activity.wake is not None else None
    since = settled_at if since is None else since
    return None if since is None else max(now - since, 0.0)


def _progress(name: str, mine: Sequence[ReplicaReport], activity: Activity | None, seen: Seen) -> Progress:
    mailboxes = {one.id: one for one in seen.report.mailboxes}
    left = left_bytes = 0
    for one in mine:
        mailbox = mailboxes.get(one.mailbox_id)
        if mailbox is None:
            continue
        room = max(mailbox.messages + mailbox.unlisted - one.delivered, 0)
        to_come = min(one.waiting + seen.still_wanted(one.mailbox_id, name).messages, room)
        if to_come:
            left += to_come
            left_bytes += max(mailbox.size_bytes - one.delivered_bytes, 0) * to_come // room
    done_bytes = sum(one.delivered_bytes for one in mine)
    return progress_of(sum(one.delivered for one in mine), left, done_bytes, left_bytes, activity, now=seen.now)


def _replicas(mine: Sequence[ReplicaReport], report: StoreReport) -> Sequence[ReplicaStatus]:
    mailboxes = {one.id: one for one in report.mailboxes}
    accounts = {one.id: one.name for one in report.accounts}
    return [
        ReplicaStatus(
            account=accounts[mailbox.account_id],
            mailbox=mailbox.name,
            on_server=mailbox.messages,
            delivered=one.delivered,
            waiting=one.waiting,
            new=one.new,
            missing=one.missing,
            deleted=one.deleted,
            edited=one.edited,
            flagged=one.flagged,
            is_gone=mailbox.is_gone,
        )
        for one in mine
        if (mailbox := mailboxes.get(one.mailbox_id)) is not None
    ]


def _left_alone(activity: Activity | None) -> tuple[LeftAloneStatus, ...]:
    some = activity.left_alone[:LEFT_ALONE_MAX] if activity is not None else ()
    return tuple(LeftAloneStatus(one.directory, one.why, one.remedy) for one in some)


def _odd_files(row: DeviceReport | None, activity: Activity | None, report: StoreReport) -> tuple[OddFileStatus, ...]:
    empty = [one for one in report.empty_files if row is not None and one.device_id == row.id]
    found = [empty_file(f"{one.directory}/{one.subdir}/{FileName(one.name, one.info)}") for one in empty]
    found += [one for some in activity.odd_files.values() for one in some] if activity is not None else []
    some = sorted(found, key=lambda one: one.path)[:LEFT_ALONE_MAX]
    return tuple(OddFileStatus(one.path, one.why, one.remedy) for one in some)
