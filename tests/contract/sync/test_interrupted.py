"""States that a kill leaves between two commits, and what happens on the server or the device before the next start."""

import shutil
from pathlib import Path
from typing import Any, Never

import pytest
from sqlalchemy import Connection, delete, select, update

from syncd.errors import SyncdError
from syncd.mail.tree import ReplicaState
from syncd.store.tables import schema
from syncd.sync.device.files import DeviceFiles
from tests.contract.sync.house import House, imap
from tests.contract.sync.provider import Provider

SEEN, FLAGGED = "\\Seen", "\\Flagged"


def house_of(directory: Path, user: Provider) -> House:
    return House(directory, accounts={"work": imap(user.server, user.user)}, devices=("laptop", "phone"))


def undo_settling_of_deliveries(conn: Connection) -> None:
    """Leave the store as it is between the delivery of files and its settlement."""
    conn.execute(delete(schema.base_message))
    conn.execute(update(schema.replica_message).values(state=ReplicaState.DELIVERING, info=None))
    conn.execute(update(schema.replica).values(server_cursor=0))


@pytest.mark.parametrize("is_written", [True, False], ids=["written", "not written"])
async def test_server_changes_flags_of_a_delivery_that_was_not_settled(
    tmp_path: Path, user: Provider, *, is_written: bool
) -> None:
    """What the server changed between a kill and the next start holds: the file of before is not the device's word."""
    user.receive("read later")
    user.receive("unread later", flags=(SEEN,))
    house = house_of(tmp_path, user)
    async with house:
        await house.settle()
        await house.db.write(undo_settling_of_deliveries)
    if not is_written:
        for replica in house.replicas():
            for file in replica.files():
                file.path.unlink()

    user.store("read later", "+FLAGS (\\Seen)")
    user.store("unread later", "-FLAGS (\\Seen)")
    async with house:
        await house.settle()

        assert user.flags() == {"read later": {SEEN}, "unread later": set()}
        for replica in house.replicas():
            assert replica.flags() == {"read later": {SEEN}, "unread later": set()}


async def test_device_changes_flags_of_a_delivery_that_was_not_settled(tmp_path: Path, user: Provider) -> None:
    """What a device did to a file between its delivery and the next start holds, beside what the server did."""
    user.receive("a", flags=(FLAGGED,))
    house = house_of(tmp_path, user)
    async with house:
        await house.settle()
        await house.db.write(undo_settling_of_deliveries)

    house.replica("laptop").mark("a", add="S", remove="F")
    user.store("a", "+FLAGS (\\Answered)")
    async with house:
        await house.settle()

        assert user.flags() == {"a": {SEEN, "\\Answered"}}
        for replica in house.replicas():
            assert replica.flags() == {"a": {SEEN, "\\Answered"}}


async def test_delivery_that_has_another_name_before_it_is_settled_is_there_once(
    tmp_path: Path, user: Provider
) -> None:
    """A program renamed the file in the very moment in which all ended; beside one that it copied, that is a copy."""
    user.receive("a", "b", flags=(FLAGGED,))
    house = house_of(tmp_path, user)
    async with house:
        await house.settle()
        await house.db.write(undo_settling_of_deliveries)

    renamed, copied = (house.replica("laptop").find(key).path for key in ("a", "b"))
    renamed.rename(renamed.with_name("1700000000.renamed.laptop:2,S"))
    shutil.copy2(copied, copied.with_name("1700000000.copied.laptop:2,F"))
    async with house:
        await house.settle()

        for replica in house.replicas():
            assert replica.keys() == ["a", "b", "b"]
            assert replica.find("a").letters == "S"
        assert house.replica("laptop").find("a").path.name == "1700000000.renamed.laptop:2,S"
        assert len(user.bodies()) == 3
        assert user.flags()["a"] == {SEEN}


async def test_delivery_that_is_in_another_mailbox_before_it_is_settled_is_moved(
    tmp_path: Path, user: Provider
) -> None:
    """A program moved two files in the very moment in which all ended, and renamed one; that it copied is a copy."""
    user.receive("a", "b", "c", flags=(SEEN,))
    user.receive("old", mailbox="Archive")
    house = house_of(tmp_path, user)
    async with house:
        await house.settle()
        await house.db.write(undo_settling_of_deliveries)

    archive = house.replica("laptop", "Archive").directory / "cur"
    moved, copied, renamed = (house.replica("laptop").find(key).path for key in ("a", "b", "c"))
    moved.rename(archive / moved.name)
    shutil.copy2(copied, archive / copied.name)
    renamed.rename(archive / "1700000000.renamed.laptop:2,S")
    async with house:
        await house.settle()

        assert sorted(user.flags()) == ["b"]
        assert sorted(user.flags("Archive")) == ["a", "b", "c", "old"]
        assert user.flags("Trash") == {}
        for replica in house.replicas():
            assert replica.keys() == ["b"]
        for replica in house.replicas("Archive"):
            assert replica.keys() == ["a", "b", "c", "old"]


async def test_device_changes_a_flag_while_its_file_is_renamed(
    tmp_path: Path, user: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the device did just before our rename is seen at the next start, if nobody could look before the stop."""
    user.receive("a")
    house = House(tmp_path, accounts={"work": imap(user.server, user.user)}, devices=("laptop",))
    perform = DeviceFiles.perform

    async def forestalled(*args: Any, **more: Any) -> Any:
        house.replica("laptop").mark("a", add="F")
        return await perform(*args, **more)

    async def stopped(*_: Any) -> Never:
        raise SyncdError("stopped before the look")

    async with house:
        await house.settle()
        with monkeypatch.context() as patch:
            patch.setattr(DeviceFiles, "perform", forestalled)
            patch.setattr(DeviceFiles, "look", stopped)
            # NOTE: blind to the files themselves as well, or it would see the change before it is stopped.
            patch.setattr(DeviceFiles, "observe", _sees_nothing)
            user.store("a", "+FLAGS (\\Seen)")
            await house.until(lambda: "laptop" in house.errors)

        await house.settle()
        assert user.flags() == {"a": {SEEN, FLAGGED}}
        assert house.replica("laptop").flags() == {"a": {SEEN, FLAGGED}}


async def _sees_nothing(*_: Any) -> int:
    return 0


async def test_file_that_was_lost_in_a_rename_keeps_what_its_device_did(tmp_path: Path, user: Provider) -> None:
    """A file that is gone while we were renaming it is put back, with the flags that its row has."""
    user.receive("a", flags=(FLAGGED,))
    house = house_of(tmp_path, user)
    async with house:
        await house.settle()
        await house.db.write(
            lambda conn: conn.execute(update(schema.replica_message).values(state=ReplicaState.MOVING))
        )
    house.replica("laptop").find("a").path.unlink()

    user.store("a", "FLAGS (\\Seen)")
    async with house:
        await house.settle()

        assert user.flags() == {"a": {SEEN}}
        for replica in house.replicas():
            assert replica.flags() == {"a": {SEEN}}
        states = await house.rows(select(schema.replica_message.c.state))
        assert {row.state for row in states} == {ReplicaState.PRESENT}
