"""What a device moves or copies between its mailboxes is moved or copied on the server, and sent by nobody."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest
from sqlalchemy import select

from syncd.mail.tree import ReplicaState
from syncd.maildir.news.changes import Changes
from syncd.store.tables import schema
from tests.contract.sync.house import House, MakeDovecot, imap, states, until_state
from tests.contract.sync.letters import key_of, letter
from tests.contract.sync.provider import Provider
from tests.contract.sync.tap import Tap
from tests.contract.sync.three_devices import TWO, add, assert_everywhere, house_of
from tests.servers.capabilities import NO_MOVE, NO_MOVE_NO_UIDPLUS

SEEN, FLAGGED = "\\Seen", "\\Flagged"
SEEN_ONLY = frozenset({SEEN})


def move(house: House, key: str, *, device: str = "laptop", source: str = "INBOX", to: str = "Archive") -> Path:
    """Move a letter as `mv` does."""
    file = house.replica(device, source).find(key).path
    return file.rename(house.replica(device, to).directory / "cur" / file.name)


def copy(house: House, key: str, *, device: str = "laptop", source: str = "INBOX", to: str = "Archive") -> Path:
    """Copy a letter as `cp` does, under a name of its own."""
    file = house.replica(device, source).find(key).path
    letters = file.name.partition(":2,")[2]
    target = house.replica(device, to).directory / "cur" / f"1700000000.12_{key}.{device}:2,{letters}"
    shutil.copy(file, target)
    return target


def copy_and_remove(house: House, key: str, *, to: str = "Archive") -> None:
    """Move a letter as mutt does: a copy under another name, with notes of its own in the header."""
    file = house.replica("laptop").find(key).path
    target = house.replica("laptop", to).directory / "cur" / f"1700000000.12_{key}.laptop:2,FS"
    target.write_bytes(file.read_bytes().replace(b"\n\n", b"\nContent-Length: 36\nLines: 3\n\n", 1))
    file.unlink()


def nothing_was_sent(tap: Tap, *, before: int) -> bool:
    return not any(b" APPEND " in line for line in tap.lines[before:])


@pytest.mark.parametrize("how", [move, copy_and_remove])
async def test_moved_message_is_moved_everywhere(
    tmp_path: Path, provider: Provider, how: Callable[[House, str], object]
) -> None:
    """One move on the server: nothing is sent, nothing is fetched, and nothing is in Trash."""
    provider.receive("a", "b", flags=(SEEN,))
    provider.receive("old", mailbox="Archive")
    provider.store("a", "+FLAGS (\\Flagged $work)")
    async with Tap(provider.server.imap_port) as tap, house_of(tmp_path, provider, port=tap.port) as house:
        await house.settle()
        sent, fetched = len(tap.lines), len(tap.bodies)

        how(house, "a")
        await house.settle()

        assert_everywhere(house, provider, "INBOX", "b")
        assert_everywhere(house, provider, "Archive", "a", "old")
        assert provider.flags("Trash") == {}
        assert nothing_was_sent(tap, before=sent)
        assert len(tap.bodies) == fetched
        assert provider.flags("Archive")["a"] == {SEEN, FLAGGED, "$work"}
        assert {tuple(one.flags()["a"]) for one in house.replicas("Archive")} == {tuple(provider.flags("Archive")["a"])}
        assert await states(house) == {ReplicaState.PRESENT: 9}
        assert await house.rows(select(schema.hold.c.id)) == []


@pytest.mark.parametrize("how", [move, copy_and_remove])
async def test_program_that_has_a_trash_of_its_own_is_understood(
    tmp_path: Path, user: Provider, how: Callable[..., object]
) -> None:
    """A message that it moves into Trash is there once."""
    user.receive("a", "b", flags=(SEEN,))
    async with house_of(tmp_path, user, devices=TWO) as house:
        await house.settle()

        how(house, "a", to="Trash")
        await house.settle()

        assert_everywhere(house, user, "INBOX", "b")
        assert_everywhere(house, user, "Trash", "a")
        assert len(user.bodies("Trash")) == 1


async def test_copied_message_is_copied_everywhere(tmp_path: Path, provider: Provider) -> None:
    """The server copies it; nothing is sent, and both are messages of their own."""
    provider.receive("a", flags=(SEEN,))
    provider.receive("old", mailbox="Archive")
    async with Tap(provider.server.imap_port) as tap, house_of(tmp_path, provider, port=tap.port) as house:
        await house.settle()
        sent, fetched = len(tap.lines), len(tap.bodies)

        copy(house, "a")
        await house.settle()
        house.replica("phone").mark("a", add="F")
        await house.settle()

        assert_everywhere(house, provider, "INBOX", "a")
        assert_everywhere(house, provider, "Archive", "a", "old")
        assert nothing_was_sent(tap, before=sent)
        assert len(tap.bodies) == fetched
        assert house.replica("laptop").flags()["a"] == {SEEN, FLAGGED}
        assert house.replica("laptop", "Archive").flags()["a"] == {SEEN}


async def test_removal_after_a_copy_is_the_second_half_of_a_move(tmp_path: Path, user: Provider) -> None:
    """However much later its original goes, also after a restart, it does not go to Trash."""
    user.receive("a", "b")
    user.receive("old", mailbox="Archive")
    house = house_of(tmp_path, user, devices=TWO)
    async with house:
        await house.settle()
        copy(house, "a")
        await house.settle()
        assert_everywhere(house, user, "INBOX", "a", "b")
    async with house:
        house.replica("laptop").find("a").path.unlink()
        await house.settle()

        assert_everywhere(house, user, "INBOX", "b")
        assert_everywhere(house, user, "Archive", "a", "old")
        assert user.flags("Trash") == {}


async def test_mailbox_that_is_moved_whole_is_not_held(tmp_path: Path, user: Provider) -> None:
    """Many moves at once are one command, and no deletion for the guard."""
    keys = [f"m{number:03}" for number in range(60)]
    user.receive(*keys)
    user.receive("old", mailbox="Archive")
    async with Tap(user.server.imap_port) as tap:
        house = house_of(tmp_path, user, port=tap.port, devices=TWO)
        async with house:
            await house.settle()
        for key in keys:  # while nobody looks, for who looks in between sees some of them only
            move(house, key)

        async with house:
            await house.settle()

            assert_everywhere(house, user, "INBOX")
            assert_everywhere(house, user, "Archive", "old", *keys)
            assert user.flags("Trash") == {}
            assert sum(b"UID MOVE" in line for line in tap.lines) == 1
            assert nothing_was_sent(tap, before=0)
            assert await house.rows(select(schema.hold.c.id)) == []


@pytest.mark.parametrize("without", [NO_MOVE, NO_MOVE_NO_UIDPLUS])
@pytest.mark.parametrize("how", [move, copy_and_remove])
async def test_move_on_a_server_without_move(
    tmp_path: Path,
    make_dovecot: MakeDovecot,
    mail_user: str,
    without: frozenset[str],
    how: Callable[[House, str], object],
) -> None:
    """It is a copy there, and the original is expunged."""
    user = Provider(make_dovecot(capability=without), mail_user)
    user.receive("a", "b")
    user.receive("old", mailbox="Archive")
    async with house_of(tmp_path, user, devices=TWO) as house:
        await house.settle()

        how(house, "a")
        await house.settle()

        assert_everywhere(house, user, "INBOX", "b")
        assert_everywhere(house, user, "Archive", "a", "old")
        assert user.flags("Trash") == {}


async def test_file_under_another_name_is_the_same_message(tmp_path: Path, user: Provider) -> None:
    """A program that renames a file within its mailbox changes nothing on the server."""
    user.receive("a", "b")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port, devices=TWO) as house:
        await house.settle()
        before = len(tap.lines)

        file = house.replica("laptop").find("a").path
        renamed = file.rename(file.with_name("1700000000.12_99.laptop:2,S"))
        await house.settle()

        assert_everywhere(house, user, "INBOX", "a", "b")
        assert user.flags()["a"] == SEEN_ONLY
        assert house.replica("laptop").find("a").path == renamed
        assert not any(b" APPEND " in line or b"UID MOVE" in line or b"UID COPY" in line for line in tap.lines[before:])


async def test_flag_that_comes_while_a_file_is_renamed_is_on_it(tmp_path: Path, user: Provider) -> None:
    """What the server changes before it is known that both files are one message is not forgotten."""
    user.receive("a", flags=(SEEN,))
    async with house_of(tmp_path, user, settle="2s", devices=TWO) as house:
        await house.settle()
        file = house.replica("laptop").find("a").path
        file.rename(file.with_name("1700000000.12_99.laptop:2,S"))
        await until_state(house, ReplicaState.MISSING)
        user.store("a", "+FLAGS (\\Flagged)")
        await house.ask("work")
        await house.until(lambda: house.replica("phone").flags()["a"] == {SEEN, FLAGGED})
        await house.settle()

        assert house.replica("laptop").flags()["a"] == {SEEN, FLAGGED}
        assert user.flags()["a"] == {SEEN, FLAGGED}


@pytest.mark.parametrize("how", [move, copy_and_remove])
async def test_sync_that_waits_for_nothing_tells_a_move_from_a_deletion(
    tmp_path: Path, user: Provider, how: Callable[[House, str], object]
) -> None:
    """Asked for, what went is deleted at once, but not before it is known what the file is that came."""
    user.receive("a", "b")
    user.receive("old", mailbox="Archive")
    async with (
        Tap(user.server.imap_port) as tap,
        house_of(tmp_path, user, settle="1h", port=tap.port, devices=TWO) as house,
    ):
        await house.settle()
        before = len(tap.lines)
        how(house, "a")
        await house.settle()

        assert_everywhere(house, user, "INBOX", "b")
        assert sorted(user.flags("Archive")) == ["a", "old"]
        assert user.flags("Trash") == {}
        assert nothing_was_sent(tap, before=before)


async def test_moved_there_and_back_is_where_it_was(tmp_path: Path, user: Provider) -> None:
    """A file that is moved to another mailbox and back at once was not moved."""
    user.receive("a")
    user.receive("old", mailbox="Archive")
    async with house_of(tmp_path, user, settle="300ms", devices=TWO) as house:
        await house.settle()

        path = move(house, "a")
        path.rename(house.replica("laptop").directory / "cur" / path.name)
        await house.settle()

        assert_everywhere(house, user, "INBOX", "a")
        assert_everywhere(house, user, "Archive", "old")


async def test_two_devices_move_the_same_message(tmp_path: Path, user: Provider) -> None:
    """To the same mailbox: it is there once."""
    user.receive("a", "b")
    user.receive("old", mailbox="Archive")
    house = house_of(tmp_path, user, devices=TWO)
    async with house:
        await house.settle()
    move(house, "a")
    move(house, "a", device="phone")
    async with house:
        await house.settle()

        assert_everywhere(house, user, "INBOX", "b")
        assert_everywhere(house, user, "Archive", "a", "old")
        assert user.flags("Trash") == {}


async def test_equal_messages_stay_as_many_as_there_are(tmp_path: Path, user: Provider) -> None:
    """Of two equal messages one is moved, and then the other."""
    user.receive_raw([letter("a"), letter("a")])
    user.receive("old", mailbox="Archive")
    async with house_of(tmp_path, user) as house:
        await house.settle()

        move(house, "a")
        await house.settle()
        assert [one.keys() for one in house.replicas()] == [["a"]] * 3
        move(house, "a")
        await house.settle()

        assert [one.keys() for one in house.replicas()] == [[]] * 3
        assert [one.keys() for one in house.replicas("Archive")] == [["a", "a", "old"]] * 3


async def test_move_while_the_server_is_down(tmp_path: Path, make_dovecot: MakeDovecot, mail_user: str) -> None:
    """It is moved once the server is there again, with what was changed meanwhile."""
    server = make_dovecot()
    user = Provider(server, mail_user)
    user.receive("a", "b")
    user.receive("old", mailbox="Archive")
    async with house_of(tmp_path, user, devices=TWO) as house:
        await house.settle()
        server.stop()
        path = move(house, "a")
        path.rename(path.with_name(path.name.partition(":2,")[0] + ":2,FS"))
        server.start()
        await house.until(lambda: house.replica("phone", "Archive").keys() == ["a", "old"], within_s=30)
        await house.settle()

        assert_everywhere(house, user, "INBOX", "b")
        assert user.flags("Archive")["a"] == {SEEN, FLAGGED}
        assert user.flags("Trash") == {}


@pytest.mark.parametrize("is_kept", [False, True], ids=["renamed", "copied"])
async def test_moved_file_that_has_another_name_when_the_move_was_lost(
    tmp_path: Path, user: Provider, *, is_kept: bool
) -> None:
    """The file of the new name is the message that was moved; the one before it is another if it is there still."""
    user.receive("a", "b")
    user.receive("old", mailbox="Archive")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        await house.settle()
        lost: list[bytes] = []

        def drops(line: bytes) -> bool:
            if b" UID MOVE " not in line or lost:
                return False
            lost.append(line)
            put_beside = shutil.copy2 if is_kept else Path.rename
            put_beside(path, path.with_name("1700000000.other.laptop:2,S"))
            return True

        tap.drops = drops
        path = move(house, "a")
        await house.settle()

        assert len(lost) == 1
        assert_everywhere(house, user, "INBOX", "b")
        assert [one.keys() for one in house.replicas("Archive")] == [["a", *["a"] * is_kept, "old"]] * 3
        assert len(user.bodies("Archive")) == 2 + is_kept
        assert user.flags("Trash") == {}


async def test_move_that_the_server_has_done_though_it_refused_it_leaves_one_message(
    tmp_path: Path, user: Provider
) -> None:
    """A server may say that there is no room once some of them are moved already."""
    user.receive("a", "b", "c")
    user.receive("old", mailbox="Archive")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port, devices=TWO) as house:
        await house.settle()
        done = re.compile(rb"(\w+) OK \[HIGHESTMODSEQ .* Move completed.*")
        tap.says = lambda line: b"" if b"COPYUID" in line else done.sub(rb"\1 NO [OVERQUOTA] no room\r", line)

        move(house, "a")
        move(house, "b")
        await house.until(lambda: house.replica("phone", "Archive").keys() == ["a", "b", "old"])
        tap.says = None
        await house.settle()

        assert any(b" UID MOVE " in line for line in tap.lines)
        assert_everywhere(house, user, "INBOX", "c")
        assert_everywhere(house, user, "Archive", "a", "b", "old")
        assert len(user.bodies("Archive")) == 3


async def test_message_that_is_moved_and_added_at_once(tmp_path: Path, user: Provider) -> None:
    """A new file beside a moved one is a message of its own."""
    user.receive("a")
    user.receive("old", mailbox="Archive")
    async with house_of(tmp_path, user, devices=TWO) as house:
        await house.settle()

        move(house, "a")
        add(house, "laptop", "n", mailbox="Archive")
        await house.settle()

        assert_everywhere(house, user, "INBOX")
        assert_everywhere(house, user, "Archive", "a", "n", "old")


@pytest.mark.parametrize("to", ["INBOX", "Archive"])
async def test_copies_that_are_deleted_together_are_in_trash(tmp_path: Path, user: Provider, to: str) -> None:
    """None of them takes another's place, for it went as well."""
    user.receive("a", "b")
    user.receive("old", mailbox="Archive")
    async with house_of(tmp_path, user, devices=TWO) as house:
        await house.settle()
        for number in range(2):
            made = copy(house, "a", to=to)
            made.rename(made.with_name(f"{number}{made.name}"))
            await house.settle()

        for replica in (house.replica("laptop"), house.replica("laptop", "Archive")):
            for file in [file for file in replica.files() if key_of(file.octets) == "a"]:
                file.path.unlink()
        await house.settle()

        assert_everywhere(house, user, "INBOX", "b")
        assert_everywhere(house, user, "Archive", "old")
        assert len(user.bodies("Trash")) == 3


