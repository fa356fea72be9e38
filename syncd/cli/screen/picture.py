"""Floor 6: what `syncd status` shows, as lines of text: first whether all is well, then everybody; pure.

Theory. A picture is a head, which says what is not well and what to do, and sections of blocks, one for each account
and device. A line that is a detail may go, and of a section blocks, where a screen is too small; `view` decides that.
"""

from collections.abc import Iterator, Sequence

from syncd.cli.screen.alike import groups_of, remedy_of, whose
from syncd.cli.screen.connected import connection_of, news_of
from syncd.cli.screen.words import age, ago, amounts, at_work, bar, count, share, shown, speed, stay, when
from syncd.config.problems import printable
from syncd.daemon.status.status import (
    AccountStatus,
    DeviceStatus,
    HoldStatus,
    ReplicaStatus,
    Status,
    TroubleStatus,
)
from syncd.errors import NO_USE_TO_WAIT
from syncd.values import Value, replace

BAD, WARN, GOOD, DIM, STRONG = "red", "yellow", "green", "dim", "bold"
_CALM = frozenset({"idle", "not running", "waiting to try again"})
_STALE_S = 2.0
_FEW = 10


class Line(Value):
    """A line, or more where it does not fit; is_detail: the picture is right without it."""

    text: str
    style: str = ""
    is_detail: bool = False
    indent: int = 0


class Block(Value):
    """What there is to say of one of a section."""

    name: str
    lines: tuple[Line, ...]
    is_well: bool = True


class Section(Value):
    """Blocks below a title; noun: what one of them is. limit: how many are shown where all would fit.

    are_well_or_not: blocks can be well at all.
    """

    title: str
    noun: str
    blocks: tuple[Block, ...]
    limit: int | None = None
    plural: str = ""
    are_well_or_not: bool = False


class Picture(Value):
    """The whole picture: groups of lines for each thing that is not well, and the sections."""

    head: tuple[Line, ...]
    findings: tuple[tuple[Line, ...], ...]
    foot: tuple[Line, ...]
    sections: tuple[Section, ...]


def picture_of(status: Status, *, every_mailbox: bool = False) -> Picture:
    """Return the picture; every_mailbox: also those of which there is nothing to tell but counts."""
    replicas = [
        (device, one)
        for device in status.devices
        for one in device.replicas
        if every_mailbox or _is_interesting(one, is_working=_is_working(device))
    ]
    accounts = tuple(_account(one, status.at) for one in status.accounts)
    served = {one.name: one for one in status.accounts}
    devices = tuple(
        _device(one, [served[name] for name in one.accounts if name in served], status.at) for one in status.devices
    )
    few = None if every_mailbox else _FEW
    sections = (
        Section("accounts", "account", accounts, are_well_or_not=True),
        Section("devices", "device", devices, are_well_or_not=True),
        Section("mailboxes", "mailbox", tuple(_replica(*each) for each in replicas), few, plural="mailboxes"),
        Section("released", "hold", tuple(_hold(one, status.at) for one in status.holds if one.state != "held"), few),
        Section("left alone", "directory", tuple(_left_alone(status.devices)), few, plural="directories"),
        Section("files left alone", "file", tuple(_odd_files(status.devices)), few),
        Section("set aside", "message", tuple(_trouble(one, status.at) for one in status.troubles), few),
    )
    return Picture(
        (Line(_headline(status), _head_style(status)),),
        tuple(_findings(status)),
        tuple(_foot(status)),
        tuple(one for one in sections if one.blocks),
    )


def _headline(status: Status) -> str:
    everybody = f"{count(len(status.accounts), 'account')}, {count(len(status.devices), 'device')}"
    if status.store_owner_pid is not None:
        return f"No daemon answers, but another syncd (pid {status.store_owner_pid}) has the store, as this shows it"
    if status.daemon is None:
        used = "" if status.store_used_at is None else f", {ago(status.at - status.store_used_at)}"
        return f"The daemon is not running; this is how things stood when syncd last ran{used}"
    needing = sum(alike[0].needs_person for alike in groups_of(status))
    if needing:
        order = ", the most important first" if needing > 1 else ""
        return f"{count(needing, 'thing')} {'needs' if needing == 1 else 'need'} you{order}:"
    if status.findings:
        return "Nothing needs you; this is tried again by itself:"
    change = "" if status.changed_at is None else f"; last change {ago(status.at - status.changed_at)}"
    return f"{_busy(status) or 'All well'}: {everybody}{change}"


