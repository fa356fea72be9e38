"""Floor 5: everything joined: a store, one supervised task per account and per device, and what they share.

Theory. The app owns the store for as long as it is open. Accounts and devices know nothing of each other; they meet in
the store and wake each other by name. What serves each of them is made by `workers`; here it is started and ended.
What ends the app is its caller, or a store that cannot be used any more.
"""

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from syncd.config.model import Config
from syncd.daemon.process.logs import secrets
from syncd.daemon.serving.identity import ensure_accounts
from syncd.daemon.serving.tasks import Tasks
from syncd.daemon.serving.workers import Workers, tasks_of
from syncd.daemon.status.config_status import ConfigStatus
from syncd.errors import StoreError, SyncdError
from syncd.store.engine.database import Database
from syncd.store.engine.engines import parse_url
from syncd.store.engine.owner import DIRECTORY_MODE
from syncd.store.people import hooks
from syncd.store.trees import devices
from syncd.sync.device.attachment import Adopted
from syncd.sync.sweeper import Sweeper
from syncd.sync.wakes import Wakes

if TYPE_CHECKING:
    from syncd.config.changes import Changes
    from syncd.daemon.hooks.hooks import Hooks


_LAST_S = 2.5


class App:
    """Run the accounts and devices of a configuration over a store; use `open_app`."""

    def __init__(
        self,
        config: Config,
        db: Database,
        *,
        account_ids: Mapping[str, int],
        held: Mapping[str, SyncdError],
        spool_directory: Path,
        clock: Callable[[], float],
        watches: bool,
    ) -> None:
        """Take the ids of the accounts that can be served, and why each of the others is held.

        watches: hear of what devices and servers change at any time; else it is seen when somebody asks.
        """
        self.config = config
        self.config_state = ConfigStatus(clock())
        """How the configuration is that runs, compared with its file where somebody compares them."""
        self.db = db
        self.clock = clock
        self._wakes = Wakes()
        self._workers = Workers(
            config,
            db,
            account_ids=account_ids,
            held=held,
            wakes=self._wakes,
            spool_directory=spool_directory,
            clock=clock,
            watches=watches,
        )
        self.activities = self._workers.activities
        self.accounts = self._workers.accounts
        self.devices = self._workers.devices
        self.sweeper = Sweeper(db, retention_s=config.store.retention_s, clock=clock)
        self.hooks: Hooks | None = None
        """There since the configuration had one while this served everybody."""
        self._tasks = Tasks()
        self.is_serving = False
        """Whether its tasks were started, and are not being ended."""

    def start(self, of_accounts: Collection[str] | None = None) -> None:
        """Start the tasks of these accounts and of every device that selects one of them; by default all there are."""
        names = self.config.accounts if of_accounts is None else of_accounts
        self._start(names, self.devices_of(names))
        if of_accounts is None:
            self._tasks.start("sweeper", self.sweeper.run)
            self._start_hooks(self.config.hooks.commands)
        self.is_serving = True

    def devices_of(self, account_names: Collection[str]) -> tuple[str, ...]:
        """Return the devices that select at least one of these accounts, or no account at all."""
        return tuple(
            name
            for name in self.config.devices
            if not (selected := self.config.accounts_of(name)) or not set(selected).isdisjoint(account_names)
        )

    @property
    def is_any_held(self) -> bool:
        """Tell whether an account must not be served, which may be over when it is looked at again."""
        return not self.config.accounts.keys() <= self._workers.account_ids.keys()

    async def adopt(self, name: str, *, leaves_others: bool) -> Adopted:
        """Make what is in the directory of a device its own; the rest of it is the device's next pass."""
        return await self._workers.adopt(name, leaves_others=leaves_others)

    def wake_accounts(self, names: Iterable[str]) -> None:
        """Let these accounts run a round at once."""
        for name in names:
            self._wakes.account(name).set()

    def wake_devices(self, names: Iterable[str]) -> None:
        """Let these devices run a round at once."""
        for name in names:
            self._wakes.device(name).set()

    def woken_accounts(self, names: Iterable[str]) -> list[str]:
        """Return those of these accounts that were woken, and have not said since that nothing is left to do."""
        return [name for name in names if self._wakes.account(name).since is not None]

    def woken_devices(self, names: Iterable[str]) -> list[str]:
        """Return those of these devices that were woken, and have not said since that nothing is left to do."""
        return [name for name in names if self._wakes.device(name).since is not None]

    def is_granted(self, name: str) -> None:
        """Let an account log in at once with what a person was granted for it."""
        self._workers.is_granted(name)

    async def other_passwords(self) -> frozenset[str]:
        """Return the accounts whose password files have another password than the one that was read from them."""
        return await self._workers.other_passwords()

    async def apply(self, changes: "Changes") -> None:
        """Start, end or connect anew what has changed; all others go on, and hear only of what concerns them.

        Who waits for something that goes on as another task waits for that. No two may be applied at once.
        """
        from syncd.config.changes import reached  # noqa: PLC0415  # only a daemon has to do with edits

        before, config = self.config, changes.config
        ids, held = await self.db.write(partial(_ensure, config=config))
        ids_before = self._workers.account_ids
        other_ids = {name for name in {*ids, *ids_before} if ids.get(name) != ids_before.get(name)}
        hooks_changed = {key.removeprefix("hooks.") for key in changes.keys if key.startswith("hooks.on_")}
        whom = reached(before, changes, other_ids=other_ids, with_mail=await self._with_mail_of(other_ids))

        # NOTE: from here to the end of the switch nothing is awaited, so nobody sees the half of it.
        self.config = config
        self.sweeper.adjust(config.store.retention_s)
        self._workers.switch(changes, whom, account_ids=ids, held=held)

        try:
            ending = [
                *tasks_of(changes.accounts.removed, changes.devices.removed),
                *tasks_of(whom.accounts, whom.devices),
                *map(_task_of_hook, hooks_changed),
            ]
            self._workers.tell_waiting(await self._tasks.end(ending))
            await self.db.answered()  # what they wrote last is written now, or failed without them
        finally:
            self._start(whom.accounts, whom.devices)
            self._start_hooks(hooks_changed & config.hooks.commands.keys())

    async def failure(self) -> SyncdError:
        """Return, once there is one, the error that a supervisor could not keep: nearly always that of the store."""
        return await self._tasks.failure()

    async def stop(self) -> None:
        """End all tasks, each with its connection closed, within three seconds."""
        self.is_serving = False
        self._workers.close()
        await asyncio.gather(self._tasks.stop(), self._workers.finish(at_most_s=_LAST_S))

    def _start(self, of_accounts: Collection[str], of_devices: Collection[str]) -> None:
        for task, run in self._workers.to_run(of_accounts, of_devices):
            self._tasks.start(task, run)

    def _start_hooks(self, names: Collection[str]) -> None:
        if self.hooks is None and names:
            from syncd.daemon.hooks.hooks import Hooks  # noqa: PLC0415  # most have none

            self.hooks = Hooks(self)
        if self.hooks is not None:
            self.hooks.adjust(self.config.hooks)
            for name in names:
                self._tasks.start(_task_of_hook(name), partial(self.hooks.serve, name))

    async def _with_mail_of(self, names: Collection[str]) -> frozenset[str]:
        """Return the devices that have mail of these accounts, whether they select them or not."""
        if not names:
            return frozenset()
        return await self.db.read(partial(devices.devices_with_mail_of, accounts=names))


