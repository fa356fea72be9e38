"""A mailbox whose directory a program removes goes from its server, emptied into Trash, guarded, never by mistake."""

import asyncio
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import select

from syncd.errors import SyncdError
from syncd.mail.tree import ReplicaState
from syncd.store.due import discards
from syncd.store.rounds import holds
from syncd.store.tables import schema
from tests.contract.sync.house import House, imap
from tests.contract.sync.provider import Provider
from tests.contract.sync.tap import Tap
from tests.contract.sync.three_devices import TWO, add, house_of, make
from tests.servers.delivery import quoted
from tests.servers.dovecot_conf import FEW_SPECIAL_USE

STANDARD = {"INBOX", *FEW_SPECIAL_USE}


async def test_removed_mailbox_goes_with_its_mail_in_trash(tmp_path: Path, user: Provider) -> None:
    """From the server, where it is unsubscribed from; a deletion that is small enough for the guard."""
    user.receive("a")
    user.receive(*"bcdef", mailbox="Lists")
    async with house_of(tmp_path, user) as house:
        await house.settle()

        _remove(house, "laptop", "Lists")
        await house.settle()

        assert user.mailboxes() == STANDARD
        assert "Lists" not in user.subscribed()
        assert sorted(user.flags("Trash")) == [*"bcdef"]
        assert house.replica("laptop", "Trash").keys() == [*"bcdef"]
        assert house.replica("phone", "Lists").keys() == []
        assert [one.keys() for one in house.replicas()] == [["a"]] * 3
        assert await house.rows(select(schema.mailbox_change.c.id)) == []
        assert await house.rows(select(schema.device.c.error).where(schema.device.c.error.is_not(None))) == []


@pytest.mark.parametrize("after", [b" DELETE ", b" RENAME "], ids=["delete", "rename"])
async def test_removed_mailbox_without_mail_goes(tmp_path: Path, user: Provider, after: bytes) -> None:
    """Whatever answer is lost; and one of that name may be made again."""
    user.receive("a", mailbox="Lists")
    user.expunge("a", mailbox="Lists")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port, devices=TWO) as house:
        await house.settle()

        async def cut(line: bytes) -> None:
            if after in line and not tap.cuts:
                tap.cut_after_bytes = 0

        tap.before_line = cut
        _remove(house, "laptop", "Lists")
        await house.until(lambda: any(b" UNSUBSCRIBE " in line for line in tap.lines))
        await house.settle()
        assert user.mailboxes() == STANDARD
        assert tap.cuts == 1

        for subdir in ("tmp", "new", "cur"):
            (house.replica("laptop", "Lists").directory / subdir).mkdir(parents=True)
        add(house, "laptop", "n", mailbox="Lists")
        await house.settle()
        assert sorted(user.flags("Lists")) == ["n"]
        assert house.replica("phone", "Lists").keys() == ["n"]


async def test_large_removed_mailbox_is_held(tmp_path: Path, user: Provider) -> None:
    """Discarded, it is on the device again; released, it goes, and all its mail is in Trash."""
    keys = [f"m{number:02}" for number in range(30)]
    user.receive("a")
    user.receive(*keys, mailbox="Lists")
    async with house_of(tmp_path, user, devices=TWO) as house:
        await house.settle()

        _remove(house, "laptop", "Lists")
        await house.settle()
        (hold,) = await house.db.read(holds.holds)
        assert (hold.reason, len(hold.effects)) == ("mailbox_emptied", 30)
        assert sorted(user.flags("Lists")) == keys

        await house.db.write(partial(discards.discard_hold, one=hold, now=house.clock()))
        await house.settle()
        assert house.replica("laptop", "Lists").keys() == keys
        assert sorted(user.flags("Lists")) == keys

        _remove(house, "laptop", "Lists")
        await house.settle()
        (hold,) = await house.db.read(holds.holds)
        assert await house.db.write(partial(holds.release_hold, hold_id=hold.id))
        await house.settle()
        assert user.mailboxes() == STANDARD
        assert sorted(user.flags("Trash")) == keys
        assert house.replica("phone", "Lists").keys() == []


