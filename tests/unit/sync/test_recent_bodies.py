"""Bodies that were just committed: how many are kept, and for how long."""

import asyncio

import pytest

from syncd.sync import recent_bodies
from syncd.sync.recent_bodies import RecentBodies


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent_bodies, "MAX_BYTES", 10)


def test_kept_body_is_taken_once() -> None:
    """Who takes a body has its octets, and the next finds nothing; what nobody kept is no error."""
    recent = RecentBodies()
    recent.put(1, b"one")
    recent.put(2, b"two")
    recent.put(3, b"")

    assert recent.take([1, 3, 77]) == {1: b"one", 3: b""}
    assert recent.take([1, 2, 3]) == {2: b"two"}
    assert recent.take([1, 2, 3]) == {}


def test_full_keeps_what_it_has_and_takes_no_more() -> None:
    """What was put first is kept, and what does not fit besides is left to the store."""
    recent = RecentBodies()
    recent.put(1, b"12345")
    recent.put(2, b"123456")
    recent.put(3, b"12345")
    recent.put(4, b"1")

    assert recent.take([1, 2, 3, 4]) == {1: b"12345", 3: b"12345"}


def test_body_larger_than_everything_is_not_kept() -> None:
    """One body can be too large for it alone, and takes no room then."""
    recent = RecentBodies()
    recent.put(1, b"12345678901")
    recent.put(2, b"1234567890")

    assert recent.take([1, 2]) == {2: b"1234567890"}


def test_taken_bodies_make_room() -> None:
    """What is taken counts no longer, what was not there never did."""
    recent = RecentBodies()
    recent.put(1, b"12345")
    recent.put(2, b"12345")
    recent.take([1, 77])
    recent.put(3, b"12345")
    recent.put(4, b"1")

    assert recent.take([1, 2, 3, 4]) == {2: b"12345", 3: b"12345"}


def test_body_put_twice_takes_room_once() -> None:
    """A body that is bound to a second message is the same body."""
    recent = RecentBodies()
    recent.put(1, b"12345")
    recent.put(1, b"12345")
    recent.put(2, b"12345")

    assert recent.take([1, 2]) == {1: b"12345", 2: b"12345"}


def test_part_of_a_piece_of_memory_takes_the_room_of_all_of_it() -> None:
    """Until the last of its parts is taken, for so long all of it is in memory."""
    recent = RecentBodies()
    piece = memoryview(b"123456789")
    recent.put(1, piece[:1])
    recent.put(2, piece[1:9])
    recent.put(3, b"22")
    one = recent.take([1])
    recent.put(3, b"22")
    two = recent.take([2])
    recent.put(3, b"22")

    assert [one, two, recent.take([3])] == [{1: b"1"}, {2: b"23456789"}, {3: b"22"}]


def test_cleared_has_nothing_and_all_its_room() -> None:
    """What nobody took is let go of, and its room is free."""
    recent = RecentBodies()
    recent.put(1, b"1234567890")

    recent.clear()

    recent.put(2, b"1234567890")
    assert recent.take([1, 2]) == {2: b"1234567890"}


async def test_who_fetches_waits_for_who_writes() -> None:
    """Not while there is room; and no longer than until enough was taken."""
    recent = RecentBodies()
    recent.put(1, b"12345")
    await recent.room(5)
    recent.put(2, b"12345")

    waiting = asyncio.create_task(recent.room(5))
    recent.take([77])
    await asyncio.sleep(0)
    assert not waiting.done()
    recent.take([2])
    await waiting


async def test_for_more_than_there_can_be_all_has_to_be_taken() -> None:
    """Who needs more room than there is at all goes on when nothing is kept."""
    recent = RecentBodies()
    recent.put(1, b"1")
    recent.put(2, b"2")

    waiting = asyncio.create_task(recent.room(77))
    recent.take([1])
    await asyncio.sleep(0)
    assert not waiting.done()
    recent.take([2])
    await waiting


async def test_nobody_waits_twice_for_devices_that_take_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that is away costs one wait, until all was let go of; what is kept stays for one that is slow."""
    monkeypatch.setattr(recent_bodies, "PATIENCE_S", 0.0)
    recent = RecentBodies()
    recent.put(1, b"1234567890")
    await recent.room(77)
    monkeypatch.setattr(recent_bodies, "PATIENCE_S", 60.0)

    await recent.room(77)

    assert recent.take([1]) == {1: b"1234567890"}


async def test_what_nobody_takes_is_let_go_of_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """An account that has nothing more to fetch gives back the memory, but not before devices had their time."""
    recent = RecentBodies()
    monkeypatch.setattr(recent_bodies, "PATIENCE_S", 0.0)
    recent.put(1, b"1")
    recent.put(2, b"2")
    recent.rest()
    assert recent.take([1]) == {1: b"1"}

    async with asyncio.timeout(10):
        while recent.take([2]):  # once it is taken it would be away
            recent.put(2, b"2")
            await asyncio.sleep(0)
