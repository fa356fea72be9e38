"""A draft has one version, the last; what is edited in place replaces nothing else, and nothing is litter."""

import os
from pathlib import Path

import pytest
from sqlalchemy import select

from syncd.mail.tree import ReplicaState
from syncd.store.tables import schema
from tests.contract.sync.house import House, imap, states
from tests.contract.sync.letters import letter
from tests.contract.sync.provider import Provider
from tests.contract.sync.tap import Tap
from tests.contract.sync.three_devices import TWO, add, assert_everywhere, house_of


async def test_newer_versions_of_a_draft_leave_one(tmp_path: Path, provider: Provider) -> None:
    """A program that saves a draft again and again, each time in a new file, leaves the last one, and no litter."""
    async with house_of(tmp_path, provider) as house:
        await house.settle()
        old = add(house, "laptop", "d", mailbox="Drafts", letters="D")
        await house.settle()
        for lines in (4, 5, 6):
            octets = letter("d", lines=lines)
            new = add(house, "laptop", "d", mailbox="Drafts", letters="D", octets=octets, name=f"17000000{lines}.1.l")
            old.unlink()
            old = new
            await house.settle()

            assert provider.bodies("Drafts") == (octets,)
            assert [one.keys() for one in house.replicas("Drafts")] == [["d"]] * 3
        assert provider.flags("Trash") == {}


async def test_draft_that_is_deleted_goes_to_trash(tmp_path: Path, user: Provider) -> None:
    """Also one that has older versions: the last one is no version of anything else."""
    async with house_of(tmp_path, user, devices=TWO) as house:
        await house.settle()
        add(house, "laptop", "d", mailbox="Drafts", letters="D")
        await house.settle()

        house.replica("laptop", "Drafts").find("d").path.unlink()
        await house.settle()

        assert_everywhere(house, user, "Drafts")
        assert_everywhere(house, user, "Trash", "d")


async def test_draft_that_is_rewritten_in_its_file_is_replaced(tmp_path: Path, user: Provider) -> None:
    """Some programs write the new version into the old file."""
    async with house_of(tmp_path, user) as house:
        await house.settle()
        path = add(house, "laptop", "d", mailbox="Drafts", letters="D")
        await house.settle()

        path.write_bytes(letter("d", lines=9))
        await house.until(lambda: user.bodies("Drafts") == (letter("d", lines=9),))
        await house.settle()

        assert user.bodies("Drafts") == (letter("d", lines=9),)
        assert [one.keys() for one in house.replicas("Drafts")] == [["d"]] * 3
        assert user.flags("Trash") == {}


async def test_message_that_is_edited_in_place_stays_and_its_edit_is_new(tmp_path: Path, user: Provider) -> None:
    """Nothing of it is lost, and the devices that share its file have both."""
    user.receive("a")
    async with house_of(tmp_path, user, devices=TWO) as house:
        await house.settle()

        with house.replica("laptop").find("a").path.open("ab") as file:
            file.write(b"an edit\n")
        await house.until(lambda: len(user.bodies()) == 2)
        await house.until(lambda: all(len(list(one.files())) == 2 for one in house.replicas()))
        await house.settle()

        assert sorted(user.bodies()) == sorted([letter("a"), letter("a") + b"an edit\r\n"])
        for one in house.replicas():
            assert sorted(file.octets.count(b"an edit") for file in one.files()) == [0, 1]


async def test_file_that_is_only_touched_is_as_it_was(tmp_path: Path, user: Provider) -> None:
    """A new date, as backups and copies give it, is no edit."""
    user.receive("a")
    house = house_of(tmp_path, user)
    async with house:
        await house.settle()
    os.utime(house.replica("laptop").find("a").path, (1, 1))
    async with house:
        await house.settle()

        assert_everywhere(house, user, "INBOX", "a")
        assert await states(house) == {ReplicaState.PRESENT: 3}


async def test_draft_that_is_discarded_while_it_is_sent(tmp_path: Path, user: Provider) -> None:
    """It is a message by then, and its deletion is one."""
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port, devices=TWO) as house:
        await house.settle()
        paths: list[Path] = []

        async def discard(line: bytes) -> None:
            if b" APPEND " in line and paths:
                paths.pop().unlink()

        tap.before_line = discard
        paths.append(add(house, "laptop", "d", mailbox="Drafts", letters="D"))
        await house.until(lambda: not paths)
        await house.settle()
        await house.until(lambda: not user.flags("Drafts"))  # while it is sent, nobody can tell that it is to go
        await house.settle()

        assert_everywhere(house, user, "Drafts")
        assert_everywhere(house, user, "Trash", "d")


@pytest.mark.parametrize("before", [b" APPEND ", b" SELECT "])
async def test_draft_that_is_discarded_before_it_is_sent(tmp_path: Path, user: Provider, before: bytes) -> None:
    """It is never sent, or it is in Trash; it does not come back to the device that discarded it."""
    user.receive("other", mailbox="Drafts")
    async with Tap(user.server.imap_port) as tap:
        account = imap(user.server, user.user, port=tap.port)
        async with House(tmp_path, accounts={"work": account}, devices={"laptop": {"settle": "20ms"}}) as house:
            await house.settle()
            paths: list[Path] = []
            taken_in = select(schema.journal.c.id)

            async def discard(line: bytes) -> None:
                if before in line and b"Drafts" in line and paths and await house.rows(taken_in):
                    paths.pop().unlink()
                    file = schema.replica_message.c
                    states = select(file.state).where(file.state != ReplicaState.PRESENT)
                    await house.until_read(lambda found: ReplicaState.NEW not in found, states)

            tap.before_line = discard
            paths.append(add(house, "laptop", "d", mailbox="Drafts", letters="D"))
            await house.until(lambda: not paths)
            await house.settle()

            assert sorted(user.flags("Drafts")) == ["other"]
            assert house.replica("laptop", "Drafts").keys() == ["other"]
            assert sorted(user.flags("Trash")) == (["d"] if before == b" APPEND " else [])