async def test_several_removed_mailboxes_are_held_the_empty_ones_too(tmp_path: Path, user: Provider) -> None:
    """However little is in them; released, all of them go."""
    user.receive("b", "c", mailbox="Lists")
    user.receive("x", mailbox="Empty")
    user.expunge("x", mailbox="Empty")
    async with house_of(tmp_path, user, devices=TWO) as house:
        await house.settle()

        _remove(house, "laptop", "Lists")
        _remove(house, "laptop", "Empty")
        await house.settle()
        found = await house.db.read(holds.holds)
        assert {(hold.reason, len(hold.effects)) for hold in found} == {
            ("mailboxes_emptied", 2),
            ("mailboxes_emptied", 0),
        }
        assert user.mailboxes() == {*STANDARD, "Lists", "Empty"}

        for hold in found:
            await house.db.write(partial(holds.release_hold, hold_id=hold.id))
        await house.settle()
        assert user.mailboxes() == STANDARD
        assert sorted(user.flags("Trash")) == ["b", "c"]


async def test_removed_mailbox_goes_where_only_a_name_is_between_it_and_one_inside(
    tmp_path: Path, user: Provider
) -> None:
    """Lists/deep, which the server has only as a name, is no mailbox inside that is kept."""
    with user.server.imap(user.user) as client:
        for name in ("Lists", "Lists/deep/in"):
            client.create(name)
    async with house_of(tmp_path, user) as house:
        await house.settle()

        _remove(house, "laptop", "Lists")
        _remove(house, "laptop", "Lists/deep/in")
        await house.settle()
        for hold in await house.db.read(holds.holds):
            await house.db.write(partial(holds.release_hold, hold_id=hold.id))
        await house.settle()

        assert user.mailboxes() == STANDARD
        assert [one.directory.exists() for one in house.replicas("Lists")] == [False] * 3


async def test_removed_mailbox_comes_back_when_mail_came_meanwhile(tmp_path: Path, user: Provider) -> None:
    """With that mail; what the device had of it is in Trash."""
    user.receive("b", mailbox="Lists")
    async with house_of(tmp_path, user) as house:
        await house.settle()
    _remove(house, "laptop", "Lists")
    user.receive("new", mailbox="Lists")
    async with house:
        await house.settle()

        assert sorted(user.flags("Lists")) == ["new"]
        assert [one.keys() for one in house.replicas("Lists")] == [["new"]] * 3
        assert sorted(user.flags("Trash")) == ["b"]


async def test_removed_mailbox_comes_back_when_somebody_flagged_a_message(tmp_path: Path, user: Provider) -> None:
    """A flag is stronger than a deletion, and the message needs a mailbox; the rest of it goes."""
    user.receive("a", "b", mailbox="Lists")
    house = house_of(tmp_path, user, devices=TWO)
    async with house:
        await house.settle()
    _remove(house, "laptop", "Lists")
    user.store("a", "+FLAGS (\\Flagged)", mailbox="Lists")
    async with house:
        await house.until(lambda: house.replica("laptop", "Lists").keys() == ["a"])
        await house.settle()

        assert user.flags("Lists") == {"a": {"\\Flagged"}}
        assert sorted(user.flags("Trash")) == ["b"]
        assert await house.rows(select(schema.mailbox_change.c.id)) == []


async def test_mail_that_comes_at_the_last_moment_is_kept(tmp_path: Path, user: Provider) -> None:
    """Also between the server's word that the mailbox is empty and its deletion."""
    user.receive("x", mailbox="Lists")
    user.expunge("x", mailbox="Lists")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        await house.settle()

        _just_before_its_rename(tap, partial(user.receive, "late", mailbox="Lists"))
        _remove(house, "laptop", "Lists")
        await house.until(lambda: tap.before_line is None)
        await house.settle()

        assert sorted(user.flags("Lists")) == ["late"]
        assert [one.keys() for one in house.replicas("Lists")] == [["late"]] * 3
        assert user.mailboxes() == {*STANDARD, "Lists"}


async def test_mailbox_that_an_older_version_had_hidden_is_deleted(tmp_path: Path, user: Provider) -> None:
    """Under the name that says of no store whose it is."""
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port, devices=TWO) as house:
        await house.settle()
        make(house, "laptop", "Lists")
        await house.settle()
        _just_before_its_rename(tap, partial(_cut_behind_a_rename, tap))
        _remove(house, "laptop", "Lists")
        await house.until(lambda: tap.cuts == 1)
        (hidden,) = user.mailboxes() - STANDARD
        with user.server.imap(user.user) as client:
            client.rename(quoted(hidden), quoted(re.sub(r" [0-9a-f]{8}\)$", ")", hidden)))
        tap.drops = lambda _: False
        with suppress(SyncdError):  # of the connection that was cut
            await house.ask("work")
        await house.settle()
        assert user.mailboxes() == STANDARD


