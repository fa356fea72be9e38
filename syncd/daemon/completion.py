"""Floor 5: whole rounds until there is nothing left to do, for `syncd sync`: who fails is told, the rest goes on."""

import asyncio
from collections.abc import Collection, Mapping
from functools import partial

from sqlalchemy import Connection

from syncd.config.model import Config
from syncd.daemon.answers import Failure, SyncReport
from syncd.daemon.app import App
from syncd.daemon.snapshot import holds_of
from syncd.daemon.supervisor import Supervisor
from syncd.errors import text_of
from syncd.store.holds import HoldState
from syncd.store.report import held
from syncd.store.trouble_report import mailbox_errors, trouble_count
from syncd.sync.at_rest import AtRest
from syncd.sync.requests import Asked
from syncd.sync.served import Leftover, leftover

_ROUNDS_MAX = 20
NOTHING_LEFT = SyncReport(failures=(), unfinished=(), set_aside=0, held=0)


class Syncs:
    """Sync for whoever asks, and remember how the store was when nothing was left to do."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._at_rest: dict[frozenset[str], AtRest] = {}

    async def sync(self, of_accounts: Collection[str]) -> SyncReport:
        """Ask these accounts and the devices that select them for whole rounds until none has anything left to do.

        Whoever fails is not asked again: its next try is the supervisor's business.
        """
        app, key = self._app, frozenset(of_accounts)
        accounts = {name: app.accounts[name] for name in of_accounts}
        devices = {name: app.devices[name] for name in app.devices_of(of_accounts)}
        failures = await _ask([*devices.values(), *accounts.values()], Asked.LOOK)
        at_rest = self._at_rest.get(key)
        if at_rest and not failures and not _standing_still(app, devices, failures):
            return NOTHING_LEFT
        at_rest = AtRest(app.db)
        at_rest.begin()
        report = await _complete(app, accounts, devices, failures)
        if report == NOTHING_LEFT:
            await at_rest.end()
            self._at_rest = {key: at_rest}
        return report


async def _complete(
    app: App, accounts: Mapping[str, Supervisor], devices: Mapping[str, Supervisor], failures: tuple[Failure, ...]
) -> SyncReport:
    """Ask whoever has something left to do, until nobody has, and return how it ended."""
    of_accounts = tuple(accounts)
    before: Leftover | None = None
    for _ in range(_ROUNDS_MAX):
        left = await _left(app, accounts, devices, failures)
        if not left or left == before:
            break
        before = left
        failures += await _ask([accounts[name] for name in left.accounts], Asked.PASS)
        failures += await _ask([devices[name] for name in left.devices], Asked.PASS)
    failures += _standing_still(app, devices, failures)
    left = await _left(app, accounts, devices, failures)
    unread = await app.db.read(partial(mailbox_errors, of_accounts=of_accounts))
    failures += tuple(Failure("mailbox", "/".join(place), error) for place, error in unread.items())
    return SyncReport(
        failures=failures,
        unfinished=tuple(sorted({*left.accounts, *left.devices})),
        set_aside=await app.db.read(partial(trouble_count, of_accounts=of_accounts)),
        held=await app.db.read(partial(_count_held, config=app.config, of_accounts=of_accounts)),
    )


def _standing_still(app: App, devices: Collection[str], failures: Collection[Failure]) -> tuple[Failure, ...]:
    """Return the devices that go on, but for mailboxes that stand still."""
    failed = {failure.name for failure in failures if failure.kind == "device"}
    errors = {name: app.activities.devices[name].error for name in devices if name not in failed}
    return tuple(Failure("device", name, error) for name, error in errors.items() if error is not None)


def _count_held(conn: Connection, *, config: Config, of_accounts: Collection[str]) -> int:
    found = holds_of(config, held(conn))
    return sum(max(one.count, 1) for one in found if one.account in of_accounts and one.state == HoldState.HELD)


async def _left(
    app: App, accounts: Collection[str], devices: Collection[str], failures: Collection[Failure]
) -> Leftover:
    failed = {(failure.kind, failure.name) for failure in failures}
    return await app.db.read(
        partial(
            leftover,
            config=app.config,
            of_accounts=[name for name in accounts if ("account", name) not in failed],
            of_devices=[name for name in devices if ("device", name) not in failed],
            now=app.clock(),
        )
    )


async def _ask(supervisors: Collection[Supervisor], what: Asked) -> tuple[Failure, ...]:
    outcomes = await asyncio.gather(*(one.task.requests.ask(what) for one in supervisors), return_exceptions=True)
    failures: list[Failure] = []
    for one, outcome in zip(supervisors, outcomes, strict=True):
        if isinstance(outcome, Exception):
            failures.append(Failure(one.kind, one.name, text_of(outcome)))
        elif outcome is not None:
            raise outcome
    return tuple(failures)
