"""Removals that are too many wait for a person, and what is not held goes on."""

import asyncio
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import pytest

from syncd.store.rounds import holds
from syncd.store.rounds.holds import Hold, HoldState
from syncd.store.trees.devices import device_names
from syncd.sync.device.files import DeviceFiles
from tests.contract.sync.house import House, imap
from tests.contract.sync.provider import Provider

WINDOW_S = 600.0


async def test_many_expunges_are_held_while_the_rest_goes_on(tmp_path: Path, user: Provider) -> None:
    """No file goes on any device; new mail, flags and other mailboxes are synced as ever."""
    user.receive(*_keys(60))
    user.receive("x", "y", mailbox="Other")
    async with _house(tmp_path, user, devices=("laptop", "phone")) as house:
        await house.settle()

        user.expunge(*_keys(35))
        user.receive("new")
        user.store("m059", "+FLAGS (\\Flagged)")
        user.expunge("x", mailbox="Other")
        await house.settle()

        for replica in house.replicas():
            assert replica.keys() == sorted((*_keys(60), "new"))
            assert "F" in replica.find("m059").letters
        assert [one.keys() for one in house.replicas("Other")] == [["y"], ["y"]]
        laptop, phone = await _holds(house)
        assert (laptop.reason, len(laptop.effects)) == ("too_many", 35)
        assert {laptop.state, phone.state} == {HoldState.HELD}
        assert laptop.device_id != phone.device_id


async def test_released_removals_happen_on_their_device_only(tmp_path: Path, user: Provider) -> None:
    """Exactly what was held goes, and counts no more: what is removed next is judged by itself."""
    user.receive(*_keys(60))
    async with _house(tmp_path, user, devices=("laptop", "phone")) as house:
        await house.settle()
        user.expunge(*_keys(35))
        await house.settle()

        laptop, phone = await _holds(house)
        await _release(house, laptop)
        await house.settle()

        names = await house.db.read(device_names)
        released, waiting = (house.replica(names[one.device_id]) for one in (laptop, phone))
        assert released.keys() == list(_keys(60))[35:]
        assert waiting.keys() == list(_keys(60))
        assert [one.id for one in await _holds(house)] == [phone.id]

        user.expunge("m040", "m041")
        await house.settle()
        assert released.keys() == sorted({*list(_keys(60))[35:]} - {"m040", "m041"})


async def test_removals_within_the_limits_pass(tmp_path: Path, user: Provider) -> None:
    """Twenty-five of thirty, and one fifth of many, are ordinary."""
    user.receive(*_keys(30))
    user.receive(*_keys(150), mailbox="Many")
    async with _house(tmp_path, user) as house:
        await house.settle()

        user.expunge(*_keys(36), mailbox="Many")
        await house.settle()

        assert len(house.replica("laptop", "Many").keys()) == 114
        assert await _holds(house) == ()


async def test_many_small_rounds_add_up_within_the_window(tmp_path: Path, user: Provider) -> None:
    """Ten and ten and ten are thirty; an hour later ten are ten again, but what is held stays so."""
    user.receive(*_keys(60))
    async with _house(tmp_path, user) as house:
        await house.settle()

        keys = list(_keys(60))
        for begin in (0, 10, 20):
            user.expunge(*keys[begin : begin + 10])
            await house.settle()

        assert house.replica("laptop").keys() == keys[20:]
        (hold,) = await _holds(house)
        assert len(hold.effects) == 10

        house.shift_s += 2 * WINDOW_S
        user.receive("later")
        await house.settle()
        assert house.replica("laptop").keys() == sorted((*keys[20:], "later"))
        assert await _holds(house) == (hold,)


async def test_small_rounds_far_apart_do_not_add_up(tmp_path: Path, user: Provider) -> None:
    """What happened before the window is not counted."""
    user.receive(*_keys(60))
    async with _house(tmp_path, user) as house:
        await house.settle()

        keys = list(_keys(60))
        for begin in (0, 10, 20):
            user.expunge(*keys[begin : begin + 10])
            await house.settle()
            house.shift_s += 2 * WINDOW_S

        assert house.replica("laptop").keys() == keys[30:]
        assert await _holds(house) == ()


