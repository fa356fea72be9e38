"""Floor 5: the status put together from the store and, where a daemon runs, from what its tasks are doing."""

from collections.abc import Iterable, Mapping, Sequence

from syncd.config.model import Config
from syncd.daemon.status.account_snapshot import account_status
from syncd.daemon.status.attention import findings_of
from syncd.daemon.status.config_status import ConfigStatus
from syncd.daemon.status.device_snapshot import device_status
from syncd.daemon.status.seen import Seen
from syncd.daemon.status.status import (
    AccountStatus,
    DaemonStatus,
    HoldStatus,
    HookStatus,
    MailboxStatus,
    Status,
    TroubleStatus,
)
from syncd.reconcile.guard import as_words
from syncd.store.people.report import HoldReport, MailboxReport, StoreReport
from syncd.store.people.trouble_report import TroubleReport
from syncd.sync.activity import Activities
from syncd.sync.wanted import Wanted
from syncd.values import replace

TROUBLES_MAX = 100
HOLDS_MAX = 100


def status_of(
    config: Config,
    report: StoreReport,
    *,
    now: float,
    wanted: Mapping[tuple[int, str | None], Wanted] | None = None,
    counted_at: float | None = None,
    daemon: DaemonStatus | None = None,
    activities: Activities | None = None,
    config_state: ConfigStatus | None = None,
    store_used_at: float | None = None,
    store_owner_pid: int | None = None,
    hooks: tuple[HookStatus, ...] = (),
) -> Status:
    """Return the status of what the configuration names; wanted: as `sync.wanted` has it."""
    running = activities or Activities()
    accounts = {one.name: one for one in report.accounts}
    devices = {one.name: one for one in report.devices}
    troubles = (*_troubles(config, report), *_refused_mailboxes(config, report))
    mailboxes: dict[int, list[MailboxReport]] = {}
    for one in report.mailboxes:
        if one.is_synced:
            mailboxes.setdefault(one.account_id, []).append(one)
    seen = Seen(report, mailboxes, wanted or {}, holds_of(config, report.holds), troubles, now)
    told = {
        name: account_status(name, one, accounts.get(name), running.accounts.get(name), seen)
        for name, one in config.accounts.items()
    }
    status = Status(
        at=now,
        daemon=daemon,
        accounts=tuple(told.values()),
        devices=tuple(
            device_status(
                name,
                one,
                devices.get(name),
                running.devices.get(name),
                seen,
                accounts=[told[account] for account in config.accounts_of(name)],
            )
            for name, one in config.devices.items()
        ),
        troubles=troubles,
        holds=seen.holds[:HOLDS_MAX],
        config=config_state,
        changed_at=report.changed_at,
        counted_at=now if counted_at is None else counted_at,
        store_used_at=store_used_at,
        store_owner_pid=store_owner_pid,
        hooks=hooks,
    )
    return replace(status, findings=findings_of(status))


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
        if config.has(one.account, one.device)
    )


def brief(status: Status) -> Status:
    """Return a status without the mailboxes and replicas of which there is nothing to tell but counts."""
    return replace(
        status,
        accounts=tuple(
            replace(
                one, mailboxes=tuple(each for each in one.mailboxes if each.error is not None or _is_lower(one, each))
            )
            for one in status.accounts
        ),
        devices=tuple(
            replace(one, replicas=tuple(each for each in one.replicas if each.waiting or each.unsynced or each.is_gone))
            for one in status.devices
        ),
    )


def _is_lower(account: AccountStatus, mailbox: MailboxStatus) -> bool:
    return account.connection is not None and mailbox.changes_by != account.connection.changes_by


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
        and config.has(accounts[mailbox.account_id], None if one.device_id is None else devices.get(one.device_id, ""))
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
        if config.has(accounts[one.account_id], devices[one.device_id])
    ]


def _retry_at(config: Config, account: str, trouble: TroubleReport) -> float | None:
    is_in_maildrop = trouble.uid is None and trouble.device_id is None
    if not is_in_maildrop or trouble.retry_at is None:
        return trouble.retry_at
    return trouble.retry_at + config.accounts[account].poll_interval_s
