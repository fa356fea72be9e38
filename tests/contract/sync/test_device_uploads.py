"""What a device adds to its replica becomes a message of the server, once, and reaches the other devices."""

import asyncio
import os
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import select, update

from syncd.errors import SyncdError
from syncd.mail.tree import ReplicaState
from syncd.store.files.added_files import AddedFile, empty_files
from syncd.store.people.report import unsynced_by_replica
from syncd.store.tables import schema
from syncd.sync.device import intake
from syncd.sync.device.attachment import Prove
from syncd.sync.device.intake_files import IntakeFiles, ReadFile
from tests.contract.sync.house import House, MakeDovecot, imap, states, until_state
from tests.contract.sync.letters import ODD, letter
from tests.contract.sync.provider import Provider
from tests.contract.sync.tap import Tap
from tests.contract.sync.three_devices import TWO, add, assert_everywhere, house_of
from tests.servers.capabilities import BASE, NO_LITERAL_PLUS, NO_MULTIAPPEND, NO_UIDPLUS

DRAFT, FLAGGED, SEEN = "\\Draft", "\\Flagged", "\\Seen"


async def test_draft_is_on_the_server_and_on_every_device(tmp_path: Path, provider: Provider) -> None:
    """A draft saved on one device, with its flags and its date, and under the name that its program gave it."""
    provider.receive("a")
    async with house_of(tmp_path, provider) as house:
        await house.settle()

        path = add(house, "laptop", "d", mailbox="Drafts", letters="DS")
        await house.until(lambda: "d" in provider.flags("Drafts"))
        await house.until(lambda: house.replica("phone", "Drafts").keys() == ["d"])
        await house.settle()

        assert_everywhere(house, provider, "Drafts", "d")
        assert provider.flags("Drafts") == {"d": {DRAFT, SEEN}}
        assert house.replica("nas", "Drafts").flags() == {"d": {DRAFT, SEEN}}
        assert house.replica("laptop", "Drafts").find("d").path == path
        assert house.replica("phone", "Drafts").find("d").mtime == int(path.stat().st_mtime)
        assert provider.bodies("Drafts") == (letter("d"),)
        assert await states(house) == {ReplicaState.PRESENT: 6}
        assert len(await house.rows(select(schema.body.c.id))) == 2


