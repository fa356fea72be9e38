"""What a server moves between its mailboxes, each device does to its own file: the same file, under the same name."""

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select

from syncd.reconcile.effects import as_text
from syncd.store.rounds import holds
from syncd.store.tables import schema
from syncd.sync.device import shift_round
from syncd.sync.device.shift_round import ShiftBatch, plan_shifts
from syncd.sync.planned import planned
from syncd.sync.wakes import Wake
from tests.contract.sync.house import House, Table, imap
from tests.contract.sync.letters import letter
from tests.contract.sync.provider import Provider
from tests.contract.sync.tap import Tap
from tests.servers.capabilities import NO_MOVE
from tests.servers.dovecot import Dovecot

SEEN, FLAGGED, ANSWERED = "\\Seen", "\\Flagged", "\\Answered"
DEVICES: Mapping[str, Table] = {"laptop": {}, "phone": {"layout": "fs"}, "usb": {"link": False}}
Identity = tuple[int, str]


async def test_moved_message_is_the_same_file_on_every_device(tmp_path: Path, user: Provider) -> None:
    """Web mail files one message: pushed, without a whole pass, and without asking for a body."""
    user.receive("a", "b", "c")
    user.receive("old", mailbox="Archive")
    async with Tap(user.server.imap_port) as tap, _house(tmp_path, user, tap=tap) as house:
        await house.settle()
        before, asked = _identities(house), len(tap.bodies)

        user.move("b", to="Archive")
        await house.until(lambda: _keys(house, "Archive") == [["b", "old"]] * len(DEVICES))
        await house.until(lambda: _keys(house) == [["a", "c"]] * len(DEVICES))
        await house.settle()

        assert _identities(house) == before
        assert tap.bodies[asked:] == []
        assert _keys(house) == [["a", "c"]] * len(DEVICES)
        assert _keys(house, "Archive") == [["b", "old"]] * len(DEVICES)


async def test_moved_messages_are_the_same_files_on_every_rung(tmp_path: Path, provider: Provider) -> None:
    """Whatever a server tells of changes, both halves of a move are seen together."""
    provider.receive(*(f"m{number}" for number in range(9)))
    provider.receive("old", mailbox="Archive")
    async with _house(tmp_path, provider) as house:
        await house.settle()
        before = _identities(house)

        provider.move("m1", "m3", "m4", to="Archive")
        provider.move("old", mailbox="Archive", to="INBOX")
        await house.ask("work")
        await house.settle()

        assert _identities(house) == before
        assert _keys(house, "Archive") == [["m1", "m3", "m4"]] * len(DEVICES)


async def test_copying_and_expunging_is_moving(tmp_path: Path, make_dovecot: Callable[..., Dovecot]) -> None:
    """On a server without MOVE other programs copy and expunge; what comes of it at once is the same to a device."""
    user = Provider(make_dovecot(capability=NO_MOVE), "ana")
    user.receive("a", "b")
    user.receive("old", mailbox="Archive")
    async with _house(tmp_path, user) as house:
        await house.settle()
        before = _identities(house)
    user.copy("a", to="Archive")
    user.expunge("a")
    async with house:
        await house.ask("work")
        await house.settle()

        assert _identities(house) == before
        assert _keys(house, "Archive") == [["a", "old"]] * len(DEVICES)


async def test_many_moved_messages_are_no_removals(tmp_path: Path, user: Provider) -> None:
    """Five hundred of six hundred messages change their mailbox, and the guard has nothing to say."""
    keys = [f"m{number:03}" for number in range(600)]
    user.receive_raw(letter(key, lines=number) for number, key in enumerate(keys))
    user.receive("old", mailbox="Archive")
    async with Tap(user.server.imap_port) as tap, _house(tmp_path, user, tap=tap) as house:
        await house.settle()
        before, asked = _identities(house), len(tap.bodies)

        user.move(*keys[:500], to="Archive")
        await house.ask("work")
        await house.settle()

        assert await house.db.read(holds.holds) == ()
        assert _identities(house) == before
        assert tap.bodies[asked:] == []
        assert _keys(house, "Archive") == [[*keys[:500], "old"]] * len(DEVICES)


