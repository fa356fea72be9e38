"""Floor 5: everything joined: a store, one supervised task per account and per device, and what they share.

Theory. The app owns the store for as long as it is open. Accounts and devices know nothing of each other; they meet in
the store and wake each other by name. What ends the app is its caller, or a store that cannot be used any more.
"""

import asyncio
import hashlib
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from syncd.config.model import Config, ImapConfig, Pop3Config
from syncd.daemon.logs import secrets
from syncd.daemon.passwords import Password
from syncd.daemon.status import ConfigStatus
from syncd.daemon.supervisor import Supervised, Supervisor
from syncd.errors import DeviceAwayError, LoginRefusedError, StoreError, SyncdError, Temper
from syncd.log import log
from syncd.reconcile.guard import Rule
from syncd.store import accounts, devices
from syncd.store.database import Database
from syncd.store.encoder import Encoder
from syncd.store.engines import parse_url
from syncd.store.owner import DIRECTORY_MODE
from syncd.sync.activity import Activities, Activity
from syncd.sync.attachment import Adopted
from syncd.sync.commons import FileSystems
from syncd.sync.device import Device
from syncd.sync.policies import Takers
from syncd.sync.recent_bodies import RecentBodies
from syncd.sync.requests import Requests
from syncd.sync.sweeper import Sweeper
from syncd.sync.wakes import Wakes

if TYPE_CHECKING:
    from syncd.sync.imap_account import ImapAccount
    from syncd.sync.pop3_account import Pop3Account

_END_S = 2.5
_LAST_WORDS_S = 0.5


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
        watches_devices: bool,
    ) -> None:
        """Take the ids of the accounts that can be served, and why each of the others is held.

        watches_devices: hear of what they change; else it is seen when they are asked to look.
        """
        self.config = config
        self.db = db
        self.clock = clock
        self._watches_devices = watches_devices
        self.activities = Activities()
        self.config_state = ConfigStatus(clock())
        self.accounts: dict[str, Supervisor] = {}
        self.devices: dict[str, Supervisor] = {}
        self._mailboxes: dict[str, Supervisor] = {}
        """For a POP3 account, whose mailboxes are served here whether its maildrop can be reached or not."""
        self._adopters: dict[str, Callable[[], Awaitable[Adopted]]] = {}
        self._account_ids = account_ids
        self._spool_directory = spool_directory
        self._wakes = Wakes()
        self._file_systems = FileSystems()
        self._recent = RecentBodies()
        self._encoder = Encoder()
        self._passwords = {name: Password(account) for name, account in config.accounts.items()}
        self._takers = Takers(config)
        self.sweeper = Sweeper(db, retention_s=config.store.retention_s, clock=clock)
        self._tasks: list[asyncio.Task[None]] = []
        self.is_serving = False
        """Whether its tasks were started, and are not being ended."""
        for name, account in config.accounts.items():
            self.accounts[name] = self._account(name, account, held.get(name))
        for name in config.devices:
            self.devices[name] = self._device(name)

    def start(self, of_accounts: Collection[str] | None = None) -> None:
        """Start the tasks of these accounts and of every device that selects one of them; by default all there are."""
        names = self.config.accounts if of_accounts is None else of_accounts
        chosen = [supervisor for name, supervisor in self.accounts.items() if name in names]
        chosen += [supervisor for name, supervisor in self._mailboxes.items() if name in names]
        chosen += [supervisor for name, supervisor in self.devices.items() if name in self.devices_of(names)]
        self._tasks = [asyncio.create_task(one.run(), name=f"{one.kind} {one.name}") for one in chosen]
        if of_accounts is None:
            self._tasks.append(asyncio.create_task(self.sweeper.run(), name="sweeper"))
        self.is_serving = True

    def devices_of(self, account_names: Collection[str]) -> tuple[str, ...]:
        """Return the devices that select at least one of these accounts, or no account at all."""
        return tuple(
            name
            for name in self.config.devices
            if not (selected := self.config.accounts_of(name)) or not set(selected).isdisjoint(account_names)
        )

    async def adopt(self, name: str) -> Adopted:
        """Make what is in the directory of a device its own; the rest of it is the device's next pass."""
        return await self._adopters[name]()

    def wake_accounts(self, names: Iterable[str]) -> None:
        """Let these accounts run a round at once."""
        for name in names:
            self._wakes.account(name).set()

    def wake_devices(self, names: Iterable[str]) -> None:
        """Let these devices run a round at once."""
        for name in names:
            self._wakes.device(name).set()

    async def failure(self) -> SyncdError:
        """Return, once there is one, the error that a supervisor could not keep: nearly always that of the store."""
        if not self._tasks:
            await asyncio.Event().wait()
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            error = task.exception()
            if isinstance(error, SyncdError):
                return error
            log.error("supervisor_failed", task=task.get_name(), exc_info=error)
        return SyncdError("a task could not be supervised any more; the log says why")

    async def stop(self) -> None:
        """End all tasks, each with its connection closed, within three seconds."""
        self.is_serving = False
        self._encoder.close()
        pending: set[asyncio.Task[None]] = set(self._tasks)
        for patience_s in (_END_S, _LAST_WORDS_S):
            for task in pending:
                task.cancel()
            if pending:
                _, pending = await asyncio.wait(pending, timeout=patience_s)
        if pending:
            log.warning("tasks_abandoned", tasks=sorted(task.get_name() for task in pending))
        self._tasks = []

    def _account(self, name: str, config: ImapConfig | Pop3Config, held: SyncdError | None) -> Supervisor:
        activity = self.activities.accounts.setdefault(name, Activity())
        if held is not None:
            return self._supervisor(_Held(Requests(self._wakes.account(name)), held), name, activity)
        if isinstance(config, ImapConfig):
            return self._supervisor(self._imap_account(name, config, activity), name, activity)
        task = self._pop3_account(name, config, activity)
        self._mailboxes[name] = self._supervisor(task.mailboxes, name, Activity())
        return self._supervisor(task, name, activity)

    def _imap_account(self, name: str, config: ImapConfig, activity: Activity) -> "ImapAccount":
        from syncd.sync.imap_account import ImapAccount  # noqa: PLC0415  # a tenth of `syncd sync` for POP3

        return ImapAccount(
            self.db,
            name,
            config,
            account_id=self._account_ids[name],
            password=self._passwords[name],
            takers=self._takers,
            wakes=self._wakes,
            encoder=self._encoder,
            recent=self._recent,
            activity=activity,
            clock=self.clock,
            spool_directory=self._spool_directory,
        )

    def _pop3_account(self, name: str, config: Pop3Config, activity: Activity) -> "Pop3Account":
        from syncd.sync.pop3_account import Pop3Account  # noqa: PLC0415  # and half as much for IMAP

        return Pop3Account(
            self.db,
            name,
            config,
            account_id=self._account_ids[name],
            password=self._passwords[name],
            takers=self._takers,
            wakes=self._wakes,
            encoder=self._encoder,
            recent=self._recent,
            activity=activity,
            clock=self.clock,
            spool_directory=self._spool_directory,
        )

    def _supervisor(self, task: Supervised, name: str, activity: Activity) -> Supervisor:
        return Supervisor(
            task,
            kind="account",
            name=name,
            activity=activity,
            on_failure=partial(self._account_failed, name),
            clock=self.clock,
        )

    def _device(self, name: str) -> Supervisor:
        guard = self.config.guard
        activity = self.activities.devices.setdefault(name, Activity())
        device = Device(
            self.db,
            name,
            self.config.devices[name],
            account_ids=self._account_ids,
            wakes=self._wakes,
            file_systems=self._file_systems,
            recent=self._recent,
            activity=activity,
            spool_directory=self._spool_directory,
            clock=self.clock,
            rule=Rule(count=guard.count, share=guard.share, window_s=guard.window_s),
            is_watched=self._watches_devices,
        )
        self._adopters[name] = device.adopt
        return Supervisor(
            device,
            kind="device",
            name=name,
            activity=activity,
            on_failure=partial(self._device_failed, name),
            clock=self.clock,
        )

    async def _account_failed(self, name: str, error: Exception, text: str) -> None:
        if isinstance(error, LoginRefusedError):
            self._passwords[name].forget()
        if name in self._account_ids:
            record = partial(accounts.record_failure, account_id=self._account_ids[name], error=text, now=self.clock())
            await self.db.write(record)

    async def _device_failed(self, name: str, error: Exception, text: str) -> None:
        if isinstance(error, DeviceAwayError):
            return  # the device has recorded that itself, with what is the matter with its root
        ids = {known: id_ for id_, known in (await self.db.read(devices.device_names)).items()}
        if name in ids:
            await self.db.write(lambda conn: devices.record_device_state(conn, ids[name], state="active", error=text))


