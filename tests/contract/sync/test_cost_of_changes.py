"""What a push costs follows what a device changed, and hardly how large the mailbox is in which it did."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, select

from syncd.errors import DeviceAwayError
from syncd.maildir.disk.files import MailboxDirectory
from syncd.store.engine.database import Database
from syncd.store.tables import schema
from syncd.sync.device.intake_files import IntakeFiles
from syncd.sync.imap import account as imap_account
from syncd.sync.requests import Asked
from tests.contract.sync.flights import COMMAND, flights
from tests.contract.sync.house import House, imap
from tests.contract.sync.letters import letter
from tests.contract.sync.provider import Provider
from tests.contract.sync.tap import Tap
from tests.contract.sync.three_devices import add
from tests.servers.dovecot import Dovecot

FEW, MANY = 60, 1060
_AT_ONCE = 100
_FOR_EACH = 25
"""What is counted of deletions that happened takes some five, and one round more would take as much again."""

SMALL, LARGE = 2, 62
_WITH_BODY = select(schema.server_message.c.id).where(schema.server_message.c.body_id.is_not(None))
_LOOKED_AT_INBOX = (
    select(schema.replica.c.id)
    .join(schema.mailbox, schema.mailbox.c.id == schema.replica.c.mailbox_id)
    .where(schema.mailbox.c.name == "INBOX", schema.replica.c.listed_at.is_not(None))
)
_FOR_EACH_MAILBOX = 30


async def test_push_of_a_few_changes_reads_no_rows_of_other_messages(
    tmp_path: Path, make_dovecot: Any, mail_user: str
) -> None:
    """Flags, new files and deletions of a device, by explicit sync, in instructions of the database.

    What is counted by the database itself is few of them for each message, and a row that is read takes many.
    """
    server: Dovecot = make_dovecot()
    costs = {count: await _cost_of_push(tmp_path / str(count), server, count) for count in (FEW, MANY)}

    assert costs[MANY] - costs[FEW] < (MANY - FEW) * _FOR_EACH, costs


async def test_push_and_pull_wait_for_few_answers(tmp_path: Path, user: Provider) -> None:
    """Flags, new messages and deletions cost as many round trips as there are answers that something rests on."""
    user.receive(*(f"m{number}" for number in range(20)))
    async with Tap(user.server.imap_port) as tap:
        account = imap(user.server, user.user, port=tap.port, delete="expunge")
        # A watch that tells of the first flag before the others are set would have it sent alone.
        async with House(tmp_path, accounts={"work": account}, watches_devices=False) as house:
            with flights(tap) as connected:
                await house.settle()
            with flights(tap) as pushed:
                _change(house, 0)
                await house.settle()
            flagged, gone, *_ = (key for key in user.flags() if key.startswith("m"))
            with flights(tap, is_far=True) as pulled:
                user.store(flagged, r"+FLAGS (\Flagged)")
                user.receive("late")
                user.expunge(gone)
                await house.settle()
            keys = house.replica("laptop").keys()

    assert connected[:3] == [["AUTHENTICATE"], ["CAPABILITY"], ["ID", "ENABLE"]]
    # NOTE: a file is read only once it stayed as it is for a moment, so that flags go alone.
    assert pushed == [
        ["STORE"],
        # What came, the headers of as many messages as were sent, and how those are that are to be deleted.
        ["APPEND", "FETCH", "FETCH", "FETCH"],
        ["STORE", "EXPUNGE", "SEARCH"],  # it is gone
    ]
    assert pulled == [["SEARCH", "FETCH"]]  # what is gone is proven while the bodies come
    assert "late" in keys


async def test_first_sync_of_mailboxes_waits_for_no_select_alone(tmp_path: Path, user: Provider) -> None:
    """Rows are asked for behind the newest bodies of the mailbox before, and the rest of INBOX behind its SELECT."""
    user.receive(*(f"m{number}" for number in range(101)))
    user.receive("of another size", mailbox="Drafts")  # else headers are compared first, to save the body
    async with Tap(user.server.imap_port) as tap:
        account = imap(user.server, user.user, port=tap.port)
        async with House(tmp_path, accounts={"work": account}) as house:
            with flights(tap, apart_from={"LIST", "IDLE"}) as asked:
                sent = tap.before_line

                async def wait_for_device(line: bytes) -> None:
                    if b'SELECT "INBOX"' in line:  # a device that joins late has all bodies asked for then
                        await house.until_read(lambda ids: len(ids) == 1, _LOOKED_AT_INBOX)
                    await sent(line)

                tap.before_line = wait_for_device
                await house.until_read(lambda ids: len(ids) == 102, _WITH_BODY)

    assert asked[3:5] == [["SELECT", "FETCH"], ["FETCH", "SELECT", "FETCH"]], asked
    assert asked[-1] == ["SELECT", "FETCH"], asked


async def test_nobody_waits_for_a_look_at_our_own_doing(tmp_path: Path, user: Provider) -> None:
    """What the server tells of a push is looked at, but who asked, and the other devices, are done before that."""
    user.receive("kept", "removed")
    async with Tap(user.server.imap_port) as tap:
        account = imap(user.server, user.user, port=tap.port, delete="expunge")
        async with House(tmp_path, accounts={"work": account}, devices=("laptop", "phone")) as house:
            await house.settle()
            looks, may_go_on = [], asyncio.Event()

            async def hold(line: bytes) -> None:
                if b" (QRESYNC " in line and any(b" EXPUNGE " in said for said in tap.lines):
                    looks.append(line)
                    await may_go_on.wait()

            tap.before_line = hold
            house.replica("laptop").find("removed").path.unlink()
            await house.ask("laptop")
            await house.until(lambda: bool(looks))

            await house.ask("laptop", "phone")
            assert house.replica("phone").keys() == ["kept"]
            assert house.wakes.account("work").since is None
            may_go_on.set()


async def test_account_does_not_rest_while_a_device_that_is_asked_as_well_is_at_work(
    tmp_path: Path, user: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the device brings then would wait until the server has said that IDLE is begun."""
    monkeypatch.setattr(imap_account, "_HEARS_OUT_S", 30.0)
    read, may_read = IntakeFiles.read, threading.Event()

    def wait_and_read(self: IntakeFiles, *args: Any) -> Any:
        may_read.wait(30.0)
        return read(self, *args)

    monkeypatch.setattr(IntakeFiles, "read", wait_and_read)
    async with Tap(user.server.imap_port) as tap:
        accounts = {"work": imap(user.server, user.user, port=tap.port)}
        async with House(tmp_path, accounts=accounts) as house:
            await house.settle()
            with flights(tap, apart_from=()) as asked:
                add(house, "laptop", "n")
                asking = asyncio.create_task(house.ask("laptop"))
                await house.ask("work")
                may_read.set()
                await asking
                await house.until(lambda: "n" in user.flags())

    said = [verb for flight in asked for verb in flight]
    assert "IDLE" not in said[said.index("LIST") : said.index("APPEND")], said