@pytest.mark.parametrize("case", ["given back", "refused at first", "hidden by an older version"])
async def test_mailbox_that_gets_mail_while_its_deletion_is_interrupted_keeps_its_name(
    tmp_path: Path, user: Provider, case: str
) -> None:
    """The wire is cut between the two commands that delete it, and another device has added a file to it."""
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        await house.settle()
        make(house, "laptop", "Lists")
        await house.settle()

        _just_before_its_rename(tap, partial(_cut_behind_a_rename, tap))
        _remove(house, "laptop", "Lists")
        await house.until(lambda: tap.cuts == 1)
        add(house, "phone", "late", mailbox="Lists")
        await house.ask("phone")
        if case == "hidden by an older version":
            (hidden,) = user.mailboxes() - STANDARD
            with user.server.imap(user.user) as client:
                client.rename(quoted(hidden), quoted(re.sub(r" [0-9a-f]{8}\)$", ")", hidden)))
        tap.drops = lambda _: False
        if case == "refused at first":
            tap.refuses = lambda line: b" RENAME " in line
            await house.ask("work", "phone")
            assert house.replica("phone", "Lists").keys() == ["late"]
            tap.refuses = lambda _: False
            house.shift_s = 3600
        await house.settle()

        assert user.mailboxes() == {*STANDARD, "Lists"}
        assert sorted(user.flags("Lists")) == ["late"]
        assert [one.keys() for one in house.replicas("Lists")] == [["late"]] * 3


async def test_mailbox_that_another_daemon_is_about_to_delete_is_left_to_it(tmp_path: Path, user: Provider) -> None:
    """Two stores that serve one account know its mailboxes by the same numbers."""
    other = House(tmp_path / "other", accounts={"work": imap(user.server, user.user)})
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port, devices=TWO) as house, other:
        await house.settle()
        make(house, "laptop", "Lists")
        await house.settle()
        await other.settle()
        lists = select(schema.mailbox.c.id).where(schema.mailbox.c.name == "Lists")
        assert await house.rows(lists) == await other.rows(lists)

        _just_before_its_rename(tap, partial(_cut_behind_a_rename, tap))
        _remove(house, "laptop", "Lists")
        await house.until(lambda: tap.cuts == 1)
        await other.settle()
        assert "Lists" not in user.mailboxes()

        tap.drops = lambda _: False
        await house.settle()
        await other.settle()
        assert user.mailboxes() == STANDARD


async def test_mailbox_that_is_made_inside_at_the_last_moment_keeps_its_name(tmp_path: Path, user: Provider) -> None:
    """A server renames what is inside as well; so the removed one comes back around it."""
    user.receive("x", mailbox="Lists")
    user.expunge("x", mailbox="Lists")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        await house.settle()

        _just_before_its_rename(tap, partial(user.receive, "new", mailbox="Lists/inner"))
        _remove(house, "laptop", "Lists")
        await house.until(lambda: tap.before_line is None)
        await house.settle()

        assert user.mailboxes() == {*STANDARD, "Lists", "Lists/inner"}
        assert [one.keys() for one in house.replicas("Lists/inner")] == [["new"]] * 3
        assert house.replica("laptop", "Lists").directory.is_dir()


async def test_mailbox_that_is_removed_while_it_is_made_goes_again(tmp_path: Path, user: Provider) -> None:
    """Its server has it by the time that its directory is gone, and it is not made on the device once more."""
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port, devices=TWO) as house:
        await house.settle()

        _remove_before_it_is_made(house, tap)
        make(house, "laptop", "Lists")
        await house.until(lambda: any(b" SUBSCRIBE " in line for line in tap.lines))
        await house.settle()

        assert user.mailboxes() == STANDARD
        assert not house.replica("laptop", "Lists").directory.exists()
        assert await house.rows(select(schema.mailbox_change.c.id)) == []


