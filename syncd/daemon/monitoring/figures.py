"""Floor 5: the figures of a running daemon, gathered from where they are known anyway; nothing here knows Prometheus.

Theory. Counters begin at 0 with the daemon, as Prometheus expects. What tasks count of themselves is in their
activities and requests; what was done to messages is counted in the history since the daemon began (`store.tallies`).
The store is read at most every two seconds, and not at all where nothing was written there, so that to be watched
costs little and wakes nobody.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Self

from syncd.daemon.people.reading import this_daemon
from syncd.daemon.serving.app import App
from syncd.daemon.serving.supervisor import Supervisor
from syncd.store.engine.database import Database
from syncd.store.people.tallies import AccountTally, Deeds, DeviceTally, Tallies, last_deed, tallies
from syncd.store.trees.history import Verb
from syncd.sync.activity import Activity
from syncd.sync.policies import selections_of
from syncd.values import Record, Value, field, replace

_FRESH_S = 2.0
_SEEN = (Verb.APPEAR, Verb.LIST)
_DECISIONS = (Verb.RELEASE, Verb.DISCARD, Verb.DISSOLVE, Verb.ADOPT)
"""What becomes of holds, and what people decide, changes no message by itself."""
_SERVER, _DELIVER = "server", "deliver"
_USUAL_FROM_SERVER = ("store", "vanish")
_USUAL_TO_SERVER = ("append", "copy", "expunge", "move", "store")
_USUAL_ON_DEVICE = ("remove", "rename", "shift")


class Runs(Value):
    """Say how a task fares: its failures, its whole rounds that ended well, and how long these took."""

    is_failing: bool
    failures: int
    rounds: int
    rounds_s: float


class _AccountDeeds(Record):
    received: int = 0
    from_server: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(_USUAL_FROM_SERVER, 0)))
    to_server: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(_USUAL_TO_SERVER, 0)))


class _DeviceDeeds(Record):
    delivered: int = 0
    changes: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(_USUAL_ON_DEVICE, 0)))


class AccountFigures(Value):
    """Hold the figures of one account. from_server, to_server: changes by what was done, as the history calls it."""

    name: str
    runs: Runs
    tally: AccountTally
    is_login_refused: bool
    is_push: bool
    logins: int
    refusals: int
    succeeded_at: float | None
    received: int
    from_server: Mapping[str, int]
    to_server: Mapping[str, int]


class DeviceFigures(Value):
    """Hold the figures of one device. changes: by what was done to its files, as the history calls it."""

    name: str
    runs: Runs
    tally: DeviceTally
    delivered: int
    changes: Mapping[str, int]


class HookFigures(Value):
    """Hold the figures of one hook. given_up: messages and troubles that it was told in vain."""

    name: str
    is_failing: bool
    runs: int
    failures: int
    given_up: int


class Figures(Value):
    """Hold one snapshot of everything that is exported. commits: how many by `commit_times.BOUNDS_S`."""

    version: str
    is_config_good: bool
    config_loaded_at: float
    store_bytes: int
    commits: tuple[int, ...]
    commits_s: float
    accounts: tuple[AccountFigures, ...]
    devices: tuple[DeviceFigures, ...]
    hooks: tuple[HookFigures, ...]


class Counted:
    """Count what was done, by account and by device, as the history tells it."""

    def __init__(self) -> None:
        self._accounts: dict[str, _AccountDeeds] = {}
        self._devices: dict[str, _DeviceDeeds] = {}

    def add(self, deeds: Deeds) -> None:
        """Count some more. What happened in a mailbox or on a device whose name is gone concerns nobody."""
        if deeds.verb in _DECISIONS:
            return
        change = deeds.verb.replace(" ", "_")
        if deeds.device is not None:
            of_device = self.of_device(deeds.device)
            if deeds.verb == _DELIVER:
                of_device.delivered += deeds.messages
            else:
                of_device.changes[change] += deeds.messages
        elif deeds.account is not None:
            of_account = self.of_account(deeds.account)
            if deeds.verb in _SEEN:
                of_account.received += deeds.messages
            elif deeds.origin == _SERVER:
                of_account.from_server[change] += deeds.messages
            else:
                of_account.to_server[change] += deeds.messages

    def of_account(self, name: str) -> _AccountDeeds:
        return self._accounts.setdefault(name, _AccountDeeds())

    def of_device(self, name: str) -> _DeviceDeeds:
        return self._devices.setdefault(name, _DeviceDeeds())


class Meter:
    """Gather the figures of an app, again and again; what was done is counted from when this is made."""

    def __init__(self, app: App, after: int, *, fresh_s: float) -> None:
        """Use `of`."""
        self._app = app
        self._fresh_s = fresh_s
        self._version = this_daemon(started_at=0.0).version
        self._counted = Counted()
        self._tallies = Tallies({}, {}, (), after, 0)
        self._read_at: float | None = None
        self._writes: int | None = None
        self._reading = asyncio.Lock()

    @classmethod
    async def of(cls, app: App, *, fresh_s: float = _FRESH_S) -> Self:
        """Begin to count; call it before the app starts. fresh_s: for how long what the store said is good enough."""
        return cls(app, await app.db.read(last_deed), fresh_s=fresh_s)

    async def read(self) -> Figures:
        """Return the figures as they are now, those of the store as they were a moment ago."""
        async with self._reading:
            await self._read_store(self._app.db)
        app, commits = self._app, self._app.db.commit_times
        return Figures(
            version=self._version,
            is_config_good=not app.config_state.problems,
            config_loaded_at=app.config_state.loaded_at,
            store_bytes=self._tallies.size_bytes,
            commits=tuple(commits.counts),
            commits_s=commits.total_s,
            accounts=tuple(self._account(name, supervisor) for name, supervisor in app.accounts.items()),
            devices=tuple(self._device(name, supervisor) for name, supervisor in app.devices.items()),
            hooks=tuple(
                HookFigures(name, one.error is not None, one.runs, one.failures, one.given_up)
                for name, one in (app.hooks.states.items() if app.hooks is not None else ())
            ),
        )

    async def _read_store(self, db: Database) -> None:
        writes, now = db.writes, time.monotonic()
        if self._read_at is not None and (now - self._read_at < self._fresh_s or self._writes == writes):
            return
        selections = selections_of(self._app.config, now=time.time())
        self._tallies = await db.read(partial(tallies, after=self._tallies.upto, selections=selections))
        self._read_at, self._writes = now, writes  # counted before it is read: a write in between is read next time
        for deeds in self._tallies.deeds:
            self._counted.add(deeds)

    def _account(self, name: str, supervisor: Supervisor) -> AccountFigures:
        activity, deeds = self._app.activities.accounts[name], self._counted.of_account(name)
        tally = self._tallies.accounts.get(name, AccountTally())
        config = self._app.config.accounts.get(name)
        if config is not None and config.type == "pop3" and not config.keeps:
            tally = replace(tally, kept=0)
        known = [at for at in (activity.succeeded_at, tally.succeeded_at) if at is not None]
        runs = _runs(supervisor, activity)
        return AccountFigures(
            name=name,
            runs=runs,
            tally=tally,
            is_login_refused=runs.is_failing and activity.is_refused,
            is_push=not runs.is_failing and activity.link is not None and activity.link.has_push,
            logins=activity.logins,
            refusals=activity.refusals,
            succeeded_at=max(known, default=None),
            received=deeds.received,
            from_server=dict(deeds.from_server),
            to_server=dict(deeds.to_server),
        )

    def _device(self, name: str, supervisor: Supervisor) -> DeviceFigures:
        activity, deeds = self._app.activities.devices[name], self._counted.of_device(name)
        return DeviceFigures(
            name=name,
            runs=_runs(supervisor, activity),
            tally=self._tallies.devices.get(name, DeviceTally()),
            delivered=deeds.delivered,
            changes=dict(deeds.changes),
        )


def _runs(supervisor: Supervisor, activity: Activity) -> Runs:
    requests = supervisor.task.requests
    return Runs(activity.error is not None, activity.failures, requests.passes, requests.passes_s)
