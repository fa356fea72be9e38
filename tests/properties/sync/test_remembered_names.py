"""Names that are remembered of a directory say at each moment what a reading of all its rows says."""

import asyncio
import os
import random
import time
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from sqlalchemy import delete, select, update

from syncd.config.model import DeviceConfig
from syncd.mail.flags import NONE
from syncd.mail.tree import ReplicaMessage, ReplicaState
from syncd.maildir.disk.marker import Marker
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.news import observe
from syncd.maildir.news.changes import OVERFLOW, ChangedFile, Changes
from syncd.maildir.news.observe import Called, SeenFile
from syncd.store.engine.database import Database
from syncd.store.files import deletions
from syncd.store.rounds import deliveries, pairs
from syncd.store.rounds.pairs import Settled, Settlement
from syncd.store.tables.schema import replica_message
from syncd.store.trees import replica_tree
from syncd.sync.commons import FileSystems
from syncd.sync.device import sightings, whole_looks
from syncd.sync.device.files import DeviceFiles
from syncd.sync.recent_bodies import RecentBodies
from syncd.sync.rounds.sides import FileDone, FileOutcome, FileTask, FileToDeliver, FileToRemove, FileToRename
from tests.seed import SEED
from tests.unit.store_trees.grove import NOW, Grove

RUNS = range(5)
STEPS = 60
LETTERS = ("", "S", "F", "FS", "T")
SEEN, FLAGGED = frozenset({"\\Seen"}), frozenset({"\\Flagged"})


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with Database.open(f"sqlite:///{tmp_path_factory.mktemp('names')}/syncd.db", auto_migrate=True) as database:
        yield database


@pytest.fixture(autouse=True)
def the_watch_tells_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """`World.tell` tells all there is, so that nothing comes soon after it."""
    monkeypatch.setattr(whole_looks, "_HEARD_OF_S", 0.0)


