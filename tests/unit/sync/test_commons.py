"""Files that one device writes and all can link: who writes, who waits, and who shares with whom."""

import asyncio

import pytest

from syncd.store.rounds.deliveries import LinkSource, Origin
from syncd.sync import commons
from syncd.sync.commons import Commons, FileSystems

DEADLINE_S = 5.0
ONE, TWO, THREE = (1, 100), (2, 100), (2, 200)
HERE, THERE = (64, 29), (64, 30)
FILE = LinkSource(Origin("/x", "box"), "cur", "1.a", "S")


# Claims.


def test_claimed_content_is_claimed_until_its_claim_ends() -> None:
    """A claim is for these contents, and for as long as it is held."""
    shared = Commons()

    with shared.claim([ONE, TWO], by="/x"):
        during = [shared.is_claimed(content) for content in (ONE, TWO, THREE)]

    assert during == [True, True, False]
    assert [shared.is_claimed(content) for content in (ONE, TWO)] == [False, False]


def test_claim_ends_when_the_writing_fails() -> None:
    """What could not be written is free for others to write, and who waits for it hears so."""
    shared = Commons()

    with pytest.raises(OSError, match="full"), shared.claim([ONE], by="/x"):
        raise OSError("full")

    assert not shared.is_claimed(ONE)
    assert shared.finished == 1


async def test_claim_ends_when_its_task_is_cancelled() -> None:
    """A device that is stopped while it writes leaves nothing claimed, and wakes who waits."""
    shared = Commons()
    claimed = asyncio.Event()

    async def write() -> None:
        with shared.claim([ONE], by="/x"):
            claimed.set()
            await asyncio.Event().wait()

    async with asyncio.timeout(DEADLINE_S):
        writer = asyncio.create_task(write())
        await claimed.wait()
        waiter = asyncio.create_task(shared.wait())
        await asyncio.sleep(0)
        writer.cancel()
        found = await waiter

    assert found
    assert writer.cancelled()
    assert not shared.is_claimed(ONE)


def test_who_reads_while_an_offer_is_withdrawn_is_told() -> None:
    """The file was not settled yet when the reading began, and is offered no more when it ends: it is read again."""
    shared = Commons()

    with shared.offering() as offer:
        offer({ONE: FILE})
        finished = shared.finished

    assert shared.offered([ONE]) == {}
    assert shared.finished != finished


def test_impatient_claim_leaves_the_earlier_one_standing() -> None:
    """Who writes what another has claimed does not end the other's claim by being done first."""
    shared = Commons()

    with shared.claim([ONE], by="/x"):
        with shared.claim([ONE, TWO], by="/x"):
            during = [shared.is_claimed(content) for content in (ONE, TWO)]
        after = [shared.is_claimed(content) for content in (ONE, TWO)]

    assert during == [True, True]
    assert after == [True, False]


async def test_finish_between_look_and_claim_is_noticed() -> None:
    """Who looked for files to link can tell that somebody has settled since, whether well or not."""
    shared = Commons()

    async def look() -> int:
        before = shared.finished
        await asyncio.sleep(0)
        return shared.finished - before

    with shared.claim([ONE], by="/x"):
        quiet = await look()
        overtaken = asyncio.create_task(look())
        await asyncio.sleep(0)

    assert quiet == 0
    assert await overtaken == 1


# Waiting.


async def test_everybody_who_waits_hears_that_somebody_finished() -> None:
    """One finish wakes all who wait, and is true news to each of them."""
    shared = Commons()

    async with asyncio.timeout(DEADLINE_S):
        with shared.claim([ONE], by="/x"):
            waiting = [asyncio.create_task(shared.wait()) for _ in range(3)]
            await asyncio.sleep(0)
        found = await asyncio.gather(*waiting)

    assert found == [True, True, True]


async def test_finish_of_the_past_does_not_end_the_next_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is finished from now on counts; a wait that nobody ends is over when patience is."""
    monkeypatch.setattr(commons, "PATIENCE_S", 0.01)
    shared = Commons()
    with shared.claim([ONE], by="/x"):
        pass

    async with asyncio.timeout(DEADLINE_S):
        found = await shared.wait()

    assert not found


async def test_patience_ends_while_a_neighbour_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A neighbour that never finishes is waited for so long and no longer, and keeps its claim."""
    monkeypatch.setattr(commons, "PATIENCE_S", 0.01)
    shared = Commons()

    async with asyncio.timeout(DEADLINE_S):
        with shared.claim([ONE], by="/x"):
            found = await shared.wait()
            claimed = shared.is_claimed(ONE)

    assert not found
    assert claimed


async def test_cancelled_wait_is_cancelled() -> None:
    """Patience does not take a cancellation for its own end."""
    shared = Commons()
    waiter = asyncio.create_task(shared.wait())
    await asyncio.sleep(0)

    waiter.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiter


# File systems.


def test_devices_of_one_file_system_have_it_in_common() -> None:
    """Devices share with those of their own mount, and with nobody else."""
    file_systems = FileSystems()

    laptop, phone, usb = (
        file_systems.join(root, where) for root, where in (("/laptop", HERE), ("/phone", HERE), ("/usb", THERE))
    )

    assert laptop is phone
    assert laptop is not usb
    assert [{"/laptop", "/phone"}, {"/usb"}] == [laptop.roots, usb.roots]


def test_device_that_joins_another_file_system_leaves_the_former() -> None:
    """A root that lies on another mount by now is no source of links on the former one."""
    file_systems = FileSystems()
    before = file_systems.join("/laptop", HERE)
    file_systems.join("/phone", HERE)

    after = file_systems.join("/laptop", THERE)

    assert before is not after
    assert [{"/phone"}, {"/laptop"}] == [before.roots, after.roots]


def test_device_that_left_is_not_who_writes() -> None:
    """Nobody lets more come for a device that is gone to write it; one that is still there is waited for."""
    file_systems = FileSystems()
    shared = file_systems.join("/laptop", HERE)
    file_systems.join("/phone", HERE)
    with shared.claim([ONE], by="/laptop"):
        pass

    writers = []
    for root in ("/phone", "/laptop"):
        file_systems.leave(root)
        writers.append(shared.writer)

    assert writers == ["/laptop", None]


def test_device_that_joins_again_has_the_same_in_common() -> None:
    """Another arrival on the same mount changes nothing, and ends no claim."""
    file_systems = FileSystems()
    before = file_systems.join("/laptop", HERE)

    with before.claim([ONE], by="/x"):
        after = file_systems.join("/laptop", HERE)
        claimed = after.is_claimed(ONE)

    assert before is after
    assert claimed
    assert {"/laptop"} == after.roots
