"""Floor 5: whole rounds until there is nothing left to do, for `syncd sync`: who fails is told, the rest goes on."""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from functools import partial

from sqlalchemy import Connection

from syncd.config.model import Config
from syncd.daemon.people.sync_report import Failure, SyncReport
from syncd.daemon.serving.app import App
from syncd.daemon.serving.supervisor import Supervisor
from syncd.errors import SyncdError, text_of
from syncd.store.people.report import held
from syncd.store.people.trouble_report import mailbox_errors, trouble_count
from syncd.store.rounds.holds import HoldState
from syncd.sync.at_rest import AtRest
from syncd.sync.requests import Asked
from syncd.sync.served import Leftover, leftover
from syncd.values import Value

_ROUNDS_MAX = 20
NOTHING_LEFT = SyncReport(failures=(), unfinished=(), set_aside=0, held=0)


class Syncs:
    """Sync for whoever asks, and remember how the store was when nothing was left to do."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._config = app.config
        self._at_rest: dict[frozenset[str], AtRest] = {}

    async def sync(self, of_accounts: Collection[str]) -> SyncReport:
        """Ask these accounts and the devices that select them for whole rounds until none has anything left to do.

        Whoever fails is not asked again: its next try is the supervisor's business.
        """
        app, key = self._app, frozenset(of_accounts)
        devices = app.devices_of(of_accounts)
        failures = await _ask(app, Asked.LOOK, of_accounts, devices)
        if self._config is not app.config:
            self._config, self._at_rest = app.config, {}  # which may give them something to do
        at_rest = self._at_rest.get(key)
        if at_rest and not failures and not _standing_still(app, devices, failures):
            return NOTHING_LEFT
        at_rest = AtRest(app.db)
        at_rest.begin()
        report = await _complete(app, of_accounts, devices, failures)
        if report == NOTHING_LEFT:
            await at_rest.end()
            self._at_rest = {key: at_rest}
        return report


async def _complete(
    app: App, accounts: Collection[str], devices: Collection[str], failures: tuple[Failure, ...]
) -> SyncReport:
    """Ask whoever has something left to do, until nobody has, and return how it ended."""
    # NOTE: who was woken meanwhile is at it already, and what is left to do is asked once that is done.
    woken = _apart_from(failures, "account", app.woken_accounts(accounts))
    failures += await _ask(app, Asked.PASS, woken, (), joins=True)
    woken = _apart_from(failures, "device", app.woken_devices(devices))
    failures += await _ask(app, Asked.PASS, (), woken, joins=True)
    before, found = None, await _look(app, accounts, devices, failures)
    for _ in range(_ROUNDS_MAX):
        left = found.left
        if not left or left == before:
            break
        failures += await _ask(app, Asked.PASS, left.accounts, ())
        failures += await _ask(app, Asked.PASS, (), left.devices)
        before, found = left, await _look(app, accounts, devices, failures)
    if standing_still := _standing_still(app, devices, failures):
        failures += standing_still
        found = await _look(app, accounts, devices, failures)
    failures += tuple(Failure("mailbox", "/".join(place), error) for place, error in found.unread.items())
    unfinished = tuple(sorted({*found.left.accounts, *found.left.devices}))
    return SyncReport(failures=failures, unfinished=unfinished, set_aside=found.set_aside, held=found.held)


def _standing_still(app: App, devices: Collection[str], failures: Collection[Failure]) -> tuple[Failure, ...]:
    """Return the devices that go on, but for mailboxes that stand still."""
    failed = {failure.name for failure in failures if failure.kind == "device"}
    running = {name: one for name, one in app.activities.devices.items() if name in devices and name not in failed}
    errors = {name: one.error for name, one in running.items()}
    return tuple(Failure("device", name, error) for name, error in errors.items() if error is not None)


async def _look(
    app: App, accounts: Collection[str], devices: Collection[str], failures: Collection[Failure]
) -> "_Found":
    ask = partial(
        _found,
        config=app.config,
        accounts=accounts,
        of_accounts=[name for name in _apart_from(failures, "account", accounts) if name in app.accounts],
        of_devices=[name for name in _apart_from(failures, "device", devices) if name in app.devices],
        now=app.clock(),
    )
    return await app.db.read(ask)


class _Found(Value):
    """What is left to do, which mailboxes cannot be read, with why, and how many messages are set aside, and held."""

    left: Leftover
    unread: Mapping[tuple[str, str], str]
    set_aside: int
    held: int


def _found(
    conn: Connection,
    *,
    config: Config,
    accounts: Collection[str],
    of_accounts: Collection[str],
    of_devices: Collection[str],
    now: float,
) -> _Found:
    """Return what there is of all these accounts, and what is left to do for some of them."""
    waiting = (one for one in held(conn) if config.has(one.account, one.device) and one.hold.state is HoldState.HELD)
    held_count = sum(max(len(one.hold.effects), 1) for one in waiting if one.account in accounts)
    return _Found(
        leftover(conn, config, of_accounts=of_accounts, of_devices=of_devices, now=now),
        mailbox_errors(conn, of_accounts=accounts),
        trouble_count(conn, of_accounts=accounts),
        held_count,
    )


def _apart_from(failures: Collection[Failure], kind: str, names: Iterable[str]) -> list[str]:
    failed = {failure.name for failure in failures if failure.kind == kind}
    return [name for name in names if name not in failed]


async def _ask(
    app: App, what: Asked, of_accounts: Collection[str], of_devices: Collection[str], *, joins: bool = False
) -> tuple[Failure, ...]:
    asked = [("device", app.devices, name) for name in of_devices]
    asked += [("account", app.accounts, name) for name in of_accounts]
    outcomes = await asyncio.gather(*(_ask_one(*one, what, joins=joins) for one in asked), return_exceptions=True)
    failures: list[Failure] = []
    for (kind, _, name), outcome in zip(asked, outcomes, strict=True):
        if isinstance(outcome, Exception):
            failures.append(Failure(kind, name, text_of(outcome)))
        elif outcome is not None:
            raise outcome
    return tuple(failures)


async def _ask_one(kind: str, among: Mapping[str, Supervisor], name: str, what: Asked, *, joins: bool) -> None:
    if name not in among:
        raise SyncdError(f"the {kind} {name} is not in the configuration any more")
    await among[name].task.requests.ask(what, joins=joins)
