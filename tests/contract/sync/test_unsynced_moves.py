"""What a device is moving is not deleted, as long as it is not known what comes of it."""

from pathlib import Path

import pytest

from syncd.mail.tree import ReplicaState
from syncd.sync.device import unsynced_moves
from syncd.sync.rounds.arrivals import UNSEEN_S
from tests.contract.sync.house import House, imap, states, until_state
from tests.contract.sync.provider import Provider
from tests.contract.sync.tap import Tap


def begin_to_move(house: House, key: str = "a") -> Path:
    """Move a letter to Archive as far as a program on a slow disk comes in a while."""
    file = house.replica("laptop").find(key).path
    other = house.replica("laptop", "Archive").directory / "cur" / file.name
    other.touch()
    file.unlink()
    return other


async def test_what_went_is_not_deleted_while_its_other_file_is_not_written_yet(tmp_path: Path, user: Provider) -> None:
    """An empty file of its name says that a program is at it; what comes of it is a move."""
    user.receive("a", "b")
    user.receive("old", mailbox="Archive")
    async with _house(tmp_path, user) as house:
        await house.settle()
        octets = house.replica("laptop").find("a").octets
        other = begin_to_move(house)
        await until_state(house, ReplicaState.NEW)
        await until_state(house, ReplicaState.MISSING)
        await house.ask("laptop")
        await house.ask("laptop")

        assert await states(house) == {ReplicaState.PRESENT: 5, ReplicaState.MISSING: 1, ReplicaState.NEW: 1}
        assert sorted(user.flags()) == ["a", "b"]
        assert house.replica("phone").keys() == ["a", "b"]
        assert not user.flags("Trash")

        other.write_bytes(octets)
        await house.until(lambda: house.replica("phone", "Archive").keys() == ["a", "old"])
        await house.settle()
        assert sorted(user.flags()) == ["b"]
        assert not user.flags("Trash")


async def test_what_went_is_deleted_once_its_other_file_goes_as_well(tmp_path: Path, user: Provider) -> None:
    """A move that was given up has lost the message; its deletion is one."""
    user.receive("a", "b")
    user.receive("old", mailbox="Archive")
    async with _house(tmp_path, user) as house:
        await house.settle()
        other = begin_to_move(house)
        await until_state(house, ReplicaState.NEW)
        await until_state(house, ReplicaState.MISSING)

        other.unlink()
        await house.until(lambda: house.replica("phone").keys() == ["b"])
        await house.until(lambda: sorted(user.flags("Trash")) == ["a"])


@pytest.mark.parametrize("is_lost", [False, True], ids=["refused", "lost"])
async def test_what_was_moved_is_deleted_once_its_other_file_goes_before_the_server_moved_it(
    tmp_path: Path, user: Provider, *, is_lost: bool
) -> None:
    """Its account knew of the move, and waited with the deletion for it; nothing else happens in the mailbox."""
    user.receive("a", "b")
    user.receive("old", mailbox="Archive")
    async with Tap(user.server.imap_port) as tap, _house(tmp_path, user, port=tap.port) as house:
        await house.settle()
        losses = iter([is_lost])
        tap.drops = lambda line: b" UID MOVE " in line and next(losses, False)
        tap.refuses = lambda line: b" UID MOVE " in line and b"Archive" in line
        file = house.replica("laptop").find("a").path
        other = file.rename(house.replica("laptop", "Archive").directory / "cur" / file.name)
        await until_state(house, ReplicaState.DELETED)
        await house.ask("laptop", "work")
        assert sorted(user.flags()) == ["a", "b"]

        other.unlink()
        await house.ask("laptop")
        house.shift_s = UNSEEN_S
        await house.until(lambda: sorted(user.flags()) == ["b"])
        await house.settle()
        assert sorted(user.flags("Trash")) == ["a"]
        assert house.replica("phone").keys() == ["b"]


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
            begin_to_move(house, key)
        await until_state(house, ReplicaState.NEW, 3)
        await until_state(house, ReplicaState.MISSING, 3)
        await house.ask("laptop")
        await house.ask("laptop")

        assert (await states(house))[ReplicaState.MISSING] == 3
        assert sorted(user.flags()) == keys
        assert not user.flags("Trash")


def _house(tmp_path: Path, user: Provider, *, port: int | None = None) -> House:
    devices = {name: {"settle": "300ms"} for name in ("laptop", "phone")}
    return House(tmp_path, accounts={"work": imap(user.server, user.user, port=port)}, devices=devices)
