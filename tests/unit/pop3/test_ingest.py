"""The chain of custody against servers that are cut, or lie: nothing lost, nothing twice, no work for ever."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from syncd.errors import ConnectionLostError, ProtocolError, RefusedError, StoreError, SyncdError, TooSlowError
from syncd.pop3.connection import Connection
from syncd.pop3.custody import CustodyState, Retrieved
from syncd.pop3.endpoint import Limits
from syncd.pop3.ingest import IngestLimits, IngestReport, ingest
from tests.unit.pop3.ledger import Ledger
from tests.unit.pop3.scripted import CUT, QUICK, STALL, Hook, Mail, Reply, ScriptedServer, Session, Then

SMALL_BATCHES = IngestLimits(batch_messages=2)


def mails() -> list[Mail]:
    """Return six messages, two of them equal, one of them empty."""
    bodies = [b"one\r\n", b"twin\r\n", b".dots\r\n..\r\n", b"twin\r\n", b"", b"x" * 5000 + b"\r\n"]
    return [Mail(f"uidl-{number}", octets) for number, octets in enumerate(bodies, 1)]


CONTENTS = Counter(mail.octets for mail in mails())


async def session(
    server: ScriptedServer,
    ledger: Ledger,
    spool: Path,
    *,
    limits: Limits = QUICK,
    batches: IngestLimits = SMALL_BATCHES,
) -> IngestReport:
    """Run one session."""
    async with await Connection.open(server.endpoint(), limits) as connection:
        await connection.login("someone", "secret")
        return await ingest(connection, ledger, spool=spool, limits=batches)


async def sessions(
    server: ScriptedServer, ledger: Ledger, spool: Path, *, count: int, limits: Limits = QUICK
) -> list[IngestReport | SyncdError]:
    """Run sessions one after the other, whatever becomes of each."""
    results: list[IngestReport | SyncdError] = []
    for _ in range(count):
        try:
            results.append(await session(server, ledger, spool, limits=limits))
        except SyncdError as error:  # the next poll goes on
            results.append(error)
        await server.idle()
    return results


def has_files(directory: Path) -> bool:
    """Tell whether a spooled body was left behind."""
    return any(directory.iterdir())


class Watched:
    """Check at every DELE that the message is in the ledger already, then let `inner` decide."""

    def __init__(self, ledger: Ledger, inner: Hook | None = None) -> None:
        self.ledger = ledger
        self.inner = inner
        self.server: ScriptedServer | None = None
        self.violations: list[str] = []

    def __call__(self, session: Session, line: str) -> Reply | None:
        verb, _, argument = line.partition(" ")
        if verb == "DELE" and self.server:
            octets = self.server.mails[int(argument) - 1].octets
            if octets not in self.ledger.contents:
                self.violations.append(line)
        return self.inner(session, line) if self.inner else None


async def test_plain_session_stores_deletes_and_confirms(tmp_path: Path) -> None:
    """Everything in INBOX once, the server empty, every row confirmed, every octet counted."""
    ledger = Ledger()
    async with ScriptedServer(mails()) as server:
        report = await session(server, ledger, tmp_path)

        assert server.mails == []
    size = sum(len(octets) for octets in CONTENTS.elements())
    assert report == IngestReport(retrieved=6, deleted=6, bytes=size)
    assert ledger.contents == CONTENTS
    assert {row.state for row in ledger.rows.values()} == {CustodyState.DELETED}
    assert ledger.batches == [2, 2, 2]


async def test_commit_of_a_batch_overlaps_the_retrieval_of_the_next_and_dele_waits_for_both(tmp_path: Path) -> None:
    """The second batch arrives while the first is being committed; no DELE before the last commit."""
    second_came = asyncio.Event()
    at_dele: list[int] = []

    class Slow(Ledger):
        async def commit(self, batch: Sequence[Retrieved]) -> None:
            if not self.batches:
                async with asyncio.timeout(5):
                    await second_came.wait()
            await super().commit(batch)

    ledger = Slow()

    def hook(session: Session, line: str) -> Reply | None:
        if line == "RETR 4":
            second_came.set()
        if line.startswith("DELE"):
            at_dele.append(len(ledger.inbox))
        return None

    async with ScriptedServer(mails(), capabilities="UIDL", hook=hook) as server:
        await session(server, ledger, tmp_path)

    assert at_dele == [6] * 6


async def test_large_messages_pass_through_the_spool_and_leave_nothing_there(tmp_path: Path) -> None:
    """Spool files live until their batch is committed."""
    ledger = Ledger()
    async with ScriptedServer(mails()) as server:
        await session(server, ledger, tmp_path, limits=replace(QUICK, spool_above_bytes=100))

    assert ledger.contents == CONTENTS
    assert not has_files(tmp_path)


FAULTS = {
    "before": CUT,
    "stall": STALL,
    "half": None,
    "after": None,
    "garbage": Reply(b"garbage\r\n", Then.CUT),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("capabilities", ["PIPELINING UIDL", "UIDL"])
@pytest.mark.parametrize("deletes_without_quit", [False, True])
async def test_session_broken_at_any_command_loses_nothing_and_repeats_nothing(
    fault: str, capabilities: str, deletes_without_quit: bool, tmp_path: Path
) -> None:
    """Whatever command is cut, before or after it took effect or in its answer, the next polls put it right."""
    nth, has_more = 0, True
    while has_more:
        nth += 1
        count = 0

        def break_nth(session: Session, line: str, nth: int = nth) -> Reply | None:
            nonlocal count
            count += 1
            if count != nth:
                return None
            reply = FAULTS[fault]
            if reply is not None:
                return reply
            answer = server.answer(session, line)  # of this round
            return Reply(answer[: len(answer) // 2] if fault == "half" else answer, Then.CUT)

        ledger = Ledger()
        watched = Watched(ledger, break_nth)
        async with ScriptedServer(mails(), capabilities=capabilities, hook=watched) as server:
            watched.server = server
            server.deletes_without_quit = deletes_without_quit
            results = await sessions(server, ledger, tmp_path, count=3, limits=replace(QUICK, inactivity_s=0.05))

            assert ledger.contents == CONTENTS, f"broken at command {nth}"
            assert server.mails == [], f"broken at command {nth}"
            assert watched.violations == []
            has_more = count > nth and isinstance(results[0], SyncdError)
    assert nth > 15


async def test_store_that_fails_at_any_commit_stops_the_session_and_loses_nothing(tmp_path: Path) -> None:
    """No DELE after a failed commit, and the error is the store's own."""

    class Full(Ledger):
        left = 0

        async def commit(self, batch: Sequence[Retrieved]) -> None:
            self.left -= 1
            if self.left == 0:
                raise StoreError("disk full")
            await super().commit(batch)

    for nth in (1, 2, 3):
        ledger = Full()
        ledger.left = nth
        async with ScriptedServer(mails()) as server:
            with pytest.raises(StoreError, match="disk full"):
                await session(server, ledger, tmp_path, limits=replace(QUICK, spool_above_bytes=100))
            await server.idle()
            assert not {"DELE", "QUIT"} & set(server.commands)
            assert len(server.mails) == 6
            assert not has_files(tmp_path)

            await session(server, ledger, tmp_path)

            assert ledger.contents == CONTENTS
            assert server.mails == []


