"""Floor 4: the task of one device: prove that its root is there, watch it, and keep its replicas at their mailboxes.

Theory. Attached means that the marker in the root is the one that the store expects; without that nothing is read or
written, and nothing is concluded. Once attached, the whole of each replica is compared with its rows, then the task
waits for names that moved, for a server tree that changed, and for the hourly complete look.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import structlog
from sqlalchemy import Connection

from syncd.config.model import DeviceConfig, Layout, Watch
from syncd.errors import DeviceAwayError, MailboxNameError, SyncdError, Temper
from syncd.mail.mailbox import is_selected
from syncd.maildir.failures import failing
from syncd.maildir.layout import Fs, MaildirPlusPlus
from syncd.maildir.layout import Layout as DirectoryLayout
from syncd.maildir.marker import MARKER, Marker, Standing, read_marker, standing, write_marker
from syncd.maildir.observe import SeenFile
from syncd.maildir.root import ReplicaRoot
from syncd.maildir.watch import OVERFLOW, Changes, WatchMode, watch
from syncd.reconcile.guard import DEFAULT, Rule
from syncd.reconcile.mailboxes import sync_order
from syncd.store import accounts, devices, holds, troubles
from syncd.store.accounts import MailboxRow
from syncd.store.database import Database
from syncd.store.devices import DeviceRow, ReplicaRow
from syncd.store.holds import HoldState
from syncd.sync.activity import Activity
from syncd.sync.device_files import DeviceFiles
from syncd.sync.policies import policy_of, selection_of, selection_text
from syncd.sync.requests import Asked, Requests
from syncd.sync.round import ReplicaRound
from syncd.sync.wakes import Wakes

log = structlog.get_logger()

_FULL_LOOK_S = 3600.0
_MARKER_CHECK_S = 30.0
_STALE_ROUNDS_MAX = 20


@dataclass(frozen=True, slots=True)
class Served:
    """A replica with its mailbox and the account that it belongs to."""

    replica: ReplicaRow
    mailbox: MailboxRow
    account: str


class Device:
    """Keep the replicas of one device; `attach` first, then `settle`, or `run` for as long as the device is there."""

    def __init__(
        self,
        db: Database,
        name: str,
        config: DeviceConfig,
        *,
        account_ids: Mapping[str, int],
        wakes: Wakes,
        turn: asyncio.Lock,
        activity: Activity,
        clock: Callable[[], float],
        rule: Rule = DEFAULT,
    ) -> None:
        """Take the ids of the accounts that the device selects, by name."""
        self._db = db
        self._name = name
        self._config = config
        self._account_ids = account_ids
        self._wakes = wakes
        self._activity = activity
        self._clock = clock
        self._rule = rule
        self._layout: DirectoryLayout = Fs() if config.layout is Layout.FS else MaildirPlusPlus()
        self._files = DeviceFiles(db, config, marker=self._marker, turn=turn, clock=clock)
        self.requests = Requests(wakes.device(name))
        self._store_id = ""
        self._selections: dict[int, str] = {}
        self._are_holds_judged = False

    @property
    def name(self) -> str:
        return self._name

    async def attach(self) -> None:
        """Prove that the root is the one we know, or make it ours if it is new and empty.

        DeviceAwayError when it is not: the device is left alone until it is.
        """
        self._activity.now("attaching", self._clock())
        self._store_id = await self._db.write(lambda conn: devices.store_id(conn, now=self._clock()))
        row = await self._db.write(self._ensure_row)
        try:
            await self._attach(row)
        except SyncdError as error:
            state = "foreign" if error.temper is Temper.GIVE_UP else "away"
            text = str(error)
            await self._db.write(lambda conn: devices.record_device_state(conn, row.id, state=state, error=text))
            raise
        await self._db.write(lambda conn: devices.record_device_state(conn, row.id, state="active", error=None))
        self._activity.error = self._activity.retry_at = None
        await self._ensure_replicas()
        log.info("device_attached", device=self._name)

    async def settle(self, *, until: Callable[[], bool] = lambda: False) -> int:
        """Run rounds until no replica has news of its server, or `until` says so; return the number of effects."""
        effects = stale_rounds = 0
        await self._ensure_replicas()
        due = await self._due()
        while stale_rounds <= _STALE_ROUNDS_MAX and not until():
            served = next((s for s in await self._served() if s.replica.has_server_news or s.mailbox.id in due), None)
            if served is None:
                break
            due.discard(served.mailbox.id)
            self._activity.now(f"delivering {served.account}/{served.mailbox.name}", self._clock())
            row = await self._db.write(self._ensure_row)
            selection = selection_of(self._config, now=self._clock())
            policy = policy_of(served.replica, served.mailbox, selection)
            result = await ReplicaRound(
                self._db, self._files, row, served.replica, policy, self._rule, self._clock()
            ).run()
            effects += result.effects
            stale_rounds += result.is_stale
            self._wakes.account(served.account).set()
        self._are_holds_judged |= not until()
        return effects

    async def _due(self) -> set[int]:
        row = await self._db.write(self._ensure_row)
        now = self._clock()
        due = await self._db.read(lambda conn: troubles.due_mailboxes(conn, device_id=row.id, now=now))
        # NOTE: once after each start all holds are judged anew, by the rule that the configuration has now.
        states = {HoldState.RELEASED} if self._are_holds_judged else set(HoldState)
        again = await self._db.read(lambda conn: holds.mailboxes_of(conn, device_id=row.id, states=states))
        return {*due, *again}

    async def observe(self, changes: Changes) -> None:
        """Look at what changed below the root, and wake the accounts whose mail that was."""
        files: dict[str, list[SeenFile]] = {}
        for changed in changes.files:
            files.setdefault(str(changed.directory), []).append(changed.file)
        for served in await self._served():
            replica, directory = served.replica, PurePosixPath(served.replica.directory)
            is_whole = changes.is_overflow or any(directory.is_relative_to(one) for one in changes.mailboxes)
            if is_whole:
                await self._files.read_keywords(replica)
                count = await self._files.observe_all(replica)
            elif replica.directory in files:
                count = await self._files.observe(replica, files[replica.directory])
            else:
                continue
            if count:
                self._wakes.account(served.account).set()

    async def look(self) -> None:
        """List every replica completely and record what the device did."""
        await self.observe(OVERFLOW)

    async def run(self) -> None:
        """Serve the device until cancelled; raises when its root is no longer what it was."""
        try:
            await self.attach()
            await self._run()
        except SyncdError as error:
            self.requests.fail(error)
            raise

    async def _run(self) -> None:
        wake, changes = self._wakes.device(self._name), _Pending()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._watch(changes, wake))
                await self._serve(changes, wake)
        except ExceptionGroup as errors:
            raise _first(errors) from errors

    async def _serve(self, changes: "_Pending", wake: asyncio.Event) -> None:
        looked_at = self._clock()
        while True:
            await self._sleep(wake)
            await self._check_marker()
            asked = self.requests.take()
            if asked is Asked.LOOK or self._clock() - looked_at >= _FULL_LOOK_S:
                changes.add(OVERFLOW)
                looked_at = self._clock()
            if changes.pending:
                await self.observe(changes.take())
            await self.settle(until=lambda: bool(changes.pending))
            if changes.pending:
                wake.set()
            else:
                self.requests.answer()
                self._activity.now("idle", self._clock())

    async def _watch(self, changes: "_Pending", wake: asyncio.Event) -> None:
        stop = asyncio.Event()
        mode = WatchMode.POLL if self._config.watch is Watch.POLL else WatchMode.AUTO
        async with aclosing(watch(self._config.path, stop=stop, mode=mode)) as found:
            async for changed in found:
                unexpected = self._files.unexpected(changed)
                if unexpected:
                    changes.add(unexpected)
                    wake.set()

    async def _sleep(self, wake: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(_MARKER_CHECK_S):
                await wake.wait()
        except TimeoutError:
            pass
        wake.clear()

    async def _check_marker(self) -> None:
        """Prove once more that the root is ours before anything is concluded from it."""
        row = await self._db.write(self._ensure_row)
        found = await asyncio.to_thread(self._standing, row)
        if found is not Standing.KNOWN:
            await self._db.write(
                lambda conn: devices.record_device_state(conn, row.id, state="away", error=_WHY[found])
            )
            raise DeviceAwayError(_WHY[found])

    async def _attach(self, row: DeviceRow) -> None:
        path = str(self._config.path)
        is_new = row.generation_next == 0
        if is_new:
            await asyncio.to_thread(_make_root, self._config.path)
        found = await asyncio.to_thread(self._standing, row)
        if found is Standing.MISSING and (is_new or path != row.path):
            if not await asyncio.to_thread(_is_empty, self._config.path):
                raise DeviceAwayError(
                    "the directory holds files but no marker of syncd; give the device an empty directory",
                    temper=Temper.GIVE_UP,
                )
            layout = self._config.layout.value
            await self._db.write(lambda conn: devices.empty_device(conn, row.id, path=path, layout=layout))
            await asyncio.to_thread(self._write_first_marker)
            log.info("device_filled_afresh", device=self._name)
        elif found is not Standing.KNOWN:
            away = found in {Standing.MISSING, Standing.MALFORMED}
            raise DeviceAwayError(_WHY[found], temper=Temper.WAIT if away else Temper.GIVE_UP)
        elif self._config.layout.value != row.layout:
            raise DeviceAwayError(
                f"the replicas are in layout {row.layout}; another layout needs an empty directory",
                temper=Temper.GIVE_UP,
            )
        elif path != row.path:
            await self._db.write(lambda conn: devices.move_device(conn, row.id, path))

    def _standing(self, row: DeviceRow) -> Standing:
        with ReplicaRoot(self._config.path) as root:
            return standing(read_marker(root), self._marker(row.generation), reserved_generation=row.generation_next)

    def _write_first_marker(self) -> None:
        with ReplicaRoot(self._config.path) as root:
            write_marker(root, self._marker(0))

    def _marker(self, generation: int) -> Marker:
        return Marker(self._name, self._store_id, generation)

    def _ensure_row(self, conn: Connection) -> DeviceRow:
        return devices.ensure_device(conn, self._name, path=str(self._config.path), layout=self._config.layout.value)

    async def _ensure_replicas(self) -> None:
        """Make the replicas of mailboxes that the device selects and does not have."""
        known = {served.replica.mailbox_id for served in await self._served()}
        text = selection_text(self._config)
        row = await self._db.write(self._ensure_row)
        for account, mailbox in await self._selected():
            if mailbox.id in known and self._selections.get(mailbox.id) == text:
                continue
            try:
                directory = self._layout.directory(account, mailbox.name)
            except MailboxNameError as error:
                log.warning("mailbox_refused", device=self._name, account=account, error=str(error))
                self._activity.error = str(error)
                continue
            # NOTE: one that a replica had and that is gone is no empty one, so it is not made again.
            prepare = self._clean_directory if mailbox.id in known else self._make_directory
            await asyncio.to_thread(prepare, directory)
            make = partial(
                devices.ensure_replica,
                device_id=row.id,
                mailbox_id=mailbox.id,
                directory=str(directory),
                selection=text,
            )
            await self._db.write(make)
            self._selections[mailbox.id] = text

    def _make_directory(self, directory: PurePosixPath) -> None:
        with ReplicaRoot(self._config.path) as root, root.create(directory) as mailbox:
            mailbox.clean_tmp(now_s=self._clock())

    def _clean_directory(self, directory: PurePosixPath) -> None:
        with ReplicaRoot(self._config.path) as root, root.mailbox(directory) as mailbox:
            mailbox.clean_tmp(now_s=self._clock())

    async def _selected(self) -> list[tuple[str, MailboxRow]]:
        """Return the mailboxes that the device selects, in the order in which they are synced."""
        found: list[tuple[str, MailboxRow]] = []
        for account, account_id in self._account_ids.items():
            rows = await self._db.read(partial(accounts.mailboxes, account_id=account_id))
            found += [(account, row) for row in rows if row.is_synced and self._takes(row)]
        return sorted(found, key=lambda one: sync_order(one[1].name, one[1].special_use))

    def _takes(self, mailbox: MailboxRow) -> bool:
        return is_selected(mailbox.name, self._config.mailboxes)

    async def _served(self) -> list[Served]:
        row = await self._db.write(self._ensure_row)
        replicas = await self._db.read(partial(devices.replicas, device_id=row.id))
        by_mailbox = {replica.mailbox_id: replica for replica in replicas}
        return [
            Served(by_mailbox[mailbox.id], mailbox, account)
            for account, mailbox in await self._selected()
            if mailbox.id in by_mailbox
        ]


def _first(errors: BaseException) -> BaseException:
    """Return the error that ended a group of tasks; the others ended because of it."""
    while isinstance(errors, BaseExceptionGroup):
        errors = errors.exceptions[0]
    return errors


class _Pending:
    """Gather changes until the task takes them."""

    def __init__(self) -> None:
        self.pending = Changes()

    def add(self, changes: Changes) -> None:
        self.pending |= changes

    def take(self) -> Changes:
        taken, self.pending = self.pending, Changes()
        return taken


_WHY = {
    Standing.MISSING: "there is no marker in the directory: unmounted, moved or emptied; its mail is left alone",
    Standing.MALFORMED: "the marker in the directory cannot be read; its mail is left alone",
    Standing.FOREIGN: "the marker in the directory belongs to another device or store; its mail is left alone",
    Standing.OLDER: "the directory is older than the store remembers: restored from a backup? its mail is left alone",
    Standing.NEWER: "the directory is newer than the store remembers: store from a backup? its mail is left alone",
}


def _make_root(path: Path) -> None:
    with failing("make the replica root"):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)


def _is_empty(path: Path) -> bool:
    with failing("list the replica root"):
        # NOTE: interrupted while we wrote the first marker, a root holds what was to become it.
        return {entry.name for entry in path.iterdir()} <= {"lost+found", f"{MARKER}~"}
