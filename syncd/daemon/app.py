"""Floor 5: everything joined: a store, one supervised task per account and per device, and what they share.

Theory. The app owns the store for as long as it is open. Accounts and devices know nothing of each other; they meet in
the store and wake each other by name. What ends the app is its caller, or a store that cannot be used any more.
"""

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from syncd.config.changes import Changes, reached
from syncd.config.model import Config, ImapConfig, Pop3Config
from syncd.daemon.identity import Held, ensure_accounts
from syncd.daemon.logs import secrets
from syncd.daemon.passwords import Password
from syncd.daemon.status import ConfigStatus
from syncd.daemon.supervisor import Supervised, Supervisor
from syncd.daemon.tasks import Tasks
from syncd.errors import DeviceAwayError, LoginRefusedError, StoreError, SyncdError, cause_of
from syncd.store import accounts, devices, hooks
from syncd.store.database import Database
from syncd.store.encoder import Encoder
from syncd.store.engines import parse_url
from syncd.store.owner import DIRECTORY_MODE
from syncd.sync.activity import Activities, Activity
from syncd.sync.attachment import Adopted
from syncd.sync.commons import FileSystems
from syncd.sync.connects import Connects
from syncd.sync.device import Device
from syncd.sync.policies import Takers
from syncd.sync.recent_bodies import RecentBodies
from syncd.sync.requests import Requests
from syncd.sync.sweeper import Sweeper
from syncd.sync.wakes import Wakes