async def test_cancelled_session_drops_the_connection_and_loses_nothing(tmp_path: Path) -> None:
    """Shutting down in the middle of a commit is like a cut."""
    committing = asyncio.Event()

    class Stuck(Ledger):
        is_stuck = True

        async def commit(self, batch: Sequence[Retrieved]) -> None:
            if self.is_stuck:
                committing.set()
                await asyncio.Event().wait()
            await super().commit(batch)

    ledger = Stuck()
    async with ScriptedServer(mails()) as server:
        task = asyncio.create_task(session(server, ledger, tmp_path, limits=replace(QUICK, spool_above_bytes=100)))
        await committing.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.idle()
        assert "QUIT" not in server.commands
        assert not has_files(tmp_path)

        ledger.is_stuck = False
        await session(server, ledger, tmp_path)
        assert ledger.contents == CONTENTS


# Lying servers


async def test_dele_that_is_not_done_is_repeated_a_bounded_number_of_times(tmp_path: Path) -> None:
    """The mail stays listed after a confirmed deletion: stored once, asked for a few times, then left alone."""

    def keep(session: Session, line: str) -> Reply | None:
        return Reply(b"+OK\r\n") if line.startswith("DELE") else None

    ledger = Ledger()
    async with ScriptedServer(mails(), hook=keep) as server:
        results = await sessions(server, ledger, tmp_path, count=6)

        assert ledger.contents == CONTENTS
        assert not {"RETR", "DELE"} & set(server.commands)
    assert isinstance(results[-1], IngestReport)
    assert (results[-1].set_aside, results[-1].retrieved) == (6, 0)