async def test_letters_are_those_of_the_new_mailbox(tmp_path: Path, user: Provider) -> None:
    """A keyword's letter means another keyword elsewhere: the name says there what the server's message has."""
    user.receive("a", flags=(SEEN, "first", "second"))
    user.receive("old", mailbox="Archive", flags=("second", "third"))
    async with _house(tmp_path, user) as house:
        await house.settle()
        before = _identities(house)

        user.move("a", to="Archive")
        user.store("a", "+FLAGS (\\Flagged third)", mailbox="Archive")
        user.store("a", "-FLAGS (first)", mailbox="Archive")
        await house.ask("work")
        await house.settle()

        assert _identities(house) == before
        wanted = {"a": {SEEN, FLAGGED, "second", "third"}, "old": {"second", "third"}}
        assert user.flags("Archive") == wanted
        assert [replica.flags() for replica in house.replicas("Archive")] == [wanted] * len(DEVICES)


async def test_flags_that_a_device_changed_go_with_the_file(tmp_path: Path, user: Provider) -> None:
    """What was set or taken back before the server had heard of it is stored where the message is now."""
    user.receive("a", flags=(SEEN, "project"))
    user.receive("b")
    user.receive("old", mailbox="Archive")
    async with Tap(user.server.imap_port) as tap, _house(tmp_path, user, tap=tap) as house:
        await house.settle()
        before = _identities(house)
        tap.refuses = lambda line: b"UID STORE" in line

        house.replica("laptop").mark("a", add="R", remove="S")
        house.replica("usb").mark("b", add="F")
        await house.ask("laptop", "usb")
        await house.ask("work")
        user.move("a", "b", to="Archive")
        await house.ask("work")
        await house.ask("laptop", "phone", "usb")
        assert "R" in house.replica("laptop", "Archive").find("a").letters

        tap.refuses = lambda _: False
        house.shift_s += 3600
        await house.settle()

        wanted = {"a": {ANSWERED, "project"}, "b": {FLAGGED}, "old": frozenset()}
        assert user.flags("Archive") == wanted
        assert [replica.flags() for replica in house.replicas("Archive")] == [wanted] * len(DEVICES)
        assert _identities(house) == before


async def test_letter_that_nobody_has_looked_at_goes_with_the_file(tmp_path: Path, user: Provider) -> None:
    """A device renames a file while the server moves its message: nothing of either is lost."""
    user.receive("a", "b")
    user.receive("old", mailbox="Archive")
    async with _house(tmp_path, user) as house:
        await house.settle()
        before = _identities(house)
    user.move("a", to="Archive")
    house.replica("phone").mark("a", add="F")
    async with house:
        await house.settle()

        assert user.flags("Archive") == {"a": {FLAGGED}, "old": frozenset()}
        assert [replica.flags() for replica in house.replicas("Archive")] == [user.flags("Archive")] * len(DEVICES)
        assert {identity for one in _identities(house).values() for identity in one} >= {
            identity
            for identity in before["laptop"]
            if identity[1] == house.replica("laptop", "Archive").find("a").stem
        }


async def test_twins_are_moved_one_by_one(tmp_path: Path, user: Provider) -> None:
    """Of three equal messages two move, and as many files do."""
    twin = b"Message-ID: <twin@example.org>\r\n\r\nthe same\r\n"
    user.receive_raw([twin, twin, twin])
    user.receive("old", mailbox="Archive")
    async with _house(tmp_path, user) as house:
        await house.settle()
        before = _identities(house)
        with user.server.imap(user.user) as client:
            client.select("INBOX")
            client._simple_command("UID", "MOVE", "1,3", "Archive")
        await house.ask("work")
        await house.settle()

        assert _keys(house) == [["twin"]] * len(DEVICES)
        assert _keys(house, "Archive") == [["old", "twin", "twin"]] * len(DEVICES)
        assert _identities(house) == before


async def test_device_without_the_other_mailbox_removes_the_file(tmp_path: Path, user: Provider) -> None:
    """What a device does not take, it does not get, and what comes from there is delivered."""
    user.receive("a", "b")
    user.receive("c", "d", mailbox="Archive")
    devices = {"laptop": {}, "phone": {"mailboxes": ["INBOX"]}}
    async with _house(tmp_path, user, devices=devices) as house:
        await house.settle()
        before = _identities(house)["laptop"]

        user.move("a", to="Archive")
        user.move("c", mailbox="Archive", to="INBOX")
        await house.ask("work")
        await house.settle()

        assert _keys(house) == [["b", "c"]] * 2
        assert house.replica("laptop", "Archive").keys() == ["a", "d"]
        assert house.replica("phone", "Archive").keys() == []
        assert _identities(house)["laptop"] == before


