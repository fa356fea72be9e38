"""Several devices on one file system: every message is written once and linked by the others, whoever is slow."""

import asyncio
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from syncd.errors import FileError, Reach
from syncd.maildir.disk.files import FileFacts, MailboxDirectory
from syncd.store.trees.devices import ReplicaRow
from syncd.sync import body_batches, commons
from syncd.sync.commons import Commons
from syncd.sync.device.files import DeviceFiles
from syncd.sync.rounds import batch, sharing
from syncd.sync.rounds.batch import Announced, Batches, Job, Performed
from syncd.sync.rounds.sides import FileOutcome, FileTask, FileToDeliver
from tests.contract.sync.house import House, imap
from tests.contract.sync.letters import key_of, letter
from tests.contract.sync.provider import Provider

DEVICES = ("laptop", "phone", "nas")
KEYS = tuple(f"m{number:03}" for number in range(300))
SMALL_BATCH = 40
TURNS = 300


class Counter:
    """Count what is written, by the name of the file; a link is no writing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.written = 0
        write_tmp = MailboxDirectory.write_tmp

        def counted(mailbox: MailboxDirectory, *args: Any, **more: Any) -> FileFacts:
            self.written += 1
            return write_tmp(mailbox, *args, **more)

        monkeypatch.setattr(MailboxDirectory, "write_tmp", counted)


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> Counter:
    return Counter(monkeypatch)


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nobody write what another has claimed: who waits in vain waits until the test fails."""
    monkeypatch.setattr(commons, "PATIENCE_S", 3600.0)


