"""What a device moves or rewrites is not synced yet, so it is not deleted either."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from syncd.mail.tree import ReplicaState
from syncd.sync import unsynced_moves
from tests.contract.sync.house import House, imap
from tests.contract.sync.provider import Provider
from tests.contract.sync.test_device_deletions import states, until_state


def move(house: House) -> Path:
    """Move letter a to Archive, as `mv` does."""
    file = house.replica("laptop").find("a").path
    return file.rename(house.replica("laptop", "Archive").directory / "cur" / file.name)


def copy_and_remove(house: House, key: str = "a") -> Path:
    """Move a letter to Archive, as mutt does."""
    file = house.replica("laptop").find(key).path
    copy = house.replica("laptop", "Archive").directory / "cur" / f"1700000000.12_{key}.laptop:2,S"
    shutil.copy(file, copy)
    file.unlink()
    return copy


def rewrite(house: House) -> Path:
    """Save another version of letter a, as a mail program does with a draft."""
    file = house.replica("laptop").find("a").path
    version = file.with_name("1700000000.12_35.laptop:2,DS")
    version.write_bytes(file.read_bytes() + b"more\n")
    file.unlink()
    return version


@pytest.mark.parametrize("change", [move, copy_and_remove, rewrite])
async def test_what_is_moved_stays_where_it_is_until_it_is_deleted(
    tmp_path: Path, user: Provider, change: Callable[[House], Path]
) -> None:
    """The server and the other devices keep the message; once the other file goes as well, it is a deletion."""
    user.receive("a", "b")
    user.receive("old", mailbox="Archive")
    async with _house(tmp_path, user) as house:
        await house.settle()
        other = change(house)
        await until_state(house, ReplicaState.NEW)
        await until_state(house, ReplicaState.MISSING)
        await house.ask("laptop")
        await house.ask("laptop")

        assert await states(house) == {ReplicaState.PRESENT: 5, ReplicaState.MISSING: 1, ReplicaState.NEW: 1}
        assert sorted(user.flags()) == ["a", "b"]
        assert house.replica("phone").keys() == ["a", "b"]
        assert not user.flags("Trash")

        other.unlink()
        await house.until(lambda: house.replica("phone").keys() == ["b"])
        await house.until(lambda: sorted(user.flags("Trash")) == ["a"])


async def test_only_the_moved_ones_are_spared(tmp_path: Path, user: Provider) -> None:
    """A deletion at the same time goes its way."""
    user.receive("a", "b", "c")
    user.receive("old", mailbox="Archive")
    async with _house(tmp_path, user) as house:
        await house.settle()
        move(house)
        house.replica("laptop").find("b").path.unlink()
        await house.until(lambda: house.replica("phone").keys() == ["a", "c"])

        assert sorted(user.flags("Trash")) == ["b"]
        assert sorted(user.flags()) == ["a", "c"]


async def test_more_moves_than_are_compared_delete_nothing(
    tmp_path: Path, user: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where not every added file can be compared, no file that went is taken for deleted."""
    monkeypatch.setattr(unsynced_moves, "COMPARED_MAX", 2)
    keys = [f"m{number}" for number in range(9)]
    user.receive(*keys)
    user.receive("old", mailbox="Archive")
    async with _house(tmp_path, user) as house:
        await house.settle()
        for key in keys[:3]:
            copy_and_remove(house, key)
        await until_state(house, ReplicaState.NEW, 3)
        await until_state(house, ReplicaState.MISSING, 3)
        await house.ask("laptop")
        await house.ask("laptop")

        assert (await states(house))[ReplicaState.MISSING] == 3
        assert sorted(user.flags()) == keys
        assert not user.flags("Trash")


def _house(tmp_path: Path, user: Provider) -> House:
    devices = {name: {"settle": "300ms"} for name in ("laptop", "phone")}
    return House(tmp_path, accounts={"work": imap(user.server, user.user)}, devices=devices)