async def test_directory_that_is_made_without_its_mailbox_meanwhile_is_told_of(tmp_path: Path, user: Provider) -> None:
    """It was removed while its mailbox was made, and is there again as none: so it has not gone, and stands still."""
    async with Tap(user.server.imap_port) as tap:
        account = imap(user.server, user.user, port=tap.port)
        house = House(tmp_path, accounts={"work": account}, devices={"laptop": {"settle": "20ms", "layout": "fs"}})
        async with house:
            await house.settle()
            _remove_before_it_is_made(house, tap)
            tap.refuses = lambda line: b'SELECT "Lists"' in line  # until it was read, nothing is concluded
            directory = make(house, "laptop", "Lists")
            await house.until_read(lambda found: "work/Lists" in found, select(schema.replica.c.directory))
            directory.mkdir()
            tap.refuses = lambda _: False
            await house.ask("work")
            await house.ask("laptop")

            (told,) = await house.rows(select(schema.device.c.error))
            assert told.error.startswith("work/Lists: its directory has no ")


async def test_mailbox_that_was_never_read_may_go_on_both_sides(tmp_path: Path, user: Provider) -> None:
    """Nothing was in it that could be lost, so that nobody asks for its directory any more."""
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port, devices=TWO) as house:
        await house.settle()
        tap.refuses = lambda line: b'SELECT "Lists"' in line
        user.receive("x", mailbox="Lists")
        await house.ask()
        name = house.replica("laptop", "Lists").directory.name
        await house.until_read(
            lambda found: found.count(name) == len(house.replicas()), select(schema.replica.c.directory)
        )

        _remove(house, "laptop", "Lists")
        with user.server.imap(user.user) as client:
            client.delete("Lists")
        await house.settle()

        assert not any(one.directory.exists() for one in house.replicas("Lists"))
        assert await house.rows(select(schema.mailbox_change.c.id)) == []
        assert await house.rows(select(schema.device.c.error).where(schema.device.c.error.is_not(None))) == []


async def test_directory_that_is_put_back_was_not_removed(tmp_path: Path, user: Provider) -> None:
    """Also while its deletion is held; nothing of it is delivered again."""
    keys = [f"m{number:02}" for number in range(12)]
    user.receive(*keys, mailbox="Lists")
    async with house_of(tmp_path, user, devices=TWO) as house:
        await house.settle()
        directory = house.replica("laptop", "Lists").directory
        directory.rename(tmp_path / "away")
        await house.settle()
        assert len(await house.db.read(holds.holds)) == 1

        (tmp_path / "away").rename(directory)
        await house.settle()
        assert await house.db.read(holds.holds) == ()
        assert house.replica("laptop", "Lists").keys() == keys == sorted(user.flags("Lists"))
        assert await house.rows(select(schema.mailbox_change.c.id)) == []


async def test_removed_mailbox_with_others_inside_is_emptied(tmp_path: Path, user: Provider) -> None:
    """Also where directories are inside each other; an empty directory instead may be a disk that is not mounted."""
    user.receive("a")
    user.receive("b", mailbox="Lists")
    user.receive("c", mailbox="Lists/inner")
    user.receive("d", mailbox="Other")
    house = House(
        tmp_path,
        accounts={"work": imap(user.server, user.user)},
        devices={name: {"settle": "20ms", "layout": "fs"} for name in ("laptop", "phone")},
    )
    async with house:
        await house.settle()
        for mailbox in ("Lists", "Other"):
            for subdir in ("cur", "new", "tmp"):
                shutil.rmtree(house.replica("laptop", mailbox).directory / subdir)
        await house.ask()
        await house.until(lambda: house.replica("laptop", "Trash").keys() == ["b"])
        await house.until((house.replica("laptop", "Lists").directory / "cur").is_dir)

        assert user.flags("Lists") == {}
        assert [one.keys() for one in house.replicas("Lists")] == [[], []]
        assert [one.keys() for one in house.replicas("Lists/inner")] == [["c"], ["c"]]
        assert sorted(user.flags("Other")) == ["d"]
        rows = await house.rows(select(schema.device.c.error).where(schema.device.c.name == "laptop"))
        assert [(row.error or "").partition(":")[0] for row in rows] == ["work/Other"]