class World:
    """A device with one mailbox, what its programs do to files, what we do, and what accounts do to rows."""

    def __init__(self, grove: Grove, path: Path, chance: random.Random) -> None:
        self.grove, self.of, self.chance, self.path = grove, grove.laptop, chance, path
        self.mishaps = 0.1
        self.uid = 0
        self.count = 0
        self.meanwhile: Callable[[], object] | None = None
        """What is done by others while we perform next, once."""
        self.told: frozenset[tuple[str, str]] = frozenset()
        self.heard: set[SeenFile] = set()
        with ReplicaRoot(path) as root:
            root.create(PurePosixPath(self.of.directory)).close()
        self.restart()

    def restart(self) -> None:
        """Start the process again: what it remembered is gone."""
        self.files = DeviceFiles(
            self.grove.db,
            DeviceConfig(path=self.path),
            marker=self._marker,
            prover=lambda *_: asyncio.sleep(0, lambda _: None),
            file_systems=FileSystems(),
            recent=RecentBodies(),
            odd_files={},
            clock=time.time,
        )
        self.files.hear_names(True)

    # What programs do.

    def mark(self) -> None:
        if path := self._any():
            name = path.name.partition(":2,")[0]
            self._move(path, self._box / "cur" / f"{name}:2,{self.chance.choice(LETTERS)}")

    def take_away(self) -> None:
        if path := self._any():
            self._move(path, self.path / f"aside-{self.count}")

    def put_back(self) -> None:
        if aside := sorted(self.path.glob("aside-*")):
            self._move(self.chance.choice(aside), self._box / "new" / f"back{self.count}")

    def put_a_known_one_back(self) -> None:
        rows = [row for row in self._rows() if row.state in {ReplicaState.MISSING, ReplicaState.DELETED}]
        if rows:
            (self._box / "cur" / f"{self.chance.choice(rows).name}:2,S").write_bytes(b"back")

    def add(self) -> None:
        (self._box / self.chance.choice(("cur", "new")) / f"own{self.count}").write_bytes(b"A: b\n\n")

    def double(self) -> None:
        if path := self._any():
            name = path.name.partition(":2,")[0]
            (self._box / "cur" / f"{name}:2,R").write_bytes(b"twice")

    def make_odd(self) -> None:
        name = f"odd{self.count}"
        if (path := self._any()) and self.chance.random() < 0.5:
            path.unlink()
            name = path.name
        os.mkfifo(self._box / "cur" / name) if not (self._box / "cur" / name).exists() else None

    # What we do; a transaction that failed, or the end of the process, comes at any moment.

    async def deliver(self) -> None:
        ids = self.grove.plant(*range(self.uid + 1, self.uid + 4))[-3:]
        self.uid += 3
        bodies = self.grove(partial(deliveries.deliverables, message_ids=ids))
        minted = self.files.mint(self.of, [(bodies[id_], self.chance.choice((NONE, SEEN))) for id_ in ids])
        made = self.grove(lambda conn: replica_tree.announce_deliveries(conn, self.of.id, minted))
        flags = {one.message_id: one.flags for one in minted}
        await self._perform([FileToDeliver(made[id_], bodies[id_], flags[id_], None, False) for id_ in ids])

    async def rename(self) -> None:
        rows = self._of_messages()
        self.grove(lambda conn: replica_tree.announce_moves(conn, [row.id for row in rows]))
        await self._perform([FileToRename(row, FLAGGED - row.flags, FLAGGED & row.flags) for row in rows])

    async def remove(self) -> None:
        rows = self._of_messages()
        self.grove(lambda conn: replica_tree.announce_withdrawals(conn, [row.id for row in rows]))
        await self._perform([FileToRemove(row) for row in rows])

    async def look_at_one(self) -> None:
        if path := self._any():
            await self.files.observe(self.of, [SeenFile.of(path.parent.name, path.name)])

    async def look(self) -> None:
        await self.files.observe_all(self.of)

    # What the watch tells, soon or late, and what is looked at of that, later still.

    def tell(self) -> None:
        there = frozenset(
            (path.parent.name, path.name) for sub in ("cur", "new") for path in (self._box / sub).iterdir()
        )
        directory = PurePosixPath(self.of.directory)
        files = [ChangedFile(directory, SeenFile.of(*one)) for one in there - self.told]
        files += [ChangedFile(directory, SeenFile.of(*one), is_gone=True) for one in self.told - there]
        self.told = there
        self.heard |= {changed.file for changed in self.files.unexpected(Changes(frozenset(files))).files}

    async def hear(self, changes: Changes) -> None:
        self.files.unexpected(changes)

    async def look_at_what_was_told(self) -> None:
        heard, self.heard = self.heard, set()
        await self.files.observe(self.of, list(heard))

    async def look_for_missed(self) -> None:
        await self.files.look_for_missed(self.of)

    # What accounts do to rows, of which the device's task does not hear.

    def become_messages(self) -> None:
        for row in self._rows():
            if row.state is ReplicaState.NEW:
                self.uid += 1
                message_id = self.grove.plant(self.uid)[-1]
                self._set(row, state=ReplicaState.PRESENT, message_id=message_id)

    def become_own_again(self) -> None:
        for row in self._of_messages():
            self._set(row, state=ReplicaState.NEW, message_id=None)

    def conclude(self) -> None:
        ids = [row.id for row in self._rows() if row.state is ReplicaState.MISSING]
        self.grove(lambda conn: deletions.conclude(conn, self.of, ids[::2], listed_at=NOW))

    def forget_deleted(self) -> None:
        rows = (replica_message.c.replica_id == self.of.id, replica_message.c.state == ReplicaState.DELETED)
        self.grove(lambda conn: conn.execute(delete(replica_message).where(*rows)) and None)

    # What is said of it.

    async def is_unchanged(self) -> bool:
        return bool(await self.files.unchanged([self.of]))

    async def check(self) -> None:
        """Compare what is to be looked at by what is remembered and by all rows."""
        looks, of = self.files._whole_looks, self.of
        keywords, roll = self.files.keywords.of(of), self.files._whole_looks._rolls.kept(of.id)
        if roll is None:
            return
        is_unchanged = await self.is_unchanged()
        as_listed = await self.files.as_listed(of.device_id, [of])
        remembered = await looks.look(of, keywords, lambda _: None)
        looks.forget(of)
        fresh = await looks.look(of, keywords, lambda _: None)
        looks._rolls.put(of.id, roll)

        # NOTE: what took the very name of a file and is none is not seen by names; whoever looks leaves it alone.
        odd = {file for file in remembered.suspects if (self._box / file.subdir / file.filename).is_fifo()}
        assert set(remembered.suspects) - odd == set(fresh.suspects)
        assert not (as_listed and fresh.suspects)
        if is_unchanged:
            places = self.grove(partial(replica_tree.places, replica_id=of.id, names=None))
            assert all(file.name in places and not places[file.name].is_settled for file in fresh.suspects)

    async def step(self) -> str:
        self.count += 1
        what: Callable[[], Any] = self.chance.choices(*zip(*self._steps(), strict=True))[0]
        done = what()
        if asyncio.iscoroutine(done):
            await done
        return what.__name__

    def _steps(self) -> list[tuple[Callable[[], Any], int]]:
        programs = [self.mark, self.take_away, self.put_back, self.put_a_known_one_back, self.add]
        accounts = [self.become_messages, self.become_own_again, self.conclude, self.forget_deleted]
        often = [self.deliver, self.rename, self.look, self.tell]
        told = [self.look_at_one, self.look_at_what_was_told, self.look_for_missed]
        seldom = [self.double, self.make_odd, self.restart]
        steps: list[tuple[Callable[[], Any], int]] = [(one, 1) for one in seldom]
        steps += [(one, 3) for one in (*programs, *accounts, *told, self.remove)]
        return steps + [(one, 6) for one in often]

    async def _perform(self, tasks: list[FileTask]) -> None:
        if not tasks or self.chance.random() < self.mishaps:
            return
        if self.meanwhile is None and self.chance.random() < 3 * self.mishaps:
            self.meanwhile = self.chance.choice((self.mark, self.take_away, self.put_back, self.add))
        outcomes = await self.files.perform(self.of, tasks, generation=1)
        if self.chance.random() < self.mishaps:
            return
        done = Settlement(
            delivered=self._settled(tasks, outcomes, FileToDeliver),
            renamed=self._settled(tasks, outcomes, FileToRename),
            removed=tuple(one.file.message_id or 0 for one in tasks if self._is_removed(one, outcomes)),
        )
        undone = [one.file.id for one in tasks if not isinstance(outcomes[one.file.id], FileDone)]
        changing = [one.file.id for one in tasks if one.file.id in undone and not isinstance(one, FileToDeliver)]
        self.grove(lambda conn: pairs.settle(conn, self.of, done, now=NOW))
        self.grove(lambda conn: replica_tree.retract_announcements(conn, changing))

    def _marker(self, generation: int) -> Marker:
        """Make what is written when all is done and not all is over."""
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return Marker("laptop", "store", generation)

    def _settled(
        self, tasks: list[FileTask], outcomes: Any, kind: type[FileToDeliver] | type[FileToRename]
    ) -> tuple[Settled, ...]:
        return tuple(
            Settled(one.file.id, one.file.message_id or 0, outcome.info, outcome.subdir, one.flags)
            for one in tasks
            if isinstance(one, kind) and isinstance(outcome := outcomes[one.file.id], FileDone)
        )

    def _is_removed(self, task: FileTask, outcomes: dict[int, FileOutcome]) -> bool:
        return isinstance(task, FileToRemove) and isinstance(outcomes[task.file.id], FileDone)

    def _of_messages(self) -> list[ReplicaMessage]:
        rows = [row for row in self._rows() if row.message_id is not None and row.state is ReplicaState.PRESENT]
        return self.chance.sample(rows, min(3, len(rows)))

    def _rows(self) -> list[ReplicaMessage]:
        query = select(*replica_tree.FILE_COLUMNS).where(replica_message.c.replica_id == self.of.id)
        return [replica_tree.replica_message_of(row) for row in self.grove.rows(query.order_by(replica_message.c.id))]

    def _set(self, row: ReplicaMessage, **values: Any) -> None:
        self.grove(lambda conn: conn.execute(update(replica_message).filter_by(id=row.id).values(**values)) and None)

    def _any(self) -> Path | None:
        """Return a file, often the one that came or changed last: of it the least is known."""
        paths = [path for subdir in ("cur", "new") for path in (self._box / subdir).iterdir() if path.is_file()]
        paths.sort(key=lambda path: (path.stat().st_ctime_ns, path.name))
        return (paths[-1] if self.chance.random() < 0.5 else self.chance.choice(paths)) if paths else None

    def _move(self, path: Path, to: Path) -> None:
        if not to.exists():
            path.rename(to)

    @property
    def _box(self) -> Path:
        return self.path / self.of.directory


