"""Directories and stores of different days or places: they stand still until adopted, and then nothing is lost."""

import asyncio
import datetime
import os
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from syncd.errors import DeviceAwayError
from syncd.mail.tree import ReplicaState
from syncd.store import schema
from tests.contract.sync.house import House, imap, pop3
from tests.contract.sync.letters import letter
from tests.contract.sync.provider import Provider
from tests.contract.sync.replica import Replica
from tests.contract.sync.tap import Tap

LONG_AGO = datetime.datetime(2020, 5, 17, 9, 30, tzinfo=datetime.UTC)
SEEN, FLAGGED, ANSWERED = "\\Seen", "\\Flagged", "\\Answered"


def house_of(
    directory: Path,
    user: Provider,
    *,
    port: int | None = None,
    devices: Any = ("laptop", "phone"),
    store: str = "store",
    **more: Any,
) -> House:
    tables = devices if isinstance(devices, Mapping) else {name: {} for name in devices}
    return House(
        directory,
        accounts={"work": imap(user.server, user.user, port=port)},
        devices={name: {"settle": "20ms", **table} for name, table in tables.items()},
        url=f"sqlite:///{directory}/{store}/syncd.db",
        **more,
    )


def copied(path: Path, to: Path) -> None:
    """Make a directory a copy of another, dates and hard links within it apart."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(path, to, symlinks=True)


async def adopt(house: House, *devices: str) -> list[str]:
    """Adopt devices of a house that is entered; return what was found in each."""
    return [(await house.devices[name].adopt()).found for name in devices]


async def states(house: House) -> dict[ReplicaState, int]:
    rows = await house.rows(select(schema.replica_message.c.state))
    return dict(Counter(ReplicaState(row.state) for row in rows))


async def device_states(house: House) -> dict[str, str]:
    rows = await house.rows(select(schema.device.c.name, schema.device.c.state))
    return {row.name: row.state for row in rows}


async def assert_refused(house: House, device: str, *, saying: str) -> None:
    """Check that a device is left alone, and that its error says why and what to do."""
    with pytest.raises(DeviceAwayError, match=saying) as refusal:
        await house.ask(device)
    assert "its mail is left alone" in str(refusal.value)
    assert f"syncd adopt {device}" in str(refusal.value)


def names(replica: Replica) -> list[str]:
    return sorted(file.stem for file in replica.files())


def inodes(replica: Replica) -> list[int]:
    return sorted(file.inode for file in replica.files())


# Away, and back.


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


# A directory from a backup.


@pytest.mark.parametrize("has_dates", [True, False], ids=["with dates", "without dates"])
async def test_directory_from_a_backup_is_adopted(tmp_path: Path, user: Provider, has_dates: bool) -> None:
    """Newer mail that it lacks is delivered again, mail that was removed since goes again, no flag is taken back."""
    user.receive("a", "b", "c", "d")
    async with Tap(user.server.imap_port) as tap:
        house = house_of(tmp_path, user, port=tap.port)
        async with house:
            await house.settle()
            copied(tmp_path / "laptop", tmp_path / "backup")
            user.receive("e")
            user.expunge("a")
            house.replica("laptop").mark("b", add="S")
            user.store("c", "+FLAGS (\\Flagged)")
            await house.settle()
        copied(tmp_path / "backup", tmp_path / "laptop")
        if not has_dates:
            for file in house.replica("laptop").files():
                file.path.touch()
        asked = len(tap.bodies)

        async with house:
            await house.ask("work")
            await assert_refused(house, "laptop", saying="older marker")
            assert house.replica("laptop").keys() == ["a", "b", "c", "d"]

            assert "restored from a backup" in (await adopt(house, "laptop"))[0]
            await house.settle()

            wanted = {"b": {SEEN}, "c": {FLAGGED}, "d": set(), "e": set()}
            assert user.flags() == wanted
            assert [one.flags() for one in house.replicas()] == [wanted, wanted]
            assert user.flags("Trash") == {}
            assert await states(house) == {ReplicaState.PRESENT: 8}
            assert await device_states(house) == {"laptop": "active", "phone": "active"}
            assert len(tap.bodies) == asked
            assert not [line for line in tap.lines if b"APPEND" in line]

            house.replica("laptop").find("d").path.unlink()
            await house.settle()
            assert sorted(user.flags("Trash")) == ["d"]


async def test_what_was_done_after_the_restore_is_kept(tmp_path: Path, user: Provider) -> None:
    """A flag that was set in the restored directory, and a letter that was put there, are the device's own."""
    user.receive("a", "b")
    house = house_of(tmp_path, user)
    async with house:
        await house.settle()
        copied(tmp_path / "laptop", tmp_path / "backup")
        user.receive("c")
        await house.settle()
    copied(tmp_path / "backup", tmp_path / "laptop")
    house.replica("laptop").mark("a", add="R")
    own = house.replica("laptop").directory / "cur" / "own:2,S"
    own.write_bytes(letter("own").replace(b"\r\n", b"\n"))

    async with house:
        await asyncio.sleep(0)
        await adopt(house, "laptop")
        await house.settle()

        wanted = {"a": {ANSWERED}, "b": set(), "c": set(), "own": {SEEN}}
        assert user.flags() == wanted
        assert [one.flags() for one in house.replicas()] == [wanted, wanted]
        assert own.exists()
        assert await states(house) == {ReplicaState.PRESENT: 8}


