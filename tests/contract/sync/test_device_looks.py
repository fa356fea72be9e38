"""Looks at a device's files: two files of one name, edits in place, what a look costs, and cancelled work."""

import asyncio
import shutil
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath

import pytest
from sqlalchemy import select

from syncd.mail.tree import ReplicaState
from syncd.maildir.disk.marker import Marker, read_marker
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.news.changes import OVERFLOW, ChangedFile, Changes
from syncd.maildir.news.observe import SeenFile
from syncd.store.engine.database import Database
from syncd.store.tables import schema
from syncd.store.trees import devices, replica_tree
from syncd.sync.commons import FileSystems
from syncd.sync.device import whole_looks
from syncd.sync.device.files import DeviceFiles
from syncd.sync.device.turns import DeviceTurns
from syncd.sync.recent_bodies import RecentBodies
from syncd.sync.rounds.sides import FileToRename
from syncd.values import replace
from tests.contract.sync.house import House, imap, until_state
from tests.contract.sync.letters import letter
from tests.contract.sync.provider import Provider

SEEN, FLAGGED, ANSWERED = "\\Seen", "\\Flagged", "\\Answered"
DEVICES = ("laptop", "phone")


def house_of(directory: Path, user: Provider, devices: tuple[str, ...] = DEVICES) -> House:
    return House(directory, accounts={"work": imap(user.server, user.user)}, devices=devices)


# Two files of one name.


@pytest.mark.parametrize("when", ["running", "stopped"])
async def test_two_files_of_one_name_change_nothing(tmp_path: Path, user: Provider, when: str) -> None:
    """A copy out of a backup beside the file it once was says nothing; with one of them gone, the other counts."""
    user.receive("a", "b", "d", flags=(SEEN,))
    house = house_of(tmp_path, user)
    async with house:
        await house.settle()
        laptop = house.replica("laptop")
        old = laptop.find("a").path
        backup = tmp_path / "backup"
        shutil.copy2(old, backup)
        laptop.mark("a", add="F", remove="S")
        await house.settle()
        assert user.flags()["a"] == {FLAGGED}
        if when == "running":
            shutil.copy2(backup, old)
            await _changes_are_seen(house, user)
    if when == "stopped":
        shutil.copy2(backup, old)

    async with house:
        for _ in range(3):
            await house.settle()
            assert user.flags()["a"] == {FLAGGED}
        await _changes_are_seen(house, user)
        assert laptop.keys() == ["a", "a", "b", "d"]
        versions = await _file_versions(house)
        await house.settle()
        assert await _file_versions(house) == versions

        next(file.path for file in laptop.files() if file.path != old and old.name.startswith(file.stem)).unlink()
        await house.settle()
        assert user.flags()["a"] == {SEEN}


# Edits in place.


@pytest.mark.parametrize("edited", ["laptop", "phone"])
async def test_edit_while_stopped_is_noticed_at_the_start(tmp_path: Path, user: Provider, edited: str) -> None:
    """A file that was written in place is new mail once, though devices share it by links; its message is restored."""
    user.receive("a", "b")
    house = house_of(tmp_path, user)
    async with house:
        await house.settle()
    with house.replica(edited).find("a").path.open("ab") as file:
        file.write(b"one line more\n")

    async with house:
        await house.settle()

        assert sorted(user.bodies()) == sorted([letter("a"), letter("a") + b"one line more\r\n", letter("b")])
        for replica in house.replicas():
            assert replica.keys() == ["a", "a", "b"]
            assert sorted(b"one line more" in file.octets for file in replica.files()) == [False, False, True]


@pytest.mark.parametrize("is_overflow", [False, True])
async def test_edit_that_is_heard_of_with_a_whole_look_is_noticed(
    tmp_path: Path, user: Provider, is_overflow: bool
) -> None:
    """No name tells it, so it is not lost in a listing; and where events may be lost, every file is examined."""
    user.receive("a", "b")
    account = imap(user.server, user.user)
    async with House(tmp_path, accounts={"work": account}, devices={"laptop": {"watch": "poll"}}) as house:
        await house.settle()
        path = house.replica("laptop").find("a").path
        with path.open("ab") as file:
            file.write(b"one line more\n")
        directory = PurePosixPath(path.parent.parent.name)
        written = ChangedFile(directory, SeenFile.of(path.parent.name, path.name), is_written=True)
        everything = Changes(mailboxes=frozenset({PurePosixPath()}))

        await house.devices["laptop"].observe(OVERFLOW if is_overflow else everything | Changes(frozenset({written})))
        await house.settle()

        assert sorted(user.bodies()) == sorted([letter("a"), letter("a") + b"one line more\r\n", letter("b")])


