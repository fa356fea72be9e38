"""A directory from a backup takes nothing back that was done since, and nothing away."""

import asyncio
import shutil
from pathlib import Path

import pytest
from sqlalchemy import select

from syncd.mail.tree import ReplicaState
from syncd.store.tables import schema
from tests.contract.sync.adopting import adopt, assert_refused, copied, device_states, house_of
from tests.contract.sync.house import states
from tests.contract.sync.letters import letter
from tests.contract.sync.provider import Provider
from tests.contract.sync.tap import Tap

SEEN, FLAGGED, ANSWERED = "\\Seen", "\\Flagged", "\\Answered"


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


async def test_mailbox_of_which_the_backup_has_no_directory_is_delivered_again(tmp_path: Path, user: Provider) -> None:
    """Nobody looked there since, so that its absence says nothing; another one that is removed then goes as always."""
    user.receive("a")
    house = house_of(tmp_path, user)
    async with house:
        await house.settle()
        copied(tmp_path / "laptop", tmp_path / "backup")
        user.receive("p", mailbox="Later")
        user.receive("q", mailbox="Later/Inside")
        await house.settle()
    copied(tmp_path / "backup", tmp_path / "laptop")

    async with house:
        await assert_refused(house, "laptop", saying="older marker")
        await adopt(house, "laptop")
        await house.settle()

        assert house.replica("laptop", "Later").keys() == ["p"]
        assert house.replica("laptop", "Later/Inside").keys() == ["q"]
        assert {"Later", "Later/Inside"} <= {*user.mailboxes()}
        assert await device_states(house) == {"laptop": "active", "phone": "active"}

        shutil.rmtree(house.replica("laptop", "Later/Inside").directory)
        await house.until(lambda: "Later/Inside" not in user.mailboxes())


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
        assert (hold.scope, hold.effects.count('"verb": "remove"')) == ("device", 40)
        assert house.replica("laptop").keys() == keys
        assert len(user.flags()) == 20
