"""Floor 5: the status put together from the store and, where a daemon runs, from what its tasks are doing."""

from collections.abc import Iterable, Sequence

from syncd.config.model import Config
from syncd.daemon.status import (
    AccountStatus,
    ConfigStatus,
    DaemonStatus,
    DeviceStatus,
    HoldStatus,
    HookStatus,
    MailboxStatus,
    ReplicaStatus,
    Status,
    TroubleStatus,
)
from syncd.reconcile.guard import as_words
from syncd.store.report import AccountReport, DeviceReport, HoldReport, MailboxReport, ReplicaReport, StoreReport
from syncd.store.trouble_report import TroubleReport
from syncd.sync.activity import Activities, Activity

TROUBLES_MAX = 100
HOLDS_MAX = 100


def status_of(
    config: Config,
    report: StoreReport,
    *,
    now: float,
    daemon: DaemonStatus | None = None,
    activities: Activities | None = None,
    config_state: ConfigStatus | None = None,
    hooks: tuple[HookStatus, ...] = (),
) -> Status:
    """Return the status of what the configuration names."""
    running = activities or Activities()
    accounts = {one.name: one for one in report.accounts}
    devices = {one.name: one for one in report.devices}
    return Status(
        at=now,
        daemon=daemon,
        accounts=tuple(
            _account(name, one.type, accounts.get(name), running.accounts.get(name), report.mailboxes, now=now)
            for name, one in config.accounts.items()
        ),
        devices=tuple(
            _device(name, str(one.path), devices.get(name), running.devices.get(name), report, now=now)
            for name, one in config.devices.items()
        ),
        troubles=(*_troubles(config, report), *_refused_mailboxes(config, report)),
        holds=holds_of(config, report.holds)[:HOLDS_MAX],
        config=config_state,
        hooks=hooks,
    )


def holds_of(config: Config, held: Iterable[HoldReport]) -> tuple[HoldStatus, ...]:
    """Return the holds of what the configuration names, oldest first."""
    return tuple(
        HoldStatus(
            id=one.hold.id,
            scope=one.hold.scope.value,
            device=one.device,
            account=one.account,
            mailbox=one.mailbox,
            count=len(one.hold.effects),
            reason=one.hold.reason.value,
            why=as_words(one.hold.reason),
            state=one.hold.state.value,
            held_at=one.hold.held_at,
        )
        for one in held
        if one.account in config.accounts and (one.device is None or one.device in config.devices)
    )


def _account(
    name: str,
    type_: str,
    row: AccountReport | None,
    activity: Activity | None,
    mailboxes: Sequence[MailboxReport],
    *,
    now: float,
) -> AccountStatus:
    mine = [one for one in mailboxes if row is not None and one.account_id == row.id and one.is_synced]
    known = (row.succeeded_at if row else None, activity.succeeded_at if activity else None)
    succeeded_at = max((at for at in known if at is not None), default=None)
    return AccountStatus(
        name=name,
        type=type_,
        doing=_doing(activity),
        since_at=_since(activity),
        mode=activity.mode if activity else "",
        succeeded_at=succeeded_at,
        lag_s=None if succeeded_at is None else max(now - succeeded_at, 0.0),
        error=_error(activity, row.error if row else None),
        failed_at=row.failed_at if row else None,
        failures=row.failures if row else 0,
        retry_at=activity.retry_at if activity else None,
        mailboxes=tuple(
            MailboxStatus(one.name, one.messages, one.fetched, one.error)
            for one in sorted(mine, key=lambda one: one.name)
        ),
        done=activity.done if activity else 0,
        total=activity.total if activity else 0,
    )


def _device(
    name: str, path: str, row: DeviceReport | None, activity: Activity | None, report: StoreReport, *, now: float
) -> DeviceStatus:
    mine = [one for one in report.replicas if row is not None and one.device_id == row.id]
    replicas = sorted(_replicas(mine, report), key=lambda one: (one.account, one.mailbox))
    waiting = sum(one.waiting for one in replicas)
    settled_at = row.settled_at if row else None
    lag_s = 0.0 if not waiting else None if settled_at is None else max(now - settled_at, 0.0)
    return DeviceStatus(
        name=name,
        path=path,
        state=row.state if row else "new",
        doing=_doing(activity),
        since_at=_since(activity),
        settled_at=settled_at,
        waiting=waiting,
        lag_s=lag_s,
        error=_error(activity, row.error if row else None),
        retry_at=activity.retry_at if activity else None,
        replicas=tuple(replicas),
        done=activity.done if activity else 0,
        total=activity.total if activity else 0,
    )


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
            is_gone=mailbox.is_gone,
        )
        for one in mine
        if (mailbox := mailboxes.get(one.mailbox_id)) is not None
    ]


def _troubles(config: Config, report: StoreReport) -> Sequence[TroubleStatus]:
    mailboxes = {one.id: one for one in report.mailboxes}
    accounts = {one.id: one.name for one in report.accounts}
    devices = {one.id: one.name for one in report.devices}
    return [
        TroubleStatus(
            account=accounts[mailbox.account_id],
            mailbox=mailbox.name,
            uid=one.uid,
            device=None if one.device_id is None else devices.get(one.device_id, ""),
            error=one.error,
            attempts=one.attempts,
            since_at=one.since_at,
            retry_at=_retry_at(config, accounts[mailbox.account_id], one),
        )
        for one in report.troubles
        if (mailbox := mailboxes.get(one.mailbox_id)) is not None
    ]


def _refused_mailboxes(config: Config, report: StoreReport) -> Sequence[TroubleStatus]:
    accounts = {one.id: one.name for one in report.accounts}
    devices = {one.id: one.name for one in report.devices}
    return [
        TroubleStatus(
            account=accounts[one.account_id],
            mailbox=one.name,
            uid=None,
            device=devices[one.device_id],
            error=one.error,
            attempts=one.attempts,
            since_at=one.since_at,
            retry_at=one.retry_at,
            is_mailbox=True,
        )
        for one in report.mailboxes_refused
        if accounts[one.account_id] in config.accounts and devices[one.device_id] in config.devices
    ]


def _retry_at(config: Config, account: str, trouble: TroubleReport) -> float | None:
    is_in_maildrop = trouble.uid is None and trouble.device_id is None
    if not is_in_maildrop or trouble.retry_at is None or account not in config.accounts:
        return trouble.retry_at
    return trouble.retry_at + config.accounts[account].poll_interval_s


def _doing(activity: Activity | None) -> str:
    return activity.doing if activity else "not running"


def _since(activity: Activity | None) -> float | None:
    return activity.since or None if activity else None


def _error(activity: Activity | None, recorded: str | None) -> str | None:
    """Return the error that stands: while a daemon runs, it knows better than the store what is over."""
    return activity.error if activity else recorded
