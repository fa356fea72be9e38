"""Floor 5: what serves each account and each device of a configuration, made over one store and all that they share.

Theory. Who is served by something else from now on is served by it at once, for those as well who wait for what served
them before: requests, activities and what a device holds go over. Nothing here starts or ends a task; the app does.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from sqlalchemy import Connection

from syncd.config.accounts import ImapConfig, Pop3Config
from syncd.config.model import Config
from syncd.daemon.serving.identity import Held
from syncd.daemon.serving.passwords import Password
from syncd.daemon.serving.supervisor import Supervised, Supervisor
from syncd.errors import DeviceAwayError, LoginRefusedError, SyncdError, cause_of
from syncd.store.bodies.encoder import Encoder
from syncd.store.engine.database import Database
from syncd.store.trees import accounts, devices
from syncd.sync.accounts.connects import Connects
from syncd.sync.accounts.incoming_bodies import IncomingBodies
from syncd.sync.accounts.served_account import ServedAccount
from syncd.sync.activity import Activities, Activity
from syncd.sync.commons import FileSystems
from syncd.sync.device.attachment import Adopted
from syncd.sync.device.parts import join
from syncd.sync.device.served_device import ServedDevice
from syncd.sync.device.task import Device
from syncd.sync.device.turns import DeviceTurns
from syncd.sync.policies import Takers
from syncd.sync.recent_bodies import RecentBodies
from syncd.sync.requests import Requests
from syncd.sync.wakes import Wakes

if TYPE_CHECKING:
    from syncd.config.changes import Changes, Reached
    from syncd.daemon.serving.access import Access


class Workers:
    """Have a supervisor for each account and device, and change them when the configuration changes; for the app."""

    def __init__(
        self,
        config: Config,
        db: Database,
        *,
        account_ids: Mapping[str, int],
        held: Mapping[str, SyncdError],
        wakes: Wakes,
        spool_directory: Path,
        clock: Callable[[], float],
        watches: bool,
    ) -> None:
        """Take the ids of the accounts that can be served, and why each of the others is held.

        watches: hear of what devices and servers change at any time; else it is seen when somebody asks.
        """
        self.account_ids = account_ids
        self.activities = Activities()
        self.accounts: dict[str, Supervisor] = {}
        self.devices: dict[str, Supervisor] = {}
        self._mailboxes: dict[str, Supervisor] = {}
        """For a POP3 account, whose mailboxes are served here whether its maildrop can be reached or not."""
        self._adjust: dict[str, Callable[[Any], None]] = {}
        """What takes over another configuration of an account, where the same connection serves it."""
        self._devices: dict[str, Device] = {}
        self._passwords: dict[str, Password] = {}
        self._accesses: dict[int, Access] = {}
        """By the ids of accounts: what renews an access goes on while what else serves the account is made anew."""
        self._config = config
        self._db = db
        self._clock = clock
        self._watches = watches
        self._wakes = wakes
        self._connects = Connects()
        self._file_systems = FileSystems()
        self._turns = DeviceTurns()
        self._incoming = IncomingBodies(Encoder(), RecentBodies(), spool_directory)
        self._takers = Takers(config)
        for name in config.accounts:
            self._make_account(name, held.get(name))
        for name in config.devices:
            self._make_device(name)

    def switch(
        self, changes: "Changes", whom: "Reached", *, account_ids: Mapping[str, int], held: Mapping[str, SyncdError]
    ) -> None:
        """Have from now on what another configuration needs; nothing is awaited, so nobody sees the half of it."""
        self._drop_accounts(changes.accounts.removed)
        self._drop_devices(changes.devices.removed)
        self._config, self.account_ids = changes.config, account_ids
        self._takers.adjust(changes.config)
        for name in whom.adjusted & self._adjust.keys():
            self._adjust[name](changes.config.accounts[name])
        for name in whom.accounts:
            self._make_account(name, held.get(name))
        for name in whom.devices:
            self._make_device(name)

    def to_run(
        self, of_accounts: Collection[str], of_devices: Collection[str]
    ) -> Iterator[tuple[str, Callable[[], Awaitable[NoReturn]]]]:
        """Return what is to run for them, by the names that `tasks_of` says."""
        for task in tasks_of(of_accounts, of_devices):
            kind, _, name = task.partition(" ")
            supervisors = {"account": self.accounts, "mailboxes": self._mailboxes, "device": self.devices}[kind]
            if name in supervisors:
                yield task, supervisors[name].run

    async def adopt(self, name: str, *, leaves_others: bool) -> Adopted:
        """Make what is in the directory of a device its own; the rest of it is the device's next pass."""
        return await self._devices[name].adopt(leaves_others=leaves_others)

    async def other_passwords(self) -> frozenset[str]:
        """Return the accounts whose password files have another password than the one that was read from them."""
        names, passwords = tuple(self._passwords), tuple(self._passwords.values())
        are_others = await asyncio.gather(*(one.is_another() for one in passwords))
        return frozenset(name for name, is_another in zip(names, are_others, strict=True) if is_another)

    def is_granted(self, name: str) -> None:
        """Let an account try at once what a person was granted for it just now, if it is there still."""
        if name in self.accounts:
            self._passwords[name].is_granted()
            self.accounts[name].task.requests.hurry()

    def tell_waiting(self, tasks: Iterable[str]) -> None:
        """Say of those that take the place of these tasks why they have not begun."""
        of = {"account": self.activities.accounts, "device": self.activities.devices}
        for kind, _, name in (task.partition(" ") for task in tasks):
            if kind in of and name in of[kind]:
                of[kind][name].now("waiting for what served it before to end", self._clock())

    def close(self) -> None:
        """End what encodes bodies, before the tasks that wait for it are ended."""
        self._incoming.encoder.close()

    async def finish(self, *, at_most_s: float) -> None:
        """Wait for what may be the only tokens of accounts, and no longer than that."""
        accesses = tuple(self._accesses.values())
        waiting = [asyncio.create_task(access.at_rest()) for access in accesses]
        if waiting:
            await asyncio.wait(waiting, timeout=at_most_s)
        for access in accesses:
            access.give_up()
        await asyncio.gather(*waiting)

    def _drop_accounts(self, names: Iterable[str]) -> None:
        for name in names:
            error = SyncdError(f"the account {name} is not in the configuration any more")
            self.accounts.pop(name).task.requests.fail(error)
            if name in self._mailboxes:
                self._mailboxes.pop(name).task.requests.fail(error)
            for of in (self._passwords, self._adjust, self.activities.accounts):
                of.pop(name, None)

    def _drop_devices(self, names: Iterable[str]) -> None:
        for name in names:
            self._devices.pop(name).let_go(SyncdError(f"the device {name} is not in the configuration any more"))
            self.devices.pop(name)
            self.activities.devices.pop(name, None)

    def _make_account(self, name: str, held: SyncdError | None) -> None:
        """Make what serves an account, for those who wait for what served it before as well."""
        config = self._config.accounts[name]
        before, mailboxes_before = self.accounts.get(name), self._mailboxes.pop(name, None)
        activity = self.activities.accounts[name] = _after(self.activities.accounts.get(name))
        self._adjust.pop(name, None)
        password = self._passwords[name] = Password(config, self._access(name))
        if held is not None:
            task: Supervised = Held(Requests(self._wakes.account(name)), held)
        elif isinstance(config, ImapConfig):
            task = self._imap_account(self._served_account(name, activity), config, password)
        else:
            task = self._pop3_account(self._served_account(name, activity), config, password)
        self.accounts[name] = self._account_supervisor(task, name, activity, password)
        for old, new in ((before, self.accounts[name]), (mailboxes_before, self._mailboxes.get(name))):
            if old is not None and new is not None:
                new.task.requests.inherit(old.task.requests)

    def _access(self, name: str) -> "Access | None":
        """Return what gets tokens for an account that can be served and has `oauth`."""
        config = self._config.accounts[name]
        if config.oauth is None or name not in self.account_ids:
            return None

        from syncd.config.oauth import application_of  # noqa: PLC0415  # most have no account with tokens
        from syncd.daemon.serving.access import Access  # noqa: PLC0415

        account_id, application = self.account_ids[name], application_of(config)
        if account_id not in self._accesses:
            self._accesses[account_id] = Access(
                application,
                self._db,
                account_id=account_id,
                key_file=lambda: self._config.store.key_path,
                clock=self._clock,
                renews=True,
            )
        # NOTE: what renews for the application as it was is waited for by the next login, so there is one of them.
        self._accesses[account_id].application = application
        return self._accesses[account_id]

    def _served_account(self, name: str, activity: Activity) -> ServedAccount:
        return ServedAccount(
            name,
            self.account_ids[name],
            db=self._db,
            takers=self._takers,
            wakes=self._wakes,
            activity=activity,
            clock=self._clock,
        )

    def _imap_account(self, account: ServedAccount, config: ImapConfig, password: Password) -> Supervised:
        from syncd.sync.imap.account import ImapAccount  # noqa: PLC0415  # a tenth of `syncd sync` for POP3

        task = ImapAccount(
            account,
            config,
            password=password,
            incoming=self._incoming,
            connects=self._connects,
            listens=self._watches,
        )
        self._adjust[account.name] = task.adjust
        return task

    def _pop3_account(self, account: ServedAccount, config: Pop3Config, password: Password) -> Supervised:
        from syncd.sync.pop3.account import Pop3Account  # noqa: PLC0415  # and half as much for IMAP

        task = Pop3Account(account, config, password=password, incoming=self._incoming, connects=self._connects)
        self._adjust[account.name] = task.adjust
        self._mailboxes[account.name] = self._account_supervisor(task.mailboxes, account.name, Activity(), None)
        return task

    def _account_supervisor(
        self, task: Supervised, name: str, activity: Activity, password: Password | None
    ) -> Supervisor:
        """Supervise what serves an account. password: what it logs in with, None where it does not."""
        return Supervisor(
            task,
            kind="account",
            name=name,
            activity=activity,
            on_failure=partial(self._account_failed, task, self.account_ids.get(name), password),
            clock=self._clock,
        )

    def _make_device(self, name: str) -> None:
        """Make what serves a device, for those who wait for what served it before as well."""
        before, activity = self._devices.get(name), _after(self.activities.devices.get(name))
        served = ServedDevice(
            name,
            self._config.devices[name],
            rule=self._takers.rule,
            db=self._db,
            file_systems=self._file_systems,
            turns=self._turns,
            wakes=self._wakes,
            activity=activity,
            clock=self._clock,
        )
        parts = join(
            served,
            configured=self._config.accounts,
            account_ids=self.account_ids,
            recent=self._incoming.recent,
            spool_directory=self._incoming.spool_directory,
        )
        device = Device(served, parts, is_watched=self._watches)
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
            clock=self._clock,
        )

    async def _account_failed(
        self, task: Supervised, account_id: int | None, password: Password | None, error: Exception, text: str
    ) -> None:
        if password is not None and isinstance(error, LoginRefusedError):
            password.forget()
        if password is not None and password.takes_grant():  # what failed had begun before a person logged in
            task.requests.hurry()
        if account_id is not None:
            cause = cause_of(error).value
            record = partial(accounts.record_failure, account_id=account_id, error=text, cause=cause, now=self._clock())
            await self._db.write(record)

    async def _device_failed(self, name: str, error: Exception, text: str) -> None:
        if isinstance(error, DeviceAwayError):
            return  # the device has recorded that itself, with what is the matter with its root
        await self._db.write(partial(_record_device_failure, name=name, error=text, cause=cause_of(error).value))


def tasks_of(of_accounts: Collection[str], of_devices: Collection[str]) -> list[str]:
    """Return the names of the tasks that serve them."""
    accounts = [f"{kind} {name}" for kind in ("account", "mailboxes") for name in of_accounts]
    return accounts + [f"device {name}" for name in of_devices]


def _record_device_failure(conn: Connection, *, name: str, error: str, cause: str) -> None:
    """Record why a device failed; its state says where its directory stands, and is as it was."""
    for device_id, known in devices.device_names(conn).items():
        if known == name:
            state = devices.device_of(conn, device_id).state
            devices.record_device_state(conn, device_id, state=state, error=error, cause=cause)


def _after(before: Activity | None) -> Activity:
    return Activity() if before is None else before.successor()
