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
from syncd.errors import SyncdError, text_of
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
    before: Leftover | None = None
    for _ in range(_ROUNDS_MAX):
        left = await _left(app, accounts, devices, failures)
        if not left or left == before:
            break
        before = left
        failures += await _ask(app, Asked.PASS, left.accounts, ())
        failures += await _ask(app, Asked.PASS, (), left.devices)
    failures += _standing_still(app, devices, failures)
    left = await _left(app, accounts, devices, failures)
    unread = await app.db.read(partial(mailbox_errors, of_accounts=accounts))
    failures += tuple(Failure("mailbox", "/".join(place), error) for place, error in unread.items())
    return SyncReport(
        failures=failures,
        unfinished=tuple(sorted({*left.accounts, *left.devices})),
        set_aside=await app.db.read(partial(trouble_count, of_accounts=accounts)),
        held=await app.db.read(partial(_count_held, config=app.config, of_accounts=accounts)),
    )


def _standing_still(app: App, devices: Collection[str], failures: Collection[Failure]) -> tuple[Failure, ...]:
    """Return the devices that go on, but for mailboxes that stand still."""
    failed = {failure.name for failure in failures if failure.kind == "device"}
    running = {name: one for name, one in app.activities.devices.items() if name in devices and name not in failed}
    errors = {name: one.error for name, one in running.items()}
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
            of_accounts=[name for name in accounts if name in app.accounts and ("account", name) not in failed],
            of_devices=[name for name in devices if name in app.devices and ("device", name) not in failed],
            now=app.clock(),
        )
    )


async def _ask(app: App, what: Asked, of_accounts: Collection[str], of_devices: Collection[str]) -> tuple[Failure, ...]:
    asked = [("device", app.devices, name) for name in of_devices]
    asked += [("account", app.accounts, name) for name in of_accounts]
    outcomes = await asyncio.gather(*(_ask_one(*one, what) for one in asked), return_exceptions=True)
    failures: list[Failure] = []
    for (kind, _, name), outcome in zip(asked, outcomes, strict=True):
        if isinstance(outcome, Exception):
            failures.append(Failure(kind, name, text_of(outcome)))
        elif outcome is not None:
            raise outcome
    return tuple(failures)


async def _ask_one(kind: str, among: Mapping[str, Supervisor], name: str, what: Asked) -> None:
    if name not in among:
        raise SyncdError(f"the {kind} {name} is not in the configuration any more")
    await among[name].task.requests.ask(what)