# What a look costs.


async def test_flag_of_the_server_lists_no_directory(tmp_path: Path, user: Provider, listings: "_Listings") -> None:
    """Our own renames and removals are heard of, and found where the rows say: no listing, however large a mailbox."""
    user.receive("a", "b", "c", "d")
    async with house_of(tmp_path, user) as house:
        await house.settle()
        await _changes_are_seen(house, user)
        with listings.heard() as listed:
            user.store("a", "+FLAGS (\\Flagged)")
            user.store("b", "+FLAGS (\\Seen)")
            await house.until(lambda: all(SEEN in one.flags()["b"] for one in house.replicas()))
            user.expunge("c")
            await house.until(lambda: all("c" not in one.flags() for one in house.replicas()))
            await _changes_are_seen(house, user)
        assert listed == []
        await house.settle()
        assert [one.flags() for one in house.replicas()] == [user.flags()] * 2


async def test_flag_of_a_device_lists_no_directory(tmp_path: Path, user: Provider, listings: "_Listings") -> None:
    """A rename by the device's program is two events, the old name gone and a new one there; one look answers both."""
    user.receive("a", "b", "d")
    async with house_of(tmp_path, user) as house:
        await house.settle()
        await _changes_are_seen(house, user)
        with listings.heard() as listed:
            house.replica("laptop").mark("a", add="S")
            await house.until(lambda: user.flags()["a"] == {SEEN})
            await _changes_are_seen(house, user)
        assert listed == []


async def test_sync_lists_nothing_that_only_we_ourselves_changed(
    tmp_path: Path, user: Provider, listings: "_Listings", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the watch has told of what we did, whoever asks has no directory listed for it; and programs' doing is."""
    monkeypatch.setattr(whole_looks, "_HEARD_OF_S", 0.0)
    user.receive("a", "b", "c", "d")
    async with house_of(tmp_path, user) as house:
        await house.settle()
        await _changes_are_seen(house, user)
        await _rest(house)
        user.store("a", "+FLAGS (\\Flagged)")
        user.expunge("c")
        user.receive("e")
        await house.until(lambda: all(one.flags() == user.flags() for one in house.replicas()))
        await house.until(lambda: not any(one._files._ours._expected for one in house.devices.values()))

        with listings.heard() as listed:
            await house.settle()

        assert listed == []
        assert [one.flags() for one in house.replicas()] == [user.flags()] * 2

        house.replica("phone").find("b").path.unlink()
        await house.settle()

        assert sorted(user.flags()) == ["a", "d", "e"]


async def test_what_is_over_is_in_doubt_no_more(tmp_path: Path, user: Provider) -> None:
    """A mailbox that left while it was in doubt costs one look; a pass that ends before it begins puts nothing off."""
    user.receive("a")
    async with house_of(tmp_path, user, ("laptop",)) as house:
        await house.settle()
        device = house.devices["laptop"]
        files, rounds, mailboxes = device._files, device._rounds, device._mailboxes
        (device_id,) = [row[0] for row in await house.rows(select(schema.device.c.id))]
        left = replace((await mailboxes.looked_at(device_id))[0].replica, id=0)
        files._whole_looks.we_changed(left, before=(), after=None)
        await house.ask("laptop")
        assert not files.take_doubts()

        rounds.is_put_off = True
        await device.settle(until=lambda: True)
        assert not rounds.is_put_off


async def _rest(house: House) -> None:
    """Let all be listed, so that what comes is what is new."""
    for _ in range(2):
        await house.settle()


# Cancelled work.


async def test_cancelled_work_is_over_when_the_cancellation_passes(tmp_path: Path, user: Provider) -> None:
    """A batch that its thread has begun is written to its end first, so that whoever comes next is alone."""
    count = 150
    user.receive(*(f"m{number}" for number in range(count)))
    house = house_of(tmp_path, user, ("laptop",))
    async with house:
        await house.settle()
        replica = house.replica("laptop")
    db = await asyncio.to_thread(Database.open, house.config.store.url.get_secret_value(), auto_migrate=False)
    try:
        store_id = await db.write(lambda conn: devices.store_id(conn, now=0.0))
        [of] = [one for one in await db.read(devices.replicas) if one.directory == ".work.INBOX"]
        names = [file.stem for file in replica.files()]
        rows = await db.read(lambda conn: replica_tree.files_by_name(conn, of.id, names))
        files = DeviceFiles(
            db,
            house.config.devices["laptop"],
            marker=lambda generation: Marker("laptop", store_id, generation),
            prover=lambda _=None: asyncio.sleep(0, lambda _: None),
            file_systems=FileSystems(),
            recent=RecentBodies(),
            odd_files={},
            clock=time.time,
        )
        tasks = [FileToRename(row, frozenset({SEEN}), frozenset()) for row in rows.values()]
        assert len(tasks) == count
        work = asyncio.create_task(files.perform(of, tasks, generation=77))
        while not any((replica.directory / "cur").iterdir()):  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0)
        assert not work.done()
        work.cancel()
        await asyncio.sleep(0)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

        with ReplicaRoot(house.config.devices["laptop"].path) as root:
            assert read_marker(root) == Marker("laptop", store_id, 77)
        assert set(replica.flags().values()) == {frozenset({SEEN})}
    finally:
        await asyncio.to_thread(db.close)


