"""A directory that is not as syncd left it stands still until it is adopted, and then nothing is lost."""

import datetime
import os
import shutil
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import select

from syncd.errors import DeviceAwayError
from syncd.mail.tree import ReplicaState
from syncd.store.tables import schema
from syncd.store.trees import accounts
from syncd.sync.requests import Asked
from syncd.sync.served import leftover
from tests.contract.sync.adopting import adopt, assert_refused, copied, device_states, house_of, inodes
from tests.contract.sync.house import House, pop3, states
from tests.contract.sync.letters import letter
from tests.contract.sync.provider import Provider
from tests.contract.sync.replica import Replica
from tests.contract.sync.tap import Tap

LONG_AGO = datetime.datetime(2020, 5, 17, 9, 30, tzinfo=datetime.UTC)
SEEN, FLAGGED = "\\Seen", "\\Flagged"


# Away, and back.


async def test_mailbox_that_lost_its_new_mail_gets_it_again_by_adoption(tmp_path: Path, user: Provider) -> None:
    """It stands still, and an empty directory that is made after the adoption deletes nothing."""
    user.receive("a", "b")
    async with house_of(tmp_path, user) as house:
        await house.settle()
        new = house.replica("laptop").directory / "new"
        shutil.rmtree(new)
        await house.ask("laptop")
        (told,) = await house.rows(select(schema.device.c.error).where(schema.device.c.name == "laptop"))
        assert told.error == "work/INBOX: its directory has no new/"

        await adopt(house, "laptop")
        new.mkdir()
        await house.settle()

        assert house.replica("laptop").keys() == sorted(user.flags()) == ["a", "b"]


@pytest.mark.parametrize("instead", ["nothing", "an empty directory", "another disk"])
async def test_device_that_was_away_converges_when_it_is_back(tmp_path: Path, user: Provider, instead: str) -> None:
    """Whatever is at its place meanwhile is left alone; afterwards the changes of both sides are merged."""
    user.receive("a", "b", "c", "d")
    house = house_of(tmp_path, user)
    async with house:
        await house.settle()
    root, away = tmp_path / "laptop", tmp_path / "away"
    root.rename(away)
    if instead != "nothing":
        root.mkdir()
    if instead == "another disk":
        copied(tmp_path / "phone", root)
        next(file.path for file in house.replica("laptop").files()).unlink()
    before = sorted(root.rglob("*")) if root.exists() else []
    at_home = Replica(away / ".work.INBOX")

    async with house:
        user.expunge("a")
        user.store("b", "+FLAGS (\\Flagged)")
        user.receive("e")
        at_home.mark("b", add="S")
        at_home.find("c").path.unlink()
        with pytest.raises(DeviceAwayError):
            await house.ask("laptop")
        await house.ask("work")
        await house.ask("phone")
        assert (sorted(root.rglob("*")) if root.exists() else []) == before
        assert sorted(user.flags()) == ["b", "c", "d", "e"]
        assert house.replica("phone").keys() == ["b", "c", "d", "e"]
        assert (await device_states(house))["laptop"] in {"away", "foreign"}

        shutil.rmtree(root, ignore_errors=True)
        away.rename(root)
        await house.settle()

        wanted = {"b": {SEEN, FLAGGED}, "d": set(), "e": set()}
        assert [one.flags() for one in house.replicas()] == [wanted, wanted]
        assert user.flags() == wanted
        assert sorted(user.flags("Trash")) == ["c"]
        assert await device_states(house) == {"laptop": "active", "phone": "active"}


async def test_disk_that_is_another_by_the_time_of_writing_gets_neither_mail_nor_marker(
    tmp_path: Path, user: Provider
) -> None:
    """What is delivered proves the root first, for the last check may be a while ago."""
    user.receive("a")
    async with house_of(tmp_path, user) as house:
        await house.settle()
        root = tmp_path / "laptop"
        root.rename(tmp_path / "away")
        copied(tmp_path / "phone", root)
        marker = (root / ".syncd").read_bytes()
        laptop = house.devices["laptop"]
        user.receive("b")
        await house.ask("work")
        with pytest.raises(DeviceAwayError):
            await house.ask("laptop")

        with pytest.raises(DeviceAwayError):
            await laptop.settle()

        assert (root / ".syncd").read_bytes() == marker
        assert house.replica("laptop").keys() == ["a"]


# Mail of another program.


