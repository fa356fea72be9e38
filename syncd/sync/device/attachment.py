"""Floor 4: the attachment of a device to its root: proof that the directory is there and the one that the store knows.

Theory. Attached means that the marker in the root is the one that the store expects. A new and empty directory is made
ours; anything else than these two is left as it is, and nothing is concluded from it, until a person says that it is to
be this device's (`adopt`). From then on it has our marker, and its replicas are looked at for the first time again.
A directory that is not there is made if none had our marker yet: the first, or another one before any batch was done.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from sqlalchemy import Connection

from syncd.config.model import DeviceConfig
from syncd.errors import Cause, DeviceAwayError, FileError, SyncdError, Temper, text_of
from syncd.log import log
from syncd.maildir.disk.files import CUR
from syncd.maildir.disk.marker import Marker, MarkerFault, Standing, is_empty, read_marker, standing, write_marker
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.news.survey import Survey, survey, words_of, words_of_former
from syncd.maildir.system.failures import failing
from syncd.store.engine.changed_rows import DEVICE, ChangedRow
from syncd.store.engine.database import Database
from syncd.store.files import adoption
from syncd.store.mailboxes import mailbox_removals
from syncd.store.people.report import account_ids
from syncd.store.trees import devices, history
from syncd.store.trees.devices import ACTIVE, ADOPTING, AWAY, FOREIGN, DeviceRow
from syncd.store.trees.history import Happening, Verb
from syncd.sync.device.thread import to_its_end
from syncd.sync.remembered import Remembered
from syncd.values import Value, replace


class Adopted(Value):
    """Say what was found in a root that is the device's now: a marker or none, and files in mailboxes.

    is_empty: there was no mailbox, so all is delivered. left: words on files of accounts that are not configured.
    """

    found: str
    is_empty: bool
    files: int = 0
    mailboxes: int = 0
    left: str = ""


class Adoptions:
    """Gather those who ask for an adoption, until the task that owns the device makes it."""

    def __init__(self) -> None:
        self._asked: list[_Asked] = []

    def ask(self, *, leaves_others: bool = False) -> "asyncio.Future[Adopted]":
        """Return what tells how the adoption ended. leaves_others: as `Attachment.adopt`."""
        answer: asyncio.Future[Adopted] = asyncio.get_running_loop().create_future()
        self._asked.append(_Asked(answer, leaves_others))
        return answer

    def fail(self, error: SyncdError) -> None:
        """Tell whoever asked that nobody adopts anything any more."""
        asked, self._asked = self._asked, []
        _refuse(asked, error)

    async def answer(self, adopt: Callable[..., Awaitable[Adopted]]) -> bool:
        """Adopt if somebody asks, and tell whether that was done; whoever asked hears of a failure.

        adopt: takes leaves_others. Who wants none left is served first, and never by what another one allows; what
        succeeds so is what all others asked for, too.
        """
        asked, self._asked = [one for one in self._asked if not one.answer.done()], []
        for leaves_others in (False, True):
            of_them = [one for one in asked if one.leaves_others == leaves_others]
            if not of_them:
                continue
            try:
                adopted = await adopt(leaves_others=leaves_others)
            except SyncdError as error:
                _refuse(of_them, error)
            except BaseException as error:
                told = error if isinstance(error, Exception) else SyncdError("the device's task ended before that")
                _refuse(asked, told)
                raise
            else:
                for one in asked:
                    if not one.answer.done():
                        one.answer.set_result(adopted)
                return True
        return False


class _Asked(Value):
    answer: "asyncio.Future[Adopted]"
    leaves_others: bool


def _refuse(asked: Iterable[_Asked], error: Exception) -> None:
    for one in asked:
        if not one.answer.done():
            one.answer.set_exception(error)


T = TypeVar("T")

Prove = Callable[[ReplicaRoot], None]
"""Raises DeviceAwayError unless the marker in an open root is the one that the store expects."""


class Prover(Protocol):
    """Makes that, of the store as it is, or with the barrier that is begun (`Attachment.prover`)."""

    def __call__(self, begun: int | None = None) -> Awaitable[Prove]: ...


class Attachment:
    """Attach a device to its root, prove it again, and keep the device's row; `attach` comes before all else."""

    def __init__(
        self,
        db: Database,
        name: str,
        config: DeviceConfig,
        *,
        accounts: Collection[str],
        clock: Callable[[], float],
    ) -> None:
        """Take all accounts that are configured, served or not; mail of none that the store knows is in no mailbox."""
        self._db = db
        self._name = name
        self._accounts = accounts
        self._config = config
        self._clock = clock
        self._store_id = ""
        self._attached = DeviceRow(0, name, "", "", 0, 0, "")
        """The device's row as it was when it was attached last."""
        self._row = Remembered(db, devices.device_of, reads=lambda id_: {ChangedRow(DEVICE, id_)})

    async def attach(self) -> bool:
        """Prove that the root is the one we know, or make it ours if it is new and empty; tell whether it was not so.

        DeviceAwayError when it is not: the device is left alone until it is.
        """
        row = await self._ensure()
        try:
            await self._attach(row)
        except FileError as error:
            away = DeviceAwayError(str(error), temper=error.temper)
            await self.record(AWAY, text_of(away))
            raise away from error
        except SyncdError as error:
            await self.record(FOREIGN if error.temper is Temper.GIVE_UP else AWAY, text_of(error))
            raise
        await self.record(ACTIVE, None)
        return row.state not in {ACTIVE, ADOPTING}

    async def adopt(self, *, leaves_others: bool = False) -> Adopted:
        """Make the root ours whatever is in it, with nothing concluded from what is not there.

        DeviceAwayError when there is no directory, it is in another layout, or it has files in no mailbox, unless
        these are to be left. No round may be under way. Interrupted, the root is as foreign as it was, or adopted.
        """
        row = await self._ensure()
        found, how = await asyncio.to_thread(self._examined, row)
        layout, path = self._config.layout.value, str(self._config.path)
        is_empty = await asyncio.to_thread(_has_no_mailbox, self._config.path)
        there = Survey(0, 0, ())
        if is_empty:
            await self._begin_afresh(row)
        else:
            if layout != row.layout and row.generation:
                raise _in_another_layout(row.layout)
            there = await self._surveyed()
            if there.strays and not leaves_others:
                raise DeviceAwayError(
                    f"{words_of(there.strays, layout, accounts=self._accounts)} (nothing was done; "
                    f"{self._adopt_it('--anyway goes on, and leaves them alone')})",
                    temper=Temper.GIVE_UP,
                )
            seen = found.generation if isinstance(found, Marker) else 0
            generation = max(seen, row.generation, row.generation_next) + 1
            knows = how in {Standing.KNOWN, Standing.OLDER}

            def begin(conn: Connection) -> None:
                adoption.begin(
                    conn, row.id, path=path, layout=layout, generation=generation, knows_what_was_agreed=knows
                )
                mailbox_removals.give_back(conn, device_id=row.id)

            await self._db.write(begin)
            await to_its_end(self._write_marker, generation)
            settle = partial(devices.settle_barrier, device_id=row.id, generation=generation, now=self._clock())
            await self._db.write(settle)
            record = partial(devices.record_device_state, device_id=row.id, state=ADOPTING, error=None)
            await self._db.write(record)
        told = (Happening(Verb.ADOPT, detail="a directory without mailboxes" if is_empty else ""),)
        tell = partial(history.tell, happenings=told, now=self._clock(), origin=history.PERSON, device_id=row.id)
        await self._db.write(tell)
        log.info("device_adopted", device=self._name, standing=how.value, is_empty=is_empty, files=there.files)
        words = "no mailbox" if is_empty else self._words(found, how, row)
        return Adopted(words, is_empty, there.files, there.mailboxes, words_of_former(there.former))

    @property
    def device_id(self) -> int:
        """Return the id of the device's row, which it has once it was attached."""
        return self._attached.id

    @property
    def was_filled(self) -> bool:
        """Tell whether anything was ever written to the root, before it was attached."""
        return self._attached.generation > 0

    def learn(self, row: DeviceRow, writes: int | None) -> None:
        """Know the device's row as somebody has read it; writes: as they were counted before that."""
        self._row.learn(row.id, row, writes=writes)

    async def prover(self, begun: int | None = None) -> Prove:
        """Return what raises DeviceAwayError unless an open root is ours, for as long as no other barrier is begun.

        begun: the generation of the one that this task has begun, and not settled; None: it has begun none.
        """
        # NOTE: nobody else moves the generations, so that with this one both are known.
        known = self._attached
        row = await self.row() if begun is None else replace(known, generation=begun - 1, generation_next=begun)

        def prove(root: ReplicaRoot) -> None:
            found = read_marker(root)
            how = self._standing_of(found, row)
            if how is not Standing.KNOWN:
                raise DeviceAwayError(self._refusal(found, how, row))

        return prove

    async def check(self, look: Callable[[ReplicaRoot, Prove], T] | None = None) -> T | None:
        """Prove once more that the root is ours before anything is concluded from it.

        Return what `look` says of it by the same descriptor, None without one; it asks for the proof where it may be
        another than at its last look.
        """
        prove = await self.prover()
        try:
            return await asyncio.to_thread(self._proved, prove, look)
        except DeviceAwayError as error:
            await self.record(AWAY, str(error))
            raise

    async def row(self) -> DeviceRow:
        """Return the device's row as it is now."""
        return await self._row.get(self._attached.id)

    async def record(self, state: str, error: str | None, cause: Cause | None = None) -> None:
        """Record how the device is; one that is being adopted stays so while it is active."""
        if state == ACTIVE and await self.is_adopting():
            state = ADOPTING
        device_id = self._attached.id
        await self._db.write(
            lambda conn: devices.record_device_state(conn, device_id, state=state, error=error, cause=cause)
        )

    async def is_adopting(self) -> bool:
        """Tell whether the device was adopted and not all of it has been compared since."""
        return (await self.row()).state == ADOPTING

    async def record_adopted(self) -> None:
        """Record that an adoption has come to its end."""
        record = partial(devices.record_device_state, device_id=self._attached.id, state=ACTIVE, error=None)
        await self._db.write(record)

    def marker(self, generation: int) -> Marker:
        """Return the marker that the root has after this generation's barrier."""
        return Marker(self._name, self._store_id, generation)

    async def _ensure(self) -> DeviceRow:
        self._store_id = await self._db.write(lambda conn: devices.store_id(conn, now=self._clock()))
        self._attached = row = await self._db.write(self._ensure_row)
        return row

    def _ensure_row(self, conn: Connection) -> DeviceRow:
        return devices.ensure_device(conn, self._name, path=str(self._config.path), layout=self._config.layout.value)

    async def _attach(self, row: DeviceRow) -> None:
        path = str(self._config.path)
        is_new = row.generation_next == 0
        if is_new or (path != row.path and row.generation == 0):
            await asyncio.to_thread(_make_root, self._config.path)
        found, how = await asyncio.to_thread(self._examined, row)
        if how is Standing.MISSING and (is_new or path != row.path):
            if not await asyncio.to_thread(_is_empty, self._config.path):
                raise DeviceAwayError(
                    "the directory holds files but no marker of syncd; "
                    f"{self._adopt_it('takes them over')}, or give the device an empty directory",
                    temper=Temper.GIVE_UP,
                )
            await self._begin_afresh(row)
            log.info("device_filled_afresh", device=self._name)
        elif how is not Standing.KNOWN:
            away = how in {Standing.MISSING, Standing.MALFORMED}
            raise DeviceAwayError(self._refusal(found, how, row), temper=Temper.WAIT if away else Temper.GIVE_UP)
        elif self._config.layout.value != row.layout:
            raise _in_another_layout(row.layout)
        elif path != row.path:
            await self._db.write(lambda conn: devices.move_device(conn, row.id, path))
        if is_new:
            await self._db.write(lambda conn: devices.begin_barrier(conn, row.id))  # its next one begins it again

    async def _begin_afresh(self, row: DeviceRow) -> None:
        path, layout = str(self._config.path), self._config.layout.value
        await self._db.write(lambda conn: devices.empty_device(conn, row.id, path=path, layout=layout))
        await to_its_end(self._write_marker, 0)

    def _proved(self, prove: Prove, look: Callable[[ReplicaRoot, Prove], T] | None) -> T | None:
        with ReplicaRoot(self._config.path) as root:
            if look is not None:
                return look(root, prove)
            prove(root)
            return None

    def _examined(self, row: DeviceRow) -> tuple[Marker | MarkerFault, Standing]:
        with ReplicaRoot(self._config.path) as root:
            found = read_marker(root)
        return found, self._standing_of(found, row)

    async def _surveyed(self) -> Survey:
        former = set(await self._db.read(account_ids)).difference(self._accounts)

        def look() -> Survey:
            with ReplicaRoot(self._config.path) as root:
                return survey(root, self._config.layout.value, accounts=self._accounts, former=former)

        return await asyncio.to_thread(look)

    def _standing_of(self, found: Marker | MarkerFault, row: DeviceRow) -> Standing:
        return standing(found, self.marker(row.generation), reserved_generation=row.generation_next)

    def _write_marker(self, generation: int) -> None:
        with ReplicaRoot(self._config.path) as root:
            write_marker(root, self.marker(generation))

    # Words.

    def _words(self, found: Marker | MarkerFault, how: Standing, row: DeviceRow) -> str:
        """Say what is in the directory."""
        match how, found:
            case Standing.FOREIGN, Marker(device=device, store=store) if store == self._store_id:
                return f"the marker of device {device} (a copy of its directory?)"
            case Standing.FOREIGN, Marker(device=device):
                return f"the marker of another store's device {device} (is another syncd here, or the store a new one?)"
            case Standing.OLDER, Marker(generation=generation):
                return f"an older marker, {generation} instead of {row.generation} (restored from a backup?)"
            case Standing.NEWER, Marker(generation=generation):
                newest = max(row.generation, row.generation_next)
                guesses = "was the device purged, or is the store from a backup, or used twice?"
                return f"a newer marker, {generation} instead of {newest} ({guesses})"
            case Standing.MALFORMED, _:
                return "a marker that cannot be read"
            case Standing.MISSING, _:
                return "files and no marker"
        return "the marker that belongs there"

    def _refusal(self, found: Marker | MarkerFault, how: Standing, row: DeviceRow) -> str:
        """Say what is the matter with a root that is not ours, how far that reaches, and what to do."""
        if how is Standing.MISSING:
            return (
                "there is no marker in the directory: unmounted, moved or emptied; its mail is left alone until it is "
                f"back; {self._adopt_it('goes on with what is there now')}"
            )
        words = self._words(found, how, row)
        return f"the directory has {words}; its mail is left alone; {self._adopt_it('goes on with it')}"

    def _adopt_it(self, what: str) -> str:
        return f"syncd adopt {self._name} {what}"


def _in_another_layout(layout: str) -> DeviceAwayError:
    return DeviceAwayError(
        f"the mail in the directory is in layout {layout}, and stays so; another layout needs an empty directory",
        temper=Temper.GIVE_UP,
    )


def _make_root(path: Path) -> None:
    with failing("make the directory of the device"):
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except FileExistsError:
            pass  # opening it tells what is there instead


def _has_no_mailbox(path: Path) -> bool:
    with ReplicaRoot(path) as root:
        return all(CUR not in inside for _, inside in root.walk())


def _is_empty(path: Path) -> bool:
    with ReplicaRoot(path) as root:
        return is_empty(root)
