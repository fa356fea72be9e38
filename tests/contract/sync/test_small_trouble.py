"""Trouble on a device stays as small as its cause, is shown, and is over when its cause is."""

import errno
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Never

import pytest
from sqlalchemy import Connection, func, insert, select, update

from syncd.errors import FileError, Reach, Temper
from syncd.maildir.disk.files import MailboxDirectory
from syncd.maildir.system.failures import failure
from syncd.store.bodies.encoder import Encoder
from syncd.store.bodies.encoding import EncodedBody
from syncd.store.tables import schema
from syncd.store.trees import troubles
from syncd.store.trees.devices import ReplicaRow
from syncd.sync import body_batches, commons
from syncd.sync.activity import Activity
from syncd.sync.body_batches import BodyBatches, FetchedBody
from syncd.sync.device.files import DeviceFiles
from syncd.sync.imap import mailbox as imap_mailbox
from syncd.sync.imap.next_bodies import NextBodies
from syncd.sync.rounds.sides import FileOutcome, FileStale, FileTask
from tests.contract.sync.house import House, imap
from tests.contract.sync.letters import letter
from tests.contract.sync.provider import Provider

_WITHIN_S = 20.0


def house_of(directory: Path, user: Provider, *devices: str) -> House:
    return House(directory, accounts={"work": imap(user.server, user.user)}, devices=devices or ("laptop",))


def activity_of(house: House, device: str = "laptop") -> Activity:
    return house.devices[device]._activity


async def recorded_error(house: House) -> str | None:
    (row,) = await house.rows(select(schema.device.c.error))
    error: str | None = row.error
    return error


async def trouble_count(house: House) -> int:
    (row,) = await house.rows(select(func.count().label("number")).select_from(schema.trouble))
    return int(row.number)


@contextmanager
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have room for the marker and for no message, as a file system that is full to the last block."""

    def write_tmp(*_: Any, **__: Any) -> Never:
        raise failure(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "write a message")

    with monkeypatch.context() as patch:
        patch.setattr(MailboxDirectory, "write_tmp", write_tmp)
        yield


# A whole device.


async def test_full_disk_stops_the_device_and_blames_no_message(
    tmp_path: Path, user: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without space no message is set aside and no cursor moves; with space again all of it is delivered at once."""
    user.receive("a")
    async with house_of(tmp_path, user) as house:
        await house.settle()
        with full_disk(monkeypatch):
            user.receive("b", "c")
            await house.ask("work")
            with pytest.raises(FileError, match="ENOSPC"):
                await house.ask("laptop")
            assert house.errors["laptop"].reach is Reach.DEVICE
            assert await trouble_count(house) == 0

        await house.ask("laptop")
        assert house.replica("laptop").keys() == ["a", "b", "c"]


# One mailbox.


async def test_locked_mailbox_stands_still_by_itself(tmp_path: Path, user: Provider) -> None:
    """While a program holds the lock of one mailbox the others get their mail; then it gets its own."""
    user.receive("a")
    user.receive("p", mailbox="Project")
    async with house_of(tmp_path, user) as house:
        await house.settle()
        lock = house.replica("laptop").directory / "dovecot-uidlist.lock"
        lock.write_text(f"{os.getpid()}:elsewhere.example.org")
        user.receive("b", flags=("$Label",))
        user.receive("q", mailbox="Project")
        await house.ask("work")
        await house.ask("laptop")

        assert house.replica("laptop", "Project").keys() == ["p", "q"]
        assert house.replica("laptop").keys() == ["a"]
        error = await recorded_error(house)
        assert error == activity_of(house).error
        assert error is not None
        assert error.startswith("work/INBOX: another program holds")

        lock.unlink()
        await house.settle()
        assert house.replica("laptop").keys() == ["a", "b"]
        assert await recorded_error(house) is activity_of(house).error is None


async def test_two_mailboxes_of_one_directory_do_not_stop_the_device(tmp_path: Path, user: Provider) -> None:
    """Where a mailbox would need another's directory, it has no replica, that is said, and the others go on."""
    user.receive("a", mailbox="Project/One")
    async with house_of(tmp_path, user) as house:
        await house.settle()
        (known,) = await house.rows(select(schema.mailbox).where(schema.mailbox.c.name == "Project/One"))
        twin = {name: value for name, value in known._mapping.items() if name not in {"id", "wire_name"}}
        await house.db.write(lambda conn: conn.execute(insert(schema.mailbox).values(wire_name=b"Project.One", **twin)))
        house.wakes.device("laptop").set()
        await house.ask("laptop")

        error = await recorded_error(house)
        assert error is not None
        assert "another mailbox has the directory" in error
        assert "laptop" not in house.errors
        assert house.replica("laptop", "Project/One").keys() == ["a"]