async def test_name_that_is_in_use_makes_another_file(tmp_path: Path, user: Provider) -> None:
    """A file that the device put where the moved one would be is left alone, and the message comes beside it."""
    user.receive("a", "b")
    user.receive("old", mailbox="Archive")
    async with _house(tmp_path, user, devices={"laptop": {}}) as house:
        await house.settle()
        file, archive = house.replica("laptop").find("a"), house.replica("laptop", "Archive")
        mine = archive.directory / "cur" / f"{file.stem}:2,"
        mine.write_bytes(b"Message-ID: <mine@example.org>\n\nof the device\n")
        await house.ask("laptop")

        user.move("a", to="Archive")
        await house.ask("work")
        await house.ask("laptop")

        assert mine.read_bytes().endswith(b"of the device\n")
        assert house.replica("laptop").keys() == ["b"]
        assert archive.keys() == ["a", "mine", "old"]
        assert archive.find("a").stem != file.stem


async def test_mailbox_that_stands_still_takes_part_in_nothing(tmp_path: Path, user: Provider) -> None:
    """Where the other mailbox cannot be written the file is removed, and delivered when it can be again."""
    user.receive("a", "b")
    user.receive("old", mailbox="Archive")
    async with _house(tmp_path, user, devices={"laptop": {}}) as house:
        await house.settle()
        archive = house.replica("laptop", "Archive").directory
        archive.joinpath("cur").rename(archive / "elsewhere")

        user.move("a", to="Archive")
        await house.ask("work")
        await house.until(lambda: house.replica("laptop").keys() == ["b"])

        archive.joinpath("elsewhere").rename(archive / "cur")
        await house.settle()
        assert house.replica("laptop", "Archive").keys() == ["a", "old"]


async def test_half_that_comes_later_lets_go_what_was_held(tmp_path: Path, user: Provider) -> None:
    """Messages that went are held as removals; once they are found in another mailbox, their files are there, too."""
    keys = [f"m{number:02}" for number in range(60)]
    user.receive_raw(letter(key, lines=number) for number, key in enumerate(keys))
    user.receive("old", mailbox="Archive")
    async with Tap(user.server.imap_port) as tap, _house(tmp_path, user, tap=tap) as house:
        await house.settle()
        before = _identities(house)
        tap.refuses = lambda line: b"SELECT" in line and b"Archive" in line

        user.move(*keys[:40], to="Archive")
        await house.ask("work")
        await house.until_read(lambda found: len(found) == len(DEVICES), select(schema.hold.c.id))
        assert _keys(house) == [keys] * len(DEVICES)

        tap.refuses = lambda _: False
        await house.settle()

        assert await house.db.read(holds.holds) == ()
        assert _identities(house) == before
        assert _keys(house, "Archive") == [[*keys[:40], "old"]] * len(DEVICES)


async def test_loss_that_is_told_behind_the_end_of_idle_is_half_of_a_move(tmp_path: Path, user: Provider) -> None:
    """What ended IDLE was a new message; by the time the mailbox is read another one has been moved out of it."""
    user.receive("a", "b")
    user.receive("old", mailbox="Archive")
    async with Tap(user.server.imap_port) as tap, _house(tmp_path, user, tap=tap) as house:
        await house.settle()
        await house.until(lambda: tap.lines[-1].endswith(b" IDLE"))
        before, asking = _identities(house), set[asyncio.Task[None]]()

        async def move_meanwhile(line: bytes) -> None:
            if line == b"DONE\r\n" and not asking:
                await asyncio.to_thread(user.move, "a", to="Archive")
            if b'SELECT "Archive"' in line and not asking:
                asking.add(asyncio.create_task(house.ask(*DEVICES)))
                await asyncio.wait(asking, timeout=0.5)  # nothing is concluded of half of it

        tap.before_line = move_meanwhile
        user.receive("n")
        await house.until(lambda: _keys(house, "Archive") == [["a", "old"]] * len(DEVICES))
        await asyncio.gather(*asking)
        await house.settle()

        assert asking
        assert _keys(house) == [["b", "n"]] * len(DEVICES)
        assert all(before[device] <= files for device, files in _identities(house).items())


