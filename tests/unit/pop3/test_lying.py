"""The chain of custody against servers that lie: no DELE without a whole mail, and no work for ever."""

from collections import Counter
from pathlib import Path

import pytest

from syncd.errors import ConnectionLostError, ProtocolError, RefusedError, SyncdError, TooSlowError
from syncd.pop3.custody import CustodyState
from syncd.pop3.ingest import IngestReport
from syncd.values import replace
from tests.unit.pop3.drains import CONTENTS, mails, session, sessions
from tests.unit.pop3.ledger import Ledger
from tests.unit.pop3.scripted import CUT, QUICK, STALL, Mail, Reply, ScriptedServer, Session, Then


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
        assert {row.state for row in ledger.rows.values()} == {CustodyState.ASKED}

        second = await session(server, ledger, tmp_path)

    assert (second.retrieved, second.duplicates, second.deleted) == (6, 6, 6)
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
    limits = replace(QUICK, inactivity_s=0.3) if error is TooSlowError else QUICK
    async with ScriptedServer(mails(), hook=break_it) as server:
        results = await sessions(server, ledger, tmp_path, count=5, limits=limits)

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