async def _changes_are_seen(house: House, user: Provider) -> None:
    """Return when each device has looked at what it heard of: a change made after that is on the server."""
    for device, key in zip(house.config.devices, ("b", "d"), strict=True):
        had = ANSWERED in user.flags()[key]
        house.replica(device).mark(key, **{"remove" if had else "add": "R"})
        await house.until(partial(_differs, user, key, had))


def _differs(user: Provider, key: str, had: bool) -> bool:
    return (ANSWERED in user.flags()[key]) != had


async def _file_versions(house: House) -> list[tuple[int, int]]:
    columns = schema.replica_message.c
    return [tuple(row) for row in await house.rows(select(columns.id, columns.version).order_by(columns.id))]


class _Listings:
    """Hear which cur/ and new/ this process lists by their descriptors, as syncd does and these tests do not."""

    def __init__(self) -> None:
        self._heard: list[str] | None = None
        sys.addaudithook(self._hear)

    @contextmanager
    def heard(self) -> Iterator[list[str]]:
        self._heard = heard = []
        try:
            yield heard
        finally:
            self._heard = None

    def _hear(self, event: str, arguments: tuple[object, ...]) -> None:
        if self._heard is not None and event in {"os.scandir", "os.listdir"} and isinstance(arguments[0], int):
            path = Path(f"/proc/self/fd/{arguments[0]}").readlink()
            if path.name in {"cur", "new"}:
                self._heard.append(str(path))


@pytest.fixture(scope="session")
def listings() -> _Listings:
    """Return what hears of listings; a hook of the interpreter stays for ever, so there is one."""
    return _Listings()


async def test_files_taken_away_and_put_back_are_noticed_both_times(tmp_path: Path, user: Provider) -> None:
    """That we once put a file there does not make its coming back our doing, its delivery heard of or not."""
    keys = [f"m{number:02}" for number in range(40)]
    user.receive(*keys)
    async with House(tmp_path, accounts={"work": imap(user.server, user.user)}, devices=("laptop",)) as house:
        await house.settle()
        replica = house.replica("laptop")
        files = house.devices["laptop"]._files
        for is_unheard in (False, True, True):
            if is_unheard:  # as when the watch began after the delivery
                for file in replica.files():
                    seen = SeenFile(file.stem, file.path.parent.name, file.path.name)
                    files._ours.expect((PurePosixPath(".work.INBOX"), seen))
            aside = tmp_path / "aside"
            aside.mkdir(exist_ok=True)
            homes = {file.path.name: file.path for file in replica.files()}
            for name, path in homes.items():
                path.rename(aside / name)
            await until_state(house, ReplicaState.DELETED, len(keys))
            # NOTE: until they are held, those that are back count no more, and the others may be few enough to go.
            await house.until_read(bool, select(schema.hold.c.id))
            for name, path in homes.items():
                (aside / name).rename(path)
            await until_state(house, ReplicaState.PRESENT, len(keys))
            await house.until_read(lambda found: not found, select(schema.hold.c.id))


# Devices beside each other.


class _Counted(DeviceTurns):
    """Count who is in; nobody's patience ends."""

    def __init__(self) -> None:
        super().__init__(patience_s=60.0)
        self.inside = self.most_inside = self.ended = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        async with super().turn():
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
            try:
                yield
            finally:
                self.inside -= 1
                self.ended += 1


@pytest.mark.parametrize("watches", [True, False])
async def test_devices_begin_one_by_one(tmp_path: Path, user: Provider, *, watches: bool) -> None:
    """Each has its turn to itself, which ends while it is served."""
    user.receive("a", "b")
    account, turns = {"work": imap(user.server, user.user)}, _Counted()
    async with House(tmp_path, accounts=account, devices=DEVICES) as house:
        await house.settle()

    async with House(tmp_path, accounts=account, devices=DEVICES, watches_devices=watches, turns=turns) as house:
        await house.settle()
        ended = turns.ended

    assert (ended, turns.most_inside) == (len(DEVICES), 1)
