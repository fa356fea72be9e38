"""Floor 5: what happens while somebody listens: told from the history, and from how everybody is.

Theory. Each listener has a place of its own in the history, which is the buffer: who reads slowly gets all of it later,
and nothing is kept for him. What is not in the history (who fails, which device is away) is compared with how it was
when he was told last. So where nobody listens nothing is done, and where nothing is written the store is not read.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import partial
from typing import Self

from sqlalchemy import Connection

from syncd.daemon.people.answers import Event
from syncd.daemon.serving.app import App
from syncd.store.people.entries import Entry
from syncd.store.people.recall import recall_after
from syncd.store.people.report import device_reports
from syncd.store.people.tallies import last_deed
from syncd.values import Value, field

_PAGE = 500


class Kind(StrEnum):
    """Say what happened."""

    DAEMON_JOINED = "daemon_joined"  # the first of all: what happens from now on is told
    HISTORY = "history"  # the history has another line
    ACCOUNT_FAILED = "account_failed"  # also again, for another reason
    ACCOUNT_RECOVERED = "account_recovered"
    ACCOUNT_REMOVED = "account_removed"  # from the configuration
    DEVICE_FAILED = "device_failed"
    DEVICE_RECOVERED = "device_recovered"
    DEVICE_REMOVED = "device_removed"
    DEVICE_CHANGED = "device_changed"  # its state: away, active and so on
    CONFIG_APPLIED = "config_applied"
    CONFIG_REFUSED = "config_refused"


class Condition(Value):
    """Hold how everybody is: errors by account and by device, None of who is well, and the states of devices."""

    accounts: Mapping[str, str | None] = field(default_factory=dict)
    devices: Mapping[str, str | None] = field(default_factory=dict)
    states: Mapping[str, str] = field(default_factory=dict)
    config_loaded_at: float = 0.0
    config_problems: tuple[str, ...] = ()


def changes(before: Condition, now: Condition, *, at: float) -> Iterator[Event]:
    """Yield what became of everybody; who is new and well is told nothing of."""
    for name in (*now.accounts, *(before.accounts.keys() - now.accounts.keys())):
        kind, error = _fate(before.accounts, now.accounts, name)
        if kind:
            yield Event(at, Kind[f"ACCOUNT_{kind}"], account=name, error=error)
    for name in (*now.devices, *(before.devices.keys() - now.devices.keys())):
        kind, error = _fate(before.devices, now.devices, name)
        if kind:
            yield Event(at, Kind[f"DEVICE_{kind}"], device=name, error=error)
    for name, state in now.states.items():
        if before.states.get(name, state) != state:
            yield Event(at, Kind.DEVICE_CHANGED, device=name, state=state)
    if now.config_problems and now.config_problems != before.config_problems:
        yield Event(at, Kind.CONFIG_REFUSED, error="; ".join(now.config_problems))
    elif now.config_loaded_at != before.config_loaded_at:
        yield Event(at, Kind.CONFIG_APPLIED)


def _fate(before: Mapping[str, str | None], now: Mapping[str, str | None], name: str) -> tuple[str, str | None]:
    if name not in now:
        return "REMOVED", None
    error = now[name]
    if error == before.get(name):
        return "", None
    return ("RECOVERED", None) if error is None else ("FAILED", error)


class Tail:
    """Follow what happens from now on, for one listener."""

    def __init__(self, app: App, after: int, condition: Condition) -> None:
        """Use `of`."""
        self._app = app
        self._after = after
        self._writes: int | None = None
        self._condition = condition
        self._untold = [Event(app.clock(), Kind.DAEMON_JOINED)]

    @classmethod
    async def of(cls, app: App) -> Self:
        """Begin to follow."""
        after, states = await app.db.read(lambda conn: (last_deed(conn), _states(conn)))
        return cls(app, after, Condition(states=states, config_loaded_at=app.config_state.loaded_at))

    async def news(self) -> list[Event]:
        """Return what happened since the last call, at most a page of it; nothing: that was all.

        Who fails already is told at first.
        """
        app, states = self._app, self._condition.states
        entries: tuple[Entry, ...] = ()
        writes = app.db.writes
        if writes is None or writes != self._writes:
            entries, states = await app.db.read(partial(_page, after=self._after))
            self._writes = writes if len(entries) < _PAGE else None  # counted before it is read
            self._after = entries[-1].id if entries else self._after
        now = Condition(
            {name: one.error for name, one in app.activities.accounts.items()},
            {name: one.error for name, one in app.activities.devices.items()},
            {name: state for name, state in states.items() if name in app.devices},
            app.config_state.loaded_at,
            app.config_state.problems,
        )
        found, self._untold = self._untold, []
        found += [Event(one.at, Kind.HISTORY, one.account, one.device, entry=one) for one in entries]
        found += changes(self._condition, now, at=app.clock())
        self._condition = now
        return found


def _page(conn: Connection, *, after: int) -> tuple[tuple[Entry, ...], Mapping[str, str]]:
    return recall_after(conn, after, limit=_PAGE), _states(conn)


def _states(conn: Connection) -> Mapping[str, str]:
    return {one.name: one.state for one in device_reports(conn)}