async def test_refused_dele_keeps_the_message_and_is_asked_again(tmp_path: Path) -> None:
    """-ERR to DELE is no reason to retrieve again, and the others are deleted."""

    def refuse(session: Session, line: str) -> Reply | None:
        return Reply(b"-ERR no\r\n") if line == "DELE 2" and session.number == 1 else None

    ledger = Ledger()
    async with ScriptedServer(mails(), hook=refuse) as server:
        first = await session(server, ledger, tmp_path)
        assert (first.deleted, first.kept, [mail.uidl for mail in server.mails]) == (5, 1, ["uidl-2"])

        second = await session(server, ledger, tmp_path)

        assert (second.retrieved, second.deleted, server.mails) == (0, 1, [])
    assert ledger.contents == CONTENTS


async def test_refused_quit_confirms_nothing(tmp_path: Path) -> None:
    """-ERR to QUIT: some, all or none were removed; the next session finds out."""

    def refuse(session: Session, line: str) -> Reply | None:
        return Reply(b"-ERR some not removed\r\n", Then.CUT) if line == "QUIT" and session.number == 1 else None

    ledger = Ledger()
    async with ScriptedServer(mails(), hook=refuse) as server:
        with pytest.raises(RefusedError):
            await session(server, ledger, tmp_path)
        assert {row.state for row in ledger.rows.values()} == {CustodyState.COMMITTED}

        second = await session(server, ledger, tmp_path)

    assert (second.retrieved, second.deleted) == (0, 6)
    assert ledger.contents == CONTENTS


@pytest.mark.parametrize("cut", [b"", b"x" * 2000 + b"\r\n"])
async def test_body_that_comes_short_once_is_stored_but_not_deleted_until_it_comes_whole(
    cut: bytes, tmp_path: Path
) -> None:
    """A valid end dot after half a mail, or none of it: the server's copy is what makes it good again."""

    def shorten(session: Session, line: str) -> Reply | None:
        return Reply(b"+OK\r\n" + cut + b".\r\n") if line == "RETR 6" and session.number == 1 else None

    ledger = Ledger()
    async with ScriptedServer(mails(), hook=shorten) as server:
        first = await session(server, ledger, tmp_path)
        assert (first.deleted, first.kept) == (5, 1)
        assert [mail.uidl for mail in server.mails] == ["uidl-6"]
        assert ledger.contents[cut] == 1 + (cut == b"")

        second = await session(server, ledger, tmp_path)

        assert (second.deleted, server.mails) == (1, [])
    assert ledger.contents == CONTENTS


async def test_list_that_always_says_too_much_costs_one_more_retrieval(tmp_path: Path) -> None:
    """The same octets in a second session are believed over LIST."""
    ledger = Ledger()
    async with ScriptedServer([Mail("u", b"body\r\n", size=1000)]) as server:
        results = await sessions(server, ledger, tmp_path, count=2)

        assert server.mails == []
    assert [(each.retrieved, each.deleted) for each in results if isinstance(each, IngestReport)] == [(1, 0), (1, 1)]
    assert ledger.contents == Counter([b"body\r\n"])