async def test_who_asks_waits_for_no_file_that_was_there_for_a_while(
    tmp_path: Path, user: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is read once it stayed as it is for a moment, also if that was before anybody looked."""
    monkeypatch.setattr(intake, "_MOMENT_S", 60.0)
    async with House(tmp_path, accounts={"work": imap(user.server, user.user)}, devices={"laptop": PATIENT}) as house:
        await house.settle()
        house.shift_s = 90.0
        add(house, "laptop", "n")
        async with asyncio.timeout(30.0):
            await house.ask("laptop")
        await house.settle()

    assert set(user.flags()) == {"n"}


async def test_who_asks_waits_for_no_file_that_was_put_there_as_a_whole(
    tmp_path: Path, user: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that was written in tmp/ is complete where it is renamed to."""
    monkeypatch.setattr(intake, "_MOMENT_S", 60.0)
    async with House(tmp_path, accounts={"work": imap(user.server, user.user)}, devices={"laptop": PATIENT}) as house:
        await house.settle()
        add(house, "laptop", "n")
        async with asyncio.timeout(30.0):
            await house.ask("laptop")
            await house.ask("work")
        assert set(user.flags()) == {"n"}


async def test_who_asks_waits_for_no_reading_of_what_was_there_before(
    tmp_path: Path, user: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that is complete is read as soon as the watch tells of it, though nobody may ask before `settle`."""
    read, readings = IntakeFiles.read, list[int]()

    def counted(self: IntakeFiles, batch: Sequence[AddedFile], prove: Prove) -> list[ReadFile | SyncdError]:
        readings.append(len(batch))
        return read(self, batch, prove)

    monkeypatch.setattr(IntakeFiles, "read", counted)
    async with House(tmp_path, accounts={"work": imap(user.server, user.user)}, devices={"laptop": SLOW}) as house:
        await house.settle()
        add(house, "laptop", "n")
        await house.until(lambda: bool(readings))
        await house.ask("laptop")
        await house.ask("work")

    assert set(user.flags()) == {"n"}
    assert readings == [1]


PATIENT = {"settle": "1h"}
SLOW = {"settle": "5s"}


async def test_upload_is_looked_for_above_what_was_known_on_a_server_without_uidnext(
    tmp_path: Path, make_dovecot: MakeDovecot, mail_user: str
) -> None:
    """A message that was there before is not even asked for: it may have the same header and size."""
    user = Provider(make_dovecot(capability=NO_UIDPLUS), mail_user)
    user.receive("a")
    async with Tap(user.server.imap_port) as tap:
        tap.says = lambda line: b"" if b"[UIDNEXT " in line else line
        account = imap(user.server, user.user, port=tap.port)
        async with House(tmp_path, accounts={"work": account}) as house:
            await house.settle()
            tap.lines.clear()

            add(house, "laptop", "n")
            await house.settle()

            assert sorted(user.flags()) == ["a", "n"]
            assert not [line for line in tap.lines if re.search(rb" UID FETCH 1\b", line)]


async def test_file_that_is_written_where_no_watch_tells_of_it_is_taken_in_once_whole(
    tmp_path: Path, user: Provider
) -> None:
    """On a file system that is polled a file that grew since it was first seen does not wait for a complete look."""
    user.receive("a")
    account, polled = imap(user.server, user.user), {"watch": "poll", "settle": "2s"}
    async with House(tmp_path, accounts={"work": account}, devices={"laptop": polled}) as house:
        await house.settle()
        octets = letter("n")
        path = house.replica("laptop").directory / "cur" / "1700000000.1.own:2,S"
        path.write_bytes(octets[:50])
        await until_state(house, ReplicaState.NEW)
        with path.open("ab") as file:
            file.write(octets[50:])

        await house.until(lambda: len(user.flags()) == 2)

        assert user.bodies() == (letter("a"), octets)


@pytest.mark.parametrize("capability", [NO_LITERAL_PLUS, NO_MULTIAPPEND, NO_UIDPLUS, BASE])
async def test_many_files_on_any_server(
    tmp_path: Path, make_dovecot: MakeDovecot, mail_user: str, capability: str
) -> None:
    """Whatever the server offers, each file is one message."""
    user = Provider(make_dovecot(capability=capability), mail_user)
    user.receive("a")
    async with house_of(tmp_path, user, devices=TWO) as house:
        await house.settle()
        keys = [f"n{number:02}" for number in range(12)]

        for key in keys:
            add(house, "laptop", key)
        await house.settle()

        assert_everywhere(house, user, "INBOX", "a", *keys)
        assert set(user.flags().values()) == {frozenset(), frozenset({SEEN})}


async def test_file_of_another_delivery_agent_is_unread_mail(tmp_path: Path, user: Provider) -> None:
    """What a program delivers into new/ is taken as it is."""
    async with house_of(tmp_path, user) as house:
        await house.settle()

        path = add(house, "nas", "n", letters=None)
        await house.settle()

        assert_everywhere(house, user, "INBOX", "n")
        assert user.flags() == {"n": frozenset()}
        assert path.exists()


async def test_octets_reach_the_server_as_mail(tmp_path: Path, user: Provider) -> None:
    """Line ends become those of mail, and nothing else changes; the server gives back what it was sent."""
    sources = {key: octets for key, octets in ODD.items() if key != "other twin"}
    async with house_of(tmp_path, user) as house:
        await house.settle()

        for number, octets in enumerate(sources.values()):
            add(house, "laptop", f"odd{number}", octets=octets)
        await house.settle()

        expected = {octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") for octets in sources.values()}
        assert set(user.bodies()) == expected
        assert len(list(house.replica("phone").files())) == len(sources)
        assert await states(house) == {ReplicaState.PRESENT: 3 * len(sources)}


async def test_equal_files_are_as_many_messages(tmp_path: Path, user: Provider) -> None:
    """Two files with the same octets are two messages, on every side."""
    async with house_of(tmp_path, user) as house:
        await house.settle()

        add(house, "laptop", "n", name="1700000000.1.laptop")
        add(house, "laptop", "n", name="1700000000.2.laptop")
        await house.settle()

        assert len(user.bodies()) == 2
        assert [one.keys() for one in house.replicas()] == [["n", "n"]] * 3


async def test_the_same_file_on_two_devices_is_one_message(
    tmp_path: Path, make_dovecot: MakeDovecot, mail_user: str
) -> None:
    """Where another tool brings a file to several devices, the server has it once, and each keeps its own."""
    server = make_dovecot()
    user = Provider(server, mail_user)
    async with house_of(tmp_path, user) as house:
        await house.settle()
        server.stop()
        add(house, "laptop", "n")
        add(house, "phone", "n")
        await house.until_read(lambda found: len(found) == 2, select(schema.journal.c.id))
        server.start()
        await house.until(lambda: house.replica("nas").keys() == ["n"])
        await house.settle()

        assert_everywhere(house, user, "INBOX", "n")


async def test_what_is_no_message_is_left_alone(tmp_path: Path, user: Provider) -> None:
    """Links, FIFOs, directories and empty files stay where they are, are told of, and nothing is sent."""
    user.receive("a")
    async with house_of(tmp_path, user, devices=TWO) as house:
        await house.settle()
        cur = house.replica("laptop").directory / "cur"
        (tmp_path / "elsewhere").write_bytes(letter("elsewhere"))
        (cur / "1700000000.1.laptop:2,S").symlink_to(tmp_path / "elsewhere")
        os.mkfifo(cur / "1700000000.2.laptop:2,S")
        (cur / "1700000000.3.laptop:2,S").mkdir()
        (cur / "1700000000.4.laptop:2,S").touch()
        told = house.activities["laptop"].odd_files
        await house.until(lambda: [len(found) for found in told.values()] == [3])

        await house.ask("laptop")
        await house.ask("work")

        assert sorted(user.flags()) == ["a"]
        assert len(list(cur.iterdir())) == 4
        assert await house.db.read(unsynced_by_replica) == {}


async def test_emptied_file_is_no_message_and_its_message_comes_back(tmp_path: Path, user: Provider) -> None:
    """A full disk or a crash leaves such files: who removes them then has deleted nothing.

    Nobody reads it again and again, also where it is a link to that of a device which heard nothing of it; that one is
    told at once.
    """
    user.receive("a")
    async with house_of(tmp_path, user) as house:
        await house.settle()
        emptied = [next(replica.files()).path for replica in house.replicas()]
        file = schema.replica_message.c

        os.truncate(emptied[0], 0)
        await house.until_read(
            lambda found: found == [0, 0, 0], select(file.size_bytes).where(file.message_id.is_(None))
        )
        # NOTE: before the next look at a marker, which wakes a device as well.
        await house.until(lambda: all(any(one.octets for one in of.files()) for of in house.replicas()), within_s=10)
        await house.settle()
        assert await house.db.read(unsynced_by_replica) == {}
        assert len(await house.db.read(partial(empty_files, limit=9))) == len(emptied)
        for path in emptied:
            path.unlink()
        await house.settle()

        assert_everywhere(house, user, "INBOX", "a")


@pytest.mark.parametrize("name", ["with\nline end", "not utf-8 \udcff\udcfe", "x" * 250, "1700000000.M1P2Q3.host"])
async def test_odd_names_are_kept(tmp_path: Path, user: Provider, name: str) -> None:
    """A file keeps the name that its program gave it, as far as a name can go."""
    async with house_of(tmp_path, user, devices=TWO) as house:
        await house.settle()

        path = add(house, "laptop", "n", name=name)
        await house.settle()

        assert_everywhere(house, user, "INBOX", "n")
        assert path.exists()


async def test_file_that_grows_is_sent_when_it_is_whole(tmp_path: Path, user: Provider) -> None:
    """As long as a program writes, nothing of it is a message."""
    async with house_of(tmp_path, user, settle="500ms", devices=TWO) as house:
        await house.settle()
        path = house.replica("laptop").directory / "cur" / "1700000000.1.laptop:2,S"
        with path.open("wb") as file:
            for line in letter("n", lines=10).splitlines(keepends=True):
                file.write(line)
                file.flush()
                await house.ask("phone")
        await house.settle()

        assert_everywhere(house, user, "INBOX", "n")
        assert user.bodies() == (letter("n", lines=10),)


@pytest.mark.parametrize("after", [b" APPEND ", b"RFC822.SIZE", b"BODY.PEEK[HEADER]"])
async def test_answer_that_is_lost_leaves_one_message(tmp_path: Path, user: Provider, after: bytes) -> None:
    """Whatever the server had done by then."""
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port, devices=TWO) as house:
        await house.settle()
        losses = iter([True])
        tap.drops = lambda line: after in line and next(losses, False)

        add(house, "laptop", "n")
        await house.until(lambda: house.replica("phone").keys() == ["n"], within_s=30)
        await house.settle()

        assert next(losses, None) is None
        assert_everywhere(house, user, "INBOX", "n")


@pytest.mark.parametrize("command", ["APPEND", "COPY"])
async def test_refusal_of_what_the_server_has_done_leaves_one_message_of_each(
    tmp_path: Path, user: Provider, command: str
) -> None:
    """A server in trouble says NO to several, and shows them all the same."""
    user.receive("o", "p", mailbox="Archive")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port, devices=TWO) as house:
        await house.settle()
        done = re.compile(rb"(\w+) OK \[(?:APPENDUID|COPYUID) .*")
        tap.says = lambda line: done.sub(rb"\1 NO [SERVERBUG] Internal error\r", line)

        keys = ["m", "n"] if command == "APPEND" else ["o", "p"]
        for key in keys:
            add(house, "laptop", key)
        await house.until(lambda: house.replica("phone").keys() == keys)
        tap.says = None
        await house.settle()

        assert any(command.encode() in line for line in tap.lines)
        assert_everywhere(house, user, "INBOX", *keys)
        assert len(user.bodies()) == 2


@pytest.mark.parametrize("cut", range(20, 800, 110))
async def test_wire_that_breaks_anywhere_leaves_one_message(tmp_path: Path, user: Provider, cut: int) -> None:
    """The server's answers end after any number of octets, and each file is one message."""
    async with Tap(user.server.imap_port) as tap:
        account = imap(user.server, user.user, port=tap.port)
        house = House(tmp_path, accounts={"work": account}, devices={"laptop": {"settle": "20ms"}})
        async with house:
            await house.settle()

            def begin(line: bytes) -> bool:
                if b" APPEND " in line and not tap.cuts:
                    tap.cut_after_bytes = cut
                return False

            tap.drops = begin
            for key in ("n", "o"):
                add(house, "laptop", key)
            await house.until(lambda: sorted(user.flags()) == ["n", "o"], within_s=30)
            await house.settle()

            assert sorted(user.flags()) == ["n", "o"]
            assert house.replica("laptop").keys() == ["n", "o"]


async def test_refused_file_stays_and_is_told_once(tmp_path: Path, make_dovecot: MakeDovecot, mail_user: str) -> None:
    """One of ten is refused, in the middle of a command: nine are there, and it is tried again when somebody asks."""
    user = Provider(make_dovecot(capability=NO_LITERAL_PLUS), mail_user)
    async with Tap(user.server.imap_port) as tap:
        house = house_of(tmp_path, user, port=tap.port, devices=TWO)
        async with house:
            await house.settle()
        for key in (f"n{number}" for number in range(9)):  # while nobody looks, for then they are sent together
            add(house, "laptop", key)
        path = add(house, "laptop", "n4_big", octets=letter("n4_big", lines=40))
        size = b"{%d}" % len(letter("n4_big", lines=40))
        tap.refuses = lambda line: size in line

        async with house:
            await house.settle()

            assert house.activities["work"].logins == 1
            assert len(user.flags()) == 9
            assert path.exists()
            rows = await house.rows(select(schema.journal.c.error).where(schema.journal.c.error.is_not(None)))
            assert [row.error for row in rows] == ['append refused by the server: "not this"']

            tap.refuses = lambda line: False
            await house.ask("work")
            await house.settle()
            assert len(user.flags()) == 10


@pytest.mark.parametrize("is_half_true", [False, True])
async def test_server_that_says_ok_and_lies_is_asked_again(
    tmp_path: Path, user: Provider, *, is_half_true: bool
) -> None:
    """A message counts only once it is seen; until then its file stays, and in the end the message is there once."""
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port, devices=TWO) as house:
        await house.settle()
        lies = iter([True])
        tap.refuses = lambda line: b" APPEND " in line and next(lies, False)
        (inbox,) = await house.rows(select(schema.mailbox.c.uidvalidity).where(schema.mailbox.c.name == "INBOX"))
        tap.refusal = b"OK [APPENDUID %d 7] done" % (inbox.uidvalidity if is_half_true else 1)

        add(house, "laptop", "n")
        await house.until(lambda: next(lies, None) is None)
        await house.ask("work")
        assert user.flags() == {}
        house.shift_s = 6.0
        await house.settle()

        assert_everywhere(house, user, "INBOX", "n")


async def test_upload_that_is_lost_each_time_waits_and_claims_nothing(tmp_path: Path, user: Provider) -> None:
    """After some tries it is trouble that status shows, and who asks has it tried again."""
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port, devices=TWO) as house:
        await house.settle()
        tap.drops = lambda line: b" APPEND " in line
        add(house, "laptop", "n")

        for number in (1, 2, 3):
            await house.until(lambda number=number: sum(b" APPEND " in line for line in tap.lines) == number)
            house.shift_s += 6.0
        error = "it was on its way to its mailbox several times, and is not there"
        await house.until_read(lambda found: found == [error], select(schema.journal.c.error))

        tap.drops = lambda line: False
        await house.settle()
        assert_everywhere(house, user, "INBOX", "n")


