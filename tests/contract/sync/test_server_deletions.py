"""A mailbox that is deleted on the server goes from the devices too, as far as that is no catastrophe."""

from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import select

from syncd.reconcile.guard import Reason
from syncd.store.due import discards
from syncd.store.people.report import held
from syncd.store.rounds import holds
from syncd.store.tables import schema
from tests.contract.sync.house import House, imap
from tests.contract.sync.letters import letter
from tests.contract.sync.provider import Provider

DEVICES = {"laptop": {"settle": "20ms"}, "phone": {"settle": "20ms", "layout": "fs"}}
MANY = tuple(f"m{number:02}" for number in range(12))


async def test_small_mailbox_goes_with_its_directory_and_its_bodies_stay(tmp_path: Path, provider: Provider) -> None:
    """Also one that others are inside, of which the server keeps the name; what is no mail is left, and shown."""
    provider.receive("a", "b", mailbox="Work", flags=("project",))
    provider.receive("x", mailbox="Work/Sub")
    provider.receive("c", mailbox="Lists")
    async with _house(tmp_path, provider) as house:
        await house.settle()
        laptop, phone = house.replicas("Work")
        own = house.replica("laptop", "Lists").directory / "notes.txt"
        own.write_text("mine")

        _delete(provider, "Work")
        await house.settle()
        house.shift_s = 3600.0  # two emptied within the guard's window are held
        _delete(provider, "Lists")
        await house.settle()

        assert not laptop.directory.exists()
        assert [path.name for path in phone.directory.iterdir()] == ["Sub"]
        assert [replica.keys() for replica in house.replicas("Work/Sub")] == [["x"]] * 2
        assert own.read_text() == "mine"
        assert not house.replica("phone", "Lists").directory.exists()
        assert len(await house.rows(select(schema.body.c.id))) == 4
        assert await house.db.read(holds.holds) == ()

        provider.receive("d", mailbox="Work")
        await house.settle()
        assert [replica.keys() for replica in house.replicas("Work")] == [["d"]] * 2


async def test_large_mailbox_is_held_and_shown_until_it_is_released(tmp_path: Path, user: Provider) -> None:
    """For each device by itself, and over a restart; then it goes there, and what devices had changed is no matter."""
    user.receive(*MANY, mailbox="Work")
    house = _house(tmp_path, user)
    async with house:
        await house.settle()
        _delete(user, "Work")
        await house.settle()
    async with house:
        house.replica("phone", "Work").mark("m00", add="F")
        await house.settle()

        assert [replica.keys() for replica in house.replicas("Work")] == [sorted(MANY)] * 2
        shown = await house.db.read(held)
        assert [(one.account, one.mailbox, len(one.hold.effects)) for one in shown] == [("work", "Work", 12)] * 2
        assert {one.hold.reason for one in shown} == {Reason.MAILBOX_EMPTIED}

        await house.db.write(partial(holds.release_hold, hold_id=shown[0].hold.id))
        await house.settle()
        there = [replica.directory.exists() for replica in house.replicas("Work")]
        assert sorted(there) == [False, True]
        assert len(await house.db.read(holds.holds)) == 1


@pytest.mark.parametrize("is_back", [False, True])
async def test_held_mailbox_is_put_back(tmp_path: Path, user: Provider, is_back: bool) -> None:
    """Discarded, it is made again on the server of what devices have; made there again, its files are found again."""
    user.receive(*MANY, mailbox="Work", flags=("\\Seen",))
    async with _house(tmp_path, user) as house:
        await house.settle()
        files = [{file.inode for file in replica.files()} for replica in house.replicas("Work")]
        _delete(user, "Work")
        await house.settle()
        found = await house.db.read(holds.holds)

        if is_back:
            user.receive(*MANY[::-1], mailbox="Work", flags=("\\Seen",))
        else:
            for one in found[:1]:
                await house.db.write(partial(discards.discard_hold, one=one, now=house.clock()))
        await house.settle()

        assert user.flags("Work") == {key: {"\\Seen"} for key in MANY}
        assert [replica.keys() for replica in house.replicas("Work")] == [sorted(MANY)] * 2
        assert [{file.inode for file in replica.files()} for replica in house.replicas("Work")] == files
        assert await house.db.read(holds.holds) == ()


async def test_what_a_device_adds_to_a_deleted_mailbox_makes_it_again(tmp_path: Path, user: Provider) -> None:
    """A draft that nobody else has is not lost with its mailbox, however often; what was deleted does not come back."""
    user.receive("a", "b", mailbox="Work")
    house = _house(tmp_path, user)
    async with house:
        await house.settle()
    _delete(user, "Work")
    (house.replica("laptop", "Work").directory / "cur" / "1700000000.1.laptop:2,S").write_bytes(letter("own"))

    async with house:
        await house.settle()

        assert user.flags("Work") == {"own": {"\\Seen"}}
        assert [replica.keys() for replica in house.replicas("Work")] == [["own"]] * 2

        _delete(user, "Work")
        house.replica("laptop", "Work").mark("own", add="F")
        await house.settle()

        assert user.flags("Work") == {"own": {"\\Seen", "\\Flagged"}}


@pytest.mark.parametrize("is_heard", [True, False], ids=["heard", "unheard"])
async def test_what_a_device_flags_in_a_deleted_mailbox_makes_it_again(
    tmp_path: Path, user: Provider, is_heard: bool
) -> None:
    """The flag is stronger than the deletion, as of any message; what nobody wants is gone everywhere."""
    user.receive("a", "b", mailbox="Lists")
    house = _house(tmp_path, user)
    async with house:
        await house.settle()
        if not is_heard:
            await house.__aexit__()
        _delete(user, "Lists")
        house.replica("laptop", "Lists").mark("a", add="F")
        if not is_heard:
            await house.__aenter__()
        await house.settle()

        assert user.flags("Lists") == {"a": {"\\Flagged"}}
        assert [one.keys() for one in house.replicas("Lists")] == [["a"]] * len(house.devices)


async def test_messages_that_were_moved_before_keep_their_files(tmp_path: Path, user: Provider) -> None:
    """A program that empties a mailbox into the Trash, and then deletes it, has moved them."""
    user.receive("a", "b", "c", mailbox="Work")
    user.receive("z", mailbox="Archive")
    async with _house(tmp_path, user) as house:
        await house.settle()
        files = {file.inode for file in house.replica("laptop", "Work").files()}

        user.move("a", "b", "c", mailbox="Work", to="Archive")
        _delete(user, "Work")
        await house.settle()

        assert {file.inode for file in house.replica("laptop", "Archive").files()} > files
        assert not house.replica("laptop", "Work").directory.exists()


def _house(directory: Path, user: Provider) -> House:
    return House(directory, accounts={"work": imap(user.server, user.user)}, devices=DEVICES)


def _delete(user: Provider, name: str) -> None:
    with user.server.imap(user.user) as client:
        assert client.delete(name)[0] == "OK"
