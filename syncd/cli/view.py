"""The tables of `syncd status`; everything that comes from servers or users is shown escaped and without markup."""

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from syncd.config.problems import brief, printable
from syncd.daemon.status import AccountStatus, DeviceStatus, HookStatus, ReplicaStatus, Status, TroubleStatus

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400
_PLAIN_WIDTH = 160
_HOW_TO_GO_ON = "nothing of it happens until you decide: see syncd holds"


class Screen:
    """Show a status on standard output, as wide as it is."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, emoji=False)
        if not self._console.is_terminal and console is None:
            self._console = Console(highlight=False, emoji=False, width=_PLAIN_WIDTH)

    def show(self, status: Status) -> None:
        """Print the status."""
        self._console.print(rendered(status))

    def show_again(self, status: Status) -> None:
        """Print the status in place of what was there."""
        if self._console.is_terminal:
            self._console.clear()
        self.show(status)


def rendered(status: Status) -> RenderableType:
    """Return the whole picture: daemon, accounts, devices, mailboxes, what is held, and what is set aside."""
    parts: list[RenderableType] = [_daemon_line(status), *_config_lines(status)]
    if status.accounts:
        parts += [Text(), _accounts(status)]
    if status.devices:
        parts += [Text(), _devices(status)]
    replicas = [(device, one) for device in status.devices for one in device.replicas if _is_interesting(one)]
    if replicas:
        parts += [Text(), _replicas(replicas)]
    failed = [(account, one) for account in status.accounts for one in account.mailboxes if one.error]
    parts += [_plain(f"{account.name}/{one.name}: {one.error}", "red") for account, one in failed]
    if status.holds:
        parts += [Text(), _holds(status), _plain(_HOW_TO_GO_ON, "yellow")]
    if status.troubles:
        parts += [Text(), _troubles(status)]
    failing = [one for one in status.hooks if one.error is not None]
    parts += [_plain(f"hook {one.name}: {_error(one, status.at)}", "red") for one in failing]
    return Group(*parts)


def _daemon_line(status: Status) -> Text:
    if status.daemon is None:
        return Text("the daemon is not running; this is what the store remembers", style="bold yellow")
    since = age(status.at - status.daemon.started_at)
    return Text(f"the daemon runs since {since} (pid {status.daemon.pid})", style="bold")


def _config_lines(status: Status) -> list[Text]:
    """Return what is the matter with the configuration file, if anything is."""
    config = status.config
    if config is None:
        return []
    lines = []
    if config.problems:
        since = age(status.at - (config.since_at or status.at))
        runs = age(status.at - config.loaded_at)
        lines.append(
            _plain(f"the configuration cannot be used since {since}; the one of {runs} ago runs on:", "bold red")
        )
        lines += [_plain(f"  {problem}", "red") for problem in config.problems]
    if config.at_restart:
        lines.append(_plain(f"changed, and counts after a restart: {', '.join(config.at_restart)}", "yellow"))
    return lines


def _accounts(status: Status) -> Table:
    table = _table("account", "type", "doing", "news", "messages", "last success", "error")
    for one in status.accounts:
        messages = sum(mailbox.messages for mailbox in one.mailboxes)
        fetched = sum(mailbox.fetched for mailbox in one.mailboxes)
        counts = f"{messages:,}" if fetched == messages else f"{fetched:,} of {messages:,}"
        success = "never" if one.lag_s is None else f"{age(one.lag_s)} ago"
        _row(table, one.name, one.type, _doing(one), one.mode, counts, success, _error(one, status.at))
    return table


def _devices(status: Status) -> Table:
    table = _table("device", "state", "doing", "waiting", "behind", "path", "error")
    for one in status.devices:
        behind = "" if one.lag_s == 0 else "-" if one.lag_s is None else age(one.lag_s)
        waiting = f"{one.waiting:,}" if one.waiting else ""
        _row(table, one.name, one.state, _doing(one), waiting, behind, one.path, _error(one, status.at))
    return table


def _replicas(replicas: list[tuple[DeviceStatus, ReplicaStatus]]) -> Table:
    table = _table("device", "mailbox", "on server", "delivered", "waiting", "not yet synced")
    for device, one in replicas:
        mailbox = f"{one.account}/{one.mailbox}"
        waiting = f"{one.waiting:,}" if one.waiting else ""
        on_server = "gone" if one.is_gone else f"{one.on_server:,}"
        _row(table, device.name, mailbox, on_server, f"{one.delivered:,}", waiting, _unsynced(one))
    return table


def _holds(status: Status) -> Table:
    table = _table("held", "what", "mailbox", "since", "state", "why")
    for one in status.holds:
        since = f"{age(status.at - one.held_at)} ago"
        state = "released, waiting for the next round" if one.state == "released" else one.state
        _row(table, str(one.id), one.what, f"{one.account}/{one.mailbox}", since, state, one.why)
    return table


def _troubles(status: Status) -> Table:
    table = _table("set aside", "uid", "device", "tries", "again", "why")
    for one in status.troubles:
        again = "not by itself" if one.retry_at is None else _when(one.retry_at - status.at)
        _row(table, *_place(one), one.device or "", str(one.attempts), again, one.error)
    return table


def _place(trouble: TroubleStatus) -> tuple[str, str]:
    where = f"{trouble.account}/{trouble.mailbox}"
    if trouble.uid is not None:
        return where, str(trouble.uid)
    if trouble.is_mailbox:
        return where, "the mailbox"
    return where, "in maildrop" if trouble.device is None else "a new file"


def _is_interesting(one: ReplicaStatus) -> bool:
    return bool(one.is_gone or one.on_server or one.delivered or one.waiting or _unsynced(one))


def _unsynced(one: ReplicaStatus) -> str:
    kinds = {"new": one.new, "missing": one.missing, "deleted": one.deleted, "edited": one.edited}
    return ", ".join(f"{count:,} {kind}" for kind, count in kinds.items() if count)


def _doing(one: AccountStatus | DeviceStatus) -> str:
    return f"{one.doing}, {min(one.done, one.total):,} of {one.total:,}" if one.total else one.doing


def _error(one: AccountStatus | DeviceStatus | HookStatus, at: float) -> str:
    if one.error is None:
        return ""
    return one.error if one.retry_at is None else f"{one.error} (again {_when(one.retry_at - at)})"


def _when(seconds: float) -> str:
    return "now" if seconds <= 0 else f"in {age(seconds)}"


def age(seconds: float) -> str:
    """Return a duration as a person says it, in its largest unit."""
    for unit_s, letter in ((_DAY_S, "d"), (_HOUR_S, "h"), (_MINUTE_S, "min")):
        if seconds >= unit_s:
            return f"{seconds / unit_s:.0f} {letter}"
    return f"{max(seconds, 0):.0f} s"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _row(table: Table, *cells: str) -> None:
    table.add_row(*map(_plain, cells))


def _plain(text: str, style: str = "") -> Text:
    return Text(brief(printable(text)), style=style)