@pytest.mark.parametrize("run", RUNS)
async def test_remembered_names_say_what_all_rows_say(database: Database, tmp_path: Path, run: int) -> None:
    """Whatever programs, accounts and we ourselves do, and wherever we are interrupted, the same is looked at."""
    trace: list[str] = []
    world = World(Grove(database, f"names{run}"), tmp_path, random.Random(SEED + run))
    try:
        for _ in range(STEPS):
            trace.append(await world.step())
            await world.check()
    except BaseException:
        print(f"SYNCD_SEED={SEED} run {run}", *trace, sep="\n")
        raise


async def test_file_that_went_before_anybody_saw_it_is_missed(database: Database, tmp_path: Path) -> None:
    """We delivered it, so that it was to be there: no listing has had its name, and yet the next one misses it."""
    world = World(Grove(database, "missed"), tmp_path, random.Random(SEED))
    world.mishaps = 0.0
    await world.look()
    await world.deliver()
    while path := world._any():
        path.unlink()

    await world.check()
    await world.look()

    assert [row.state for row in world._rows()] == [ReplicaState.MISSING] * 3


async def test_nothing_is_listed_for_a_file_that_went_while_more_may_be_told(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a program changes its files each listing would be in vain; one looks for all that was missed meanwhile."""
    world = await _of_three_messages(database, tmp_path)
    listed: list[frozenset[str]] = []

    def called_in(root: ReplicaRoot, directory: PurePosixPath, wanted: Collection[str]) -> Called:
        listed.append(frozenset(wanted))
        return observe.called_in(root, directory, wanted)

    monkeypatch.setattr(sightings, "called_in", called_in)
    while path := world._any():
        path.unlink()
        await world.files.observe(world.of, [SeenFile.of(path.parent.name, path.name)])
    assert listed == []

    await world.files.look_for_missed(world.of)

    rows = world._rows()
    assert listed == [{row.name for row in rows}]
    assert [row.state for row in rows] == [ReplicaState.MISSING] * 3


async def test_only_our_own_doing_that_was_told_leaves_a_directory_unlisted(database: Database, tmp_path: Path) -> None:
    """Until the watch has told of all of it, something else may have changed meanwhile."""
    world = await _of_three_messages(database, tmp_path)
    await world.rename()
    assert not await world.is_unchanged()

    world.tell()

    assert await world.is_unchanged()


@pytest.mark.parametrize("doing", [World.mark, World.take_away, World.add])
async def test_what_changes_while_we_change_a_directory_has_it_listed(
    database: Database, tmp_path: Path, doing: Callable[[World], None]
) -> None:
    """The times are as we left them; neither before it is told, nor once it is told and not recorded, do they count."""
    world = await _of_three_messages(database, tmp_path)
    world.meanwhile = partial(doing, world)
    await world.rename()
    assert not await world.is_unchanged()

    world.tell()
    assert not await world.is_unchanged()

    await world.look()
    assert await world.is_unchanged()


@pytest.mark.parametrize("when", ["while we change it", "afterwards"])
@pytest.mark.parametrize("told", [OVERFLOW, Changes(mailboxes=frozenset({PurePosixPath()}))])
async def test_directory_we_changed_is_listed_when_the_watch_was_made_anew(
    database: Database, tmp_path: Path, when: str, told: Changes
) -> None:
    """What was missed was before all that is told of our own doing, and left no trace in the times."""
    world = await _of_three_messages(database, tmp_path)
    if when == "while we change it":
        loop = asyncio.get_running_loop()
        world.meanwhile = lambda: asyncio.run_coroutine_threadsafe(world.hear(told), loop).result()
    await world.rename()
    world.tell()
    if when == "afterwards":
        assert await world.is_unchanged()
        await world.hear(told)

    assert not await world.is_unchanged()


async def test_directory_we_changed_is_listed_where_no_file_is_named(database: Database, tmp_path: Path) -> None:
    """A watch that polls tells of no file, neither of ours nor of others; nothing is waited for."""
    world = await _of_three_messages(database, tmp_path)
    world.files.hear_names(False)
    await world.rename()
    assert not await world.is_unchanged()

    world.files.hear_names(True)
    assert not await world.is_unchanged()
    assert not world.files._ours._expected


async def _of_three_messages(database: Database, path: Path) -> World:
    world = World(Grove(database, f"three-{path.name}"), path, random.Random(SEED))
    world.mishaps = 0.0
    await world.deliver()
    world.tell()
    await world.look()
    assert await world.is_unchanged()
    return world