async def test_what_goes_to_trash_is_moved_and_counted(tmp_path: Path, user: Provider) -> None:
    """A few messages are renamed into Trash; more than the guard allows stay where they were, and are there as well."""
    keys = [f"m{number:02}" for number in range(60)]
    user.receive_raw(letter(key, lines=number) for number, key in enumerate(keys))
    async with _house(tmp_path, user) as house:
        await house.settle()
        before = _identities(house)

        user.move(*keys[:20], to="Trash")
        await house.ask("work")
        await house.settle()
        assert _identities(house) == before
        assert _keys(house, "Trash") == [keys[:20]] * len(DEVICES)
        assert await house.db.read(holds.holds) == ()

        user.move(*keys[20:30], to="Trash")
        await house.ask("work")
        await house.settle()
        assert [len(one.effects) for one in await house.db.read(holds.holds)] == [10] * len(DEVICES)
        assert _keys(house, "Trash") == [keys[:30]] * len(DEVICES)
        assert _keys(house) == [keys[20:]] * len(DEVICES)


async def test_deletion_by_one_device_is_a_move_on_the_others(tmp_path: Path, user: Provider) -> None:
    """What one device deletes goes to Trash on the others, as the same file."""
    user.receive("a", "b")
    devices = {name: {**table, "settle": "20ms"} for name, table in DEVICES.items()}
    async with Tap(user.server.imap_port) as tap, _house(tmp_path, user, tap=tap, devices=devices) as house:
        await house.settle()
        before, asked = _identities(house), len(tap.bodies)

        house.replica("laptop").find("a").path.unlink()
        await house.until(lambda: _keys(house, "Trash") == [["a"]] * len(DEVICES))
        await house.settle()

        after = _identities(house)
        assert {name: after[name] for name in ("phone", "usb")} == {name: before[name] for name in ("phone", "usb")}
        assert tap.bodies[asked:] == []


async def test_copied_message_is_another_file_of_the_same_octets(tmp_path: Path, user: Provider) -> None:
    """What is in two mailboxes is two names, of one file where the device links; later one of them may go."""
    user.receive("a")
    user.receive("old", mailbox="Archive")
    async with Tap(user.server.imap_port) as tap, _house(tmp_path, user, tap=tap) as house:
        await house.settle()
        asked = len(tap.bodies)

        user.copy("a", to="Archive")
        await house.settle()

        assert tap.bodies[asked:] == []
        assert _keys(house) == [["a"]] * len(DEVICES)
        assert _keys(house, "Archive") == [["a", "old"]] * len(DEVICES)
        one, other = (house.replica("laptop", mailbox).find("a") for mailbox in ("INBOX", "Archive"))
        assert one.inode == other.inode
        assert one.stem != other.stem
        usb = house.replica("usb", "Archive").find("a")
        assert (usb.links, usb.octets) == (1, one.octets)

        user.expunge("a")
        await house.settle()
        assert _keys(house) == [[]] * len(DEVICES)
        assert house.replica("laptop", "Archive").find("a").stem == other.stem


async def test_plan_names_the_mailbox(tmp_path: Path, user: Provider) -> None:
    """What a device that is away will do with its file is one line."""
    user.receive("a", "b")
    user.receive("old", mailbox="Archive")
    async with _house(tmp_path, user, devices={"laptop": {}}) as house:
        await house.settle()
        laptop = tmp_path / "laptop"
        laptop.rename(tmp_path / "away")
        with pytest.raises(OSError, match="cannot be opened"):
            await house.ask("laptop")

        user.move("a", to="Archive")
        await house.ask("work")
        (row,) = await house.rows(
            select(schema.server_message.c.id).where(schema.server_message.c.gone_at.is_not(None))
        )
        plan = await house.db.read(partial(planned, config=house.config, now=house.clock(), limit=9))
        lines = [(one.mailbox, one.device, as_text(one.effect)) for one in plan.effects]
        assert lines == [("INBOX", "laptop", f"move file of message {row.id} to Archive")]

        (tmp_path / "away").rename(laptop)
        await house.until(lambda: _keys(house, "Archive") == [["a", "old"]])


