"""Floor 5: the status put together from the store and, where a daemon runs, from what its tasks are doing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from syncd.config.model import Config, DeviceConfig, ImapConfig, Pop3Config
from syncd.daemon.attention import findings_of
from syncd.daemon.remedies import account_remedy, device_remedy
from syncd.daemon.status import (
    AccountStatus,
    ConfigStatus,
    ConnectionStatus,
    DaemonStatus,
    DeviceStatus,
    HoldStatus,
    HookStatus,
    LeftAloneStatus,
    MailboxStatus,
    NewsStatus,
    Progress,
    ReplicaStatus,
    Status,
    TroubleStatus,
)
from syncd.errors import NO_USE_TO_WAIT, Cause
from syncd.reconcile.guard import as_words
from syncd.store.report import AccountReport, DeviceReport, HoldReport, MailboxReport, ReplicaReport, StoreReport
from syncd.store.trouble_report import TroubleReport
from syncd.sync.activity import Activities, Activity
from syncd.sync.pace import eta_s
from syncd.sync.wanted import Wanted

TROUBLES_MAX = 100
HOLDS_MAX = 100
LEFT_ALONE_MAX = 100
_RUNGS = ("listing", "condstore", "qresync")
"""As `imap.observe.Rung` has them; the highest costs least."""


@dataclass(frozen=True, slots=True)
class _Seen:
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
    seen = _Seen(report, mailboxes, wanted or {}, holds_of(config, report.holds), troubles, now)
    told = {
        name: _account(name, one, accounts.get(name), running.accounts.get(name), seen)
        for name, one in config.accounts.items()
    }
    status = Status(
        at=now,
        daemon=daemon,
        accounts=tuple(told.values()),
        devices=tuple(
            _after(
                [told[account] for account in config.accounts_of(name)],
                _device(name, one, devices.get(name), running.devices.get(name), seen),
            )
            for name, one in config.devices.items()
        ),
        troubles=troubles,
        holds=seen.holds[:HOLDS_MAX],
        config=config_state,
        changed_at=report.changed_at,
        counted_at=now if counted_at is None else counted_at,
        store_used_at=store_used_at,
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
        if one.account in config.accounts and (one.device is None or one.device in config.devices)
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


def _account(
    name: str,
    config: ImapConfig | Pop3Config,
    row: AccountReport | None,
    activity: Activity | None,
    seen: _Seen,
) -> AccountStatus:
    mine = seen.mailboxes.get(row.id, ()) if row is not None else ()
    known = (row.succeeded_at if row else None, activity.succeeded_at if activity else None)
    succeeded_at = max((at for at in known if at is not None), default=None)
    error = _error(activity, row.error if row else None)
    cause = _cause(activity, row.cause if row else None)
    is_lasting, is_running = _is_lasting(activity, error), activity is not None
    remedy = account_remedy(cause, name, config, error=error, is_lasting=is_lasting, is_running=is_running)
    return AccountStatus(
        name=name,
        type=config.type,
        server=f"[{config.host}]:{config.port}" if ":" in config.host else f"{config.host}:{config.port}",
        security=config.tls.value,
        doing=_doing(activity),
        since_at=_since(activity),
        connection=_connection(activity),
        news=_news(config, activity, mine),
        succeeded_at=succeeded_at,
        lag_s=None if succeeded_at is None else max(seen.now - succeeded_at, 0.0),
        error=error,
        cause=None if cause is None else cause.value,
        remedy=remedy,
        is_lasting=is_lasting,
        failed_at=row.failed_at if row else None,
        failing_since_at=activity.failing_since if activity and error is not None else None,
        failures=row.failures if row else 0,
        retry_at=activity.retry_at if activity else None,
        messages=sum(one.messages for one in mine),
        mailbox_count=len(mine),
        set_aside=sum(one.account == name for one in seen.troubles),
        held=seen.held(account=name),
        progress=_account_progress(mine, activity, seen),
        mailboxes=tuple(
            MailboxStatus(one.name, one.messages, one.fetched, one.error, _changes_by(activity, one))
            for one in sorted(mine, key=lambda one: one.name)
        ),
        done=activity.done if activity else 0,
        total=activity.total if activity else 0,
    )


def _connection(activity: Activity | None) -> ConnectionStatus | None:
    link = activity.link if activity else None
    return None if link is None else ConnectionStatus(link.since, link.is_open, link.tls_version, link.rung)


def _news(config: ImapConfig | Pop3Config, activity: Activity | None, mailboxes: Sequence[MailboxReport]) -> NewsStatus:
    link = activity.link if activity else None
    pushed = activity.watched if activity and link and link.has_push else None
    why: str | None = None
    if config.type == "pop3":
        why = "pop3"
    elif link is not None:
        why = "one_mailbox_per_connection" if link.has_push else "no_idle"
    polled = sum(one.name != pushed for one in mailboxes) if config.type == "imap" else 1
    if why == "one_mailbox_per_connection" and not polled:
        why = None
    polls_at = activity.polls_at if activity and activity.rests_s is not None and activity.error is None else None
    return NewsStatus(link is not None and link.has_push, pushed, polled, why, config.poll_interval_s, polls_at)


def _changes_by(activity: Activity | None, mailbox: MailboxReport) -> str | None:
    """Return the rung that the server stands on for a mailbox, as far as it has shown."""
    rung = activity.link.rung if activity and activity.link else None
    if activity is None or rung is None:
        return None
    names = [rung, activity.demoted.get(mailbox.id, rung), rung if mailbox.has_modseq else "listing"]
    return min(names, key=_RUNGS.index)


def _account_progress(mailboxes: Sequence[MailboxReport], activity: Activity | None, seen: _Seen) -> Progress:
    """Return how far an account is with bodies, or where it has all of them with what it pushes."""
    to_come = [seen.still_wanted(one.id) for one in mailboxes]
    left, left_bytes = sum(one.messages for one in to_come), sum(one.size_bytes for one in to_come)
    done, done_bytes = sum(one.fetched for one in mailboxes), sum(one.fetched_bytes for one in mailboxes)
    if activity is not None and activity.expected[0] > activity.taken[0]:
        left += activity.expected[0] - activity.taken[0]
        left_bytes += max(activity.expected[1] - activity.taken[1], 0)
    elif activity is not None and not left and activity.total > activity.done:
        done, left, done_bytes = activity.done, activity.total - activity.done, 0
    return _progress(done, left, done_bytes, left_bytes, activity, now=seen.now)


def _progress(
    done: int, left: int, done_bytes: int, left_bytes: int, activity: Activity | None, *, now: float
) -> Progress:
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


def _device(
    name: str, config: DeviceConfig, row: DeviceReport | None, activity: Activity | None, seen: _Seen
) -> DeviceStatus:
    mine = [one for one in seen.report.replicas if row is not None and one.device_id == row.id]
    replicas = sorted(_replicas(mine, seen.report), key=lambda one: (one.account, one.mailbox))
    waiting = sum(one.waiting for one in replicas)
    settled_at = row.settled_at if row else None
    state = row.state if row else "new"
    error = _error(activity, row.error if row else None)
    cause = _cause(activity, row.cause if row else None)
    layout = row.layout if row and row.layout != config.layout.value else None
    return DeviceStatus(
        name=name,
        path=str(config.path),
        state=state,
        doing=_doing(activity),
        since_at=_since(activity),
        settled_at=settled_at,
        waiting=waiting,
        unsynced=sum(one.unsynced for one in replicas),
        held=seen.held(device=name),
        lag_s=_lag_s(activity, settled_at, now=seen.now) if waiting else 0.0,
        error=error,
        cause=None if cause is None else cause.value,
        remedy=device_remedy(cause, state, name, str(config.path), layout=layout, is_running=activity is not None),
        is_lasting=_is_lasting(activity, error),
        failing_since_at=activity.failing_since if activity and error is not None else None,
        retry_at=activity.retry_at if activity else None,
        messages=sum(one.delivered for one in replicas),
        mailbox_count=len(replicas),
        progress=_device_progress(name, mine, activity, seen),
        left_alone=_left_alone(activity),
        replicas=tuple(replicas),
        done=activity.done if activity else 0,
        total=activity.total if activity else 0,
    )


def _left_alone(activity: Activity | None) -> tuple[LeftAloneStatus, ...]:
    some = activity.left_alone[:LEFT_ALONE_MAX] if activity is not None else ()
    return tuple(LeftAloneStatus(one.directory, one.why, one.remedy) for one in some)


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


def _device_progress(name: str, mine: Sequence[ReplicaReport], activity: Activity | None, seen: _Seen) -> Progress:
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
    return _progress(sum(one.delivered for one in mine), left, done_bytes, left_bytes, activity, now=seen.now)


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


def _cause(activity: Activity | None, recorded: str | None) -> Cause | None:
    """Return the cause of the error that stands; a store may be of a later version, which knows more of them."""
    if activity is not None:
        return activity.cause if activity.error is not None else None
    return Cause(recorded) if recorded in set(Cause) else None


def _is_lasting(activity: Activity | None, error: str | None) -> bool:
    """Return whether waiting does not help against an error; the store has of that what the text says."""
    if error is None:
        return False
    return activity.is_lasting if activity else error.endswith(NO_USE_TO_WAIT)