async def test_flag_that_the_server_lost_meanwhile_does_not_come_back(tmp_path: Path, user: Provider) -> None:
    """What both had agreed on and the server has since taken away, an old directory does not bring back."""
    user.receive("a", flags=("\\Flagged",))
    house = house_of(tmp_path, user)
    async with house:
        await house.settle()
        copied(tmp_path / "laptop", tmp_path / "backup")
        user.receive("b")
        await house.settle()
    copied(tmp_path / "backup", tmp_path / "laptop")
    user.store("a", "-FLAGS (\\Flagged)")
    async with house:
        await house.ask("work")
        await adopt(house, "laptop")
        await house.settle()

        assert user.flags() == {"a": set(), "b": set()}
        assert house.replica("laptop").flags() == {"a": set(), "b": set()}


async def test_old_files_under_the_right_marker_show_themselves(tmp_path: Path, user: Provider) -> None:
    """Files that we had removed come back: so what is missing beside them is no deletion either."""
    user.receive("a", "b")
    user.receive("x", mailbox="Archive")
    house = house_of(tmp_path, user)
    async with house:
        await house.settle()
        copied(tmp_path / "laptop", tmp_path / "backup")
        user.expunge("a")
        user.receive("c")
        user.receive("y", mailbox="Archive")
        await house.settle()
        marker = (tmp_path / "laptop" / ".syncd").read_bytes()
    copied(tmp_path / "backup", tmp_path / "laptop")
    (tmp_path / "laptop" / ".syncd").write_bytes(marker)

    async with house:
        await house.settle()

        assert sorted(user.flags()) == ["b", "c"]
        assert [one.keys() for one in house.replicas()] == [["b", "c"]] * 2
        assert [one.keys() for one in house.replicas("Archive")] == [["x", "y"]] * 2
        assert user.flags("Trash") == {}
        assert await states(house) == {ReplicaState.PRESENT: 8}


async def test_removed_file_that_a_program_puts_back_is_removed_again(tmp_path: Path, user: Provider) -> None:
    """The same name and octets are no new message; another letter under that name is."""
    user.receive("a", "b", "c")
    async with house_of(tmp_path, user) as house:
        await house.settle()
        laptop = house.replica("laptop")
        old = {key: (laptop.find(key).path, laptop.find(key).octets) for key in ("a", "b")}
        user.expunge("a", "b")
        await house.settle()

        old["a"][0].write_bytes(old["a"][1])
        old["b"][0].write_bytes(letter("other"))
        await house.settle()

        assert [one.keys() for one in house.replicas()] == [["c", "other"], ["c", "other"]]
        assert sorted(user.flags()) == ["c", "other"]
        assert await states(house) == {ReplicaState.PRESENT: 4}


async def test_many_removed_files_that_come_back_wait_for_a_person(tmp_path: Path, user: Provider) -> None:
    """The guard counts them like all removals: perhaps somebody restored them on purpose."""
    keys = [f"m{number:02}" for number in range(60)]
    user.receive(*keys)
    async with house_of(tmp_path, user, devices=("laptop",), guard={"count": 100}) as house:
        await house.settle()
        copied(tmp_path / "laptop", tmp_path / "backup")
        user.expunge(*keys[:40])
        await house.settle()
        assert len(house.replica("laptop").keys()) == 20
    copied(tmp_path / "backup", tmp_path / "laptop")
    house = house_of(tmp_path, user, devices=("laptop",))
    house.shift_s = 3600.0
    async with house:
        await house.ask("work")
        await adopt(house, "laptop")
        await house.settle()

        (hold,) = await house.rows(select(schema.hold))
        assert (hold.scope, hold.effects.count("remove")) == ("device", 40)
        assert house.replica("laptop").keys() == keys
        assert len(user.flags()) == 20


