"""What a device does to mail of a POP3 account is so on every device."""

import shutil
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import select

from syncd.mail.tree import ReplicaState
from syncd.store.rounds import holds
from syncd.store.rounds.holds import HoldScope, HoldState
from syncd.store.tables import schema
from tests.contract.sync.house import House, MakeDovecot, imap, pop3, states
from tests.contract.sync.letters import letter
from tests.contract.sync.pop3_devices import DEVICES, add, assert_everywhere, house_of, move, on, remove
from tests.contract.sync.provider import Provider

SEEN, FLAGGED, DRAFT = "\\Seen", "\\Flagged", "\\Draft"


# Deletions.


async def test_deleted_message_is_in_trash_everywhere(tmp_path: Path, user: Provider) -> None:
    """By itself, within seconds, read as it was; and out of Trash it is gone, with its octets in the store."""
    user.receive("a", "b")
    async with house_of(tmp_path, user) as house:
        await house.settle()
        on(house, "phone").mark("a", add="S")
        await house.settle()

        remove(house, "laptop", "a")
        await house.until(lambda: all(one.keys() == ["b"] for one in house.replicas(account="isp")))
        await house.until(lambda: all(one.keys() == ["a"] for one in house.replicas("Trash", account="isp")))
        await house.settle()
        assert_everywhere(house, "INBOX", "b")
        assert on(house, "nas", "Trash").flags() == {"a": {SEEN}}
        assert await states(house) == {ReplicaState.PRESENT: 6}

        remove(house, "nas", "a", mailbox="Trash")
        await house.settle()

        assert_everywhere(house, "Trash")
        assert await states(house) == {ReplicaState.PRESENT: 3}
        assert len(await house.rows(select(schema.body.c.id))) == 2
        assert user.left_on_pop3() == 0


async def test_two_devices_delete_the_same_message(tmp_path: Path, user: Provider) -> None:
    """It is once in Trash, also when nobody was there to see it."""
    user.receive("a", "b", "c")
    house = house_of(tmp_path, user)
    async with house:
        await house.settle()
        remove(house, "laptop", "a")
        remove(house, "phone", "a")
        await house.settle()
        assert_everywhere(house, "Trash", "a")
    remove(house, "laptop", "b")
    remove(house, "nas", "b")
    async with house:
        await house.settle()

        assert_everywhere(house, "INBOX", "c")
        assert_everywhere(house, "Trash", "a", "b")


async def test_flag_of_another_device_is_stronger_than_a_deletion(tmp_path: Path, user: Provider) -> None:
    """What somebody flagged comes back to the device that deleted it; what was only read is deleted."""
    user.receive("a", "b")
    house = house_of(tmp_path, user)
    async with house:
        await house.settle()
    remove(house, "laptop", "a", "b")
    on(house, "phone").mark("a", add="F")
    on(house, "phone").mark("b", add="S")
    async with house:
        await house.settle()

        assert_everywhere(house, "INBOX", "a")
        assert_everywhere(house, "Trash", "b")
        assert {tuple(one.flags()["a"]) for one in house.replicas(account="isp")} == {(FLAGGED,)}


async def test_deletions_while_the_server_is_down(tmp_path: Path, make_dovecot: MakeDovecot, mail_user: str) -> None:
    """The maildrop is not needed for any of it, and brings nothing back once it is there again."""
    server = make_dovecot()
    user = Provider(server, mail_user)
    user.receive("a", "b", "c")
    async with house_of(tmp_path, user) as house:
        await house.settle()
        server.stop()

        remove(house, "laptop", "a")
        move(house, "phone", "b", "Junk")
        add(house, "nas", "d", mailbox="Drafts", letters="DS")
        await house.until(lambda: on(house, "phone", "Trash").keys() == ["a"])
        await house.until(lambda: on(house, "nas", "Junk").keys() == ["b"])
        await house.until(lambda: on(house, "laptop", "Drafts").keys() == ["d"])

        server.start()
        user.receive("e")
        await house.settle()
        assert_everywhere(house, "INBOX", "c", "e")
        assert_everywhere(house, "Trash", "a")
        assert_everywhere(house, "Junk", "b")
        assert user.left_on_pop3() == 0