@asynccontextmanager
async def open_app(
    config: Config, *, clock: Callable[[], float] = time.time, watches: bool = True
) -> AsyncIterator[App]:
    """Own the store and make an app over it; when left, its tasks are ended and the store is closed.

    StoreBusyError when another syncd owns the store.
    """
    url = config.store.url.get_secret_value()
    secrets.add(parse_url(url).password or "")
    db = await asyncio.to_thread(Database.open, url, auto_migrate=config.store.auto_migrate)
    try:
        spool_directory = await asyncio.to_thread(_empty_spool, config.store.sqlite_path)
        try:
            ids, held = await db.write(partial(_ensure, config=config))
            app = App(
                config,
                db,
                account_ids=ids,
                held=held,
                spool_directory=spool_directory,
                clock=clock,
                watches=watches,
            )
            try:
                yield app
            finally:
                await app.stop()
        finally:
            await asyncio.to_thread(shutil.rmtree, spool_directory, ignore_errors=True)
    finally:
        await asyncio.to_thread(db.close)


def _ensure(conn: Connection, config: Config) -> tuple[Mapping[str, int], Mapping[str, SyncdError]]:
    """Have the rows that a configuration needs, and none of hooks that it does not have."""
    hooks.begin(conn, config.hooks.commands)
    return ensure_accounts(conn, config=config)


def _task_of_hook(name: str) -> str:
    return f"hook {name}"


def _empty_spool(store_path: Path | None) -> Path:
    """Make an empty directory for large bodies on their way: beside the store, where there is room for them."""
    if store_path is None:
        return Path(tempfile.mkdtemp(prefix="syncd-"))
    directory = store_path.with_name(f"{store_path.name}.spool")
    shutil.rmtree(directory, ignore_errors=True)
    try:
        directory.mkdir(mode=DIRECTORY_MODE)
    except OSError as error:
        raise StoreError(f"the directory {directory} cannot be made: {error.strerror}") from error
    return directory
