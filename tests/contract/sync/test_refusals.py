"""A server that refuses something keeps its refusal to the message or mailbox that it is about."""

from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from syncd.store.tables import schema
from tests.contract.sync.house import House, imap
from tests.contract.sync.letters import letter
from tests.contract.sync.provider import Provider
from tests.contract.sync.tap import Tap

SEEN = "\\Seen"
RETRY_S = 300.0


def house_of(directory: Path, user: Provider, tap: Tap, **more: Any) -> House:
    return House(directory, accounts={"work": imap(user.server, user.user, port=tap.port)}, **more)


async def troubles_in(house: House) -> int:
    (row,) = await house.rows(select(func.count()).select_from(schema.trouble))
    return int(row[0])


async def error_of(house: House, mailbox: str) -> str | None:
    (row,) = await house.rows(select(schema.mailbox.c.error).where(schema.mailbox.c.name == mailbox))
    return None if row.error is None else str(row.error)


async def test_refused_flag_is_tried_again_and_stored(tmp_path: Path, user: Provider) -> None:
    """A STORE that is refused is tried again in its time, with nothing new from the device, and its trouble ends."""
    user.receive("a", "b")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, tap) as house:
        await house.settle()
        tap.refuses = lambda line: b"UID STORE" in line
        house.replica("laptop").mark("a", add="S")
        await house.ask("laptop")
        await house.ask("work")
        assert await troubles_in(house) == 1

        tap.refuses = lambda line: False
        house.shift_s = RETRY_S
        await house.ask("work")

        assert user.flags() == {"a": {SEEN}, "b": set()}
        assert await troubles_in(house) == 0


async def test_refused_flag_that_the_user_takes_back_is_no_trouble(tmp_path: Path, user: Provider) -> None:
    """A trouble ends with its cause, also when the server never took the change."""
    user.receive("a", "b")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, tap) as house:
        await house.settle()
        tap.refuses = lambda line: b"UID STORE" in line
        house.replica("laptop").mark("a", add="S")
        await house.ask("laptop")
        await house.ask("work")
        assert await troubles_in(house) == 1

        house.replica("laptop").mark("a", remove="S")
        await house.settle()

        assert await troubles_in(house) == 0


async def test_trouble_of_one_device_outlives_what_another_does(tmp_path: Path, user: Provider) -> None:
    """A refused flag waits for its retry whatever a second device does with the message."""
    user.receive("a", "b")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, tap, devices=("laptop", "phone")) as house:
        await house.settle()
        tap.refuses = lambda line: b"UID STORE" in line
        house.replica("laptop").mark("a", add="S")
        await house.ask("laptop")
        await house.ask("work")
        file = house.replica("phone").find("a")
        file.path.rename(house.replica("phone").directory / "cur" / f"{file.stem}:2,")
        await house.ask("phone")
        await house.ask("work")

        tap.refuses = lambda line: False
        house.shift_s = RETRY_S
        await house.settle()

        assert user.flags() == {"a": {SEEN}, "b": set()}
        assert await troubles_in(house) == 0


async def test_mail_that_comes_while_another_mailbox_is_selected(tmp_path: Path, user: Provider) -> None:
    """New mail in INBOX is noticed at once although the session was elsewhere when it came."""
    user.receive("first")
    user.receive("other", mailbox="Archive")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, tap) as house:
        await house.settle()

        async def deliver(line: bytes) -> None:
            if b"UID STORE" in line:
                tap.before_line = None
                user.receive("second")

        tap.before_line = deliver
        house.replica("laptop", "Archive").mark("other", add="S")
        await house.until(lambda: house.replica("laptop").keys() == ["first", "second"])

        assert user.flags("Archive") == {"other": {SEEN}}


async def test_mailbox_that_refuses_is_left_alone_while_the_others_go_on(tmp_path: Path, user: Provider) -> None:
    """A mailbox that cannot be selected, with a flag to store in it, is not asked before every other mailbox."""
    names = [f"m{number}" for number in range(8)]
    for name in ("INBOX", *names):
        user.receive(f"in-{name}", mailbox=name)
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, tap) as house:
        await house.settle()
        tap.refuses = _selects(b"m0")
        house.replica("laptop", "m0").mark("in-m0", add="S")
        await house.ask("laptop")
        for name in names[1:]:
            user.receive(f"new-{name}", mailbox=name)
        tap.lines.clear()

        await house.ask("work")

        assert sum(map(tap.refuses, tap.lines)) < len(names) - 1
        assert await error_of(house, "m0") == 'select refused by the server: "not this"'
        tap.refuses = lambda line: False
        await house.settle()
        assert user.flags("m0") == {"in-m0": {SEEN}}
        assert await error_of(house, "m0") is None