@pytest.mark.parametrize("is_dated", [True, False], ids=["with dates", "without dates"])
async def test_maildir_of_another_program_is_adopted(tmp_path: Path, user: Provider, is_dated: bool) -> None:
    """Octets of the server are bound by content, not fetched where files have its dates, never doubled."""
    user.receive("a", "b", "c", flags=("\\Seen",), date=LONG_AGO)
    user.receive("twin", "twin", date=LONG_AGO)
    async with Tap(user.server.imap_port) as tap:
        house = house_of(tmp_path, user, port=tap.port, devices={"laptop": {"layout": "fs"}})
        served = dict(zip("abct", user.bodies(), strict=False))
        directory = tmp_path / "laptop" / "work" / "INBOX"
        for subdir in ("cur", "new", "tmp"):
            (directory / subdir).mkdir(parents=True)
        for number, (key, flags) in enumerate({"a": "S", "b": "FS", "t": "", "own": "R"}.items()):
            octets = served.get(key, letter("own")).replace(b"\r\n", b"\n")
            path = directory / "cur" / f"17{number}.4711_1.host,U={number + 1}:2,{flags}"
            path.write_bytes(octets)
            if is_dated:
                os.utime(path, (LONG_AGO.timestamp(), LONG_AGO.timestamp()))
        before = inodes(house.replica("laptop"))

        async with house:
            with pytest.raises(DeviceAwayError, match="syncd adopt laptop takes them over"):
                await house.ask("laptop")
            assert await adopt(house, "laptop") == ["files and no marker"]
            await house.settle()

            laptop = house.replica("laptop")
            assert laptop.keys() == ["a", "b", "c", "own", "twin", "twin"]
            assert set(before) <= set(inodes(laptop))
            assert len(user.bodies()) == 6
            assert {key: user.flags()[key] for key in "abc"} == {"a": {SEEN}, "b": {SEEN, FLAGGED}, "c": {SEEN}}
            assert laptop.find("b").letters == "FS"
            assert await states(house) == {ReplicaState.PRESENT: 6}
            assert sum(map(len, tap.bodies)) == (1 if is_dated else 5)


# By a person's wish alone.


async def test_held_deletions_of_an_adopted_device_are_over(tmp_path: Path, user: Provider) -> None:
    """A device whose replica was emptied gets all of it back, and the server loses nothing."""
    keys = [f"m{number:02}" for number in range(40)]
    user.receive(*keys)
    async with house_of(tmp_path, user) as house:
        await house.settle()
        for file in house.replica("laptop").files():
            file.path.unlink()
        await house.until_read(lambda scopes: scopes == ["by_device"], select(schema.hold.c.scope))

        await adopt(house, "laptop")
        await house.settle()

        assert house.replica("laptop").keys() == keys
        assert sorted(user.flags()) == keys
        assert await house.rows(select(schema.hold)) == []
        assert await states(house) == {ReplicaState.PRESENT: 80}


async def test_directory_without_mailboxes_that_is_adopted_is_filled(tmp_path: Path, user: Provider) -> None:
    """A new disk at the old place needs no other path, whatever else is on it, and whatever marker."""
    user.receive("a", "b")
    house = house_of(tmp_path, user)
    async with house:
        await house.settle()
    shutil.rmtree(tmp_path / "laptop")
    (tmp_path / "laptop" / ".stfolder").mkdir(parents=True)
    async with house:
        await assert_refused(house, "laptop", saying="unmounted, moved or emptied")
        assert await adopt(house, "laptop") == ["no mailbox"]
        await house.settle()
        assert house.replica("laptop").keys() == ["a", "b"]

        for directory in (tmp_path / "laptop").glob(".work.*"):
            shutil.rmtree(directory)
        assert await adopt(house, "laptop") == ["no mailbox"]
        await house.settle()
        assert house.replica("laptop").keys() == ["a", "b"]
        assert sorted(user.flags()) == ["a", "b"]


async def test_directory_that_is_not_there_cannot_be_adopted(tmp_path: Path, user: Provider) -> None:
    """The wish fails with the reason, and is not remembered for another day."""
    user.receive("a")
    house = house_of(tmp_path, user)
    async with house:
        await house.settle()
    (tmp_path / "laptop").rename(tmp_path / "away")
    async with house:
        with pytest.raises(DeviceAwayError, match="cannot be opened: no such file or directory"):
            await adopt(house, "laptop")
        copied(tmp_path / "phone", tmp_path / "laptop")
        await assert_refused(house, "laptop", saying="marker of device phone")


async def test_mail_of_a_pop3_account_survives_a_lost_store(tmp_path: Path, user: Provider) -> None:
    """Its only copies are the devices' files: they become its mail again, once, also where some of it comes again."""
    user.receive("a", "b")
    account = {"isp": pop3(user.server, user.user)}
    house = House(tmp_path, accounts=account, devices=("laptop", "phone"))
    async with house:
        await house.settle()
        assert user.left_on_pop3() == 0
    shutil.rmtree(tmp_path / "store")
    user.receive("b", "c")
    async with house:
        await adopt(house, "laptop", "phone")
        await house.settle()

        assert user.left_on_pop3() == 0
        assert [one.keys() for one in house.replicas(account="isp")] == [["a", "b", "c"]] * 2
        assert await states(house) == {ReplicaState.PRESENT: 6}