@pytest.fixture(params=[None, SMALL_BATCH], ids=["one-batch", "many-batches"])
def _batches(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have all messages fit into a batch, or not."""
    if request.param is not None:
        for module in (batch, sharing):
            monkeypatch.setattr(module, "BATCH_FILES", request.param)


def house_of(directory: Path, user: Provider, devices: Any = DEVICES) -> House:
    return House(directory, accounts={"work": imap(user.server, user.user)}, devices=devices)


def inodes(house: House, *devices: str) -> Mapping[str, list[int]]:
    """Return the inode of each letter on each of these devices; AssertionError when one has not its own octets."""
    found: dict[str, list[int]] = defaultdict(list)
    for device in devices:
        for file in house.replica(device).files():
            key = key_of(file.octets)
            assert file.octets == letter(key).replace(b"\r\n", b"\n")
            found[key].append(file.inode)
    return found


def assert_shared(house: House, *devices: str, keys: Sequence[str] = KEYS) -> None:
    """Assert that each letter is on each of these devices, as one file."""
    by_key = inodes(house, *devices)
    assert sorted(by_key) == list(keys)
    assert {len(of_one) for of_one in by_key.values()} == {len(devices)}
    assert [key for key, of_one in by_key.items() if len(set(of_one)) != 1] == []
    assert len({inode for of_one in by_key.values() for inode in of_one}) == len(keys)
    assert {file.links for device in devices for file in house.replica(device).files()} == {len(devices)}


def slow_down(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    """Have a device let the others have many turns before each of its batches, and after it."""
    perform = DeviceFiles.perform

    async def slow(
        self: DeviceFiles, of: ReplicaRow, tasks: Sequence[FileTask], **more: Any
    ) -> Mapping[int, FileOutcome]:
        if self._config.path.name != device:
            return await perform(self, of, tasks, **more)
        await turns()
        outcomes = await perform(self, of, tasks, **more)
        await turns()
        return outcomes

    async def turns() -> None:
        for _ in range(TURNS):
            await asyncio.sleep(0)
            await asyncio.to_thread(os.getpid)  # so that other threads get on as well

    monkeypatch.setattr(DeviceFiles, "perform", slow)


@pytest.mark.usefixtures("_batches")
async def test_devices_that_start_together_write_each_message_once(
    tmp_path: Path, user: Provider, counter: Counter
) -> None:
    """While the mail comes in, one device writes a message, whichever it is, and the two others link it."""
    user.receive(*KEYS)
    async with house_of(tmp_path, user) as house:
        await house.settle()

        assert_shared(house, *DEVICES)
        assert counter.written == len(KEYS)


@pytest.mark.usefixtures("_batches")
async def test_devices_that_come_together_to_a_full_store_write_each_message_once(
    tmp_path: Path, user: Provider, counter: Counter
) -> None:
    """Three new devices that find all the mail in the store share the writing; copies of a fourth are its own."""
    user.receive(*KEYS)
    async with house_of(tmp_path, user, {"usb": {"link": False}}) as house:
        await house.settle()
    assert counter.written == len(KEYS)

    async with house_of(tmp_path, user, {"usb": {"link": False}, **{name: {} for name in DEVICES}}) as house:
        await house.settle()

        assert_shared(house, *DEVICES)
        own = inodes(house, "usb")
        assert not {inode for of_one in own.values() for inode in of_one} & {
            inode for of_one in inodes(house, *DEVICES).values() for inode in of_one
        }
        assert {file.links for file in house.replica("usb").files()} == {1}
        assert counter.written == 2 * len(KEYS)


async def test_device_without_links_among_those_that_start_together_has_files_of_its_own(
    tmp_path: Path, user: Provider, counter: Counter
) -> None:
    """link = false writes all of its files, and none of them is linked by another."""
    user.receive(*KEYS)
    async with house_of(tmp_path, user, {"laptop": {}, "usb": {"link": False}, "phone": {}}) as house:
        await house.settle()

        assert_shared(house, "laptop", "phone")
        assert sorted(inodes(house, "usb")) == list(KEYS)
        assert {file.links for file in house.replica("usb").files()} == {1}
        assert counter.written == 2 * len(KEYS)


async def test_device_that_links_lets_more_come_and_one_that_writes_does_not(
    tmp_path: Path, user: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round costs more than many links; but what is to come may not come, and nobody waits for that without end."""
    monkeypatch.setattr("syncd.sync.device.task._GATHERING_S", 3600.0)
    monkeypatch.setattr(body_batches, "_BATCH_BODIES", 10)
    user.receive(*KEYS[:100])
    async with house_of(tmp_path, user, ("laptop", "phone")) as house:
        await house.settle()
        assert_shared(house, "laptop", "phone", keys=KEYS[:100])
        wakes = {str(house.config.devices[name].path): house.wakes.device(name) for name in ("laptop", "phone")}
        writing = wakes.pop(house.devices["laptop"].commons.writer or "")
        (linking,) = wakes.values()
        await house.until(lambda: not (writing.is_set() or linking.is_set()))

        for wake in (linking, writing):
            wake.set(is_more_coming=True)
        await house.until(lambda: not writing.is_set())
        assert linking.is_set()
        linking.set()
        await house.until(lambda: not linking.is_set())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("is_stored", [False, True], ids=["as-it-comes", "from-a-full-store"])
@pytest.mark.usefixtures("_batches")
async def test_slow_device_shares_all_the_same(
    tmp_path: Path,
    user: Provider,
    counter: Counter,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    is_stored: bool,
) -> None:
    """A device that is slow before and after each batch neither writes what others have nor makes them write."""
    user.receive(*KEYS)
    if is_stored:
        async with house_of(tmp_path, user, {"usb": {"link": False}}) as house:
            await house.settle()
    before = counter.written
    slow_down(monkeypatch, device)
    async with house_of(tmp_path, user) as house:
        await house.settle()

        assert_shared(house, *DEVICES)
        assert counter.written - before == len(KEYS)


@pytest.mark.parametrize("batches", [2, 3], ids=["announces-what-it-will-link", "settles-what-it-linked"])
async def test_neighbour_that_finishes_in_a_transaction_of_ours_is_not_waited_for(
    tmp_path: Path, user: Provider, monkeypatch: pytest.MonkeyPatch, batches: int
) -> None:
    """Who commits something before it waits for a neighbour's writing hears of a finish in between."""
    keys = KEYS[: batches * SMALL_BATCH]
    user.receive(*keys)
    for module in (batch, sharing):
        monkeypatch.setattr(module, "BATCH_FILES", SMALL_BATCH)
    perform, end, announce = DeviceFiles.perform, Batches.end, Batches.announce
    writers, is_settling = 0, asyncio.Event()

    async def late(
        self: DeviceFiles, of: ReplicaRow, tasks: Sequence[FileTask], **more: Any
    ) -> Mapping[int, FileOutcome]:
        nonlocal writers
        writers += not is_all_linked(tasks)
        if writers == 2 and not is_all_linked(tasks):
            await is_settling.wait()
        return await perform(self, of, tasks, **more)

    async def overtaken(self: Batches, performed: Performed) -> Any:
        if is_all_linked(performed.announced.tasks) and not is_settling.is_set():
            is_settling.set()
            await self.side.commons.wait()
        return await end(self, performed)

    async def announced(self: Batches, jobs: Sequence[Job], *, also: Performed | None = None) -> Announced:
        is_of_links = also is not None and is_all_linked(also.announced.tasks)
        done = await announce(self, jobs, also=also)
        if is_of_links and not is_settling.is_set():
            is_settling.set()
            await self.side.commons.wait()
        return done

    def is_all_linked(tasks: Sequence[FileTask]) -> bool:
        return all(isinstance(task, FileToDeliver) and task.source is not None for task in tasks)

    async with house_of(tmp_path, user, {"usb": {"link": False}}) as house:
        await house.settle()
    monkeypatch.setattr(DeviceFiles, "perform", late)
    monkeypatch.setattr(Batches, "end", overtaken)
    monkeypatch.setattr(Batches, "announce", announced)
    async with house_of(tmp_path, user) as house:
        await house.settle()

        assert is_settling.is_set()
        assert_shared(house, *DEVICES, keys=keys)


async def test_neighbours_of_one_that_fails_write_what_it_did_not_only_once(
    tmp_path: Path, user: Provider, counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two devices that wait for a third one's writing, one takes its place, and the other waits on."""
    user.receive(*KEYS[:3])
    async with house_of(tmp_path, user, {"usb": {"link": False}}) as house:
        await house.settle()
    before, perform, wait, waiting, both_wait = counter.written, DeviceFiles.perform, Commons.wait, 0, asyncio.Event()

    async def fails_once(
        self: DeviceFiles, of: ReplicaRow, tasks: Sequence[FileTask], **more: Any
    ) -> Mapping[int, FileOutcome]:
        if not both_wait.is_set():
            await both_wait.wait()
            raise FileError("no space left on device", reach=Reach.MAILBOX)
        return await perform(self, of, tasks, **more)

    async def counted(self: Commons) -> bool:
        nonlocal waiting
        waiting += 1
        if waiting == len(DEVICES) - 1:
            both_wait.set()
        return await wait(self)

    monkeypatch.setattr(DeviceFiles, "perform", fails_once)
    monkeypatch.setattr(Commons, "wait", counted)
    async with house_of(tmp_path, user) as house:
        await house.until(lambda: [len(list(one.files())) for one in house.replicas()].count(3) >= len(DEVICES) - 1)

        assert counter.written - before == 3


async def test_source_edited_while_a_device_comes_is_not_linked(
    tmp_path: Path, user: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that a mail program replaces just before it is linked stays where it is; the new device gets the mail."""
    user.receive("a", "b")
    link = os.link
    async with house_of(tmp_path, user, ("laptop",)) as house:
        await house.settle()
    path = house.replica("laptop").find("a").path

    def late(*args: Any, **more: Any) -> None:
        if path.name in map(str, args) and path.stat().st_nlink == 1 and path.read_bytes() != b"edited\n":
            beside = path.with_name("beside")
            beside.write_bytes(b"edited\n" * 100)
            beside.replace(path)
        link(*args, **more)

    monkeypatch.setattr(os, "link", late)
    async with house_of(tmp_path, user, ("laptop", "phone")) as house:
        await house.settle()

        assert path.read_bytes() == b"edited\n" * 100
        files = {file.octets: file for file in house.replica("phone").files()}
        mine, other = (letter(key).replace(b"\r\n", b"\n") for key in ("a", "b"))
        assert {mine, other} <= files.keys() <= {mine, other, b"edited\n" * 100}
        assert files[other].links == 2