# A directory of another device, or of another store.


async def test_copy_of_another_device_is_adopted(tmp_path: Path, user: Provider) -> None:
    """Its files become this device's by their content: nothing is fetched, written, uploaded or deleted."""
    user.receive("a", "b", "c", "gone", flags=("\\Seen",))
    user.receive("x", mailbox="Archive")
    async with Tap(user.server.imap_port) as tap:
        house = house_of(tmp_path, user, port=tap.port)
        async with house:
            await house.settle()
            copied(tmp_path / "phone", tmp_path / "copy")
            user.expunge("gone")
            await house.settle()
        copied(tmp_path / "copy", tmp_path / "laptop")
        laptop = house.replica("laptop")
        laptop.find("b").path.unlink()
        laptop.mark("c", add="F")
        kept = [laptop.find(key).inode for key in "ac"]
        asked = len(tap.bodies)

        async with house:
            await house.ask("work")
            await assert_refused(house, "laptop", saying="marker of device phone")
            assert "device phone" in (await adopt(house, "laptop"))[0]
            await house.settle()

            wanted = {"a": {SEEN}, "b": {SEEN}, "c": {SEEN, FLAGGED}}
            assert user.flags() == wanted
            assert [one.flags() for one in house.replicas()] == [wanted, wanted]
            assert [one.keys() for one in house.replicas("Archive")] == [["x"], ["x"]]
            assert [laptop.find(key).inode for key in "ac"] == kept
            assert len(tap.bodies) == asked
            assert await states(house) == {ReplicaState.PRESENT: 8}


async def test_lost_store_is_made_again_of_what_devices_have(tmp_path: Path, provider: Provider) -> None:
    """After adoption every file is bound where it is; flags of all sides are united, and no body is fetched."""
    keys = [f"m{number:02}" for number in range(30)]
    provider.receive(*keys, flags=("\\Seen", "word"))
    provider.receive("x", mailbox="Archive")
    async with Tap(provider.server.imap_port) as tap:
        house = house_of(tmp_path, provider, port=tap.port)
        async with house:
            await house.settle()
        before = {name: (names(house.replica(name)), inodes(house.replica(name))) for name in ("laptop", "phone")}
        shutil.rmtree(tmp_path / "store")
        house.replica("laptop").mark("m00", add="F")
        house.replica("phone").mark("m01", add="R", remove="S")
        asked = len(tap.bodies)

        async with house:
            for name in ("laptop", "phone"):
                await assert_refused(house, name, saying="another store")
            assert all("another store" in found for found in await adopt(house, "laptop", "phone"))
            await house.settle()

            wanted = {key: {SEEN, "word"} for key in keys}
            wanted["m00"] |= {FLAGGED}
            wanted["m01"] |= {ANSWERED}
            assert provider.flags() == wanted
            assert [one.flags() for one in house.replicas()] == [wanted, wanted]
            after = {name: (names(house.replica(name)), inodes(house.replica(name))) for name in ("laptop", "phone")}
            assert after == before
            assert len(tap.bodies) == asked
            assert await states(house) == {ReplicaState.PRESENT: 62}
            assert await device_states(house) == {"laptop": "active", "phone": "active"}

            provider.expunge("m05")
            house.replica("phone").find("m06").path.unlink()
            await house.settle()
            assert house.replica("laptop").keys() == [key for key in keys if key not in {"m05", "m06"}]


async def test_what_a_lost_store_leaves_is_a_union(tmp_path: Path, user: Provider) -> None:
    """What only the server or only devices have is nobody's deletion: delivered, or one message of the server again."""
    user.receive("a", "b", "c")
    house = house_of(tmp_path, user)
    async with house:
        await house.settle()
    shutil.rmtree(tmp_path / "store")
    user.expunge("a")
    house.replica("laptop").find("b").path.unlink()
    async with house:
        await adopt(house, "laptop", "phone")
        await house.settle()

        assert len(user.bodies()) == 3
        assert sorted(user.flags()) == ["a", "b", "c"]
        assert [one.keys() for one in house.replicas()] == [["a", "b", "c"]] * 2
        assert await states(house) == {ReplicaState.PRESENT: 6}