async def test_added_file_that_waits_for_its_mailbox_lets_the_account_rest(tmp_path: Path, user: Provider) -> None:
    """While a mailbox refuses what a device added to it, the account waits in IDLE and new mail of INBOX comes."""
    user.receive("a")
    user.receive("old", mailbox="Archive")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, tap) as house:
        await house.settle()
        tap.refuses = lambda line: b" SELECT " in line and b"Archive" in line
        (house.replica("laptop", "Archive").directory / "cur" / "1700000000.1.own:2,S").write_bytes(letter("own"))
        await house.ask("laptop")
        for _ in range(5):  # each ends the wait, and the next is longer
            await house.ask("work")
        tap.lines.clear()

        await house.until(lambda: any(b" IDLE" in line for line in tap.lines))
        user.receive("new")
        await house.until(lambda: sorted(house.replica("laptop").keys()) == ["a", "new"])

        assert "own" not in user.flags("Archive")


async def test_inbox_that_refuses_does_not_end_the_run(tmp_path: Path, user: Provider) -> None:
    """Without INBOX the other mailboxes are synced on one connection; INBOX comes when it can be selected."""
    user.receive("hidden")
    user.receive("other", mailbox="Archive")
    async with Tap(user.server.imap_port) as tap:
        tap.refuses = _selects(b"INBOX")
        async with house_of(tmp_path, user, tap) as house:
            await house.ask("work")
            await house.until(lambda: house.replica("laptop", "Archive").keys() == ["other"])
            assert await error_of(house, "INBOX") == 'select refused by the server: "not this"'

            tap.refuses = lambda line: False
            await house.until(lambda: house.replica("laptop").keys() == ["hidden"])

            assert await error_of(house, "INBOX") is None
            assert sum(b" LOGIN " in line or b" AUTHENTICATE " in line for line in tap.lines) == 1
            assert house.errors == {}


async def test_flags_for_a_read_only_mailbox_are_set_aside(tmp_path: Path, user: Provider) -> None:
    """A change that a read-only mailbox cannot take is a trouble of its message, and not planned at every push."""
    user.receive("first")
    user.receive("a", mailbox="Shared")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, tap) as house:
        await house.settle()
        tap.alters = lambda line: line.replace(b"SELECT", b"EXAMINE") if b"Shared" in line else line
        house.replica("laptop", "Shared").mark("a", add="S")

        await house.settle()

        assert await troubles_in(house) == 1
        assert user.flags("Shared") == {"a": set()}


async def test_change_in_which_the_server_is_always_faster_is_set_aside(tmp_path: Path, user: Provider) -> None:
    """A STORE that is answered MODIFIED again and again holds up nothing after a few times."""
    user.receive("a", "b")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, tap) as house:
        await house.settle()
        tap.alters = _unchanged_since_one
        tap.lines.clear()
        house.replica("laptop").mark("a", add="S")

        await house.settle()

        assert await troubles_in(house) == 1
        assert 1 < sum(b"UID STORE" in line for line in tap.lines) < 10


async def test_many_flags_are_one_change_of_the_store(tmp_path: Path, user: Provider) -> None:
    """Flags that a device sets at once are settled at once."""
    keys = [f"k{number}" for number in range(30)]
    user.receive(*keys)
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, tap) as house:
        await house.settle()
        (before,) = await house.rows(select(schema.mailbox.c.version).where(schema.mailbox.c.name == "INBOX"))

        for key in keys:
            house.replica("laptop").mark(key, add="S")
        await house.ask("laptop")
        await house.settle()

        (after,) = await house.rows(select(schema.mailbox.c.version).where(schema.mailbox.c.name == "INBOX"))
        assert after.version - before.version < 10
        assert user.flags() == {key: {SEEN} for key in keys}


async def test_wrong_count_of_a_mailbox_heals(tmp_path: Path, user: Provider) -> None:
    """A count that is off is put right by the first complete listing, and is not the reason of another."""
    user.receive("a", "b")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, tap) as house:
        await house.settle()
        of_inbox = schema.mailbox.c.name == "INBOX"
        await house.db.write(lambda conn: conn.execute(schema.mailbox.update().where(of_inbox).values(exists_count=7)))

        await house.ask("work")

        (row,) = await house.rows(select(schema.mailbox.c.exists_count).where(of_inbox))
        assert row.exists_count == 2


def _selects(mailbox: bytes) -> Any:
    return lambda line: b" SELECT " in line and mailbox in line


def _unchanged_since_one(line: bytes) -> bytes:
    head, found, rest = line.partition(b"(UNCHANGEDSINCE ")
    return head + found + b"1" + rest[rest.index(b")") :] if found else line