# One message.


async def test_asking_tries_again_what_was_given_up(tmp_path: Path, user: Provider) -> None:
    """What a person asks for includes the messages that waiting does not help; one with nothing left to do is over."""
    user.receive("a")
    async with house_of(tmp_path, user) as house:
        await house.settle()
        (file,) = await house.rows(select(schema.replica_message, schema.replica.c.mailbox_id).join(schema.replica))

        def give_up(conn: Any) -> None:
            troubles.set_aside(
                conn,
                mailbox_id=file.mailbox_id,
                message_id=file.message_id,
                device_id=1,
                error="refused",
                temper=Temper.GIVE_UP,
                now=house.clock(),
            )

        await house.db.write(give_up)
        await house.ask("laptop")
        assert await trouble_count(house) == 0


async def test_body_that_is_damaged_in_the_store_holds_up_no_other(tmp_path: Path, user: Provider) -> None:
    """It is shown, and neither delivered nor the reason why the rest of its mailbox is not."""
    user.receive("a", "b", "c")
    async with house_of(tmp_path, user) as house:
        await house.settle()
        chunk = schema.body_chunk
        damage = update(chunk).where(chunk.c.body_id == 1).values(octets=b"other")
        await house.db.write(lambda conn: conn.execute(damage) and None)
    async with house_of(tmp_path, user, "phone") as house:  # which cannot link the file of the other
        await house.until(lambda: len(house.replica("phone").keys()) == 2)
        await house.settle()

        assert len(house.replica("phone").keys()) == 2
        (trouble,) = await house.rows(select(schema.trouble.c.error))
        assert "damaged in the store" in trouble.error


async def test_message_that_is_always_forestalled_holds_up_nothing(tmp_path: Path, user: Provider) -> None:
    """A file that grew before its delivery was settled is the device's edit, so new mail; it gets its message again."""
    user.receive("a")
    user.receive("p", mailbox="Project")
    async with house_of(tmp_path, user) as house:
        await house.settle()
    replica = house.replica("laptop")
    file = replica.find("a").path
    async with house:
        await house.db.write(_as_before_its_delivery_was_settled)
        file.write_bytes(file.read_bytes() + b"one line more\n")
        user.receive("b")
        user.receive("q", mailbox="Project")
        await house.ask("work")
        await house.settle()

        assert replica.keys() == ["a", "a", "b"]
        assert house.replica("laptop", "Project").keys() == ["p", "q"]
        assert await trouble_count(house) == 0
        assert sorted(user.bodies()) == sorted([letter("a"), letter("a") + b"one line more\r\n", letter("b")])


