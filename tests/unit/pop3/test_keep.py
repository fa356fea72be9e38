"""Sessions that leave what is committed on the server for a time: cut anywhere, lied to, and asked for little."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from syncd.errors import SyncdError
from syncd.pop3.connection import Connection
from syncd.pop3.custody import CustodyState, Term
from syncd.pop3.ingest import IngestReport, ingest
from syncd.pop3.unnamed import Unnamed
from tests.unit.pop3.drains import CONTENTS, SMALL_BATCHES, Watched, mails
from tests.unit.pop3.ledger import Ledger
from tests.unit.pop3.scripted import CUT, QUICK, Mail, Reply, ScriptedServer, Session
from tests.unit.pop3.test_identity import bad_uidls

DAY_S = 86400.0
FOREVER = Term(None)


async def session(
    server: ScriptedServer,
    ledger: Ledger,
    spool: Path,
    term: Term | Callable[[], Term],
    unnamed: Unnamed | None = None,
) -> IngestReport | SyncdError:
    """Run one session, whatever becomes of it."""
    asked = term if callable(term) else lambda: term
    ledger.now = asked().now
    try:
        async with await Connection.open(server.endpoint(), QUICK) as connection:
            await connection.login("someone", "secret")
            return await ingest(connection, ledger, spool=spool, limits=SMALL_BATCHES, term=asked, unnamed=unnamed)
    except SyncdError as error:
        return error
    finally:
        await server.idle()


@pytest.mark.parametrize(
    "verb", ["STAT", "LIST", "UIDL", "RETR 1", "RETR 4", "RETR 6", "NOOP", "DELE 1", "DELE 5", "QUIT"]
)
async def test_session_cut_at_any_command_keeps_and_deletes_what_it_should(verb: str, tmp_path: Path) -> None:
    """Nothing goes before its time, all goes then, no message is doubled, and none is deleted before it is stored."""
    is_cut = True

    def cut(_: Session, line: str) -> Reply | None:
        nonlocal is_cut
        if is_cut and line.startswith(verb):
            is_cut = False
            return CUT
        return None

    ledger = Ledger()
    watched = Watched(ledger, cut)
    async with ScriptedServer(mails(), hook=watched) as server:
        watched.server = server
        for _ in range(4):
            await session(server, ledger, tmp_path, Term(DAY_S, 0.0))
        assert (len(server.mails), ledger.contents) == (6, CONTENTS)

        is_cut = True
        for _ in range(3):
            await session(server, ledger, tmp_path, Term(DAY_S, 2 * DAY_S))
        assert (server.mails, ledger.contents, watched.violations) == ([], CONTENTS, [])


@pytest.mark.parametrize("name", ["refused", "numbers", "doubled", "long"])
async def test_what_stays_without_a_uidl_is_retrieved_once_a_day(name: str, tmp_path: Path) -> None:
    """Its content decides, equal messages stay two, a new one is noticed at once, and all goes in the end."""
    ledger, unnamed = Ledger(), Unnamed()
    async with ScriptedServer(mails()) as server:
        server.hook = lambda session, line: bad_uidls(name, session, server.mails) if line == "UIDL" else None
        counts: list[int] = []
        for now in (0.0, 60.0, 120.0, DAY_S - 1, DAY_S + 1, DAY_S + 60):
            await session(server, ledger, tmp_path, Term(7 * DAY_S, now), unnamed)
            counts.append(server.commands.count("RETR"))
        # The empty one is believed when it came twice.
        assert (counts[0], counts[2], counts[3], counts[4], counts[5]) == (6, 0, 0, 6, 0)
        assert (len(server.mails), ledger.contents) == (6, CONTENTS)

        server.mails.append(Mail("same", b"new and of its own size\r\n"))
        await session(server, ledger, tmp_path, Term(7 * DAY_S, DAY_S + 120), unnamed)
        assert server.commands.count("RETR") == 1
        wanted = CONTENTS + Counter([server.mails[-1].octets])
        assert ledger.contents == wanted
        for _ in range(3):
            await session(server, ledger, tmp_path, Term(7 * DAY_S, 9 * DAY_S), unnamed)
        assert (server.mails, ledger.contents) == ([], wanted)


async def test_message_of_the_size_of_one_that_others_deleted_is_noticed_within_a_day(tmp_path: Path) -> None:
    """Nothing is deleted by what is believed meanwhile."""
    ledger, unnamed = Ledger(), Unnamed()
    async with ScriptedServer([Mail("same", b"aa\r\n"), Mail("same", b"bb\r\n")]) as server:
        await session(server, ledger, tmp_path, Term(DAY_S, 0.0), unnamed)
        server.mails = [Mail("same", b"bb\r\n"), Mail("same", b"cc\r\n")]
        await session(server, ledger, tmp_path, Term(DAY_S, 60.0), unnamed)
        assert server.commands.count("RETR") == 0

        for now in (DAY_S + 1, DAY_S + 2):
            await session(server, ledger, tmp_path, Term(DAY_S, now), unnamed)

        assert ledger.contents == Counter([b"aa\r\n", b"bb\r\n", b"cc\r\n"])
        assert [mail.octets for mail in server.mails] == [b"cc\r\n"]
        assert Counter(row.state for row in ledger.rows.values()) == {
            CustodyState.UNLISTED: 1,
            CustodyState.DELETED: 1,
            CustodyState.COMMITTED: 1,
        }


@pytest.mark.parametrize("gone", [0, 1, 2])
async def test_messages_of_one_size_are_not_doubled_when_one_of_them_goes(gone: int, tmp_path: Path) -> None:
    """Its time being over, those behind it are listed at other places; what was believed of these counts no more."""
    ledger, unnamed = Ledger(), Unnamed()
    mails = [Mail("same", octets) for octets in (b"aa\r\n", b"bb\r\n", b"cc\r\n")]
    async with ScriptedServer([mails[gone]]) as server:
        await session(server, ledger, tmp_path, Term(DAY_S, 0.0), unnamed)
        server.mails = list(mails)
        unnamed.forget()
        await session(server, ledger, tmp_path, Term(DAY_S, DAY_S / 2), unnamed)
        await session(server, ledger, tmp_path, Term(DAY_S, DAY_S + 60), unnamed)
        left = [mail for mail in mails if mail is not mails[gone]]
        assert server.mails == left

        for minutes in range(2, 5):
            await session(server, ledger, tmp_path, Term(DAY_S, DAY_S + minutes * 60), unnamed)
        assert server.commands.count("RETR") == 0
        assert (server.mails, ledger.contents) == (left, Counter(mail.octets for mail in mails))

        for minutes in range(2):
            await session(server, ledger, tmp_path, Term(DAY_S, 2 * DAY_S + minutes * 60), unnamed)
        assert (server.mails, ledger.contents) == ([], Counter(mail.octets for mail in mails))


async def test_half_a_message_without_uidl_is_tried_beside_those_of_its_size(tmp_path: Path) -> None:
    """What stays is believed as ever, so that it is retrieved by itself; what comes twice is the message."""

    def halve(session: Session, line: str) -> Reply | None:
        return Reply(b"+OK\r\nb\r\n.\r\n") if line == "RETR 2" else None

    ledger, unnamed = Ledger(), Unnamed()
    mails = [Mail("same", octets) for octets in (b"aa\r\n", b"bb\r\n", b"cc\r\n")]
    async with ScriptedServer(mails, hook=halve) as server:
        reports = [await session(server, ledger, tmp_path, Term(DAY_S, 60.0 * nth), unnamed) for nth in range(5)]

    found = [(one.retrieved, one.set_aside) for one in reports if isinstance(one, IngestReport)]
    assert found == [(3, 0), (1, 0), (0, 0), (0, 0), (0, 0)]
    assert ledger.contents == Counter([b"aa\r\n", b"b\r\n", b"cc\r\n"])


async def test_server_that_gives_no_uidls_any_more_is_asked_for_its_mail_once(tmp_path: Path) -> None:
    """Then it is as one that never gave any; nothing is doubled, and all goes when its time is over."""
    ledger, unnamed = Ledger(), Unnamed()
    async with ScriptedServer(mails()) as server:
        for _ in range(2):
            await session(server, ledger, tmp_path, Term(DAY_S, 0.0), unnamed)
        server.hook = lambda session, line: Reply(b"-ERR no\r\n") if line == "UIDL" else None
        counts: list[int] = []
        for _ in range(4):
            await session(server, ledger, tmp_path, Term(DAY_S, 60.0), unnamed)
            counts.append(server.commands.count("RETR"))
        assert counts == [6, 0, 0, 0]
        assert (len(server.mails), ledger.contents) == (6, CONTENTS)

        for _ in range(2):
            await session(server, ledger, tmp_path, Term(DAY_S, DAY_S + 60.0), unnamed)
        assert (server.mails, ledger.contents) == ([], CONTENTS)


async def test_listing_that_is_cut_short_costs_a_download_and_no_message(tmp_path: Path) -> None:
    """What is not listed once is retrieved when it is again, known by its octets, and kept."""
    ledger = Ledger()
    async with ScriptedServer(mails()) as server:
        await session(server, ledger, tmp_path, FOREVER)
        await session(server, ledger, tmp_path, FOREVER)
        everything, server.mails = server.mails, server.mails[:2]
        await session(server, ledger, tmp_path, FOREVER)
        server.mails = everything
        await session(server, ledger, tmp_path, FOREVER)
        await session(server, ledger, tmp_path, FOREVER)

        assert server.commands.count("RETR") == 0
        assert (len(server.mails), ledger.contents) == (6, CONTENTS)


@pytest.mark.parametrize("later", [FOREVER, Term(7 * DAY_S, DAY_S)])
@pytest.mark.parametrize("is_unnamed", [False, True])
async def test_term_that_is_raised_during_a_session_saves_what_it_would_delete(
    later: Term, is_unnamed: bool, tmp_path: Path
) -> None:
    """What it retrieves, and what was there before and was over; a later term deletes that all the same."""
    ledger, term = Ledger(), Term(DAY_S, 0.0)

    def raise_it(_: Session, line: str) -> Reply | None:
        nonlocal term
        if line.startswith("RETR") and term.now > 0:
            term = later
        return Reply(b"-ERR no\r\n") if line == "UIDL" and is_unnamed else None

    async with ScriptedServer(mails()[:2], hook=raise_it) as server:
        await session(server, ledger, tmp_path, lambda: term)
        server.mails.append(mails()[2])
        term = Term(0.0, DAY_S)
        report = await session(server, ledger, tmp_path, lambda: term)
        assert isinstance(report, IngestReport)
        assert (report.deleted, report.kept, len(server.mails), server.commands.count("DELE")) == (0, 3, 3, 0)
        assert {row.state for row in ledger.rows.values()} == {CustodyState.COMMITTED}

        server.hook = lambda session, line: Reply(b"-ERR no\r\n") if line == "UIDL" and is_unnamed else None
        term = Term(0.0, DAY_S)
        await session(server, ledger, tmp_path, lambda: term)
        assert (server.mails, ledger.contents) == ([], Counter(mail.octets for mail in mails()[:3]))


async def test_term_that_is_lowered_during_a_session_counts_from_the_next(tmp_path: Path) -> None:
    """Nothing is deleted that it did not mean to delete when it began."""
    ledger, term = Ledger(), FOREVER

    def lower(_: Session, line: str) -> Reply | None:
        nonlocal term
        if line.startswith("RETR"):
            term = Term()
        return None

    async with ScriptedServer(mails(), hook=lower) as server:
        await session(server, ledger, tmp_path, lambda: term)
        assert len(server.mails) == 6
        await session(server, ledger, tmp_path, lambda: term)
        assert (server.mails, ledger.contents) == ([], CONTENTS)


async def test_server_that_does_not_delete_is_left_alone_once_its_mail_is_to_stay(tmp_path: Path) -> None:
    """No error is told of it any more, and it has new tries when the mail is to go."""

    def refuse(_: Session, line: str) -> Reply | None:
        return Reply(b"-ERR no\r\n") if line.startswith("DELE") else None

    ledger = Ledger()
    async with ScriptedServer([Mail("u", b"one\r\n")], hook=refuse) as server:
        for _ in range(4):
            await session(server, ledger, tmp_path, Term())
        assert (ledger.rows["u"].tries, ledger.rows["u"].is_troubled) == (3, True)

        await session(server, ledger, tmp_path, FOREVER)
        assert not ledger.rows["u"].is_troubled
        server.hook = lambda session, line: None
        report = await session(server, ledger, tmp_path, Term())
        assert isinstance(report, IngestReport)
        assert (report.deleted, server.mails) == (1, [])
