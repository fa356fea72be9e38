"""What a device deletes is deleted everywhere: moved to Trash or expunged, and never on a guess."""

import asyncio
import itertools
import threading
from collections.abc import Collection
from pathlib import Path, PurePosixPath

import pytest
from sqlalchemy import Connection, select

from syncd.errors import StoreError
from syncd.mail.tree import ReplicaState
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.news.observe import Called
from syncd.store.files import deletions
from syncd.store.files.deletions import MissingFile
from syncd.store.tables import schema
from syncd.sync.device import sightings
from tests.contract.sync.house import House, MakeDovecot, states, until_state
from tests.contract.sync.letters import key_of
from tests.contract.sync.provider import Provider
from tests.contract.sync.tap import Tap
from tests.contract.sync.three_devices import DEVICES, TWO, add, assert_everywhere, house_of, remove

SEEN, FLAGGED, DELETED = "\\Seen", "\\Flagged", "\\Deleted"
NEVER = "1h"


# What becomes of it.


async def test_deleted_message_is_in_trash_everywhere(tmp_path: Path, provider: Provider) -> None:
    """A file removed on one device is moved to Trash on the server, by itself, and on every other device."""
    provider.receive("a", "b")
    provider.receive("old", mailbox="Trash")
    async with house_of(tmp_path, provider) as house:
        await house.settle()

        remove(house, "laptop", "a")
        await house.until(lambda: sorted(provider.flags()) == ["b"])
        await house.until(lambda: all(one.keys() == ["b"] for one in house.replicas()))
        await house.until(lambda: all(one.keys() == ["a", "old"] for one in house.replicas("Trash")))
        await house.settle()

        assert_everywhere(house, provider, "INBOX", "b")
        assert_everywhere(house, provider, "Trash", "a", "old")
        assert await states(house) == {ReplicaState.PRESENT: 9}


async def test_sync_that_is_asked_for_waits_for_nothing(tmp_path: Path, user: Provider) -> None:
    """Whatever `settle` is, what a person did before is done after: both listings are made at once, and files sent."""
    user.receive("a", "b", "c")
    house = house_of(tmp_path, user, settle=NEVER, devices=TWO)
    async with house:
        await house.settle()
        remove(house, "laptop", "a")
        add(house, "laptop", "n")
        await house.settle()
        assert_everywhere(house, user, "INBOX", "b", "c", "n")
    remove(house, "phone", "b")
    async with house:
        await house.settle()
        assert_everywhere(house, user, "INBOX", "c", "n")
        assert_everywhere(house, user, "Trash", "a", "b")