async def test_mass_deletion_is_held_and_released(tmp_path: Path, user: Provider) -> None:
    """Nothing goes and the rest is synced, also after a restart; released, exactly that goes, on all devices."""
    keys = [f"m{number:02}" for number in range(30)]
    user.receive(*keys)
    house = house_of(tmp_path, user)
    async with house:
        await house.settle()
        remove(house, "laptop", *keys)
        user.receive("new")
        on(house, "phone").mark("m00", add="S")
        await house.settle()

        assert on(house, "laptop").keys() == ["new"]
        assert on(house, "nas").keys() == [*keys, "new"]
        assert on(house, "nas").flags()["m00"] == {SEEN}
    async with house:
        await house.settle()
        (hold,) = await house.db.read(holds.holds)
        assert (hold.scope, hold.state, len(hold.effects)) == (HoldScope.BY_DEVICE, HoldState.HELD, 30)

        assert await house.db.write(partial(holds.release_hold, hold_id=hold.id))
        house.wakes.account("isp").set()
        await house.until(lambda: all(one.keys() == ["new"] for one in house.replicas(account="isp")))
        await house.settle()

        assert_everywhere(house, "Trash", *keys)
        assert await house.db.read(holds.holds) == ()


# What is added, moved and copied.


async def test_draft_and_its_newer_versions_are_one_message(tmp_path: Path, user: Provider) -> None:
    """However often it is saved, on whichever device; nothing of it is in Trash."""
    async with house_of(tmp_path, user) as house:
        await house.settle()

        first = add(house, "laptop", "d", mailbox="Drafts", letters="DS")
        await house.until(lambda: on(house, "phone", "Drafts").keys() == ["d"])
        await house.settle()
        assert on(house, "laptop", "Drafts").find("d").path == first
        assert on(house, "nas", "Drafts").flags() == {"d": {DRAFT, SEEN}}

        for device in ("laptop", "phone"):
            newer = letter("d", lines=5 + len(device))
            old = on(house, device, "Drafts").find("d").path
            made = old.with_name(f"1700000001.1.{device}:2,DS")
            made.write_bytes(newer)
            old.unlink()
            await house.settle()

            assert_everywhere(house, "Drafts", "d")
            octets = {
                next(one.files()).octets.replace(b"\r\n", b"\n") for one in house.replicas("Drafts", account="isp")
            }
            assert octets == {newer.replace(b"\r\n", b"\n")}
        assert_everywhere(house, "Trash")


async def test_moved_message_is_moved_everywhere(tmp_path: Path, user: Provider) -> None:
    """With its flags and its date, and nothing of it is in Trash; its octets are there once."""
    user.receive("a", "b")
    async with house_of(tmp_path, user) as house:
        await house.settle()
        on(house, "phone").mark("a", add="FS")
        await house.settle()
        mtime = on(house, "nas").find("a").mtime

        moved = move(house, "laptop", "a", "Junk")
        await house.settle()

        assert_everywhere(house, "INBOX", "b")
        assert_everywhere(house, "Junk", "a")
        assert_everywhere(house, "Trash")
        assert {one.flags()["a"] for one in house.replicas("Junk", account="isp")} == {frozenset({SEEN, FLAGGED})}
        assert on(house, "nas", "Junk").find("a").mtime == mtime
        assert on(house, "laptop", "Junk").find("a").path == moved
        assert len(await house.rows(select(schema.body.c.id))) == 2
        assert await states(house) == {ReplicaState.PRESENT: 6}