async def test_body_that_is_cut_differently_each_time_is_set_aside_and_never_deleted(tmp_path: Path) -> None:
    """Bounded tries also for a server that answers at random; the best copy so far stays."""

    def shorten(session: Session, line: str) -> Reply | None:
        return Reply(b"+OK\r\n" + b"x" * session.number + b"\r\n.\r\n") if line.startswith("RETR") else None

    ledger = Ledger()
    async with ScriptedServer([Mail("u", b"x" * 100 + b"\r\n")], hook=shorten) as server:
        results = await sessions(server, ledger, tmp_path, count=7)

        assert len(server.mails) == 1
    assert sum(ledger.contents.values()) == 1
    assert isinstance(results[-1], IngestReport)
    assert (results[-1].retrieved, results[-1].set_aside) == (0, 1)


async def test_message_that_is_refused_is_set_aside_after_bounded_tries(tmp_path: Path) -> None:
    """One bad message: the others are drained at once, and it is not asked for for ever."""

    def refuse(session: Session, line: str) -> Reply | None:
        number = line.removeprefix("RETR ")
        bad = number != line and server.mails[int(number) - 1].uidl == "uidl-3"
        return Reply(b"-ERR cannot read it\r\n") if bad else None

    ledger = Ledger()
    async with ScriptedServer(mails(), hook=refuse) as server:
        results = await sessions(server, ledger, tmp_path, count=5)

        assert [mail.uidl for mail in server.mails] == ["uidl-3"]
        assert "RETR" not in server.commands
    reports = [each for each in results if isinstance(each, IngestReport)]
    assert [(each.retrieved, each.deleted, each.kept, each.set_aside) for each in reports] == [
        (5, 5, 1, 0),
        (0, 0, 1, 0),
        (0, 0, 1, 0),
        (0, 0, 0, 1),
        (0, 0, 0, 1),
    ]
    assert len(ledger.errors) == 3


@pytest.mark.parametrize(
    ("poison", "error"),
    [
        (STALL, TooSlowError),
        (CUT, ConnectionLostError),
        (Reply(b"+OK\r\nhalf a ma", Then.STALL), TooSlowError),
        (Reply(b"+OK\r\nunstuffed\r\n.\r\nrest\r\n.\r\n"), ProtocolError),
    ],
)
@pytest.mark.parametrize("uidl", ["UIDL", "no"])
async def test_message_that_breaks_every_session_does_not_stop_the_others(
    poison: Reply, error: type[SyncdError], uidl: str, tmp_path: Path
) -> None:
    """Its first break costs one session; then the others flow, and it is tried alone until it is set aside."""

    def break_it(session: Session, line: str) -> Reply | None:
        if line == "UIDL" and uidl == "no":
            return Reply(b"-ERR what?\r\n")
        number = line.removeprefix("RETR ")
        bad = number != line and server.mails[int(number) - 1].uidl == "uidl-3"
        return poison if bad else None

    ledger = Ledger()
    async with ScriptedServer(mails(), hook=break_it) as server:
        results = await sessions(server, ledger, tmp_path, count=5, limits=replace(QUICK, inactivity_s=0.05))

        assert [mail.uidl for mail in server.mails] == ["uidl-3"]
    assert [type(each) for each in results] == [error, IngestReport, error, error, IngestReport]
    assert ledger.contents == CONTENTS - Counter([mails()[2].octets])
    last = results[-1]
    assert isinstance(last, IngestReport)
    assert (last.set_aside, last.kept) == (1, 0)


async def test_message_above_the_limit_is_set_aside_without_being_retrieved(tmp_path: Path) -> None:
    """It is told once, it costs nothing afterwards, and it is taken when the limit is raised."""
    ledger = Ledger()
    limits = replace(QUICK, message_bytes=1000)
    async with ScriptedServer(mails()) as server:
        results = await sessions(server, ledger, tmp_path, count=2, limits=limits)
        assert [each.set_aside for each in results if isinstance(each, IngestReport)] == [1, 1]
        assert [mail.uidl for mail in server.mails] == ["uidl-6"]
        assert len(ledger.errors) == 1

        await session(server, ledger, tmp_path)

        assert server.mails == []
    assert ledger.contents == CONTENTS


# UIDLs that are none