class _Held:
    """Stand in for an account that must not be served; every run says why."""

    def __init__(self, requests: Requests, why: SyncdError) -> None:
        self.requests = requests
        self._why = why

    async def run(self) -> None:
        raise self._why


@asynccontextmanager
async def open_app(
    config: Config, *, clock: Callable[[], float] = time.time, watches_devices: bool = True
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
            ids, held = await db.write(partial(_ensure_accounts, config=config))
            app = App(
                config,
                db,
                account_ids=ids,
                held=held,
                spool_directory=spool_directory,
                clock=clock,
                watches_devices=watches_devices,
            )
            try:
                yield app
            finally:
                await app.stop()
        finally:
            await asyncio.to_thread(shutil.rmtree, spool_directory, ignore_errors=True)
    finally:
        await asyncio.to_thread(db.close)


def _ensure_accounts(conn: Connection, *, config: Config) -> tuple[Mapping[str, int], Mapping[str, SyncdError]]:
    ids: dict[str, int] = {}
    held: dict[str, SyncdError] = {}
    for name, account in config.accounts.items():
        try:
            ids[name] = accounts.ensure_account(conn, name, kind=account.type, identity=identity_of(account))
        except StoreError as error:
            held[name] = SyncdError(str(error), temper=Temper.GIVE_UP)  # it reaches this account, not the store
    return ids, held


def identity_of(account: ImapConfig | Pop3Config) -> str:
    """Return the digest that tells whether an account's mail is from the same server and user as before."""
    parts = (account.type, account.host.lower(), account.username)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


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