async def test_emptied_trash_is_not_held(tmp_path: Path, user: Provider) -> None:
    """People empty their Trash; while other mailboxes keep what they had, that is meant."""
    user.receive("a", "b")
    user.receive(*_keys(40), mailbox="Trash")
    async with _house(tmp_path, user) as house:
        await house.settle()

        user.expunge(*_keys(40), mailbox="Trash")
        await house.settle()

        assert house.replica("laptop", "Trash").keys() == []
        assert await _holds(house) == ()


async def test_emptied_mailbox_is_held_though_its_messages_are_few(tmp_path: Path, user: Provider) -> None:
    """A mailbox of more than ten that loses everything waits."""
    user.receive(*_keys(12))
    user.receive("other", mailbox="Other")
    async with _house(tmp_path, user) as house:
        await house.settle()

        user.expunge(*_keys(12))
        await house.settle()

        (hold,) = await _holds(house)
        assert hold.reason == "mailbox_emptied"
        assert len(house.replica("laptop").keys()) == 12


async def test_hold_is_the_same_after_a_restart_and_grows_with_its_mailbox(tmp_path: Path, user: Provider) -> None:
    """Starting again changes nothing; further removals there join the hold, under a number of its own."""
    user.receive(*_keys(60))
    house = _house(tmp_path, user)
    async with house:
        await house.settle()
        user.expunge(*_keys(35))
        await house.settle()
        before = await _holds(house)

    async with house:
        await house.settle()
        assert await _holds(house) == before

        user.expunge("m050")
        await house.settle()
        (grown,) = await _holds(house)
        assert len(grown.effects) == 36
        assert (grown.id != before[0].id, grown.held_at) == (True, before[0].held_at)
        assert house.replica("laptop").keys() == list(_keys(60))


async def test_raised_limit_dissolves_a_hold_at_the_next_start(tmp_path: Path, user: Provider) -> None:
    """What the configuration allows now happens without anybody releasing it."""
    user.receive(*_keys(60))
    async with _house(tmp_path, user) as house:
        await house.settle()
        user.expunge(*_keys(35))
        await house.settle()
        assert len(await _holds(house)) == 1

    async with House(tmp_path, accounts={"work": imap(user.server, user.user)}, guard={"count": 40}) as house:
        await house.settle()
        assert await _holds(house) == ()
        assert house.replica("laptop").keys() == list(_keys(60))[35:]


async def test_hold_that_dissolves_is_kept_until_its_removals_are_done(
    tmp_path: Path, user: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after the guard let them pass and before a file went, the next start does it."""
    user.receive(*_keys(60))
    async with _house(tmp_path, user) as house:
        await house.settle()
        user.expunge(*_keys(35))
        await house.settle()

    lenient = House(tmp_path, accounts={"work": imap(user.server, user.user)}, guard={"count": 40})
    async with lenient as house:
        monkeypatch.setattr(DeviceFiles, "perform", lambda *_, **__: asyncio.Event().wait())
        async with asyncio.timeout(2.0):
            while [one.state for one in await _holds(house)] == [HoldState.HELD]:  # noqa: ASYNC110 - it is in the store
                await asyncio.sleep(0.01)
        assert house.replica("laptop").keys() == list(_keys(60))
    monkeypatch.undo()
    async with lenient as house:
        await house.settle()

        assert house.replica("laptop").keys() == list(_keys(60))[35:]
        assert await _holds(house) == ()


async def test_release_survives_a_restart(tmp_path: Path, user: Provider) -> None:
    """A hold that was released while nothing ran is done by the next start."""
    user.receive(*_keys(60))
    house = _house(tmp_path, user)
    async with house:
        await house.settle()
        user.expunge(*_keys(35))
        await house.settle()
    async with house:
        (hold,) = await _holds(house)
        await _release(house, hold)
    async with house:
        await house.settle()
        assert house.replica("laptop").keys() == list(_keys(60))[35:]
        assert await _holds(house) == ()


def _house(directory: Path, user: Provider, *, devices: Iterable[str] = ("laptop",)) -> House:
    return House(directory, accounts={"work": imap(user.server, user.user)}, devices=devices)


def _keys(count: int) -> tuple[str, ...]:
    return tuple(f"m{number:03}" for number in range(count))


async def _holds(house: House) -> tuple[Hold, ...]:
    return await house.db.read(holds.holds)


async def _release(house: House, hold: Hold) -> None:
    assert await house.db.write(partial(holds.release_hold, hold_id=hold.id))
