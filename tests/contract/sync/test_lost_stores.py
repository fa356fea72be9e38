"""A store that is lost, old or another one is made again of what the devices have, which is never doubled."""

import shutil
from pathlib import Path

import pytest

from syncd.mail.tree import ReplicaState
from tests.contract.sync.adopting import adopt, assert_refused, copied, device_states, house_of, inodes, names
from tests.contract.sync.house import states
from tests.contract.sync.provider import Provider
from tests.contract.sync.tap import Tap

SEEN, FLAGGED, ANSWERED = "\\Seen", "\\Flagged", "\\Answered"


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
