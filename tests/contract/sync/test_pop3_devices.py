"""What a device does to mail of a POP3 account is so on every device; the maildrop is drained and stays so."""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from syncd.mail.tree import ReplicaState
from syncd.store import holds, schema
from syncd.store.holds import HoldScope, HoldState
from tests.contract.sync.house import House, imap, pop3
from tests.contract.sync.letters import letter
from tests.contract.sync.provider import Provider
from tests.contract.sync.replica import Replica
from tests.contract.sync.tap import Tap
from tests.contract.sync.test_device_deletions import states
from tests.servers.dovecot import HOST, Dovecot
from tests.unit.pop3.scripted import Mail, Reply, ScriptedServer, Session

DEVICES = ("laptop", "phone", "nas")
QUICK = {"settle": "20ms"}
SEEN, FLAGGED, DRAFT = "\\Seen", "\\Flagged", "\\Draft"
MakeDovecot = Callable[..., Dovecot]


def house_of(directory: Path, user: Provider, *, settle: str = "20ms", **devices: Any) -> House:
    tables = {name: {"settle": settle, **devices.get(name, {})} for name in DEVICES}
    return House(directory, accounts={"isp": pop3(user.server, user.user)}, devices=tables)


def on(house: House, device: str, mailbox: str = "INBOX") -> Replica:
    return house.replica(device, mailbox, account="isp")


def add(
    house: House, device: str, key: str, *, mailbox: str = "INBOX", letters: str = "S", octets: bytes | None = None
) -> Path:
    """Write a file as a mail program does: in tmp, then renamed to its place."""
    directory = on(house, device, mailbox).directory
    name = f"1700000000.12_{key}.{device}"
    made = directory / "tmp" / name
    made.write_bytes(letter(key).replace(b"\r\n", b"\n") if octets is None else octets)
    return made.rename(directory / "cur" / f"{name}:2,{letters}")


def make(house: House, device: str, mailbox: str) -> Replica:
    """Make a mailbox as a mail program does."""
    replica = on(house, device, mailbox)
    for subdir in ("cur", "new", "tmp"):
        (replica.directory / subdir).mkdir(parents=True)
    return replica


def move(house: House, device: str, key: str, to: str, *, source: str = "INBOX") -> Path:
    file = on(house, device, source).find(key).path
    return file.rename(on(house, device, to).directory / "cur" / file.name)


def remove(house: House, device: str, *keys: str, mailbox: str = "INBOX") -> None:
    for key in keys:
        on(house, device, mailbox).find(key).path.unlink()


def assert_everywhere(house: House, mailbox: str, *keys: str) -> None:
    assert [one.keys() for one in house.replicas(mailbox, account="isp")] == [sorted(keys)] * len(DEVICES)


# Deletions.


async def test_deleted_message_is_in_trash_everywhere(tmp_path: Path, user: Provider) -> None:
    """By itself, within seconds, read as it was; and out of Trash it is gone, with its octets in the store."""
    user.receive("a", "b")
    async with house_of(tmp_path, user) as house:
        await house.settle()
        on(house, "phone").mark("a", add="S")
        await house.settle()

        remove(house, "laptop", "a")
        await house.until(lambda: all(one.keys() == ["b"] for one in house.replicas(account="isp")))
        await house.until(lambda: all(one.keys() == ["a"] for one in house.replicas("Trash", account="isp")))
        await house.settle()
        assert_everywhere(house, "INBOX", "b")
        assert on(house, "nas", "Trash").flags() == {"a": {SEEN}}
        assert await states(house) == {ReplicaState.PRESENT: 6}

        remove(house, "nas", "a", mailbox="Trash")
        await house.settle()

        assert_everywhere(house, "Trash")
        assert await states(house) == {ReplicaState.PRESENT: 3}
        assert len(await house.rows(select(schema.body.c.id))) == 2
        assert user.left_on_pop3() == 0


async def test_two_devices_delete_the_same_message(tmp_path: Path, user: Provider) -> None:
    """It is once in Trash, also when nobody was there to see it."""
    user.receive("a", "b", "c")
    house = house_of(tmp_path, user)
    async with house:
        await house.settle()
        remove(house, "laptop", "a")
        remove(house, "phone", "a")
        await house.settle()
        assert_everywhere(house, "Trash", "a")
    remove(house, "laptop", "b")
    remove(house, "nas", "b")
    async with house:
        await house.settle()

        assert_everywhere(house, "INBOX", "c")
        assert_everywhere(house, "Trash", "a", "b")