async def test_account_waits_for_no_device_that_is_away(
    tmp_path: Path, user: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins IDLE as soon as those that are there have nothing left to do."""
    monkeypatch.setattr(imap_account, "_HEARS_OUT_S", 3600.0)
    async with Tap(user.server.imap_port) as tap:
        accounts = {"work": imap(user.server, user.user, port=tap.port)}
        async with House(tmp_path, accounts=accounts, devices=("laptop", "usb")) as house:
            await house.settle()
            (tmp_path / "usb").rename(tmp_path / "away")
            user.receive("n")
            with pytest.raises(DeviceAwayError):
                await house.ask()
            await house.until(lambda: house.replica("laptop").keys() == ["n"])
            tap.lines.clear()

            await house.ask("work", "laptop")
            await house.until(lambda: any(b" IDLE" in line for line in tap.lines))


async def test_deletion_lists_its_mailbox_twice_and_no_other(
    tmp_path: Path, user: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two complete listings prove it; all else that happened below the roots the watches have told of."""
    user.receive("kept", "removed")
    user.receive("other", mailbox="Archive")
    account = imap(user.server, user.user)
    async with House(tmp_path, accounts={"work": account}, devices={"laptop": PATIENT, "phone": PATIENT}) as house:
        await house.settle()
        await house.settle()  # after the first one, each root is looked at once more
        listed: list[str] = []
        names, beside = MailboxDirectory.names, MailboxDirectory.names_beside

        def all_names(self: MailboxDirectory, subdir: str) -> list[str]:
            listed.append(f"{self.path}/{subdir}")
            return names(self, subdir)

        def some_names(self: MailboxDirectory, subdir: str, wanted: Collection[str]) -> Iterator[Sequence[str]]:
            listed.append(f"{self.path}/{subdir}")
            return beside(self, subdir, wanted)

        monkeypatch.setattr(MailboxDirectory, "names", all_names)
        monkeypatch.setattr(MailboxDirectory, "names_beside", some_names)
        house.replica("laptop").find("removed").path.unlink()
        await house.ask("laptop")
        await house.until(lambda: house.replica("phone").keys() == ["kept"])
        await house.settle()

    assert Counter(listed) == {".work.INBOX/cur": 2, ".work.INBOX/new": 2}


PATIENT = {"settle": "1h"}


async def test_pass_over_what_is_known_asks_no_server_what_is_new(tmp_path: Path, user: Provider) -> None:
    """Who asked the server once, and then has brought to it what devices changed, need not ask again."""
    user.receive("letter")
    async with Tap(user.server.imap_port) as tap:
        accounts = {"work": imap(user.server, user.user, port=tap.port)}
        async with House(tmp_path, accounts=accounts, watches_devices=False) as house:
            await house.settle()
            (path,) = (house.replica("laptop").directory / "new").iterdir()
            path.rename(path.parent.parent / "cur" / f"{path.name}:2,F")
            tap.lines.clear()
            await house.ask("laptop")
            await house.accounts["work"].requests.ask(Asked.PASS)
            said = [verb[1].decode() for line in tap.lines if (verb := COMMAND.match(line))]

    assert "STORE" in said
    assert not {"LIST", "SELECT"}.intersection(said), said


async def test_arrival_reads_no_rows_of_other_mailboxes(tmp_path: Path, make_dovecot: Any, mail_user: str) -> None:
    """What a new message costs a device does not follow how many mailboxes of other accounts it has.

    In instructions of the database; a row that is read takes ten or more, and a pass reads several times.
    """
    server: Dovecot = make_dovecot()
    costs = {count: await _cost_of_arrival(tmp_path / str(count), server, count) for count in (SMALL, LARGE)}

    assert costs[LARGE] - costs[SMALL] < (LARGE - SMALL) * _FOR_EACH_MAILBOX, costs


async def test_change_asks_the_store_few_times(tmp_path: Path, user: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each question to the store is a way to a thread and back, and each commit one to the disk; latency is of these.

    Counted are: from the server's word until three devices have a new message; from one device's flag until the others
    have it; and a sync that is asked for, by which all get a flag, a new message and one less, in one round where a
    device links. Each until nothing is left to do. The cheapest of some counts, for whether a task is woken once or
    twice is a matter of moments.
    """
    user.receive(*(f"m{number}" for number in range(9)))
    async with House(tmp_path, accounts={"work": imap(user.server, user.user)}, devices=THREE) as house:
        await house.settle()
        asked = _count_questions(monkeypatch)
        arrivals, flags, pulls = [], [], []
        for number in range(4):
            with _questions(asked) as questions:
                user.receive(f"late{number}")
                await house.until(lambda number=number: _have(house, 10 + number) and _rest(house))
            arrivals.append(questions)
            with _questions(asked) as questions:
                path = house.replica("laptop").find(f"late{number}").path
                path.rename(path.parent.parent / "cur" / f"{path.name}:2,F")
                await house.until(lambda number=number: _flagged(house, number + 1) and _rest(house))
            flags.append(questions)
            with _questions(asked) as questions:
                user.store(f"m{number}", r"+FLAGS (\Answered)")
                user.receive(f"beside{number}")
                user.expunge(f"m{number + 4}")
                await house.settle()
            pulls.append(questions)
            assert _have(house, 10 + number)

    assert min(one["write"] for one in arrivals) <= 8, arrivals
    assert min(one["read"] for one in arrivals) <= 16, arrivals
    assert min(one["write"] for one in flags) <= 6, flags
    assert min(one["read"] for one in flags) <= 12, flags
    assert min(one["write"] for one in pulls) <= 14, pulls


THREE = {"laptop": {}, "phone": {}, "nas": {}}


def _have(house: House, count: int) -> bool:
    return all(len(list(house.replica(device).files())) == count for device in THREE)


def _flagged(house: House, count: int) -> bool:
    return all(sum("F" in file.letters for file in house.replica(device).files()) == count for device in THREE)


def _rest(house: House) -> bool:
    return all(house.wakes.device(device).since is None for device in THREE)


def _count_questions(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count reads, and writes that change anything: to bring on what waits, as who asks does, may change nothing."""
    asked: Counter[str] = Counter()
    read, write = Database.read, Database.write

    async def counted_read(db: Database, *args: Any) -> Any:
        asked["read"] += 1
        return await read(db, *args)

    async def counted_write(db: Database, function: Callable[[Connection], Any], **more: Any) -> Any:
        def run(conn: Connection) -> Any:
            driver: Any = conn.connection.driver_connection
            changed = driver.total_changes
            result = function(conn)
            asked["write"] += driver.total_changes > changed
            return result

        return await write(db, run, **more)

    monkeypatch.setattr(Database, "read", counted_read)
    monkeypatch.setattr(Database, "write", counted_write)
    return asked


@contextmanager
def _questions(asked: Counter[str]) -> Iterator[Counter[str]]:
    before, found = asked.copy(), Counter[str]()
    yield found
    found.update(asked - before)


async def _cost_of_arrival(directory: Path, server: Dovecot, count: int) -> int:
    """Return what the cheapest of some arrivals costs, beside an account with so many mailboxes."""
    user, other = Provider(server, f"busy{count}"), Provider(server, f"idle{count}")
    user.receive("m0")
    with server.imap(other.user) as client:
        for number in range(count):
            client.create(f"x{number}")
    accounts = {"work": imap(server, user.user), "other": imap(server, other.user)}
    async with House(directory, accounts=accounts) as house:
        await house.settle()
        wake, new = house.wakes.device("laptop"), house.replica("laptop").directory / "new"
        costs: list[int] = []
        for number in range(1, 4):
            with _counted(house) as steps:
                user.receive(f"m{number}")
                await house.until(lambda number=number: len(list(new.iterdir())) == number + 1 and wake.since is None)
                costs.append(steps[0])
    return min(costs)


async def _cost_of_push(directory: Path, server: Dovecot, count: int) -> int:
    """Return what the second of two equal pushes costs."""
    user = Provider(server, f"push{count}")
    user.receive(*(f"m{number}" for number in range(count)))
    async with House(directory, accounts={"work": imap(server, user.user)}) as house:
        await house.settle()
        cost = 0
        for push in range(2):
            with _counted(house) as steps:
                _change(house, push)
                await house.settle()
            cost = steps[0]
        assert len(user.flags()) == count + 2
    return cost


def _change(house: House, push: int) -> None:
    directory = house.replica("laptop").directory
    paths = sorted(path for subdir in ("new", "cur") for path in (directory / subdir).iterdir())
    for path in paths[:5]:
        path.rename(directory / "cur" / f"{path.name.partition(':2,')[0]}:2,{'FS' if push else 'F'}")
    for path in paths[5:7]:
        path.unlink()
    for number in range(3):
        octets = letter(f"new{push}{number}").replace(b"\r\n", b"\n")
        (directory / "tmp" / "x").write_bytes(octets)
        (directory / "tmp" / "x").rename(directory / "cur" / f"own{push}{number}:2,S")


@contextmanager
def _counted(house: House) -> Iterator[list[int]]:
    """Count the instructions that SQLite runs for the whole engine."""
    steps = [0]

    def count() -> int:
        steps[0] += _AT_ONCE
        return 0

    def begin(conn: Connection) -> None:
        driver: Any = conn.connection.driver_connection
        driver.set_progress_handler(count, _AT_ONCE)

    engines = [house.db._reader_engine, house.db._writer_engine]
    for engine in engines:
        event.listen(engine, "begin", begin)
    try:
        yield steps
    finally:
        for engine in engines:
            event.remove(engine, "begin", begin)