async def test_mailbox_that_is_moved_whole_is_not_held(tmp_path: Path, user: Provider) -> None:
    """Many moves at once are no deletions, on the device that moves or on the others, whose files are moved, too."""
    keys = [f"m{number:02}" for number in range(60)]
    user.receive(*keys)
    async with house_of(tmp_path, user, phone={"link": False}) as house:
        await house.settle()
        inodes = {one.inode for one in on(house, "phone").files()}

        for key in keys:
            move(house, "laptop", key, "Sent")
        await house.settle()

        assert_everywhere(house, "INBOX")
        assert_everywhere(house, "Sent", *keys)
        assert_everywhere(house, "Trash")
        assert {one.inode for one in on(house, "phone", "Sent").files()} == inodes
        assert await house.db.read(holds.holds) == ()


async def test_copied_message_is_copied_and_its_original_may_go_later(tmp_path: Path, user: Provider) -> None:
    """The second half of a move is no deletion, also after a restart."""
    user.receive("a", "b")
    house = house_of(tmp_path, user)
    async with house:
        await house.settle()
        shutil.copy(
            on(house, "laptop").find("a").path, on(house, "laptop", "Sent").directory / "cur" / "1700000000.1.c:2,S"
        )
        await house.settle()
        assert_everywhere(house, "INBOX", "a", "b")
        assert_everywhere(house, "Sent", "a")
    async with house:
        remove(house, "laptop", "a")
        await house.settle()

        assert_everywhere(house, "INBOX", "b")
        assert_everywhere(house, "Sent", "a")
        assert_everywhere(house, "Trash")


async def test_message_that_two_devices_move_is_there_once(tmp_path: Path, user: Provider) -> None:
    """And one that comes back out of Trash is a message like before."""
    user.receive("a", "b")
    house = house_of(tmp_path, user)
    async with house:
        await house.settle()
    move(house, "laptop", "a", "Junk")
    move(house, "phone", "a", "Junk")
    remove(house, "nas", "b")
    async with house:
        await house.settle()
        assert_everywhere(house, "Junk", "a")
        assert_everywhere(house, "Trash", "b")

        move(house, "phone", "b", "INBOX", source="Trash")
        await house.settle()

        assert_everywhere(house, "INBOX", "b")
        assert_everywhere(house, "Trash")


async def test_rewritten_file_is_a_message_beside_the_one_that_came(tmp_path: Path, user: Provider) -> None:
    """What a device rewrites in place is new mail, and the octets that came are on every device still."""
    user.receive("a")
    async with house_of(tmp_path, user) as house:
        await house.settle()

        on(house, "laptop").find("a").path.write_bytes(letter("n", lines=9))
        await house.until(lambda: all(one.keys() == ["a", "n"] for one in house.replicas(account="isp")))
        await house.settle()

        assert_everywhere(house, "INBOX", "a", "n")


@pytest.mark.parametrize(("source", "to"), [("isp", "work"), ("work", "isp")])
async def test_move_between_accounts_is_an_arrival_and_a_deletion(
    tmp_path: Path, user: Provider, mail_user: str, source: str, to: str
) -> None:
    """The one account has it as a message of its own, the other in its Trash, whichever of them is of POP3."""
    isp = Provider(user.server, f"{mail_user}p")
    accounts = {"work": imap(user.server, user.user), "isp": pop3(isp.server, isp.user)}
    house = House(tmp_path, accounts=accounts, devices={name: {"settle": "20ms"} for name in DEVICES})
    (user if source == "work" else isp).receive("a", "b")
    async with house:
        await house.settle()

        file = house.replica("laptop", account=source).find("a").path
        file.rename(house.replica("laptop", account=to).directory / "cur" / file.name)
        await house.settle()

        assert [one.keys() for one in house.replicas(account=to)] == [["a"]] * 3
        assert [one.keys() for one in house.replicas(account=source)] == [["b"]] * 3
        assert [one.keys() for one in house.replicas("Trash", account=source)] == [["a"]] * 3
        assert sorted(user.flags("INBOX")) == (["b"] if source == "work" else ["a"])
        assert isp.left_on_pop3() == 0