async def test_flag_of_another_device_is_stronger_than_a_deletion(tmp_path: Path, user: Provider) -> None:
    """What somebody flagged comes back to the device that deleted it; what was only read is deleted."""
    user.receive("a", "b")
    house = house_of(tmp_path, user)
    async with house:
        await house.settle()
    remove(house, "laptop", "a", "b")
    on(house, "phone").mark("a", add="F")
    on(house, "phone").mark("b", add="S")
    async with house:
        await house.settle()

        assert_everywhere(house, "INBOX", "a")
        assert_everywhere(house, "Trash", "b")
        assert {tuple(one.flags()["a"]) for one in house.replicas(account="isp")} == {(FLAGGED,)}


async def test_deletions_while_the_server_is_down(tmp_path: Path, make_dovecot: MakeDovecot, mail_user: str) -> None:
    """The maildrop is not needed for any of it, and brings nothing back once it is there again."""
    server = make_dovecot()
    user = Provider(server, mail_user)
    user.receive("a", "b", "c")
    async with house_of(tmp_path, user) as house:
        await house.settle()
        server.stop()

        remove(house, "laptop", "a")
        move(house, "phone", "b", "Junk")
        add(house, "nas", "d", mailbox="Drafts", letters="DS")
        await house.until(lambda: on(house, "phone", "Trash").keys() == ["a"])
        await house.until(lambda: on(house, "nas", "Junk").keys() == ["b"])
        await house.until(lambda: on(house, "laptop", "Drafts").keys() == ["d"])

        server.start()
        user.receive("e")
        await house.settle()
        assert_everywhere(house, "INBOX", "c", "e")
        assert_everywhere(house, "Trash", "a")
        assert_everywhere(house, "Junk", "b")
        assert user.left_on_pop3() == 0


async def test_mass_deletion_is_held_and_released(tmp_path: Path, user: Provider) -> None:
    """Nothing goes and the rest is synced, also after a restart; released, exactly that goes, on all devices."""
    keys = [f"m{number:02}" for number in range(30)]
    user.receive(*keys)
    house = house_of(tmp_path, user)
    async with house:
        await house.settle()
        remove(house, "laptop", *keys)
        user.receive("new")
        on(house, "phone").mark("m00", add="S")
        await house.settle()

        assert on(house, "laptop").keys() == ["new"]
        assert on(house, "nas").keys() == [*keys, "new"]
        assert on(house, "nas").flags()["m00"] == {SEEN}
    async with house:
        await house.settle()
        (hold,) = await house.db.read(holds.holds)
        assert (hold.scope, hold.state, len(hold.effects)) == (HoldScope.BY_DEVICE, HoldState.HELD, 30)

        assert await house.db.write(partial(holds.release_hold, hold_id=hold.id))
        house.wakes.account("isp").set()
        await house.until(lambda: all(one.keys() == ["new"] for one in house.replicas(account="isp")))
        await house.settle()

        assert_everywhere(house, "Trash", *keys)
        assert await house.db.read(holds.holds) == ()


# What is added, moved and copied.


async def test_draft_and_its_newer_versions_are_one_message(tmp_path: Path, user: Provider) -> None:
    """However often it is saved, on whichever device; nothing of it is in Trash."""
    async with house_of(tmp_path, user) as house:
        await house.settle()

        first = add(house, "laptop", "d", mailbox="Drafts", letters="DS")
        await house.until(lambda: on(house, "phone", "Drafts").keys() == ["d"])
        await house.settle()
        assert on(house, "laptop", "Drafts").find("d").path == first
        assert on(house, "nas", "Drafts").flags() == {"d": {DRAFT, SEEN}}

        for device in ("laptop", "phone"):
            newer = letter("d", lines=5 + len(device))
            old = on(house, device, "Drafts").find("d").path
            made = old.with_name(f"1700000001.1.{device}:2,DS")
            made.write_bytes(newer)
            old.unlink()
            await house.settle()

            assert_everywhere(house, "Drafts", "d")
            octets = {
                next(one.files()).octets.replace(b"\r\n", b"\n") for one in house.replicas("Drafts", account="isp")
            }
            assert octets == {newer.replace(b"\r\n", b"\n")}
        assert_everywhere(house, "Trash")