async def test_flag_goes_with_what_is_moved_just_before_it_is_stored(tmp_path: Path, user: Provider) -> None:
    """The account finds the message gone when it stores the flag: nothing is removed before it is found elsewhere."""
    user.receive("a", "b")
    user.receive("old", mailbox="Archive")
    async with Tap(user.server.imap_port) as tap, _house(tmp_path, user, tap=tap) as house:
        await house.settle()
        before, moves = _identities(house), iter([True])

        async def move(line: bytes) -> None:
            if b"UID STORE" in line and next(moves, False):
                user.move("a", to="Archive")

        tap.before_line = move
        house.replica("laptop").mark("a", add="F")
        await house.until(lambda: _keys(house, "Archive") == [["a", "old"]] * len(DEVICES))
        await house.settle()

        assert next(moves, None) is None
        assert user.flags("Archive") == {"a": {FLAGGED}, "old": set()}
        assert _identities(house) == before


async def test_what_is_seen_while_shifts_are_looked_for_waits_for_the_next_look(
    tmp_path: Path, user: Provider, make_dovecot: Callable[..., Dovecot], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second half of a move comes just then: the file goes with its message, and so does its flag."""
    other = Provider(make_dovecot(), "other")
    user.receive("a", "b")
    user.receive("old", mailbox="Archive")
    other.receive("k", "l")
    other.receive("m", mailbox="Archive")
    is_looking, may_look, may_list = threading.Event(), threading.Event(), asyncio.Event()

    def plan_at_leisure(conn: Connection, **more: Any) -> tuple[ShiftBatch, ...]:
        found = plan_shifts(conn, **more)
        is_looking.set()
        assert may_look.wait(30)
        return found

    async with Tap(user.server.imap_port) as tap:
        accounts = {
            "work": imap(user.server, user.user, port=tap.port),
            "other": imap(other.server, other.user),
        }
        async with House(tmp_path, accounts=accounts) as house:
            await house.settle()
            before = _identities(house)
            tap.refuses = lambda line: b"UID STORE" in line

            async def hold(line: bytes) -> None:
                if b"LIST" in line:
                    await may_list.wait()

            tap.before_line = hold
            house.replica("laptop").mark("a", add="F")
            await house.ask("laptop")
            user.move("a", to="Archive")
            gone = select(schema.server_message.c.id).where(schema.server_message.c.gone_at.is_not(None))
            await house.until_read(lambda found: len(found) == 1, gone)

            monkeypatch.setattr(shift_round, "plan_shifts", plan_at_leisure)
            other.move("l", to="Archive")
            await house.until(is_looking.is_set)
            may_list.set()
            await house.until(lambda: house.wakes.halves.are_seen("work", wake=Wake()))
            may_look.set()
            tap.refuses = lambda _: False

            await house.until(lambda: house.replica("laptop", "Archive").keys() == ["a", "old"])
            await house.settle()
            assert before["laptop"] <= _identities(house)["laptop"]
            assert user.flags("Archive") == {"a": {FLAGGED}, "old": set()}
            assert house.replica("laptop", account="other").keys() == ["k"]
            assert house.replica("laptop", "Archive", account="other").keys() == ["l", "m"]


def _house(tmp_path: Path, user: Provider, *, tap: Tap | None = None, devices: Mapping[str, Table] = DEVICES) -> House:
    account = imap(user.server, user.user, port=tap.port if tap else None)
    return House(tmp_path, accounts={"work": account}, devices=devices)


def _identities(house: House) -> Mapping[str, Iterable[Identity]]:
    """Return inode and lasting name of each file of each device, in whatever mailbox it is."""
    mailboxes = ("INBOX", "Archive", "Trash")
    return {
        device: {(file.inode, file.stem) for mailbox in mailboxes for file in house.replica(device, mailbox).files()}
        for device in house.config.devices
    }


def _keys(house: House, mailbox: str = "INBOX") -> list[list[str]]:
    return [replica.keys() for replica in house.replicas(mailbox)]
