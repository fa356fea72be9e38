"""A whole sync engine without a daemon: a store, accounts, devices, and questions whether all of it is at rest.

Theory. Entering a house opens its store and starts one task for each account and device; leaving cancels them as a
daemon would. The same house can be entered again and again over the same files, which is what a restart is. A task that
fails is run again when somebody asks, or a moment later.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Protocol, Self

from sqlalchemy import Connection, select

from syncd.config.accounts import ImapConfig
from syncd.config.model import Config, Layout
from syncd.config.values import SQLITE
from syncd.errors import SyncdError
from syncd.mail.mailbox import MailboxName
from syncd.mail.tree import ReplicaState
from syncd.maildir.naming.layout import Fs, MaildirPlusPlus
from syncd.store.bodies.encoder import Encoder
from syncd.store.engine.database import Database
from syncd.store.tables import schema
from syncd.store.trees import accounts
from syncd.sync.accounts.connects import Connects
from syncd.sync.accounts.incoming_bodies import IncomingBodies
from syncd.sync.accounts.served_account import ServedAccount
from syncd.sync.activity import Activity
from syncd.sync.commons import FileSystems
from syncd.sync.device.parts import join
from syncd.sync.device.served_device import ServedDevice
from syncd.sync.device.task import Device
from syncd.sync.device.turns import DeviceTurns
from syncd.sync.imap.account import ImapAccount
from syncd.sync.planned import planned
from syncd.sync.policies import Takers
from syncd.sync.pop3.account import Pop3Account
from syncd.sync.recent_bodies import RecentBodies
from syncd.sync.requests import Requests
from syncd.sync.served import leftover
from syncd.sync.wakes import Wakes
from tests.contract.sync.replica import Replica
from tests.servers.dovecot import HOST, PASSWORD, Dovecot
from tests.servers.made_stores import make_sqlite_store

_SETTLE_S = 60.0
_HOLDS_S = 30.0
_RETRY_S = 0.2
_PATIENCE_S = (2.5, 2.5)
_EFFECTS_SHOWN = 20
Table = Mapping[str, Any]
"""A table of the configuration, with the keys of the file."""
MakeDovecot = Callable[..., Dovecot]
"""What the fixture `make_dovecot` is."""


class _Task(Protocol):
    @property
    def requests(self) -> Requests: ...

    async def run(self) -> None: ...


def imap(server: Dovecot, user: str, *, port: int | None = None, **more: Any) -> Table:
    """Return an IMAP account without TLS, through another port if a tap is in between."""
    where = {"host": HOST, "port": port or server.imap_port, "tls": "none"}
    return {"type": "imap", "username": user, "password": PASSWORD, **where, **more}


def pop3(server: Dovecot, user: str, *, port: int | None = None, **more: Any) -> Table:
    """Return a POP3 account without TLS."""
    where = {"host": HOST, "port": port or server.pop3_port, "tls": "none"}
    return {"type": "pop3", "username": user, "password": PASSWORD, **where, **more}


def _opened(url: str) -> Database:
    if url.startswith(SQLITE):
        make_sqlite_store(Path(url.removeprefix(SQLITE)))
    return Database.open(url, auto_migrate=True)


class House:
    """Serve accounts to devices for as long as it is entered; devices lie in directories of their names."""

    def __init__(
        self,
        directory: Path,
        *,
        accounts: Mapping[str, Table],
        devices: Mapping[str, Table] | Iterable[str] = ("laptop",),
        guard: Table | None = None,
        url: str | None = None,
        second_look_s: float = 0.02,
        patience_s: float = _SETTLE_S,
        watches_devices: bool = True,
        listens: bool = False,
        turns: DeviceTurns | None = None,
    ) -> None:
        self._watches_devices = watches_devices
        self._listens = listens
        self._turns = turns or DeviceTurns()
        self._second_look_s = second_look_s
        self._patience_s = patience_s
        tables = devices if isinstance(devices, Mapping) else {name: {} for name in devices}
        self.directory = directory
        self.config = Config.model_validate(
            {
                "store": {"url": url or f"sqlite:///{directory}/store/syncd.db"},
                "accounts": dict(accounts),
                "devices": {name: {"path": str(directory / name), **table} for name, table in tables.items()},
                "guard": dict(guard or {}),
                "daemon": {"socket": str(directory / "socket")},
            }
        )
        self.shift_s = 0.0
        """How far the house's clock is ahead of the real one."""
        self.errors: dict[str, SyncdError] = {}
        """The last error that ended each task, by name."""
        self._running: list[asyncio.Task[None]] = []

    def clock(self) -> float:
        return time.time() + self.shift_s

    # Entering and leaving.

    async def __aenter__(self) -> Self:
        url = self.config.store.url.get_secret_value()
        self.db = await asyncio.to_thread(_opened, url)
        self.errors = {}
        ids = await self.db.write(self._ensure_accounts)
        self.takers = takers = Takers(self.config)
        self.wakes, file_systems = Wakes(), FileSystems()
        connects, incoming = Connects(), IncomingBodies(Encoder(), RecentBodies(), self.directory)
        self.encoder = incoming.encoder
        self.accounts: dict[str, ImapAccount | Pop3Account] = {}
        self.devices: dict[str, Device] = {}
        self.activities = {name: Activity() for name in (*self.config.accounts, *self.config.devices)}
        for name, config in self.config.accounts.items():
            make: Callable[..., ImapAccount | Pop3Account] = Pop3Account
            if isinstance(config, ImapConfig):
                make = partial(ImapAccount, second_look_s=self._second_look_s, listens=self._listens)
            account = ServedAccount(
                name,
                ids[name],
                db=self.db,
                takers=takers,
                wakes=self.wakes,
                activity=self.activities[name],
                clock=self.clock,
            )
            self.accounts[name] = make(account, config, password=_password, incoming=incoming, connects=connects)
        for name in self.config.devices:
            device = ServedDevice(
                name,
                self.config.devices[name],
                rule=takers.rule,
                db=self.db,
                file_systems=file_systems,
                turns=self._turns,
                wakes=self.wakes,
                activity=self.activities[name],
                clock=self.clock,
            )
            parts = join(
                device,
                configured=self.config.accounts,
                account_ids=ids,
                recent=incoming.recent,
                spool_directory=self.directory,
            )
            self.devices[name] = Device(device, parts, is_watched=self._watches_devices)
        self._running = [asyncio.create_task(self._keep(name, task)) for name, task in self._tasks().items()]
        served = (one for one in self.accounts.values() if isinstance(one, Pop3Account))
        self._running += [asyncio.create_task(one.mailboxes.run()) for one in served]
        return self

    async def __aexit__(self, *_: object) -> None:
        pending = set(self._running)
        for patience_s in _PATIENCE_S:
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=patience_s) if pending else ((), pending)
        for task in pending:
            task.print_stack()
        self.encoder.close()
        await asyncio.to_thread(self.db.close)
        assert not pending, "cancelled tasks did not end"
        for task in self._running:
            if not task.cancelled():
                task.result()

    async def _keep(self, name: str, task: _Task) -> None:
        while True:
            try:
                await task.run()
            except SyncdError as error:
                self.errors[name] = error
            except Exception as error:
                task.requests.fail(error)
                raise
            try:
                await asyncio.wait_for(task.requests.arrived.wait(), _RETRY_S)
            except TimeoutError:
                pass

    # Asking.

    async def settle(self, *names: str) -> None:
        """Ask all tasks, or those named, for whole passes until one more changes nothing and nothing is left to do."""
        async with asyncio.timeout(self._patience_s):
            before = None
            while (now := await self.db.read(_positions)) != before or (not names and await self._is_left()):
                before = now
                await self.ask(*names)
        if not names:
            plan = await self.db.read(partial(planned, config=self.config, now=self.clock(), limit=_EFFECTS_SHOWN))
            assert plan.effects == (), plan.effects

    async def ask(self, *names: str) -> None:
        """Ask all tasks, or those named, for one whole pass; raises what ended one instead."""
        tasks = self._tasks()
        await asyncio.gather(*(tasks[name].requests.ask() for name in names or tasks))

    async def until(self, holds: Callable[[], bool], *, within_s: float = _HOLDS_S) -> float:
        """Return the seconds after which a condition holds; TimeoutError if it does not in time."""
        began = time.monotonic()
        async with asyncio.timeout(within_s):
            while not holds():  # noqa: ASYNC110 - a condition of files has no event
                await asyncio.sleep(0.01)
        return time.monotonic() - began

    async def until_read(self, holds: Callable[[list[Any]], bool], query: Any, *, within_s: float = _HOLDS_S) -> None:
        """Return when a condition holds of the first column of a query on the store."""
        async with asyncio.timeout(within_s):
            while not holds([row[0] for row in await self.rows(query)]):  # noqa: ASYNC110 - the store has no event
                await asyncio.sleep(0.01)

    def replica(self, device: str, mailbox: str = "INBOX", *, account: str = "work") -> Replica:
        """Return a mailbox as a device has it."""
        config = self.config.devices[device]
        layout = Fs() if config.layout is Layout.FS else MaildirPlusPlus()
        return Replica(config.path / layout.directory(account, MailboxName(tuple(mailbox.split("/")))))

    def replicas(self, mailbox: str = "INBOX", *, account: str = "work") -> tuple[Replica, ...]:
        """Return a mailbox as each device has it."""
        return tuple(self.replica(device, mailbox, account=account) for device in self.config.devices)

    async def rows(self, query: Any) -> list[Any]:
        """Return the rows of a query on the store."""
        return await self.db.read(lambda conn: list(conn.execute(query)))

    def _tasks(self) -> Mapping[str, _Task]:
        return {**self.accounts, **self.devices}

    async def _is_left(self) -> bool:
        ask = partial(
            leftover, config=self.config, of_accounts=set(self.accounts), of_devices=set(self.devices), now=self.clock()
        )
        return bool(await self.db.read(ask))

    def _ensure_accounts(self, conn: Connection) -> Mapping[str, int]:
        return {
            name: accounts.ensure_account(conn, name, kind=account.type, identity=account.username)
            for name, account in self.config.accounts.items()
        }


async def states(house: House) -> dict[ReplicaState, int]:
    """Return how many rows of replicas are in each state."""
    counted: dict[ReplicaState, int] = {}
    for row in await house.rows(select(schema.replica_message.c.state)):
        counted[ReplicaState(row.state)] = counted.get(ReplicaState(row.state), 0) + 1
    return counted


async def until_state(house: House, state: ReplicaState, count: int = 1) -> None:
    """Return when that many rows of replicas are in a state."""
    await house.until_read(lambda found: found.count(state) == count, select(schema.replica_message.c.state))


def _password() -> AbstractAsyncContextManager[str]:
    return nullcontext(PASSWORD)


def _positions(conn: Connection) -> list[Any]:
    mailboxes = select(schema.mailbox.c.id, schema.mailbox.c.version).order_by(schema.mailbox.c.id)
    replicas = select(
        schema.replica.c.id, schema.replica.c.version, schema.replica.c.server_cursor, schema.replica.c.replica_cursor
    ).order_by(schema.replica.c.id)
    return [*map(tuple, conn.execute(mailboxes)), *map(tuple, conn.execute(replicas))]