async def test_moved_message_is_moved_everywhere(tmp_path: Path, user: Provider) -> None:
    """With its flags and its date, and nothing of it is in Trash; its octets are there once."""
    user.receive("a", "b")
    async with house_of(tmp_path, user) as house:
        await house.settle()
        on(house, "phone").mark("a", add="FS")
        await house.settle()
        mtime = on(house, "nas").find("a").mtime

        moved = move(house, "laptop", "a", "Junk")
        await house.settle()

        assert_everywhere(house, "INBOX", "b")
        assert_everywhere(house, "Junk", "a")
        assert_everywhere(house, "Trash")
        assert {one.flags()["a"] for one in house.replicas("Junk", account="isp")} == {frozenset({SEEN, FLAGGED})}
        assert on(house, "nas", "Junk").find("a").mtime == mtime
        assert on(house, "laptop", "Junk").find("a").path == moved
        assert len(await house.rows(select(schema.body.c.id))) == 2
        assert await states(house) == {ReplicaState.PRESENT: 6}


async def test_mailbox_that_is_moved_whole_is_not_held(tmp_path: Path, user: Provider) -> None:
    """Many moves at once are no deletions, on the device that moves or on the others, whose files are moved, too."""
    keys = [f"m{number:02}" for number in range(60)]
    user.receive(*keys)
    async with house_of(tmp_path, user, phone={"link": False}) as house:
        await house.settle()
        inodes = {one.inode for one in on(house, "phone").files()}

        for key in keys:
            move(house, "laptop", key, "Sent")
        await house.settle()

        assert_everywhere(house, "INBOX")
        assert_everywhere(house, "Sent", *keys)
        assert_everywhere(house, "Trash")
        assert {one.inode for one in on(house, "phone", "Sent").files()} == inodes
        assert await house.db.read(holds.holds) == ()


async def test_copied_message_is_copied_and_its_original_may_go_later(tmp_path: Path, user: Provider) -> None:
    """The second half of a move is no deletion, also after a restart."""
    user.receive("a", "b")
    house = house_of(tmp_path, user)
    async with house:
        await house.settle()
        shutil.copy(
            on(house, "laptop").find("a").path, on(house, "laptop", "Sent").directory / "cur" / "1700000000.1.c:2,S"
        )
        await house.settle()
        assert_everywhere(house, "INBOX", "a", "b")
        assert_everywhere(house, "Sent", "a")
    async with house:
        remove(house, "laptop", "a")
        await house.settle()

        assert_everywhere(house, "INBOX", "b")
        assert_everywhere(house, "Sent", "a")
        assert_everywhere(house, "Trash")


async def test_message_that_two_devices_move_is_there_once(tmp_path: Path, user: Provider) -> None:
    """And one that comes back out of Trash is a message like before."""
    user.receive("a", "b")
    house = house_of(tmp_path, user)
    async with house:
        await house.settle()
    move(house, "laptop", "a", "Junk")
    move(house, "phone", "a", "Junk")
    remove(house, "nas", "b")
    async with house:
        await house.settle()
        assert_everywhere(house, "Junk", "a")
        assert_everywhere(house, "Trash", "b")

        move(house, "phone", "b", "INBOX", source="Trash")
        await house.settle()

        assert_everywhere(house, "INBOX", "b")
        assert_everywhere(house, "Trash")


async def test_rewritten_file_is_a_message_beside_the_one_that_came(tmp_path: Path, user: Provider) -> None:
    """What a device rewrites in place is new mail, and the octets that came are on every device still."""
    user.receive("a")
    async with house_of(tmp_path, user) as house:
        await house.settle()

        on(house, "laptop").find("a").path.write_bytes(letter("n", lines=9))
        await house.until(lambda: all(one.keys() == ["a", "n"] for one in house.replicas(account="isp")))
        await house.settle()

        assert_everywhere(house, "INBOX", "a", "n")


@pytest.mark.parametrize(("source", "to"), [("isp", "work"), ("work", "isp")])
async def test_move_between_accounts_is_an_arrival_and_a_deletion(
    tmp_path: Path, user: Provider, mail_user: str, source: str, to: str
) -> None:
    """The one account has it as a message of its own, the other in its Trash, whichever of them is of POP3."""
    isp = Provider(user.server, f"{mail_user}p")
    accounts = {"work": imap(user.server, user.user), "isp": pop3(isp.server, isp.user)}
    house = House(tmp_path, accounts=accounts, devices={name: {"settle": "20ms"} for name in DEVICES})
    (user if source == "work" else isp).receive("a", "b")
    async with house:
        await house.settle()

        file = house.replica("laptop", account=source).find("a").path
        file.rename(house.replica("laptop", account=to).directory / "cur" / file.name)
        await house.settle()

        assert [one.keys() for one in house.replicas(account=to)] == [["a"]] * 3
        assert [one.keys() for one in house.replicas(account=source)] == [["b"]] * 3
        assert [one.keys() for one in house.replicas("Trash", account=source)] == [["a"]] * 3
        assert sorted(user.flags("INBOX")) == (["b"] if source == "work" else ["a"])
        assert isp.left_on_pop3() == 0