async def test_store_from_a_backup_is_brought_up_to_date(tmp_path: Path, user: Provider) -> None:
    """What the store has forgotten is found again in files and on the server; what was deleted since stays so."""
    user.receive("a", "b", "c", "d", flags=("\\Flagged",))
    async with Tap(user.server.imap_port) as tap:
        house = house_of(tmp_path, user, port=tap.port)
        async with house:
            await house.settle()
        copied(tmp_path / "store", tmp_path / "old-store")
        async with house:
            user.receive("e", "f")
            house.replica("phone").find("a").path.unlink()
            user.store("b", "-FLAGS (\\Flagged)")
            house.replica("laptop").mark("c", add="S")
            await house.settle()
            assert sorted(user.flags("Trash")) == ["a"]
        copied(tmp_path / "old-store", tmp_path / "store")
        kept = inodes(house.replica("laptop"))
        asked = len(tap.bodies)

        async with house:
            for name in ("laptop", "phone"):
                await assert_refused(house, name, saying="newer marker")
            await adopt(house, "laptop", "phone")
            await house.settle()

            wanted = {"b": set(), "c": {SEEN, FLAGGED}, "d": {FLAGGED}, "e": set(), "f": set()}
            assert user.flags() == wanted
            assert [one.flags() for one in house.replicas()] == [wanted, wanted]
            assert sorted(user.flags("Trash")) == ["a"]
            assert [one.keys() for one in house.replicas("Trash")] == [["a"], ["a"]]
            assert inodes(house.replica("laptop")) == kept
            assert len(tap.bodies) == asked
            assert await states(house) == {ReplicaState.PRESENT: 12}


@pytest.mark.parametrize("store", ["another", "a copy"])
async def test_second_daemon_on_one_directory_stands_still(tmp_path: Path, user: Provider, store: str) -> None:
    """Whoever comes second says so and touches nothing; after it adopts, the first one does."""
    user.receive("a")
    house = house_of(tmp_path, user, devices=("laptop",))
    async with house:
        await house.settle()
    if store == "a copy":
        copied(tmp_path / "store", tmp_path / "other")
    async with house:
        user.receive("b")
        await house.settle()
        second = house_of(tmp_path, user, devices=("laptop",), store="other")
        async with second:
            await assert_refused(second, "laptop", saying="another store" if store == "another" else "used twice")
            user.receive("c")
            await house.settle()
            assert house.replica("laptop").keys() == ["a", "b", "c"]

            await adopt(second, "laptop")
            await second.settle()
            await house.ask("work")
            await assert_refused(house, "laptop", saying="another store" if store == "another" else "newer marker")
            assert sorted(user.flags()) == house.replica("laptop").keys() == ["a", "b", "c"]


# Mail of another program.


@pytest.mark.parametrize("is_dated", [True, False], ids=["with dates", "without dates"])
async def test_maildir_of_another_program_is_adopted(tmp_path: Path, user: Provider, is_dated: bool) -> None:
    """As mbsync leaves it: bound by content, not fetched where its files have the server's dates, never doubled."""
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


async def test_empty_directory_that_is_adopted_is_filled(tmp_path: Path, user: Provider) -> None:
    """A new disk at the old place needs no other path."""
    user.receive("a", "b")
    house = house_of(tmp_path, user)
    async with house:
        await house.settle()
    shutil.rmtree(tmp_path / "laptop")
    (tmp_path / "laptop").mkdir()
    async with house:
        await assert_refused(house, "laptop", saying="unmounted, moved or emptied")
        assert await adopt(house, "laptop") == ["an empty directory"]
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


async def test_mail_of_a_pop3_account_survives_a_lost_store_as_new(tmp_path: Path, user: Provider) -> None:
    """Its only copies are the devices' files: they stay, not yet synced, but for those that came again."""
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
        for _ in range(4):  # not until nothing is left: what only devices have is not synced yet
            await house.ask()

        assert user.left_on_pop3() == 0
        assert [one.keys() for one in house.replicas(account="isp")] == [["a", "b", "c"]] * 2
        assert await states(house) == {ReplicaState.PRESENT: 4, ReplicaState.NEW: 1, ReplicaState.FOUND: 1}


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

            assert house.replica("laptop").keys() == ["a", "old"]
            assert await states(house) == {ReplicaState.PRESENT: 2}
            assert len(tap.bodies) == asked


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