def _busy(status: Status) -> str:
    """Say how far the one is that takes longest, if somebody is at work that can be counted."""
    everybody: tuple[AccountStatus | DeviceStatus, ...] = (*status.accounts, *status.devices)
    working = [one for one in everybody if _is_working(one)]
    if not working:
        return ""
    last = max(working, key=lambda one: (one.progress.eta_s or 0.0, -share(one.progress)))
    left = last.progress.eta_s
    said = "" if left is None else f", {age(max(left, 1.0))} left"
    return f"All well, and at work ({last.name} at {int(share(last.progress) * 100)} %{said})"


def _head_style(status: Status) -> str:
    if status.daemon is None or any(one.needs_person for one in status.findings):
        return f"{STRONG} {BAD}"
    return f"{STRONG} {WARN if status.findings else GOOD}"


def _findings(status: Status) -> Iterator[tuple[Line, ...]]:
    """Yield what is not well, each with what to do; what is the same of several once."""
    waits: dict[tuple[str, str | None], float | None] = {
        **{("account_failing", one.name): one.retry_at for one in status.accounts},
        **{("device_failing", one.name): one.retry_at for one in status.devices},
        **{("hook_failing", one.name): one.retry_at for one in status.hooks},
    }
    if status.daemon is None:
        yield tuple(_to_do(one.remedy) for one in status.findings if one.kind == "daemon_down")
    was_needing = status.daemon is None
    for alike in groups_of(status):
        first = alike[0]
        kind, text = first.kind, first.text
        if kind == "daemon_down":
            continue
        if was_needing and not first.needs_person:
            tried = "tried again by itself" if status.daemon is not None else "tried again once it runs"
            yield (Line(f"and this is {tried}:", f"{STRONG} {WARN}"),)
        was_needing = first.needs_person
        since_at = min((one.since_at for one in alike if one.since_at is not None), default=None)
        since = [] if since_at is None else [f"for {age(status.at - since_at)}"]
        retries = [waits.get((kind, one.name or "")) for one in alike]
        retry_at = min((at for at in retries if at is not None), default=None)
        again = [] if retry_at is None else [f"again {when(retry_at - status.at)}"]
        times = f" ({', '.join(since + again)})" if since or again else ""
        said = shown(text if first.remedy is None else text.removesuffix(NO_USE_TO_WAIT))
        if kind == "config_refused":
            said = text.partition(":")[0]  # all its problems follow, each as a line
        yield (
            Line(f"{whose(alike)}{said}{times}", BAD if first.needs_person else WARN, indent=2),
            *(_problems(status) if kind == "config_refused" else ()),
            *((_to_do(remedy_of(alike, status)),) if first.remedy is not None else ()),
        )


def _problems(status: Status) -> Iterator[Line]:
    if status.config is not None:
        yield from (Line(shown(problem), BAD, indent=4) for problem in status.config.problems)


def _to_do(remedy: str | None) -> Line:
    return Line(f"-> {printable(remedy or '')}", STRONG, indent=4)


def _foot(status: Status) -> Iterator[Line]:
    daemon = status.daemon
    if daemon is not None:
        said = f"the daemon runs for {age(status.at - daemon.started_at)} (pid {daemon.pid}, version {daemon.version})"
        yield Line(said, DIM, is_detail=True)
    if status.counted_at is not None and status.at - status.counted_at > _STALE_S:
        yield Line(f"messages were counted {ago(status.at - status.counted_at)}", DIM, is_detail=True)


# Accounts and devices.


def _is_working(one: AccountStatus | DeviceStatus) -> bool:
    return one.doing not in _CALM and one.error is None and not one.progress.is_done