async def test_message_that_is_stale_again_and_again_is_set_aside(
    tmp_path: Path, user: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that another program changes each time becomes a trouble; the mailboxes after it do not wait for that."""
    user.receive("a")
    user.receive("p", mailbox="Project")
    perform = DeviceFiles.perform

    async def forestalled(
        self: DeviceFiles, of: ReplicaRow, tasks: Sequence[FileTask], **more: Any
    ) -> Mapping[int, FileOutcome]:
        if "Project" in of.directory:
            return await perform(self, of, tasks, **more)
        await perform(self, of, (), **more)
        return {task.file.id: FileStale() for task in tasks}

    async with house_of(tmp_path, user) as house:
        await house.settle()
        with monkeypatch.context() as patch:
            patch.setattr(DeviceFiles, "perform", forestalled)
            user.store("a", "+FLAGS (\\Seen)")
            user.receive("q", mailbox="Project")
            await house.ask("work")
            await house.ask("laptop")

            assert house.replica("laptop", "Project").keys() == ["p", "q"]
            (row,) = await house.rows(select(schema.trouble.c.error))
            assert row.error == "another program changes the file each time it is touched"

        await house.settle()
        assert await trouble_count(house) == 0


# One device among several.


async def test_device_that_hangs_does_not_keep_the_others_waiting(
    tmp_path: Path, user: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another device claims to write for ever is written all the same."""
    async with house_of(tmp_path, user, "laptop") as house:
        await house.settle()
        monkeypatch.setattr(commons, "PATIENCE_S", 0.1)
        monkeypatch.setattr(house.devices["laptop"].commons, "is_claimed", lambda _: True)
        user.receive("a")
        await house.until(lambda: house.replica("laptop").keys() == ["a"])


async def test_delivery_does_not_interrupt_the_account(
    tmp_path: Path, user: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An account that waits for its server is woken by what a device did, and not by what it was given."""
    woken: list[str] = []
    async with house_of(tmp_path, user, "laptop", "phone") as house:
        await house.settle()
        wake = house.wakes.account("work")
        wake_up = wake.set
        with monkeypatch.context() as patch:
            patch.setattr(wake, "set", lambda: (woken.append("work"), wake_up()))
            user.receive("a")
            await house.until(lambda: all(replica.keys() == ["a"] for replica in house.replicas()))
            await house.ask("laptop", "phone")
            assert woken == []

            house.replica("laptop").mark("a", add="S")
            await house.until(lambda: user.flags()["a"] == {"\\Seen"})
            assert woken


def _as_before_its_delivery_was_settled(conn: Any) -> None:
    inbox = select(schema.replica.c.id).join(schema.mailbox).where(schema.mailbox.c.name == "INBOX")
    conn.execute(schema.base_message.delete().where(schema.base_message.c.replica_id.in_(inbox)))
    mine = schema.replica_message.c.replica_id.in_(inbox)
    conn.execute(schema.replica_message.update().where(mine).values(state="delivering", info=None))
    conn.execute(schema.replica.update().where(schema.replica.c.id.in_(inbox)).values(server_cursor=0))


# An account.


async def test_body_that_fails_while_the_next_are_asked_for_is_fetched_again(
    tmp_path: Path, user: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its mailbox is not complete before it is there, though nothing changes in it any more."""
    encode, blame, ask = body_batches.encode_all, BodyBatches._blame, imap_mailbox.next_bodies
    asked, failed = threading.Event(), threading.Event()

    def failing(encoder: Encoder, contents: Sequence[bytes | Callable[[], EncodedBody]]) -> tuple[EncodedBody, ...]:
        if not failed.is_set():
            assert asked.wait(_WITHIN_S)
            raise ValueError
        return encode(encoder, contents)

    def blaming(batches: BodyBatches, batch: Sequence[FetchedBody], error: Exception) -> None:
        blame(batches, batch, error)
        failed.set()

    def asking(conn: Connection, *, under_way: frozenset[int], **more: Any) -> NextBodies:
        if under_way:
            asked.set()
            assert failed.wait(_WITHIN_S)
        return ask(conn, under_way=under_way, **more)

    user.receive("old", mailbox="Archive")
    async with house_of(tmp_path, user) as house:
        await house.settle()
        monkeypatch.setattr(body_batches, "encode_all", failing)
        monkeypatch.setattr(BodyBatches, "_blame", blaming)
        monkeypatch.setattr(imap_mailbox, "next_bodies", asking)
        user.receive("a", mailbox="Archive")
        await house.settle()

        assert failed.is_set()
        assert house.replica("laptop", "Archive").keys() == ["a", "old"]


@pytest.mark.parametrize("is_together", [True, False], ids=["all-in-one-batch", "as-they-come"])
async def test_body_that_cannot_be_encoded_holds_up_its_own_mailbox_only(
    tmp_path: Path, user: Provider, monkeypatch: pytest.MonkeyPatch, is_together: bool
) -> None:
    """What nobody foresaw of a message is told at its mailbox, whatever came with it, and the others go on."""
    encode = body_batches.encode_all

    def choosy(encoder: Encoder, contents: Sequence[bytes | Callable[[], EncodedBody]]) -> tuple[EncodedBody, ...]:
        if any(isinstance(content, bytes) and letter("bad") in content for content in contents):
            raise ValueError
        return encode(encoder, contents)

    async def keep(_: BodyBatches) -> None:
        """Let what was gathered wait for the end of the pass."""

    monkeypatch.setattr(body_batches, "encode_all", choosy)
    if is_together:
        monkeypatch.setattr(BodyBatches, "hand_over", keep)
    for mailbox in ("INBOX", "Archive", "Sent"):
        user.receive(f"to-{mailbox}", mailbox=mailbox)
    user.receive("bad", mailbox="Archive")
    mailbox, account = schema.mailbox.c, schema.account.c
    async with house_of(tmp_path, user) as house:
        await house.until(
            lambda: all(len(list(house.replica("laptop", one).files())) == 1 for one in ("INBOX", "Sent"))
        )
        failing = select(mailbox.name).where(mailbox.error.is_not(None))
        await house.until_read(lambda names: names == ["Archive"], failing)

        (row,) = await house.rows(select(account.failures, account.error))
        assert (row.failures, row.error) == (0, None)