if TYPE_CHECKING:
    from syncd.daemon.hooks import Hooks


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
        self.config_state = ConfigStatus(clock())
        """How the configuration is that runs, compared with its file where somebody compares them."""
        self.db = db
        self.clock = clock
        self._watches_devices = watches_devices
        self.activities = Activities()
        self.accounts: dict[str, Supervisor] = {}
        self.devices: dict[str, Supervisor] = {}
        self._mailboxes: dict[str, Supervisor] = {}
        """For a POP3 account, whose mailboxes are served here whether its maildrop can be reached or not."""
        self._adjust: dict[str, Callable[[Any], None]] = {}
        """What takes over another configuration of an account, where the same connection serves it."""
        self._devices: dict[str, Device] = {}
        self._account_ids = account_ids
        self._spool_directory = spool_directory
        self._wakes = Wakes()
        self._connects = Connects()
        self._file_systems = FileSystems()
        self._recent = RecentBodies()
        self._encoder = Encoder()
        self._passwords: dict[str, Password] = {}
        self._takers = Takers(config)
        self.sweeper = Sweeper(db, retention_s=config.store.retention_s, clock=clock)
        self.hooks: Hooks | None = None
        """There since the configuration had one while this served everybody."""
        self._tasks = Tasks()
        self.is_serving = False
        """Whether its tasks were started, and are not being ended."""
        for name in config.accounts:
            self._make_account(name, held.get(name))
        for name in config.devices:
            self._make_device(name)

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
        return not self.config.accounts.keys() <= self._account_ids.keys()

    async def adopt(self, name: str, *, leaves_others: bool) -> Adopted:
        """Make what is in the directory of a device its own; the rest of it is the device's next pass."""
        return await self._devices[name].adopt(leaves_others=leaves_others)

    def wake_accounts(self, names: Iterable[str]) -> None:
        """Let these accounts run a round at once."""
        for name in names:
            self._wakes.account(name).set()

    def wake_devices(self, names: Iterable[str]) -> None:
        """Let these devices run a round at once."""
        for name in names:
            self._wakes.device(name).set()

    async def other_passwords(self) -> frozenset[str]:
        """Return the accounts whose password files have another password than the one that was read from them."""
        names, passwords = tuple(self._passwords), tuple(self._passwords.values())
        are_others = await asyncio.gather(*(one.is_another() for one in passwords))
        return frozenset(name for name, is_another in zip(names, are_others, strict=True) if is_another)

    async def apply(self, changes: Changes) -> None:
        """Start, end or connect anew what has changed; all others go on, and hear only of what concerns them.

        Who waits for something that goes on as another task waits for that. No two may be applied at once.
        """
        before, config = self.config, changes.config
        ids, held = await self.db.write(partial(_ensure, config=config))
        other_ids = {name for name in {*ids, *self._account_ids} if ids.get(name) != self._account_ids.get(name)}
        hooks_changed = {key.removeprefix("hooks.") for key in changes.keys if key.startswith("hooks.on_")}
        whom = reached(before, changes, other_ids=other_ids, with_mail=await self._with_mail_of(other_ids))

        # NOTE: from here to the end of the switch nothing is awaited, so nobody sees the half of it.
        ending = [*self._drop_accounts(changes.accounts.removed), *self._drop_devices(changes.devices.removed)]
        self.config, self._account_ids = config, ids
        self._takers.adjust(config)
        self.sweeper.adjust(config.store.retention_s)
        for name in whom.adjusted & self._adjust.keys():
            self._adjust[name](config.accounts[name])
        for name in whom.accounts:
            self._make_account(name, held.get(name))
        for name in whom.devices:
            self._make_device(name)

        try:
            ending += [*_tasks_of(whom.accounts, whom.devices), *map(_task_of_hook, hooks_changed)]
            self._wait_for(await self._tasks.end(ending))
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
        self._encoder.close()
        await self._tasks.stop()

    def _start(self, of_accounts: Collection[str], of_devices: Collection[str]) -> None:
        for names, supervisors, kind in (
            (of_accounts, self.accounts, "account"),
            (of_accounts, self._mailboxes, "mailboxes"),
            (of_devices, self.devices, "device"),
        ):
            for name in names:
                if name in supervisors:
                    self._tasks.start(f"{kind} {name}", supervisors[name].run)

    def _start_hooks(self, names: Collection[str]) -> None:
        if self.hooks is None and names:
            from syncd.daemon.hooks import Hooks  # noqa: PLC0415  # most have none

            self.hooks = Hooks(self)
        if self.hooks is not None:
            self.hooks.adjust(self.config.hooks)
            for name in names:
                self._tasks.start(_task_of_hook(name), partial(self.hooks.serve, name))

    def _wait_for(self, tasks: Iterable[str]) -> None:
        """Say of those that take the place of these tasks why they have not begun."""
        of = {"account": self.activities.accounts, "device": self.activities.devices}
        for kind, _, name in (task.partition(" ") for task in tasks):
            if kind in of and name in of[kind]:
                of[kind][name].now("waiting for what served it before to end", self.clock())

    async def _with_mail_of(self, names: Collection[str]) -> frozenset[str]:
        """Return the devices that have mail of these accounts, whether they select them or not."""
        if not names:
            return frozenset()
        return await self.db.read(partial(devices.devices_with_mail_of, accounts=names))

    def _drop_accounts(self, names: Iterable[str]) -> Iterable[str]:
        """Serve these accounts no more, and return the tasks that are to be ended."""
        for name in names:
            error = SyncdError(f"the account {name} is not in the configuration any more")
            self.accounts.pop(name).task.requests.fail(error)
            if name in self._mailboxes:
                self._mailboxes.pop(name).task.requests.fail(error)
            for of in (self._passwords, self._adjust, self.activities.accounts):
                of.pop(name, None)
            yield from _tasks_of((name,), ())

    def _drop_devices(self, names: Iterable[str]) -> Iterable[str]:
        for name in names:
            self._devices.pop(name).let_go(SyncdError(f"the device {name} is not in the configuration any more"))
            self.devices.pop(name)
            self.activities.devices.pop(name, None)
            yield from _tasks_of((), (name,))

    def _make_account(self, name: str, held: SyncdError | None) -> None:
        """Make what serves an account, for those who wait for what served it before as well."""
        config = self.config.accounts[name]
        before, mailboxes_before = self.accounts.get(name), self._mailboxes.pop(name, None)
        activity = self.activities.accounts[name] = _after(self.activities.accounts.get(name))
        self._adjust.pop(name, None)
        password = self._passwords[name] = Password(config)
        if held is not None:
            task: Supervised = Held(Requests(self._wakes.account(name)), held)
        elif isinstance(config, ImapConfig):
            task = self._imap_account(name, config, password, activity)
        else:
            task = self._pop3_account(name, config, password, activity)
        self.accounts[name] = self._account_supervisor(task, name, activity)
        for old, new in ((before, self.accounts[name]), (mailboxes_before, self._mailboxes.get(name))):
            if old is not None and new is not None:
                new.task.requests.inherit(old.task.requests)

    def _imap_account(self, name: str, config: ImapConfig, password: Password, activity: Activity) -> Supervised:
        from syncd.sync.imap_account import ImapAccount  # noqa: PLC0415  # a tenth of `syncd sync` for POP3

        account = ImapAccount(
            self.db,
            name,
            config,
            account_id=self._account_ids[name],
            password=password,
            takers=self._takers,
            wakes=self._wakes,
            connects=self._connects,
            encoder=self._encoder,
            recent=self._recent,
            activity=activity,
            clock=self.clock,
            spool_directory=self._spool_directory,
        )
        self._adjust[name] = account.adjust
        return account

    def _pop3_account(self, name: str, config: Pop3Config, password: Password, activity: Activity) -> Supervised:
        from syncd.sync.pop3_account import Pop3Account  # noqa: PLC0415  # and half as much for IMAP

        account = Pop3Account(
            self.db,
            name,
            config,
            account_id=self._account_ids[name],
            password=password,
            takers=self._takers,
            wakes=self._wakes,
            connects=self._connects,
            encoder=self._encoder,
            recent=self._recent,
            activity=activity,
            clock=self.clock,
            spool_directory=self._spool_directory,
        )
        self._adjust[name] = account.adjust
        self._mailboxes[name] = self._account_supervisor(account.mailboxes, name, Activity())
        return account

    def _account_supervisor(self, task: Supervised, name: str, activity: Activity) -> Supervisor:
        return Supervisor(
            task,
            kind="account",
            name=name,
            activity=activity,
            on_failure=partial(self._account_failed, self._account_ids.get(name), self._passwords[name]),
            clock=self.clock,
        )

    def _make_device(self, name: str) -> None:
        """Make what serves a device, for those who wait for what served it before as well."""
        before, activity = self._devices.get(name), _after(self.activities.devices.get(name))
        device = Device(
            self.db,
            name,
            self.config.devices[name],
            configured=self.config.accounts,
            account_ids=self._account_ids,
            wakes=self._wakes,
            file_systems=self._file_systems,
            recent=self._recent,
            activity=activity,
            spool_directory=self._spool_directory,
            clock=self.clock,
            rule=self._takers.rule,
            is_watched=self._watches_devices,
        )
        if before is not None:
            device.requests.inherit(before.requests)
            before.let_go(SyncdError(f"the configuration of the device {name} was changed meanwhile"))
        self._devices[name] = device
        self.activities.devices[name] = activity
        self.devices[name] = Supervisor(
            device,
            kind="device",
            name=name,
            activity=activity,
            on_failure=partial(self._device_failed, name),
            clock=self.clock,
        )

    async def _account_failed(self, account_id: int | None, password: Password, error: Exception, text: str) -> None:
        if isinstance(error, LoginRefusedError):
            password.forget()
        if account_id is not None:
            cause = cause_of(error).value
            await self.db.write(
                partial(accounts.record_failure, account_id=account_id, error=text, cause=cause, now=self.clock())
            )

    async def _device_failed(self, name: str, error: Exception, text: str) -> None:
        if isinstance(error, DeviceAwayError):
            return  # the device has recorded that itself, with what is the matter with its root
        ids = {known: id_ for id_, known in (await self.db.read(devices.device_names)).items()}
        if name in ids:
            cause = cause_of(error).value
            await self.db.write(
                lambda conn: devices.record_device_state(conn, ids[name], state="active", error=text, cause=cause)
            )


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
            ids, held = await db.write(partial(_ensure, config=config))
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


def _ensure(conn: Connection, config: Config) -> tuple[Mapping[str, int], Mapping[str, SyncdError]]:
    """Have the rows that a configuration needs, and none of hooks that it does not have."""
    hooks.begin(conn, config.hooks.commands)
    return ensure_accounts(conn, config=config)


def _after(before: Activity | None) -> Activity:
    return Activity() if before is None else before.successor()


def _tasks_of(of_accounts: Iterable[str], of_devices: Iterable[str]) -> list[str]:
    accounts = [f"{kind} {name}" for name in of_accounts for kind in ("account", "mailboxes")]
    return accounts + [f"device {name}" for name in of_devices]


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