# Mailboxes.


@pytest.mark.parametrize("layout", ["maildir++", "fs"])
async def test_mailbox_made_on_a_device_is_on_all(tmp_path: Path, user: Provider, layout: str) -> None:
    """With the mail that is put into it, also when it is empty; messages that are moved there are moved."""
    user.receive("a", "b")
    async with house_of(tmp_path, user, laptop={"layout": layout}) as house:
        await house.settle()

        make(house, "laptop", "Archive/\u00dcber 2025")
        await house.until(on(house, "phone", "Archive/\u00dcber 2025").directory.is_dir)
        make(house, "laptop", "Lists")
        move(house, "laptop", "a", "Lists")
        add(house, "laptop", "n", mailbox="Lists")
        await house.until(lambda: on(house, "phone", "Lists").keys() == ["a", "n"])
        await house.settle()

        assert_everywhere(house, "Lists", "a", "n")
        assert_everywhere(house, "INBOX", "b")
        assert_everywhere(house, "Trash")
        add(house, "phone", "m", mailbox="Archive/\u00dcber 2025")
        await house.settle()
        assert_everywhere(house, "Archive/\u00dcber 2025", "m")


async def test_mailbox_made_on_a_device_that_is_not_watched(tmp_path: Path, user: Provider) -> None:
    """It is found by the next sweep, or by who asks."""
    async with house_of(tmp_path, user, laptop={"watch": "poll"}) as house:
        await house.settle()

        make(house, "laptop", "Lists")
        add(house, "laptop", "n", mailbox="Lists")
        await house.until(lambda: on(house, "phone", "Lists").keys() == ["n"])
        make(house, "laptop", "More")
        await house.settle()

        assert on(house, "nas", "More").directory.is_dir()


async def test_mailbox_that_two_devices_make_is_one(tmp_path: Path, user: Provider) -> None:
    """While nobody looked, each with mail of its own; the UIDVALIDITY of every mailbox is another, and stays."""
    house = house_of(tmp_path, user)
    columns = schema.mailbox.c
    async with house:
        await house.settle()
        before = {row.name: row.uidvalidity for row in await house.rows(select(columns.name, columns.uidvalidity))}
    for device in ("laptop", "phone"):
        make(house, device, "Lists")
        add(house, device, device, mailbox="Lists")
    house.shift_s = -86400.0
    async with house:
        await house.settle()

        assert_everywhere(house, "Lists", "laptop", "phone")
        after = {row.name: row.uidvalidity for row in await house.rows(select(columns.name, columns.uidvalidity))}
        assert after.items() > before.items()
        assert after["Lists"] > max(before.values())


async def test_directories_that_are_no_mailboxes_of_the_account_are_left_alone(tmp_path: Path, user: Provider) -> None:
    """Those of IMAP accounts and of nobody, those that the device does not select, and names of no mailbox."""
    user.receive("a")
    accounts = {"work": imap(user.server, user.user), "isp": pop3(user.server, f"{user.user}p")}
    devices = {"laptop": {"settle": "20ms", "mailboxes": ["*", "!Private*"]}, "phone": {"settle": "20ms"}}
    async with House(tmp_path, accounts=accounts, devices=devices) as house:
        await house.settle()
        before = len(await house.rows(select(schema.mailbox.c.id)))

        others = (".work.New", ".other.New", "New", ".isp")
        for name in (*others, ".isp.Private", ".isp.a..b", ".isp.inbox", ".isp.%", ".isp.a%00"):
            for subdir in ("cur", "new", "tmp"):
                (tmp_path / "laptop" / name / subdir).mkdir(parents=True)
        (tmp_path / "laptop" / ".isp.Half" / "new").mkdir(parents=True)
        (tmp_path / "laptop" / ".isp.Link").symlink_to(tmp_path / "laptop" / "New")
        await house.settle()

        assert len(await house.rows(select(schema.mailbox.c.id))) == before
        assert not (tmp_path / "phone" / ".isp.Private").exists()


async def test_directory_that_vanishes_deletes_nothing(tmp_path: Path, user: Provider) -> None:
    """A mailbox whose directory a device removed stays as it is for all others."""
    async with house_of(tmp_path, user) as house:
        await house.settle()
        make(house, "laptop", "Lists")
        add(house, "laptop", "n", mailbox="Lists")
        await house.settle()

        shutil.rmtree(on(house, "laptop", "Lists").directory)
        await house.ask()
        await house.ask()

        assert on(house, "phone", "Lists").keys() == ["n"]
        assert on(house, "phone", "Trash").keys() == []