def _account(one: AccountStatus, at: float) -> Block:
    is_well = one.error is None
    lines = [
        *(_failing(one, at) if one.error is not None else _account_state(one)),
        *([Line(stay(one.kept, one.kept_until_at, at))] if one.kept else []),
        Line(f"{shown(one.server)}, {connection_of(one, at)}", DIM, is_detail=True),
    ]
    if one.connection is not None:
        lines.append(Line(news_of(one, at), DIM, is_detail=True))
    return Block(one.name, tuple(lines), is_well)


def _account_state(one: AccountStatus) -> Iterator[Line]:
    if _is_working(one):
        yield from _working(one)
        return
    state = "never in sync yet" if one.lag_s is None else f"in sync {ago(one.lag_s)}"
    doing = "" if one.doing in _CALM else f"{shown(one.doing)}; "
    style = GOOD if one.doing == "idle" and one.lag_s is not None else ""
    yield Line(f"{doing}{state}{_mail(one)}{_left_over(one)}", style)


def _mail(one: AccountStatus | DeviceStatus) -> str:
    """Say how much mail there is; of an account that was never reached, and for its device, nothing is known."""
    if not one.mailbox_count:
        return ""
    return f"; {count(one.messages, 'message')} in {count(one.mailbox_count, 'mailbox', 'mailboxes')}"


def _left_over(one: AccountStatus) -> str:
    parts = [f"{one.set_aside:,} set aside"] if one.set_aside else []
    parts += [f"{one.held:,} held"] if one.held else []
    return "".join(f"; {part}" for part in parts)


def _failing(one: AccountStatus | DeviceStatus, at: float) -> Iterator[Line]:
    since = "" if one.failing_since_at is None else f" for {age(at - one.failing_since_at)}"
    again = "" if one.retry_at is None else f"; tried again {when(one.retry_at - at)}"
    last = ""
    if isinstance(one, AccountStatus):
        last = "; never in sync yet" if one.lag_s is None else f"; last in sync {ago(one.lag_s)}"
    yield Line(f"FAILING{since}{again}{last}", BAD)


def _working(one: AccountStatus | DeviceStatus) -> Iterator[Line]:
    is_waiting = one.doing == "idle"  # so what it did lately is no speed
    progress = replace(one.progress, messages_s=None, bytes_s=None) if is_waiting else one.progress
    yield Line(f"{bar(progress)} {at_work(one.doing, progress)}", STRONG)
    yield Line(f"{amounts(progress)}; {speed(progress)}")


def _device(one: DeviceStatus, accounts: Sequence[AccountStatus], at: float) -> Block:
    is_away = one.state in {"away", "foreign"}
    is_well = one.error is None and not is_away
    lines = [*_device_state(one, accounts, at), Line(shown(one.path), DIM, is_detail=True)]
    return Block(one.name, tuple(lines), is_well)


def _device_state(one: DeviceStatus, accounts: Sequence[AccountStatus], at: float) -> Iterator[Line]:
    pending = _pending(one)
    rest = f"{_mail(one)}{pending}"
    if one.state in {"away", "foreign"}:
        since = "" if one.failing_since_at is None else f" for {age(at - one.failing_since_at)}"
        again = "" if one.retry_at is None else f"; looked for again {when(one.retry_at - at)}"
        last = "" if one.settled_at is None else f"; last written {ago(at - one.settled_at)}"
        yield Line(f"{'AWAY' if one.state == 'away' else 'NOT OURS'}{since}{again}{last}", BAD)
        yield from ([Line(rest.removeprefix("; "))] if rest else [])
    elif one.error is not None:
        yield from _failing(one, at)
        yield from ([Line(rest.removeprefix("; "))] if rest else [])
    elif _is_working(one) or (one.doing == "idle" and not one.progress.is_done):
        yield from _working(one)
        if one.unsynced or one.held:
            yield Line(pending.removeprefix("; "))
    else:
        is_at_rest = not (one.waiting or one.unsynced) and one.doing in _CALM
        old = _old(accounts) if is_at_rest else ""
        state = old or ("in sync" if is_at_rest else "behind" if one.doing in _CALM else shown(one.doing))
        state = f"{state}{_to_compare(accounts)}" if one.state == "adopting" else state
        style = GOOD if is_at_rest and one.doing == "idle" and not old else ""
        yield Line(f"{'not begun yet' if one.state == 'new' else state}{rest}", style)


