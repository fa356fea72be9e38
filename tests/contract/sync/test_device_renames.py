"""A mailbox whose directory a program renames is renamed on its server and on all devices; no mail is sent for it."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import select

from syncd.store.tables import schema
from tests.contract.sync.house import House, imap
from tests.contract.sync.liar import ListLiar
from tests.contract.sync.provider import Provider
from tests.contract.sync.tap import Tap
from tests.contract.sync.three_devices import house_of
from tests.servers.dovecot_conf import FEW_SPECIAL_USE

STANDARD = {"INBOX", *FEW_SPECIAL_USE}
KEYS = [f"m{number:02}" for number in range(12)]


@pytest.mark.parametrize("octets", [0, None], ids=["before the answer", "not"])
async def test_renamed_directory_is_a_renamed_mailbox(tmp_path: Path, user: Provider, octets: int | None) -> None:
    """With what is inside, whatever answer is lost; the files of the other devices stay the same files."""
    user.receive(*KEYS, mailbox="Lists")
    user.receive("x", mailbox="Lists/inner")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        await house.settle()
        inodes = {file.inode for file in house.replica("phone", "Lists").files()}
        asked = len(tap.lines)

        async def cut(line: bytes) -> None:
            if b" RENAME " in line and not tap.cuts:
                tap.cut_after_bytes = octets

        tap.before_line = cut
        _rename(house, "laptop", "Lists", "Old/Lists")
        _rename(house, "laptop", "Lists/inner", "Old/Lists/inner")
        house.replica("laptop", "Old/Lists").mark("m00", add="F")
        await house.until(lambda: house.replica("phone", "Old/Lists").keys() == KEYS)
        await house.settle()

        assert user.mailboxes() >= {*STANDARD, "Old/Lists", "Old/Lists/inner"}
        assert not user.mailboxes() & {"Lists", "Lists/inner"}
        assert sorted(user.flags("Old/Lists")) == KEYS
        assert user.flags("Old/Lists")["m00"] == {"\\Flagged"}
        assert user.flags("Trash") == {}
        assert "Old/Lists" in user.subscribed()
        assert [one.keys() for one in house.replicas("Old/Lists/inner")] == [["x"]] * 3
        assert {file.inode for file in house.replica("phone", "Old/Lists").files()} == inodes
        assert not house.replica("phone", "Lists").directory.exists()
        said = b"\n".join(tap.lines[asked:])
        assert said.count(b" RENAME ") == 1
        assert not any(verb in said for verb in (b" APPEND ", b"UID MOVE", b"UID COPY", b"BODY.PEEK[]"))
        assert await house.rows(select(schema.mailbox_change.c.id)) == []


async def test_only_what_was_renamed_is_renamed(tmp_path: Path, user: Provider) -> None:
    """A server would rename what is inside as well; so messages are moved into a mailbox of that name instead."""
    user.receive(*KEYS, mailbox="Lists")
    user.receive("x", mailbox="Lists/inner")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        await house.settle()

        _rename(house, "laptop", "Lists", "Old")
        await house.until(lambda: house.replica("phone", "Old").keys() == KEYS)
        await house.settle()

        assert sorted(user.flags("Old")) == KEYS
        assert sorted(user.flags("Lists/inner")) == ["x"]
        assert user.flags("Trash") == user.flags("Lists") == {}
        assert [one.keys() for one in house.replicas("Old")] == [KEYS] * 3
        assert [one.keys() for one in house.replicas("Lists/inner")] == [["x"]] * 3
        assert not any(b" APPEND " in line or b" RENAME " in line for line in tap.lines)


async def test_rename_that_the_server_refuses_waits(tmp_path: Path, user: Provider) -> None:
    """Meanwhile the mailbox is as it was for all others; once it is called as before, there is nothing to do."""
    user.receive(*KEYS, mailbox="Lists")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        await house.settle()
        tap.refuses = lambda line: b" RENAME " in line

        _rename(house, "laptop", "Lists", "Old")
        await house.settle()
        [row] = await house.rows(select(schema.mailbox_change))
        assert (row.kind, row.name, row.error) == ("rename", "Old", 'rename refused by the server: "not this"')
        assert sorted(user.flags("Lists")) == KEYS
        assert house.replica("phone", "Lists").keys() == KEYS == house.replica("laptop", "Old").keys()

        _rename(house, "laptop", "Old", "Lists")
        await house.settle()
        assert await house.rows(select(schema.mailbox_change.c.id)) == []
        assert [one.keys() for one in house.replicas("Lists")] == [KEYS] * 3
        assert user.mailboxes() == {*STANDARD, "Lists"}


async def test_renamed_to_what_the_server_has_by_now(tmp_path: Path, user: Provider) -> None:
    """Then the messages are moved there; nothing is sent, doubled or in Trash."""
    user.receive(*KEYS, mailbox="Lists")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        await house.settle()

        async def make(line: bytes) -> None:
            if b"LIST" in line and tap.before_line is not None and _is_renamed(house):
                tap.before_line = None
                await asyncio.to_thread(user.receive, "y", mailbox="Old")

        tap.before_line = make
        _rename(house, "laptop", "Lists", "Old")
        await house.until(lambda: tap.before_line is None)
        await house.settle()

        assert sorted(user.flags("Old")) == [*KEYS, "y"]
        assert [one.keys() for one in house.replicas("Old")] == [[*KEYS, "y"]] * 3
        assert user.flags("Trash") == {}
        assert user.mailboxes() == {*STANDARD, "Old"}
        assert not any(b" APPEND " in line or (b" RENAME " in line and b"removed" not in line) for line in tap.lines)


@pytest.mark.parametrize("is_away", [True, False], ids=["removed", "renamed"])
async def test_directory_that_went_while_the_server_renamed_its_mailbox(
    tmp_path: Path, user: Provider, is_away: bool
) -> None:
    """What the device did is done to the mailbox under its new name; no message is lost or sent."""
    user.receive(*KEYS[:9], mailbox="Lists")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        await house.settle()
        await house.__aexit__()
        with user.server.imap(user.user) as client:
            client.rename("Lists", "Read")
        directory = house.replica("laptop", "Lists").directory
        directory.rename(tmp_path / "away" if is_away else house.replica("laptop", "Old").directory)
        await house.__aenter__()
        await house.settle()
        await house.settle()

        name = "Trash" if is_away else "Old"
        assert user.mailboxes() == {*STANDARD, name}
        assert sorted(user.flags(name)) == KEYS[:9]
        assert [one.keys() for one in house.replicas(name)] == [KEYS[:9]] * 3
        assert not any(b" APPEND " in line for line in tap.lines)
        assert await house.rows(select(schema.mailbox_change.c.id)) == []
        assert await house.rows(select(schema.device.c.error).where(schema.device.c.error.is_not(None))) == []


async def test_what_goes_from_a_directory_while_the_server_renames_its_mailbox_is_not_delivered_again(
    tmp_path: Path, user: Provider
) -> None:
    """Nor doubled: what a device moves out of, moves into or deletes in what it has just renamed is so everywhere."""
    user.receive("b")
    user.receive(*KEYS, mailbox="Lists")
    user.receive("x", "y", mailbox="Lists/inner")
    devices = {"laptop": {"settle": "20ms", "layout": "fs"}, "phone": {"settle": "20ms"}}
    async with Tap(user.server.imap_port) as tap:
        house = House(tmp_path, accounts={"work": imap(user.server, user.user, port=tap.port)}, devices=devices)

        async def meanwhile(line: bytes) -> None:
            if b" RENAME " in line:
                for source, key, target in (
                    ("Old", "m00", "INBOX"),
                    ("Old/inner", "x", "INBOX"),
                    ("INBOX", "b", "Old"),
                ):
                    file = house.replica("laptop", source).find(key).path
                    cur = house.replica("laptop", target).directory / "cur"
                    file.rename(cur / f"{file.name.partition(':')[0]}:2,S")
                house.replica("laptop", "Old").find("m01").path.unlink()

        async with house:
            await house.settle()
            tap.before_line = meanwhile
            _rename(house, "laptop", "Lists", "Old")
            await house.until(lambda: house.replica("phone", "Old").keys() == ["b", *KEYS[2:]])
            await house.settle()

            wanted = {"Old": ["b", *KEYS[2:]], "Old/inner": ["y"], "INBOX": ["m00", "x"], "Trash": ["m01"]}
            for name, keys in wanted.items():
                assert sorted(user.flags(name)) == keys, name
                assert [one.keys() for one in house.replicas(name)] == [keys] * 2, name
            assert await house.rows(select(schema.mailbox_change.c.id)) == []


async def test_directory_that_was_renamed_while_the_server_removed_its_mailbox(tmp_path: Path, user: Provider) -> None:
    """What is in it is in a new mailbox of that name, for nobody has removed it here; and there is an end of it."""
    user.receive(*KEYS[:3], mailbox="Lists")
    house = house_of(tmp_path, user)
    async with house:
        await house.settle()
    with user.server.imap(user.user) as client:
        client.delete("Lists")
    _rename(house, "laptop", "Lists", "Old")
    async with house:
        await house.settle()

        assert user.mailboxes() == {*STANDARD, "Old"}
        assert sorted(user.flags("Old")) == KEYS[:3]
        assert [one.keys() for one in house.replicas("Old")] == [KEYS[:3]] * 3
        assert not house.replica("phone", "Lists").directory.exists()
        assert await house.rows(select(schema.mailbox_change.c.id)) == []


async def test_mailbox_that_a_list_leaves_out_is_renamed_once_it_is_listed_again(
    tmp_path: Path, user: Provider
) -> None:
    """An answer that has it under neither name says nothing of the rename."""
    user.receive(*KEYS[:3], mailbox="Lists")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        await house.settle()
        liar, said = ListLiar(tap, names=frozenset({"Lists"})), len(tap.lines)
        liar.times, tap.refuses = 2, lambda line: False

        _rename(house, "laptop", "Lists", "Old")
        await house.until(lambda: "Old" in user.mailboxes())
        await house.settle()

        assert liar.told == 2
        assert sum(b" SUBSCRIBE " in line for line in tap.lines[said:]) == 1
        assert user.mailboxes() == {*STANDARD, "Old"}
        assert [one.keys() for one in house.replicas("Old")] == [KEYS[:3]] * 3


def _is_renamed(house: House) -> bool:
    return not house.replica("laptop", "Lists").directory.exists()


def _rename(house: House, device: str, old: str, new: str) -> None:
    house.replica(device, old).directory.rename(house.replica(device, new).directory)