# The maildrop.


async def test_copy_that_is_left_in_the_maildrop_brings_nothing_back(tmp_path: Path, user: Provider) -> None:
    """Where a server did not delete what was taken, a device's deletion stays one when it does."""
    user.receive("a", "b", "c")
    async with Tap(user.server.pop3_port) as tap:
        tap.drops = lambda line: line.startswith(b"DELE")
        account = pop3(user.server, user.user, port=tap.port)
        async with House(tmp_path, accounts={"isp": account}, devices=dict.fromkeys(DEVICES, QUICK)) as house:
            await house.until(lambda: all(len(one.keys()) == 3 for one in house.replicas(account="isp")))

            remove(house, "laptop", "a")
            move(house, "phone", "b", "Sent")
            await house.until(lambda: on(house, "nas", "Trash").keys() == ["a"])
            remove(house, "nas", "a", mailbox="Trash")
            await house.until(lambda: on(house, "laptop", "Sent").keys() == ["b"])
            assert user.left_on_pop3() == 3
            tap.drops = lambda line: False
            await house.settle()

            assert user.left_on_pop3() == 0
            assert_everywhere(house, "INBOX", "c")
            assert_everywhere(house, "Sent", "b")
            assert_everywhere(house, "Trash")


async def test_half_a_message_that_was_moved_becomes_whole_where_it_is(tmp_path: Path) -> None:
    """What a device did to it counts for the whole one: where it is, and what a person marked."""
    async with halved(tmp_path) as (house, mend):
        move(house, "laptop", "h", "Sent")
        on(house, "phone").mark("m", add="FS")
        await house.until(lambda: on(house, "nas", "Sent").keys() == ["h"])
        await house.until(lambda: on(house, "nas").flags()["m"] == {FLAGGED, SEEN})
        await mend()

        assert_everywhere(house, "Sent", "h")
        assert_everywhere(house, "INBOX", "k", "m")
        assert {lines_of(one, "h") for one in house.replicas("Sent", account="isp")} == {3}
        assert {lines_of(one, "m") for one in house.replicas(account="isp")} == {3}
        assert on(house, "laptop").flags()["m"] == {FLAGGED}


async def test_half_a_message_that_was_deleted_stays_so(tmp_path: Path) -> None:
    """The whole one is in Trash, or nowhere but in the store if it went from there."""
    async with halved(tmp_path) as (house, mend):
        remove(house, "laptop", "h", "m")
        await house.until(lambda: on(house, "nas", "Trash").keys() == ["h", "m"])
        remove(house, "nas", "m", mailbox="Trash")
        await house.until(lambda: on(house, "phone", "Trash").keys() == ["h"])
        await mend()

        assert_everywhere(house, "INBOX", "k")
        assert_everywhere(house, "Trash", "h")
        assert {lines_of(one, "h") for one in house.replicas("Trash", account="isp")} == {3}
        assert len(await house.rows(select(schema.body.c.id))) == 5


@asynccontextmanager
async def halved(directory: Path) -> AsyncIterator[tuple[House, Callable[[], Awaitable[None]]]]:
    """Yield a house whose devices have a message and two by half, and what makes the server give them whole."""
    is_whole = False

    def shorten(_: Session, line: str) -> Reply | None:
        if line in {"RETR 1", "RETR 2"} and not is_whole:
            half = letter("hm"[int(line[5:]) - 1], lines=1)
            return Reply(b"+OK\r\n" + half + b".\r\n")
        return None

    async with ScriptedServer([Mail(key, letter(key)) for key in "hmk"], hook=shorten) as server:
        where = {"host": HOST, "port": server.endpoint().port, "tls": "none"}
        account = {"type": "pop3", "username": "ana", "password": "secret", **where}
        async with House(directory, accounts={"isp": account}, devices=dict.fromkeys(DEVICES, QUICK)) as house:
            await house.until(lambda: all(one.keys() == ["h", "k", "m"] for one in house.replicas(account="isp")))
            assert {lines_of(one, key) for one in house.replicas(account="isp") for key in "hm"} == {1}

            async def mend() -> None:
                nonlocal is_whole
                is_whole = True
                await house.settle()
                assert server.mails == []

            yield house, mend


def lines_of(replica: Replica, key: str) -> int:
    return replica.find(key).octets.count(b"line ")
