"""Deletions by a device that are too many wait for a person, and what is not held goes on."""

import shutil
from functools import partial
from pathlib import Path

from sqlalchemy import select

from syncd.store.rounds import holds
from syncd.store.rounds.holds import Hold, HoldScope, HoldState
from syncd.store.tables.own_tables import history
from tests.contract.sync.house import House, Table, imap
from tests.contract.sync.letters import letter
from tests.contract.sync.provider import Provider
from tests.contract.sync.replica import Replica

DEVICES = ("laptop", "phone")
WINDOW_S = 600.0


async def test_emptied_replica_is_held_and_released(tmp_path: Path, user: Provider) -> None:
    """Nothing goes, the rest is synced; once released, exactly that goes, on the other devices without a word more."""
    user.receive(*_keys(30))
    user.receive("x", "y", mailbox="Other")
    async with _house(tmp_path, user) as house:
        await house.settle()
        laptop, phone = house.replicas()

        _empty(laptop)
        user.receive("new")
        house.replica("laptop", "Other").mark("x", add="F")
        await house.settle()

        assert len(user.flags()) == 31
        assert user.flags("Other")["x"] == {"\\Flagged"}
        assert laptop.keys() == ["new"]
        assert len(phone.keys()) == 31
        (hold,) = await _holds(house)
        assert (hold.scope, hold.state, len(hold.effects)) == (HoldScope.BY_DEVICE, HoldState.HELD, 30)

        await _release(house, hold)
        await house.settle()

        assert sorted(user.flags()) == ["new"]
        assert len(user.flags("Trash")) == 30
        assert [one.keys() for one in house.replicas()] == [["new"]] * 2
        assert await _holds(house) == ()


async def test_hold_outlasts_that_another_device_gives_the_mailbox_up(tmp_path: Path, user: Provider) -> None:
    """Nobody released it, so nothing of it goes, however long that lasts and whatever comes meanwhile."""
    user.receive("i")
    user.receive("a", "b", "c", mailbox="Lists")
    user.receive("d", "e", mailbox="Other")
    async with _house(tmp_path, user) as house:
        await house.settle()
        for mailbox in ("Lists", "Other"):
            _empty(house.replica("phone", mailbox))
        await house.settle()
        held = await _holds(house)
        assert len(held) == 2

    house = _house(tmp_path, user, laptop={"mailboxes": ["*", "!Lists"]})
    async with house:
        await house.settle()
        house.shift_s = WINDOW_S * 2
        new = house.replica("phone", "Lists").directory / "cur" / "1700000000.1.phone:2,S"
        new.write_bytes(letter("new"))
        await house.settle()

        assert await _holds(house) == held
        assert sorted(user.flags("Lists")) == ["a", "b", "c", "new"]
        assert user.flags("Trash") == {}


async def test_hold_dissolves_when_the_files_are_put_back(tmp_path: Path, user: Provider) -> None:
    """Those that come back leave the hold one by one; the rest stays held, however few they are."""
    user.receive(*_keys(30))
    user.receive("x", mailbox="Other")
    async with _house(tmp_path, user) as house:
        await house.settle()
        laptop = house.replica("laptop")
        shutil.copytree(laptop.directory, tmp_path / "backup")
        _empty(laptop)
        await house.settle()
        (hold,) = await _holds(house)

        saved = sorted(path for subdir in ("new", "cur") for path in (tmp_path / "backup" / subdir).iterdir())
        for path in saved[:25]:
            shutil.copy2(path, laptop.directory / path.parent.name / path.name)
        await house.settle()
        (shrunk,) = await _holds(house)
        assert (shrunk.id, len(shrunk.effects), len(user.flags())) == (hold.id, 5, 30)
        assert await _dissolved(house) == 25

        for path in saved[25:]:
            shutil.copy2(path, laptop.directory / path.parent.name / path.name)
        await house.settle()
        assert await _holds(house) == ()
        assert await _dissolved(house) == 30
        assert len(user.flags()) == 30
        assert [one.keys() for one in house.replicas()] == [list(_keys(30))] * 2