async def test_deletion_is_done_though_the_store_fails_just_when_it_is_concluded(
    tmp_path: Path, user: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is committed is told, whatever comes after that; nobody has to ask, and no poll to come."""
    user.receive("a", "b")
    failed, read = list[str](), deletions.missing_files

    def fail_once(conn: Connection, device_id: int) -> tuple[MissingFile, ...]:
        is_deleted = schema.replica_message.c.state == ReplicaState.DELETED
        if not failed and conn.execute(select(schema.replica_message.c.name).where(is_deleted)).first():
            failed.append("the disk is full")
            raise StoreError(*failed)
        return read(conn, device_id)

    monkeypatch.setattr(deletions, "missing_files", fail_once)
    async with house_of(tmp_path, user, devices=TWO) as house:
        await house.settle()

        remove(house, "laptop", "a")
        await house.until(lambda: sorted(user.flags("Trash")) == ["a"])

        assert failed
        assert sorted(user.flags()) == ["b"]


async def test_deletion_is_for_good_where_the_account_says_so(tmp_path: Path, provider: Provider) -> None:
    """With delete = "expunge" nothing goes to Trash; the body stays in the store."""
    provider.receive("a", "b")
    async with house_of(tmp_path, provider, delete="expunge", devices=TWO) as house:
        await house.settle()

        remove(house, "laptop", "a")
        await house.settle()

        assert_everywhere(house, provider, "INBOX", "b")
        assert provider.flags("Trash") == {}
        assert len(await house.rows(select(schema.body.c.id))) == 2


@pytest.mark.parametrize("mailbox", ["Trash", "Junk"])
async def test_deletion_in_trash_is_for_good(
    tmp_path: Path, make_dovecot: MakeDovecot, mail_user: str, mailbox: str
) -> None:
    """What a device deletes out of Trash or Junk is expunged."""
    user = Provider(make_dovecot(special_use=("Trash", "Junk")), mail_user)
    user.receive("kept")
    user.receive("a", "b", mailbox=mailbox)
    async with house_of(tmp_path, user, devices=TWO) as house:
        await house.settle()

        remove(house, "phone", "a", mailbox=mailbox)
        await house.settle()

        assert_everywhere(house, user, mailbox, "b")
        assert_everywhere(house, user, "INBOX", "kept")


async def test_two_devices_delete_the_same_message(tmp_path: Path, provider: Provider) -> None:
    """One of them is enough, and both come to rest; it is once in Trash."""
    provider.receive("a", "b")
    async with house_of(tmp_path, provider, devices=TWO) as house:
        await house.settle()

        remove(house, "laptop", "a")
        remove(house, "phone", "a")
        await house.settle()

        assert_everywhere(house, provider, "INBOX", "b")
        assert_everywhere(house, provider, "Trash", "a")


async def test_letter_t_deletes_nothing(tmp_path: Path, user: Provider) -> None:
    """A file marked with T is a message with a flag, on all sides."""
    user.receive("a")
    async with house_of(tmp_path, user, devices=TWO) as house:
        await house.settle()

        house.replica("laptop").mark("a", add="T")
        await house.settle()

        assert user.flags() == {"a": {DELETED}}


async def test_server_deleted_it_as_well(tmp_path: Path, user: Provider) -> None:
    """Where both sides deleted, nothing is left to do."""
    user.receive("a", "b")
    house = house_of(tmp_path, user, devices=TWO)
    async with house:
        await house.settle()
    remove(house, "laptop", "a")
    user.expunge("a")
    async with house:
        await house.settle()

        assert_everywhere(house, user, "INBOX", "b")
        assert user.flags("Trash") == {}


async def test_what_is_moved_to_trash_is_not_fetched_again(tmp_path: Path, user: Provider) -> None:
    """The store has the body; equal messages are counted, and other mail of the Trash is not taken for it."""
    user.receive("a", "a", "b")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        await house.settle()
        tap.bodies.clear()

        for file in list(house.replica("laptop").files()):
            if key_of(file.octets) == "a":
                file.path.unlink()
        await house.until(lambda: all(len(one.keys()) == 2 for one in house.replicas("Trash")))
        await house.settle()

        assert tap.bodies == []
        assert [one.keys() for one in house.replicas("Trash")] == [["a", "a"]] * 3


# Against other changes.


async def test_deletion_wins_over_seen(tmp_path: Path, user: Provider) -> None:
    """That somebody read it meanwhile keeps no message, on another device or in the web mail."""
    user.receive("a", "b", "c")
    house = house_of(tmp_path, user, devices=TWO)
    async with house:
        await house.settle()
    remove(house, "laptop", "a", "b")
    house.replica("phone").mark("a", add="S")
    user.store("b", f"+FLAGS ({SEEN})")
    async with house:
        await house.settle()

        assert_everywhere(house, user, "INBOX", "c")
        assert sorted(user.flags("Trash")) == ["a", "b"]


async def test_flag_of_another_device_wins_over_a_deletion(tmp_path: Path, user: Provider) -> None:
    """A message flagged on the phone comes back to the laptop that deleted it."""
    user.receive("a", "b")
    house = house_of(tmp_path, user, settle="500ms")
    async with house:
        await house.settle()
    remove(house, "laptop", "a")
    house.replica("phone").mark("a", add="F")
    async with house:
        await house.settle()

        assert_everywhere(house, user, "INBOX", "a", "b")
        assert {frozenset(one.flags()["a"]) for one in house.replicas()} == {frozenset({FLAGGED})}
        assert user.flags("Trash") == {}
        assert await states(house) == {ReplicaState.PRESENT: 6}


async def test_flag_of_the_web_mail_wins_over_a_deletion(tmp_path: Path, user: Provider) -> None:
    """So does a flag set or taken back on the server before it heard of the deletion."""
    user.receive("a", "b")
    user.receive("c", flags=(FLAGGED,))
    house = house_of(tmp_path, user)
    async with house:
        await house.settle()
    remove(house, "laptop", "a", "c")
    user.store("a", f"+FLAGS ({FLAGGED})")
    user.store("c", f"-FLAGS ({FLAGGED})")
    async with house:
        await house.settle()

        assert user.flags() == {"a": {FLAGGED}, "b": set(), "c": set()}
        assert [one.flags() for one in house.replicas()] == [user.flags()] * 3


async def test_flag_set_when_the_deletion_is_on_its_way_wins(tmp_path: Path, user: Provider) -> None:
    """The server is asked once more just before; what changed since it was observed stays."""
    user.receive("a", "b")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port, devices=TWO) as house:
        await house.settle()
        forestalled: list[bytes] = []

        async def forestall(line: bytes) -> None:
            if b"UID FETCH 1 (UID FLAGS" in line and not forestalled:
                forestalled.append(line)
                user.store("a", f"+FLAGS ({FLAGGED})")

        tap.before_line = forestall
        remove(house, "laptop", "a")
        await house.until(lambda: bool(forestalled))
        await house.settle()

        assert_everywhere(house, user, "INBOX", "a", "b")
        assert user.flags()["a"] == {FLAGGED}


# Never on a guess.


async def test_file_that_comes_back_in_time_was_never_deleted(tmp_path: Path, user: Provider) -> None:
    """What is there again within `settle` goes on being synced, and the server never hears of it."""
    user.receive("a", "b")
    async with (
        Tap(user.server.imap_port) as tap,
        house_of(tmp_path, user, settle="2s", port=tap.port, devices=TWO) as house,
    ):
        await house.settle()
        path = house.replica("laptop").find("a").path
        path.rename(tmp_path / "away")
        await until_state(house, ReplicaState.MISSING)

        (tmp_path / "away").rename(path.parent.parent / "cur" / f"{path.name}:2,S")
        await house.settle()

        assert_everywhere(house, user, "INBOX", "a", "b")
        assert user.flags()["a"] == {SEEN}
        assert not any(b"MOVE" in line or b"EXPUNGE" in line for line in tap.lines)


async def test_only_who_is_asked_concludes_at_once(tmp_path: Path, user: Provider) -> None:
    """A sync of something else is no word about this device, where a file went without anybody saying so."""
    user.receive("a", "b")
    async with house_of(tmp_path, user, settle=NEVER) as house:
        await house.settle()
        remove(house, "laptop", "a")
        await until_state(house, ReplicaState.MISSING)
        user.store("b", f"+FLAGS ({SEEN})")
        await house.ask("work", "phone")
        await house.until(lambda: house.replica("laptop").flags()["b"] == {SEEN})

        assert (await states(house))[ReplicaState.MISSING] == 1
        assert sorted(user.flags()) == ["a", "b"]


async def test_deletion_in_a_directory_that_changes_too_fast_is_seen_later(
    tmp_path: Path, user: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watch has told of it once, and tells no more; the look that follows could not say that it is not there."""
    user.receive("a", "b")
    async with house_of(tmp_path, user, settle=NEVER, devices=TWO) as house:
        await house.settle()
        await house.settle()  # after the first one, each root is looked at once more
        looks: list[Called] = []
        listed = sightings.called_in

        def called_in(root: ReplicaRoot, directory: PurePosixPath, wanted: Collection[str]) -> Called:
            looks.append(listed(root, directory, wanted))
            return looks[-1]._replace(is_complete=False) if len(looks) < 8 else looks[-1]

        monkeypatch.setattr(sightings, "called_in", called_in)
        remove(house, "laptop", "a")
        await house.until(lambda: len(looks) > 4)
        await house.settle()

        assert_everywhere(house, user, "INBOX", "b")


async def test_sync_that_is_asked_for_looks_again_where_a_look_could_not_tell(
    tmp_path: Path, user: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that was still at it then has ended: so says who asks, and does not wait for the wait to be over."""
    user.receive("a", "b")
    async with house_of(tmp_path, user, settle=NEVER) as house:
        await house.settle()
        await house.settle()  # after the first one, each root is looked at once more
        looks: list[Called] = []
        listed, is_at_it = sightings.called_in, True

        def called_in(root: ReplicaRoot, directory: PurePosixPath, wanted: Collection[str]) -> Called:
            looks.append(listed(root, directory, wanted))
            return looks[-1]._replace(is_complete=False) if is_at_it and len(looks) > 1 else looks[-1]

        monkeypatch.setattr(sightings, "called_in", called_in)
        remove(house, "laptop", "a")
        await house.ask("laptop")
        assert (await states(house))[ReplicaState.MISSING] == 1

        is_at_it = False
        await house.settle()

        assert_everywhere(house, user, "INBOX", "b")


async def test_file_that_is_renamed_all_the_time_is_not_deleted_by_a_sync(tmp_path: Path, user: Provider) -> None:
    """Programs that link a file and then remove its old name leave it nowhere for no moment; two listings see that."""
    user.receive("a", "b")
    async with house_of(tmp_path, user, settle=NEVER) as house:
        await house.settle()
        path, is_over = house.replica("laptop").find("a").path, threading.Event()
        names = itertools.cycle(path.parent.parent / "cur" / f"{path.name.partition(':')[0]}:2,{one}" for one in "SF")

        def rename() -> None:
            old = path
            while not is_over.is_set():
                new = next(names)
                new.hardlink_to(old)
                old.unlink()
                old = new

        renaming = asyncio.create_task(asyncio.to_thread(rename))
        try:
            for _ in range(8):
                await house.ask("laptop")
        finally:
            is_over.set()
            await renaming
        await house.settle()

        assert [one.keys() for one in house.replicas()] == [["a", "b"]] * 3
        assert user.flags("Trash") == {}


async def test_file_that_comes_after_all_is_what_it_was(tmp_path: Path, user: Provider) -> None:
    """Asked for while a program has taken a file away and not yet put it back, it is in Trash, and then out again."""
    user.receive("a", "b")
    async with house_of(tmp_path, user, settle=NEVER, devices=TWO) as house:
        await house.settle()
        path = house.replica("laptop").find("a").path
        path.rename(tmp_path / "away")
        await house.settle()
        assert_everywhere(house, user, "Trash", "a")

        (tmp_path / "away").rename(path)
        await house.settle()
        assert_everywhere(house, user, "INBOX", "a", "b")


async def test_killed_between_the_looks(tmp_path: Path, user: Provider) -> None:
    """A file that is merely missing when syncd ends is looked for again, and deleted, by the next one."""
    user.receive("a", "b")
    async with house_of(tmp_path, user, settle=NEVER) as house:
        await house.ask("work", "nas")
        await house.until(lambda: [len(one.keys()) for one in house.replicas()] == [2, 2, 2])
        remove(house, "laptop", "a")
        await until_state(house, ReplicaState.MISSING)
        assert sorted(user.flags()) == ["a", "b"]

    async with house_of(tmp_path, user) as house:
        await house.settle()
        assert_everywhere(house, user, "INBOX", "b")


@pytest.mark.parametrize("what", ["root", "marker", "cur", "mailbox"])
async def test_root_that_goes_between_the_looks_deletes_nothing(tmp_path: Path, user: Provider, what: str) -> None:
    """Unmounted, without its marker, or without cur/: nothing is concluded, and it goes on when it is back."""
    user.receive("a", "b", "c")
    async with house_of(tmp_path, user, settle="1s") as house:
        await house.settle()
        root, inbox = tmp_path / "laptop", house.replica("laptop").directory
        remove(house, "laptop", "a")
        await until_state(house, ReplicaState.MISSING)

        gone = {"root": root, "marker": root / ".syncd", "cur": inbox / "cur", "mailbox": inbox}[what]
        gone.rename(tmp_path / "away")
        if what == "root":
            root.mkdir()
        await house.until_read(any, select(schema.device.c.error))
        assert sorted(user.flags()) == ["a", "b", "c"]
        assert (await states(house)).get(ReplicaState.DELETED, 0) == 0

        if what == "root":
            root.rmdir()
        (tmp_path / "away").rename(gone)
        if what in {"root", "marker"}:
            await house.until_read(lambda found: not any(found), select(schema.device.c.error))
        await house.settle()
        assert_everywhere(house, user, "INBOX", "b", "c")


async def test_what_goes_from_an_account_that_is_not_configured_is_not_deleted(tmp_path: Path, user: Provider) -> None:
    """In the configuration again, it gets back what its device removed while nobody looked."""
    user.receive("a", "b")
    user.receive("c", "d", mailbox="Other")
    house = house_of(tmp_path, user)
    async with house:
        await house.settle()
    less = House(
        tmp_path,
        accounts={},
        devices={name: {"settle": "20ms"} for name in DEVICES},
    )
    async with less:
        await less.settle()
    remove(house, "laptop", "c", mailbox="Other")
    house.replica("laptop", "Other").mark("d", add="F")
    async with house:
        await house.settle()

        assert_everywhere(house, user, "Other", "c", "d")
        assert user.flags("Other")["d"] == {FLAGGED}


async def test_name_that_something_else_has_is_not_concluded(tmp_path: Path, user: Provider) -> None:
    """A file whose name a directory has now is neither there nor provably gone: nothing is deleted, nothing spins."""
    user.receive("a", "b")
    async with house_of(tmp_path, user, devices=TWO) as house:
        await house.settle()
        path = house.replica("laptop").find("a").path
        path.rename(tmp_path / "away")
        path.mkdir()
        await house.settle()

        assert sorted(user.flags()) == ["a", "b"]
        path.rmdir()
        (tmp_path / "away").rename(path)
        await house.settle()
        assert_everywhere(house, user, "INBOX", "a", "b")