async def test_directory_that_a_removal_left_around_nothing_is_a_mailbox_again(tmp_path: Path, user: Provider) -> None:
    """What was seen to be gone is no place of a disk: it comes back with its mail, and what was inside likewise."""
    user.receive("a")
    user.receive("b", mailbox="Lists")
    account = {"accounts": {"work": imap(user.server, user.user)}}
    async with Tap(user.server.imap_port) as tap:
        tapped = {"accounts": {"work": imap(user.server, user.user, port=tap.port)}}
        house = House(tmp_path, **tapped, devices={"laptop": {"settle": "20ms", "layout": "fs"}})
        async with house:
            await house.settle()
            user.receive("c", mailbox="Lists/deep/in")
            await house.settle()
            _remove(house, "laptop", "Lists")
            tap.drops = lambda _: True
            await house.ask("laptop")
            assert len(await house.rows(select(schema.mailbox_change.c.id))) == 2
            (house.replica("laptop", "Lists").directory / "deep").mkdir(parents=True)
            await house.ask("laptop")
    house = House(tmp_path, **account, devices={"laptop": {"settle": "20ms", "layout": "fs"}})
    async with house:
        await house.settle()

        assert [house.replica("laptop", name).keys() for name in ("Lists", "Lists/deep/in")] == [["b"], ["c"]]
        assert [sorted(user.flags(name)) for name in ("Lists", "Lists/deep/in", "Trash")] == [["b"], ["c"], []]
        assert await house.rows(select(schema.device.c.error).where(schema.device.c.error.is_not(None))) == []


@pytest.mark.parametrize("around", ["mailbox", "directory"])
async def test_disk_that_is_mounted_in_a_replica_may_be_away(tmp_path: Path, user: Provider, around: str) -> None:
    """Where only an empty directory is left, nothing that was inside counts as removed; and it may be back."""
    user.receive("i")
    user.receive("x", "y", mailbox="Old/2024")
    if around == "mailbox":
        user.receive("o", mailbox="Old")
    account = imap(user.server, user.user)
    house = House(tmp_path, accounts={"work": account}, devices={"laptop": {"settle": "20ms", "layout": "fs"}})
    async with house:
        await house.settle()
        mounted = house.replica("laptop", "Old").directory
        mounted.rename(tmp_path / "away")
        mounted.mkdir()
        for _ in range(3):
            await house.ask()
        assert await house.rows(select(schema.mailbox_change.c.id)) == []
        assert sorted(user.flags("Old/2024")) == ["x", "y"]

        mounted.rmdir()
        (tmp_path / "away").rename(mounted)
        house.replica("laptop", "Old/2024").find("x").path.unlink()
        await house.settle()
        assert (sorted(user.flags("Old/2024")), sorted(user.flags("Trash"))) == (["y"], ["x"])


async def test_what_is_no_removal(tmp_path: Path, user: Provider) -> None:
    """Without its cur/, one that programs rely on, or all that is below the root: it stands still, and is shown."""
    user.receive("a")
    user.receive("b", mailbox="Lists")
    user.receive("s", mailbox="Sent")
    house = House(
        tmp_path,
        accounts={"work": imap(user.server, user.user)},
        devices={name: {"settle": "20ms"} for name in ("laptop", "phone", "nas")},
    )
    async with house:
        await house.settle()
        shutil.rmtree(house.replica("laptop", "Lists").directory / "cur")
        _remove(house, "phone", "Sent")
        for path in (tmp_path / "nas").iterdir():
            if path.is_dir():
                shutil.rmtree(path)
        await house.ask()
        await house.ask()

        assert {*user.flags("Lists"), *user.flags("Sent"), *user.flags()} == {"a", "b", "s"}
        rows = await house.rows(select(schema.device.c.name, schema.device.c.error))
        errors = {row.name: (row.error or "").partition(":")[0] for row in rows}
        assert errors["laptop"] == "work/Lists"
        assert errors["phone"] == "work/Sent"
        assert errors["nas"].startswith("work/")
        states = {row.state for row in await house.rows(select(schema.replica_message.c.state))}
        assert states == {ReplicaState.PRESENT}
        assert await house.rows(select(schema.mailbox_change.c.id)) == []


def _just_before_its_rename(tap: Tap, deed: Callable[[], None]) -> None:
    """Let somebody do something when Lists is about to be renamed, and forget it then."""

    async def do(line: bytes) -> None:
        if b" RENAME " in line and b'"Lists" ' in line and tap.before_line is not None:
            tap.before_line = None
            await asyncio.to_thread(deed)

    tap.before_line = do


def _cut_behind_a_rename(tap: Tap) -> None:
    """Let the server do what it hears now, and nothing else."""
    tap.cut_after_bytes, tap.drops = 0, lambda line: b" RENAME " not in line


def _remove_before_it_is_made(house: House, tap: Tap) -> None:
    async def remove(line: bytes) -> None:
        if b" CREATE " in line:
            tap.before_line = None
            _remove(house, "laptop", "Lists")

    tap.before_line = remove


def _remove(house: House, device: str, mailbox: str) -> None:
    shutil.rmtree(house.replica(device, mailbox).directory)