async def test_pop3_account_reads_its_maildrop_for_a_device_that_was_adopted(tmp_path: Path, user: Provider) -> None:
    """Only that tells that a file is not of it; a sync is not complete before, though all was asked at once."""
    user.receive("a")
    account = {"isp": pop3(user.server, user.user)}
    async with House(tmp_path, accounts=account, devices=("laptop", "phone"), watches_devices=False) as house:
        await house.settle()
        directory = house.replica("laptop", account="isp").directory
        (directory / "cur" / "1700000000.b.laptop:2,S").write_bytes(letter("b").replace(b"\r\n", b"\n"))
        await adopt(house, "laptop")
        await house.until_read(lambda listed: None not in listed, select(schema.replica.c.listed_at))

        names = {"of_accounts": {"isp"}, "of_devices": {"laptop", "phone"}}
        left = await house.db.read(partial(leftover, config=house.config, **names, now=house.clock()))
        await house.accounts["isp"].requests.ask(Asked.PASS)
        await house.devices["laptop"].requests.ask(Asked.PASS)

        assert left.accounts == {"isp"}
        await house.until(lambda: house.replica("phone", account="isp").keys() == ["a", "b"])


async def test_file_that_is_older_than_the_device_takes_is_bound_all_the_same(tmp_path: Path, user: Provider) -> None:
    """It is the message's, not one of the device's own, though nobody would fetch its body."""
    user.receive("old", date=LONG_AGO)
    user.receive("a")
    async with Tap(user.server.imap_port) as tap:
        everything = house_of(tmp_path, user, port=tap.port, devices=("laptop",))
        async with everything:
            await everything.settle()
        shutil.rmtree(tmp_path / "store")
        asked = len(tap.bodies)

        async with house_of(tmp_path, user, port=tap.port, devices={"laptop": {"max_age": "30d"}}) as house:
            await adopt(house, "laptop")
            await house.settle()

            # NOTE: it may be gone from the device by now, which does not take it: a start looks for all such.
            assert set(house.replica("laptop").keys()) - {"old"} == {"a"}
            assert (await states(house)).keys() == {ReplicaState.PRESENT}
            assert len(user.bodies()) == 2
            assert len(tap.bodies) == asked


async def test_mail_of_an_account_that_is_not_configured_stays_as_it_is(tmp_path: Path, user: Provider) -> None:
    """It hinders no adoption, and is told of."""
    user.receive("a")
    async with house_of(tmp_path, user, devices=("laptop",)) as house:
        await house.settle()
        await house.db.write(lambda conn: accounts.ensure_account(conn, "old", kind="imap", identity="x"))
        file = tmp_path / "laptop" / ".old.INBOX" / "cur" / "1.1.host:2,"
        file.parent.mkdir(parents=True)
        file.write_bytes(letter("b"))

        adopted = await house.devices["laptop"].adopt()
        await house.settle()

        assert adopted.left == "files left alone: 1 of account old, which is not configured"
        assert adopted.files == 1
        assert file.read_bytes() == letter("b")
        assert len(user.bodies()) == 1


async def test_adoption_that_is_interrupted_goes_on_where_it_was(tmp_path: Path, user: Provider) -> None:
    """Stopped while files are read, and again while their messages are looked for, it ends as it would have."""
    keys = [f"m{number:03}" for number in range(700)]
    user.receive(*keys)
    async with Tap(user.server.imap_port) as tap:
        house = house_of(tmp_path, user, port=tap.port, devices=("laptop",))
        async with house:
            await house.settle()
        shutil.rmtree(tmp_path / "store")
        before, asked = inodes(house.replica("laptop")), len(tap.bodies)
        found = select(schema.replica_message.c.state).where(schema.replica_message.c.state == "found")
        async with house:
            await adopt(house, "laptop")
            await house.until_read(bool, found)
        async with house:
            await house.until_read(
                bool,
                select(schema.replica_message.c.message_id).where(schema.replica_message.c.message_id.is_not(None)),
            )
        async with house:
            await house.settle()
            assert await states(house) == {ReplicaState.PRESENT: 700}

        assert house.replica("laptop").keys() == keys
        assert inodes(house.replica("laptop")) == before
        assert len(user.flags()) == 700
        assert len(tap.bodies) == asked