@pytest.mark.parametrize("padding", [0, 1_200_000])
async def test_octets_that_no_mail_has_are_not_sent(tmp_path: Path, user: Provider, padding: int) -> None:
    """A file with NUL stays on its device and is shown; others are not held up."""
    async with house_of(tmp_path, user, devices=TWO) as house:
        await house.settle()

        path = add(house, "laptop", "odd", octets=b"Subject: nul\n\n" + b"x\n" * (padding // 2) + b"\0\n")
        add(house, "laptop", "n")
        await house.settle()

        assert sorted(user.flags()) == ["n"]
        assert path.exists()
        rows = await house.rows(select(schema.journal.c.error).where(schema.journal.c.error.is_not(None)))
        assert [row.error for row in rows] == ["the file has NUL octets, which no mail has"]


@pytest.mark.parametrize("announced", [b" APPENDLIMIT=1100000", b" APPENDLIMIT"], ids=["of all", "of each"])
async def test_message_that_is_too_large_for_its_mailbox_is_not_sent(
    tmp_path: Path, user: Provider, announced: bytes
) -> None:
    """Its size is known before; a server that has a limit for each mailbox is asked for it once (RFC 7889)."""
    async with Tap(user.server.imap_port) as tap:
        tap.says = lambda line: line.replace(b" LITERAL+", announced + b" LITERAL+")
        tap.refuses, tap.refusal = (lambda line: b"(APPENDLIMIT)" in line), b"OK done"
        tap.precedes = lambda line: b"* STATUS INBOX (APPENDLIMIT 1100000)\r\n" if tap.refuses(line) else b""
        async with house_of(tmp_path, user, port=tap.port, devices=TWO) as house:
            await house.settle()

            for key in ("n", "o"):
                add(house, "laptop", key)
                add(house, "laptop", f"large {key}", octets=letter(f"large {key}", lines=60_000))
                await house.settle()

            assert sorted(user.flags()) == ["n", "o"]
            rows = await house.rows(select(schema.journal.c.error).where(schema.journal.c.error.is_not(None)))
            assert [row.error for row in rows] == ["the server takes no message above 1,100,000 bytes"] * 2
            assert sum(b"(APPENDLIMIT)" in line for line in tap.lines) == (b"=" not in announced)


async def test_body_that_is_damaged_in_the_store_holds_up_no_other_upload(tmp_path: Path, user: Provider) -> None:
    """It is shown, and its file stays as it is."""
    async with Tap(user.server.imap_port) as tap:
        account = imap(user.server, user.user, port=tap.port)
        async with House(tmp_path, accounts={"work": account}) as house:
            await house.settle()
            tap.refuses = lambda line: b" APPEND " in line
            damaged, whole = add(house, "laptop", "d"), add(house, "laptop", "w")
            await house.until_read(lambda told: len(told) == 2 and all(told), select(schema.journal.c.error))
            size = len(letter("d"))
            of_it = select(schema.body.c.id).where(schema.body.c.size_bytes == size).limit(1).scalar_subquery()
            damage = update(schema.body_chunk).where(schema.body_chunk.c.body_id == of_it).values(octets=b"other")
            await house.db.write(lambda conn: conn.execute(damage) and None)

            tap.refuses = lambda _: False
            await house.ask()
            await house.until(lambda: len(user.flags()) == 1)
            await house.settle()

            assert (damaged.exists(), whole.exists()) == (True, True)
            told = [row.error for row in await house.rows(select(schema.journal.c.error))]
            assert [error for error in told if error and "damaged in the store" in error] != []


async def test_message_that_the_server_rewrites_is_one(tmp_path: Path, user: Provider) -> None:
    """The other devices have what the server made of it, and the one that added it keeps its file."""
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        await house.settle()
        tap.alters = lambda line: line.replace(b"Subject: about n", b"Subject: SPAM? n")

        path = add(house, "laptop", "n")
        await house.settle()

        assert_everywhere(house, user, "INBOX", "n")
        assert b"SPAM?" in house.replica("phone").find("n").octets
        assert b"about" in path.read_bytes()
        assert await states(house) == {ReplicaState.PRESENT: 3}


async def test_flag_set_while_an_upload_is_in_doubt_goes_with_a_moved_message(tmp_path: Path, user: Provider) -> None:
    """Of two new messages one is what was sent: before its body is known, nobody can say that the other was moved."""
    user.receive("a")
    user.receive("z", mailbox="Archive")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        await house.settle()

        async def move_meanwhile(line: bytes) -> None:
            if b" APPEND " in line and not tap.cuts:
                tap.cut_after_bytes = 1
                user.move("a", to="Archive")
                file = house.replica("laptop").find("a").path
                file.rename(file.parent.with_name("cur") / f"{file.name.partition(':')[0]}:2,F")

        tap.before_line = move_meanwhile
        add(house, "nas", "n", mailbox="Archive")
        await house.until(lambda: user.flags("Archive").get("a") == {FLAGGED}, within_s=30)
        await house.settle()

        assert tap.cuts == 1
        assert_everywhere(house, user, "Archive", "a", "n", "z")
        assert user.flags() == {}
        assert [one.flags()["a"] for one in house.replicas("Archive")] == [{FLAGGED}] * 3


async def test_mail_that_came_beside_a_lost_upload_waits_for_nothing_that_is_refused(
    tmp_path: Path, user: Provider
) -> None:
    """It may be what was sent, until that is known to have come nowhere; then it is a message like others."""
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port, devices=TWO) as house:
        await house.settle()

        async def forestall(line: bytes) -> None:
            if b" APPEND " in line:
                tap.before_line = None
                await asyncio.to_thread(user.receive, "other")

        losses = iter([True])
        tap.before_line = forestall
        tap.drops = lambda line: b" APPEND " in line and next(losses, False)
        tap.refuses = lambda line: b" APPEND " in line
        add(house, "laptop", "n")

        await house.until(lambda: house.replica("phone").keys() == ["other"])
        await house.until(lambda: sorted(house.replica("laptop").keys()) == ["n", "other"])


async def test_upload_of_a_device_that_is_configured_no_more_holds_up_no_mail(tmp_path: Path, user: Provider) -> None:
    """Whether it came is found out without it, and the device has one message when it is there again."""
    async with Tap(user.server.imap_port) as tap:
        house = house_of(tmp_path, user, port=tap.port)
        async with house:
            await house.settle()
            tap.drops = lambda line: b" APPEND " in line
            add(house, "laptop", "n")
            await house.until_read(lambda found: found == ["begun"], select(schema.journal.c.kind))

        user.receive("other")
        tap.drops = lambda _: False
        account = imap(user.server, user.user, port=tap.port)
        async with House(tmp_path, accounts={"work": account}, devices=("phone", "nas")) as without:
            await without.until(lambda: without.replica("phone").keys() == ["other"])

        async with house:
            await house.settle()
            assert_everywhere(house, user, "INBOX", "n", "other")


async def test_flag_taken_away_while_the_file_is_sent(tmp_path: Path, user: Provider) -> None:
    """While its upload is under way, which takes a moment; what was sent is what both sides had agreed on."""
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port, devices=TWO) as house:
        await house.settle()

        async def meddle(line: bytes) -> None:
            if b" APPEND " in line:
                tap.before_line = None
                house.replica("laptop", "Drafts").mark("n", remove="S")
                await house.until_read(lambda found: found == [DRAFT], select(schema.replica_message.c.flags))

        tap.before_line = meddle
        add(house, "laptop", "n", mailbox="Drafts", letters="DS")
        await house.until(lambda: "n" in user.flags("Drafts"))
        await house.settle()
        assert user.flags("Drafts") == {"n": {DRAFT}}