async def test_move_of_which_one_half_is_heard_of_is_no_deletion(tmp_path: Path, user: Provider) -> None:
    """However late the other half is heard of: before anything is deleted, all that changed is looked at."""
    user.receive("a", "b")
    user.receive("old", mailbox="Archive")
    account = imap(user.server, user.user)
    devices = {"laptop": {"settle": "20ms", "watch": "poll"}}
    async with House(tmp_path, accounts={"work": account}, devices=devices) as house:
        await house.settle()
        laptop = house.devices["laptop"]

        move(house, "a")
        directory = PurePosixPath(house.replica("laptop").directory.name)
        await laptop.observe(Changes(mailboxes=frozenset({directory})))
        await laptop.look_again(at_once=True)
        await house.ask("work")
        await house.settle()

        assert sorted(user.flags("Archive")) == ["a", "old"]
        assert user.flags("Trash") == {}


async def test_flag_of_another_does_not_bring_back_what_is_on_its_way(tmp_path: Path, user: Provider) -> None:
    """A flag is stronger than a deletion, and a move is none: it goes with the message, which is there once."""
    user.receive("a", "b")
    user.receive("old", mailbox="Archive")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port, devices=TWO) as house:
        await house.settle()
        tap.refuses = lambda line: b"UID MOVE" in line

        move(house, "a")
        await house.settle()
        user.store("a", "+FLAGS (\\Flagged)")
        await house.until(lambda: house.replica("phone").flags()["a"] == {FLAGGED})
        await house.settle()
        assert house.replica("laptop").keys() == ["b"]
        tap.refuses = lambda line: False
        await house.ask("work")
        await house.settle()

        assert_everywhere(house, user, "INBOX", "b")
        assert_everywhere(house, user, "Archive", "a", "old")
        assert user.flags("Archive")["a"] == {FLAGGED}