async def test_several_small_mailboxes_emptied_at_once_are_held(tmp_path: Path, user: Provider) -> None:
    """Two mailboxes that lose everything are too many, though each has but a few messages."""
    for mailbox in ("INBOX", "A", "B"):
        user.receive("a", "b", mailbox=mailbox)
    async with _house(tmp_path, user) as house:
        await house.settle()

        _empty(house.replica("laptop", "A"))
        _empty(house.replica("laptop", "B"))
        await house.settle()

        assert {len(user.flags(mailbox)) for mailbox in ("INBOX", "A", "B")} == {2}
        assert {(one.reason, len(one.effects)) for one in await _holds(house)} == {("mailboxes_emptied", 2)}


async def test_many_small_deletions_add_up_within_the_window(tmp_path: Path, user: Provider) -> None:
    """Ten and ten pass, and ten more wait, also after a restart; they weigh nothing on what is deleted much later."""
    user.receive(*_keys(60))
    house = _house(tmp_path, user)
    async with house:
        await house.settle()
        for begin in (0, 10, 20):
            _remove(house.replica("laptop"), *_keys(60)[begin : begin + 10])
            await house.settle()
        assert sorted(user.flags()) == list(_keys(60)[20:])
        (hold,) = await _holds(house)
        assert len(hold.effects) == 10

    async with house:
        await house.settle()
        assert sorted(user.flags()) == list(_keys(60)[20:])
        assert [one.id for one in await _holds(house)] == [hold.id]

        house.shift_s += 2 * WINDOW_S
        _remove(house.replica("laptop"), *_keys(60)[40:45])
        await house.settle()
        assert sorted(user.flags()) == [*_keys(60)[20:40], *_keys(60)[45:]]
        assert [one.id for one in await _holds(house)] == [hold.id]


async def test_ordinary_deletions_pass(tmp_path: Path, user: Provider) -> None:
    """Twenty-five of thirty, and an emptied Trash, are what people do."""
    user.receive(*_keys(30))
    user.receive(*_keys(40), mailbox="Trash")
    async with _house(tmp_path, user, delete="expunge") as house:
        await house.settle()

        _remove(house.replica("laptop"), *_keys(25))
        _empty(house.replica("phone", "Trash"))
        await house.settle()

        assert (len(user.flags()), len(user.flags("Trash"))) == (5, 0)
        assert await _holds(house) == ()


async def test_server_that_deletes_what_is_held_ends_the_hold(tmp_path: Path, user: Provider) -> None:
    """There is nothing left to ask a person then."""
    user.receive(*_keys(12))
    user.receive("x", mailbox="Other")
    async with _house(tmp_path, user) as house:
        await house.settle()
        _empty(house.replica("laptop"))
        await house.settle()
        assert len(await _holds(house)) == 1

        user.expunge(*_keys(12)[:6])
        await house.settle()
        (hold,) = await _holds(house)
        assert len(hold.effects) == 6


def _house(directory: Path, user: Provider, *, laptop: Table | None = None, **more: object) -> House:
    account = imap(user.server, user.user, **more)
    devices = {name: {"settle": "20ms"} for name in DEVICES}
    return House(
        directory, accounts={"work": account}, devices=devices | {"laptop": devices["laptop"] | (laptop or {})}
    )


def _keys(count: int) -> tuple[str, ...]:
    return tuple(f"m{number:03}" for number in range(count))


def _remove(replica: Replica, *keys: str) -> None:
    for key in keys:
        replica.find(key).path.unlink()


def _empty(replica: Replica) -> None:
    for file in list(replica.files()):
        file.path.unlink()


async def _holds(house: House) -> tuple[Hold, ...]:
    return await house.db.read(holds.holds)


async def _dissolved(house: House) -> int:
    """Return of how many messages the history says that they are held no more."""
    rows = await house.rows(select(history.c.messages).where(history.c.verb == "dissolve"))
    return sum(row.messages for row in rows)


async def _release(house: House, hold: Hold) -> None:
    assert await house.db.write(partial(holds.release_hold, hold_id=hold.id))