def bad_uidls(name: str, session: Session, count: int) -> Reply:
    """Return an answer to UIDL that gives no usable identity."""
    numbers = range(1, count + 1)
    match name:
        case "refused":
            return Reply(b"-ERR no\r\n")
        case "fresh":
            uidls = [f"{session.number}-{number}" for number in numbers]
        case "numbers":
            uidls = [str(number) for number in numbers]
        case "doubled":
            uidls = [f"same-{number // 3}" for number in numbers]
        case "long":
            uidls = ["u" * 5000 + str(number) for number in numbers]
        case _:
            uidls = [f"uidl-{number}" if number % 2 else "" for number in numbers]
    lines = "".join(f"{number} {uidl}\r\n" for number, uidl in zip(numbers, uidls, strict=True))
    return Reply(f"+OK\r\n{lines}.\r\n".encode())


@pytest.mark.parametrize("name", ["refused", "fresh", "numbers", "doubled", "long", "partial"])
@pytest.mark.parametrize("lost", ["QUIT", "DELE", "RETR 5", None])
async def test_bad_uidls_fall_back_to_content_and_repeat_nothing(name: str, lost: str | None, tmp_path: Path) -> None:
    """No identity, but also no duplicate, after an interruption anywhere; equal messages stay two."""

    def hook(session: Session, line: str) -> Reply | None:
        if lost and line.startswith(lost) and session.number < 3:
            return CUT
        return bad_uidls(name, session, len(server.mails)) if line == "UIDL" else None

    ledger = Ledger()
    async with ScriptedServer(mails(), hook=hook) as server:
        await sessions(server, ledger, tmp_path, count=4)

        assert server.mails == []
    assert ledger.contents == CONTENTS


async def test_uidl_that_is_reused_for_another_message_is_a_new_message(tmp_path: Path) -> None:
    """Same name, same size, other octets, after a confirmed deletion."""
    ledger = Ledger()
    async with ScriptedServer([Mail("u", b"first\r\n")]) as server:
        await session(server, ledger, tmp_path)
        server.mails = [Mail("u", b"other\r\n")]

        report = await session(server, ledger, tmp_path)

        assert (report.retrieved, report.duplicates, server.mails) == (1, 0, [])
    assert ledger.contents == Counter([b"first\r\n", b"other\r\n"])


async def test_message_not_listed_is_not_taken_for_deleted(tmp_path: Path) -> None:
    """A partial listing confirms nothing."""

    def partial(session: Session, line: str) -> Reply | None:
        match (session.number, line):
            case (1, "QUIT"):
                return CUT
            case (2, "STAT"):
                return Reply(b"+OK 0 0\r\n")
            case (2, "LIST" | "UIDL"):
                return Reply(b"+OK\r\n.\r\n")
        return None

    ledger = Ledger()
    async with ScriptedServer(mails(), hook=partial) as server:
        await sessions(server, ledger, tmp_path, count=2)
        assert {row.state for row in ledger.rows.values()} == {CustodyState.COMMITTED}

        third = await session(server, ledger, tmp_path)

    assert (third.retrieved, third.deleted) == (0, 6)


async def test_new_mail_during_the_session_waits_for_the_next_one(tmp_path: Path) -> None:
    """What was not listed is neither retrieved nor deleted."""

    def arrive(session: Session, line: str) -> Reply | None:
        if line == "QUIT" and session.number == 1:
            server.mails.append(Mail("late", b"late\r\n"))
        return None

    ledger = Ledger()
    async with ScriptedServer(mails(), hook=arrive) as server:
        await session(server, ledger, tmp_path)
        assert [mail.uidl for mail in server.mails] == ["late"]

        await session(server, ledger, tmp_path)

        assert server.mails == []
    assert ledger.contents == CONTENTS + Counter([b"late\r\n"])


async def test_logs_are_counts_only(tmp_path: Path) -> None:
    """No UIDL, no text of the server, no content."""

    def refuse(session: Session, line: str) -> Reply | None:
        return Reply(b"-ERR broken mail of someone@example.org\r\n") if line == "RETR 2" else None

    async with ScriptedServer(mails(), hook=refuse) as server:
        with structlog.testing.capture_logs() as logs:
            await session(server, Ledger(), tmp_path)

    assert [log["event"] for log in logs] == ["message_not_taken", "maildrop_ingested"]
    assert not any(word in str(logs) for word in ("uidl-", "example.org", "twin", "secret"))