def _to_compare(accounts: Sequence[AccountStatus]) -> str:
    """Say of a device that was adopted what it has still to be compared with: it is not done before all is listed."""
    never = [one.name for one in accounts if one.lag_s is None]
    return f", still to be compared with {', '.join(never)}" if never else ", being compared"


def _old(accounts: Sequence[AccountStatus]) -> str:
    """Say as of when a device has all, if none of its accounts is served now: that nothing comes is no good sign."""
    lags = [one.lag_s for one in accounts if one.lag_s is not None]
    if accounts and not lags:
        return "nothing to show yet: none of its accounts was ever in sync"
    if accounts and all(one.error is not None for one in accounts):
        return f"as of {ago(min(lags))}: its accounts fail"
    return ""


def _pending(one: DeviceStatus) -> str:
    """Say what is still to come and to go, and what is held."""
    lag = "" if one.lag_s is None else f", the oldest for {age(one.lag_s)}"
    parts = [f"{count(one.waiting, 'change')} to come{lag}"] if one.waiting else []
    parts += [f"{one.unsynced:,} to send"] if one.unsynced else []
    parts += [f"{one.held:,} held"] if one.held else []
    parts += [f"{count(len(one.left_alone), 'directory', 'directories')} left alone"] if one.left_alone else []
    parts += [f"{count(len(one.odd_files), 'file')} left alone"] if one.odd_files else []
    return "".join(f"; {part}" for part in parts)


# What else there is to tell.


def _is_interesting(one: ReplicaStatus, *, is_working: bool) -> bool:
    return bool(one.is_gone or one.unsynced or (one.waiting and not is_working))


def _replica(device: DeviceStatus, one: ReplicaStatus) -> Block:
    kinds = {
        "new": one.new,
        "missing": one.missing,
        "deleted": one.deleted,
        "edited": one.edited,
        "with other flags": one.flagged,
    }
    parts = [f"{one.delivered:,} of {one.on_server:,}" if not one.is_gone else f"{one.delivered:,}, gone on the server"]
    parts += [f"{one.waiting:,} to come"] if one.waiting else []
    own = ", ".join(f"{number:,} {kind}" for kind, number in kinds.items() if number)
    parts += [f"to send: {own}"] if own else []
    return Block(device.name, (Line(f"{shown(f'{one.account}/{one.mailbox}')}: {'; '.join(parts)}"),))


def _left_alone(devices: Sequence[DeviceStatus]) -> Iterator[Block]:
    for device in devices:
        for one in device.left_alone:
            yield Block(device.name, (Line(shown(f"{one.directory}: {one.why}")), _to_do(one.remedy)))


def _odd_files(devices: Sequence[DeviceStatus]) -> Iterator[Block]:
    for device in devices:
        for one in device.odd_files:
            yield Block(device.name, (Line(shown(f"{one.file}: {one.why}")), _to_do(one.remedy)))


def _hold(one: HoldStatus, at: float) -> Block:
    where = shown(f"{one.account}/{one.mailbox}")
    text = f"{one.what}, {where}, held {ago(at - one.held_at)}; released, waiting for the next round"
    return Block(str(one.id), (Line(text),))


def _trouble(one: TroubleStatus, at: float) -> Block:
    again = "not again by itself" if one.retry_at is None else f"again {when(one.retry_at - at)}"
    device = "" if one.device is None else f" on {one.device}"
    tries = f"; {count(one.attempts, 'try', 'tries')}, {again}"
    text = f"{_place(one)}{device}: {shown(one.error)}{tries}"
    return Block("", (Line(text, WARN),), is_well=False)


def _place(trouble: TroubleStatus) -> str:
    where = shown(f"{trouble.account}/{trouble.mailbox}")
    if trouble.uid is not None:
        return f"{where} uid {trouble.uid}"
    if trouble.is_mailbox:
        return f"the mailbox {where}"
    return f"{where}, {'in the maildrop' if trouble.device is None else 'a new file'}"
