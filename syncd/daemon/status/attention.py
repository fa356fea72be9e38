"""Floor 5: what is not well, the most important first, each with what to do; pure, of the status alone."""

from collections.abc import Iterable, Iterator
from itertools import groupby

from syncd.daemon.status.remedies import BY_ITSELF
from syncd.daemon.status.status import (
    AccountStatus,
    DeviceStatus,
    Finding,
    HoldStatus,
    HookStatus,
    Status,
    TroubleStatus,
)
from syncd.errors import Cause
from syncd.store.trees.devices import AWAY, FOREIGN

_ORDER = (
    "daemon_down",
    "account_failing",
    "device_failing",
    "device_foreign",
    "device_away",
    "held",
    "config_refused",
    "set_aside",
    "restart_needed",
    "mailbox_failing",
    "hook_failing",
)
_TOO_LARGE, _MESSAGE, _FILE, _MAILBOX = range(4)
_LONG_S = 3600.0
"""What has not ended by itself for so long may well not do so at all."""
_START = "syncd run, or where it is a service: systemctl start syncd"
_ELSEWHERE = (
    "a syncd sync ends by itself; if it is the daemon, its [daemon] socket was changed, which counts after a restart"
)


def findings_of(status: Status) -> tuple[Finding, ...]:
    """Return what is not well; what needs a person comes first."""
    is_running = status.daemon is not None
    found = [
        *_of_daemon(status),
        *(one for account in status.accounts for one in _of_account(account, status.at, is_running=is_running)),
        *(one for device in status.devices for one in _of_device(device, status.at)),
        *_held(status.holds),
        *_set_aside(status.troubles, status.at),
        *_of_hooks(status.hooks),
    ]
    return tuple(sorted(found, key=lambda one: (not one.needs_person, _ORDER.index(one.kind))))


def _of_daemon(status: Status) -> Iterator[Finding]:
    if status.daemon is None:
        text, remedy = "the daemon is not running, so nothing is synced", _START
        if status.store_owner_pid is not None:
            text, remedy = (
                f"no daemon answers, but another syncd (pid {status.store_owner_pid}) has the store",
                _ELSEWHERE,
            )
        yield Finding("daemon_down", None, text, remedy, needs_person=True)
    config = status.config
    if config is None:
        return
    if config.problems:
        more = f" (and {len(config.problems) - 1} more)" if len(config.problems) > 1 else ""
        text = f"the configuration cannot be used, and the one before runs on: {config.problems[0]}{more}"
        remedy = "mend it: it is read again by itself"
        yield Finding("config_refused", None, text, remedy, needs_person=True, since_at=config.since_at)
    if config.at_restart:
        text = f"changed, and counts after a restart only: {', '.join(config.at_restart)}"
        yield Finding("restart_needed", None, text, "syncd has to be started anew", needs_person=True)


def _needs_person(one: AccountStatus | DeviceStatus, at: float) -> bool:
    is_long = one.failing_since_at is not None and at - one.failing_since_at > _LONG_S
    return one.is_lasting or is_long or (one.cause is not None and Cause(one.cause) not in BY_ITSELF)


def _of_account(one: AccountStatus, at: float, *, is_running: bool) -> Iterator[Finding]:
    if one.error is not None:
        needs_person, since_at = _needs_person(one, at), one.failing_since_at
        yield Finding("account_failing", one.name, one.error, one.remedy, needs_person=needs_person, since_at=since_at)
    by_itself = "the server's words say why; it is tried again by itself, and all other mailboxes go on"
    mailbox_remedy = by_itself if is_running else f"syncd sync {one.name} tries it now"
    for mailbox in one.mailboxes:
        if mailbox.error is not None:
            text = f"{one.name}/{mailbox.name}: {mailbox.error}"
            yield Finding("mailbox_failing", one.name, text, mailbox_remedy, needs_person=False)


def _of_device(one: DeviceStatus, at: float) -> Iterator[Finding]:
    if one.error is None and one.state not in {AWAY, FOREIGN}:
        return
    kind = {AWAY: "device_away", FOREIGN: "device_foreign"}.get(one.state, "device_failing")
    needs_person = kind != "device_failing" or _needs_person(one, at)
    text = one.error or f"it is {one.state}"
    yield Finding(kind, one.name, text, one.remedy, needs_person=needs_person, since_at=one.failing_since_at)


def _held(holds: Iterable[HoldStatus]) -> Iterator[Finding]:
    for one in holds:
        if one.state == "held":
            text = f"{one.what} in {one.account}/{one.mailbox} {'are' if one.count > 1 else 'is'} held: {one.why}"
            remedy = (
                f"syncd holds show {one.id} lists them; meant: syncd holds release {one.id};"
                f" not meant: syncd holds discard {one.id} puts them back"
            )
            yield Finding("held", one.device or one.account, text, remedy, needs_person=True, since_at=one.held_at)


def _set_aside(troubles: Iterable[TroubleStatus], at: float) -> Iterator[Finding]:
    for (account, kind), those in groupby(sorted(troubles, key=_kind_of), key=_kind_of):
        found = list(those)
        for_good = [one for one in found if one.retry_at is None]
        told = for_good or found
        where = f"{account}/{told[0].mailbox}: {told[0].error}"
        if kind == _MAILBOX:
            what = "one mailbox" if len(told) == 1 else f"{len(told):,} mailboxes"
            text = f"what a device did to {what} is refused by the server, such as {where}"
        else:
            one, many = ("file", "files") if kind == _FILE else ("message", "messages")
            what = f"one {one} is" if len(told) == 1 else f"{len(told):,} {many} are"
            text = f"{what} set aside, such as in {where}"
        remedy, again = None, f"syncd sync {account} tries again"
        devices = ", ".join(sorted({one.device for one in told if one.device is not None}))
        if kind == _FILE:
            stays, it = ("it stays", "it") if len(told) == 1 else ("they stay", "them")
            remedy = f"{stays} on {devices}: make room, mend {it} or take {it} away; {again}"
        elif kind == _MAILBOX:
            remedy = f"on {devices}, give the directory another name, or undo what was done to it; {again}"
        elif kind == _TOO_LARGE:
            remedy = f"raise max_message_size of [accounts.{account}], or leave it on the server"
        elif for_good:
            remedy = f"once that is mended: {again}"
        since_at = min(one.since_at for one in told)
        is_long = kind in {_FILE, _MAILBOX} and at - since_at > _LONG_S
        yield Finding("set_aside", account, text, remedy, needs_person=bool(for_good) or is_long, since_at=since_at)


def _kind_of(one: TroubleStatus) -> tuple[str, int]:
    if one.is_mailbox:
        return one.account, _MAILBOX
    if one.device is not None and one.uid is None:
        return one.account, _FILE
    return one.account, _TOO_LARGE if "max_message_size" in one.error else _MESSAGE


def _of_hooks(hooks: Iterable[HookStatus]) -> Iterator[Finding]:
    for one in hooks:
        if one.error is not None:
            remedy = f"see that its command in [hooks] works for the user that runs syncd: {one.name}"
            text = f"hook {one.name}: {one.error}"
            yield Finding("hook_failing", one.name, text, remedy, needs_person=one.is_lasting or one.retry_at is None)
