"""Regressions on our layer for what the stock library loses, swaps, or never wakes; and its limits."""

import asyncio
import logging
import time

import pytest
import structlog

from syncd.errors import ConnectionLostError, ProtocolError, RefusedError, TooSlowError
from syncd.imap.connection import ImapConnection
from syncd.imap.limits import Limits
from syncd.imap.types import Appended, FetchRow, RowBatch
from syncd.mail.uidset import UID_MAX, UidSet
from tests.unit.imap.scripted import SELECTED, Peer, connected, serve

ALL = UidSet.span(1, UID_MAX)


async def select(connection: ImapConnection) -> None:
    await connection.select(b"INBOX")


async def uids_of(connection: ImapConnection, uids: UidSet = ALL) -> list[int]:
    return [row.uid async for batch in connection.fetch_rows(uids) for row in batch.rows]


async def test_thousands_of_lines_in_one_read_all_arrive() -> None:
    """A QRESYNC SELECT whose answer comes in one piece is read whole."""
    count = 20_000
    rows = b"".join(b"* %d FETCH (UID %d FLAGS (\\Seen) MODSEQ (12))\r\n" % (n, n) for n in range(1, count + 1))

    async def script(peer: Peer) -> None:
        await peer.answer(b'SELECT "INBOX" (QRESYNC (7 5))', SELECTED + b"* VANISHED (EARLIER) 8:9\r\n" + rows)

    async with connected(script) as connection:
        selected = await connection.select(b"INBOX", qresync=(7, 5, UidSet()))

    assert count == len(selected.rows)
    assert UidSet.span(8, 9) == selected.vanished
    assert (selected.uidvalidity, selected.uidnext, selected.highestmodseq) == (7, 4, 10)


async def test_expunges_of_another_device_in_one_noop_are_all_counted() -> None:
    """Three thousand EXPUNGE responses in one read are three thousand events."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED.replace(b"3 EXISTS", b"3003 EXISTS"))
        await peer.answer(b"NOOP", b"* 1 EXPUNGE\r\n" * 3000)

    async with connected(script) as connection:
        await select(connection)
        await connection.noop()

        assert connection.drain_events().expunged == 3000
        assert connection.exists == 3


@pytest.mark.parametrize("capabilities", [b"IMAP4rev1 LITERAL+", b"IMAP4rev1 LITERAL-", b"IMAP4rev1"])
async def test_concurrent_appends_keep_their_bodies(capabilities: bytes) -> None:
    """Whoever appends at the same time, each message arrives under its own command."""
    bodies = [b"%d" % n * 5 for n in range(8)]
    appended: list[bytes] = []

    async def script(peer: Peer) -> None:
        for uid in range(1, len(bodies) + 1):
            command = await peer.expect(b'APPEND "INBOX" ')
            appended.append(command.rpartition(b"\r\n")[2])
            await peer.ok(text=b"[APPENDUID 7 %d] done" % uid)

    async with connected(script, capabilities=capabilities) as connection:
        found = await asyncio.gather(*(connection.append(b"INBOX", body) for body in bodies))

    assert sorted(bodies) == sorted(appended)
    assert [appended.index(body) + 1 for body in bodies] == [where.uid for where in found if where]
    assert Appended(7, 1) in found


async def test_append_that_is_refused_before_its_literal_leaves_the_connection_good() -> None:
    """NO instead of `+` ends one APPEND, and nothing of the body is sent."""

    async def script(peer: Peer) -> None:
        line = await peer.reader.readline()
        await peer.send(line.partition(b" ")[0] + b" NO [OVERQUOTA] full\r\n")
        await peer.answer(b"NOOP")

    async with connected(script, capabilities=b"IMAP4rev1") as connection:
        with pytest.raises(RefusedError) as refused:
            await connection.append(b"INBOX", b"x" * 100)
        await connection.noop()

    assert refused.value.code == "OVERQUOTA"


async def test_news_during_a_fetch_is_neither_lost_nor_taken_for_an_answer() -> None:
    """VANISHED, EXISTS and rows of other UIDs that come within a FETCH are events."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)
        news = b"* VANISHED 2\r\n* 9 EXISTS\r\n* 5 FETCH (UID 50 FLAGS (\\Flagged) MODSEQ (11))\r\n"
        await peer.answer(
            b"UID FETCH 1:3 ", b"* 1 FETCH (UID 1 FLAGS ())\r\n" + news + b"* 2 FETCH (UID 3 FLAGS ())\r\n"
        )

    async with connected(script) as connection:
        await select(connection)
        uids = await uids_of(connection, UidSet.span(1, 3))
        events = connection.drain_events()

    assert uids == [1, 3]
    assert UidSet.of([2]) == events.vanished
    assert 9 == events.exists == connection.exists
    assert (FetchRow(50, frozenset({"\\Flagged"}), 11, None, None, None),) == events.rows
    assert not connection.drain_events()


async def test_earlier_vanished_comes_with_the_rows() -> None:
    """CHANGEDSINCE with VANISHED yields the expunged UIDs beside the rows."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)
        answer = b"* VANISHED (EARLIER) 1:2\r\n* 1 FETCH (UID 3 MODSEQ (12) FLAGS (x))\r\n"
        await peer.answer(b"UID FETCH 1:9 (UID FLAGS MODSEQ) (CHANGEDSINCE 10 VANISHED)", answer)

    async with connected(script) as connection:
        await select(connection)
        batches = [
            batch async for batch in connection.fetch_rows(UidSet.span(1, 9), changed_since=10, with_vanished=True)
        ]

    row = FetchRow(3, frozenset({"x"}), 12, None, None, None)
    assert [RowBatch((row,), UidSet.span(1, 2))] == batches


async def test_event_read_together_with_the_end_of_idle_is_kept() -> None:
    """What arrives in one read with the tagged end of IDLE is an event like any other."""
    done = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)
        await peer.expect(b"IDLE")
        tag = peer.tag
        await peer.send(b"+ idling\r\n")
        done.set()
        assert await peer.line() == b"DONE"
        await peer.send(b"* 4 EXISTS\r\n* VANISHED 1\r\n" + tag + b" OK idle ended\r\n")

    async with connected(script) as connection:
        await select(connection)
        assert await connection.idle(timeout_s=10, until=done)
        events = connection.drain_events()

    assert (4, UidSet.of([1])) == (events.exists, events.vanished)


async def test_event_before_the_server_goes_idle_ends_idle() -> None:
    """EXISTS ahead of `+ idling` counts, and IDLE ends at once."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)
        await peer.expect(b"IDLE")
        tag = peer.tag
        await peer.send(b"* 4 EXISTS\r\n+ idling\r\n")
        assert await peer.line() == b"DONE"
        await peer.send(tag + b" OK idle ended\r\n")

    async with connected(script) as connection:
        await select(connection)
        assert await connection.idle(timeout_s=10)
        assert connection.drain_events().exists == 4


async def test_idle_that_the_server_ends_is_over() -> None:
    """A tagged answer without DONE ends the wait at once."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)
        await peer.expect(b"IDLE")
        await peer.send(b"+ idling\r\n")
        await peer.ok(text=b"that was long enough")
        await peer.answer(b"NOOP")

    async with connected(script) as connection:
        await select(connection)
        assert not await asyncio.wait_for(connection.idle(timeout_s=600), 5)
        await connection.noop()


async def test_repeated_count_is_no_news() -> None:
    """A server that says the same EXISTS in every IDLE does not keep us busy."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)
        await peer.answer(b"NOOP", b"* 3 EXISTS\r\n* 0 RECENT\r\n* OK Still here\r\n")

    async with connected(script) as connection:
        await select(connection)
        await connection.noop()
        assert not connection.has_events


async def test_select_without_exists_is_no_empty_mailbox() -> None:
    """Zero messages have to be said."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED.replace(b"* 3 EXISTS\r\n", b""))

    async with connected(script) as connection:
        with pytest.raises(ProtocolError):
            await select(connection)


async def test_news_of_the_mailbox_before_is_not_news_of_the_next() -> None:
    """What comes before CLOSED within SELECT belongs to the mailbox that is left."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)
        late = b"* 1 EXPUNGE\r\n* 99 EXISTS\r\n* VANISHED 1\r\n* 2 FETCH (FLAGS ())\r\n* OK [CLOSED] left\r\n"
        await peer.answer(b"SELECT", late + SELECTED)

    async with connected(script) as connection:
        await select(connection)
        selected = await connection.select(b"Other")
        assert (selected.exists, connection.exists) == (3, 3)
        assert not selected.vanished
        assert not connection.has_events


async def test_mailbox_name_with_star_and_space_survives() -> None:
    """Names come out of LIST as the server wrote them, in any form, and go back quoted or as a literal."""

    async def script(peer: Peer) -> None:
        names = b'* LIST () "/" "a* b"\r\n* LIST () NIL {8}\r\nx "\\y*  {5}\r\n' + b'* LIST () "/" atom\r\n'
        await peer.answer(b'LIST "" "*"', names.replace(b"{5}", b""))
        await peer.answer(b'SELECT "a* b"', SELECTED)
        await peer.answer(b"SELECT {4+}\r\n\xc3\xa9xy", SELECTED)

    async with connected(script) as connection:
        listed = await connection.list_mailboxes()
        await connection.select(b"a* b")
        await connection.select(b"\xc3\xa9xy")

    assert [entry.octets for entry in listed] == [b"a* b", b'x "\\y*  ', b"atom"]
    assert [entry.delimiter for entry in listed] == ["/", None, "/"]


async def test_status_text_that_looks_like_a_literal_swallows_nothing() -> None:
    """`{5}` at the end of a human text announces nothing."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", b"* OK thanks {5}\r\n" + SELECTED)

    async with connected(script) as connection:
        assert (await connection.select(b"INBOX")).exists == 3


@pytest.mark.parametrize("has_bye", [True, False])
async def test_lost_connection_wakes_everybody(*, has_bye: bool) -> None:
    """Every command, sent or still waiting, fails at once when the server goes; the reason is the server's."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)
        await peer.expect(b"NOOP")
        if has_bye:
            await peer.send(b"* BYE see ana@example.org\r\n")
        peer.writer.close()

    async with connected(script) as connection:
        await select(connection)
        waiting = [
            connection.noop(),
            uids_of(connection),
            connection.idle(timeout_s=600),
            connection.search_uids("ALL"),
        ]
        results = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5)

        assert [ConnectionLostError] * 4 == [type(result) for result in results]
        assert has_bye == str(results[0]).endswith("see <address>")
        assert not connection.is_usable
        with pytest.raises(ConnectionLostError):
            await connection.noop()


async def test_cancelled_command_ends_the_connection_and_its_neighbours() -> None:
    """A command that was given up may still be answered, so nothing may use the connection after it."""
    seen = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.expect(b"NOOP")
        seen.set()
        await peer.gone()

    async with connected(script) as connection:
        first = asyncio.ensure_future(connection.noop())
        second = asyncio.ensure_future(connection.noop())
        await seen.wait()
        first.cancel()

        with pytest.raises(asyncio.CancelledError):
            await first
        with pytest.raises(ConnectionLostError):
            await second
        assert not connection.is_usable


async def test_command_cancelled_before_it_is_sent_harms_nobody() -> None:
    """Only a command on the wire ties the connection to it."""
    seen, go_on = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.expect(b"NOOP")
        seen.set()
        await go_on.wait()
        await peer.ok()
        await peer.answer(b"SELECT", SELECTED)

    async with connected(script) as connection:
        first = asyncio.ensure_future(connection.noop())
        second = asyncio.ensure_future(connection.noop())
        await seen.wait()
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        go_on.set()
        await first
        await select(connection)


async def test_late_answer_after_a_deadline_reaches_nobody() -> None:
    """A deadline ends the connection; what the server says afterwards is never read."""
    late = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.expect(b"NOOP")
        await late.wait()
        await peer.ok(b"* 5 EXISTS\r\n")
        await peer.gone()

    async with connected(script, limits=Limits(command_s=0.1)) as connection:
        with pytest.raises(TooSlowError):
            await connection.noop()
        late.set()
        with pytest.raises(ConnectionLostError):
            await connection.noop()
        assert not connection.drain_events()


async def test_doubled_tagged_line_is_ignored_and_an_invented_one_is_not() -> None:
    """A tag that was answered already is late; a tag that was never sent means we do not understand each other."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"NOOP")
        await peer.ok(text=b"again")
        await peer.answer(b"NOOP")
        await peer.expect(b"NOOP")
        await peer.send(b"ZZ99 OK what\r\n")
        await peer.gone()

    async with connected(script) as connection:
        await connection.noop()
        await connection.noop()
        with pytest.raises(ProtocolError):
            await connection.noop()


async def test_trickling_server_meets_the_overall_deadline() -> None:
    """Bytes that keep coming do not prolong a command."""
    is_over = False

    async def script(peer: Peer) -> None:
        await peer.expect(b"NOOP")
        while not is_over:
            try:
                await peer.send(b"* OK still here\r\n")
            except ConnectionError:
                return
            await asyncio.sleep(0.01)

    async with connected(script, limits=Limits(command_s=0.2)) as connection:
        begun = time.monotonic()
        with pytest.raises(TooSlowError, match="did not end noop in time"):
            await connection.noop()
        is_over = True

    assert time.monotonic() - begun < 5


async def test_silent_server_is_noticed_before_the_deadline() -> None:
    """A command without any answer fails after the time of inactivity."""

    async def script(peer: Peer) -> None:
        await peer.expect(b"NOOP")
        await peer.gone()

    async with connected(script, limits=Limits(inactivity_s=0.1)) as connection:
        with pytest.raises(TooSlowError, match="fell silent"):
            await connection.noop()


async def test_idle_may_be_silent_but_its_end_may_not() -> None:
    """Inactivity does not count while idling; a server that ignores DONE is noticed."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)
        await peer.expect(b"IDLE")
        await peer.send(b"+ idling\r\n")
        assert await peer.line() == b"DONE"
        await peer.gone()

    async with connected(script, limits=Limits(inactivity_s=0.1)) as connection:
        await select(connection)
        begun = time.monotonic()
        with pytest.raises(TooSlowError, match="fell silent"):
            await connection.idle(timeout_s=0.4)

    assert time.monotonic() - begun >= 0.4


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(b"* OK " + b"x" * 5000, id="line"),
        pytest.param(b"* LIST () NIL {9999999999}\r\n", id="literal"),
        pytest.param(b"* LIST () NIL {99999999999999999999999}\r\n", id="huge literal"),
        pytest.param(b"* LIST () NIL {-5}\r\n", id="negative literal"),
        pytest.param(b"* LIST () NIL {0x10}\r\n", id="hexadecimal literal"),
        pytest.param(b"* LIST () NIL {}\r\n", id="empty literal size"),
        pytest.param(b"* LIST () NIL {900}\r\n" + b"x" * 900 + b" {900}\r\n", id="response"),
        pytest.param(b"* LIST () NIL {2000}\r\n", id="large literal that nobody asked for"),
        pytest.param(b"* 1 EXISTS\r\n" * 101, id="count of responses"),
        pytest.param(b"\x00\xff\r\n", id="noise"),
        pytest.param(b"* 1 FETCH (((((\r\n", id="unbalanced"),
        pytest.param(b"* 1 FETCH " + b"(" * 1500 + b")" * 1500 + b"\r\n", id="depth"),
        pytest.param(b'* LIST () "/" "x\r\n', id="unended string"),
        pytest.param(b"* 4294967296 EXISTS\r\n", id="number"),
        pytest.param(b"* SEARCH 1 2 x\r\n", id="search"),
        pytest.param(b"* LIST () too NIL\r\n", id="delimiter"),
    ],
)
async def test_malformed_or_excessive_data_ends_the_connection(octets: bytes) -> None:
    """Beyond a limit, or without sense, there is no going on; the command gets ProtocolError at once."""
    limits = Limits(
        line_max_bytes=4000,
        literal_max_bytes=10_000,
        memory_literal_max_bytes=1000,
        response_max_bytes=1500,
        untagged_max=100,
    )

    async def script(peer: Peer) -> None:
        await peer.expect(b"NOOP")
        await peer.send(octets)
        await peer.gone()

    async with connected(script, limits=limits) as connection:
        with pytest.raises(ProtocolError):
            await connection.noop()
        assert not connection.is_usable


async def test_long_line_before_login_is_refused() -> None:
    """A greeting has no reason to be long."""

    async def script(peer: Peer) -> None:
        await peer.send(b"* OK " + b"x" * 100_000)
        await peer.gone()

    async with serve(script) as served:
        with pytest.raises(ProtocolError):
            await ImapConnection.open(served.endpoint)
        await served.finish()


async def test_reading_pauses_while_rows_are_not_taken() -> None:
    """A slow reader holds the server back instead of filling memory."""
    count = 100_000
    blocked = asyncio.Event()
    keywords = b"x" * 150

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)
        await peer.expect(b"UID FETCH")
        for first in range(1, count, 1000):
            lines = (b"* %d FETCH (UID %d FLAGS (%s))\r\n" % (n, n, keywords) for n in range(first, first + 1000))
            sending = asyncio.ensure_future(peer.send(b"".join(lines)))
            if not (await asyncio.wait([sending], timeout=1.0))[0]:
                blocked.set()
            await sending
        await peer.ok()

    async with connected(script, limits=Limits(held_max_bytes=400_000, command_s=60)) as connection:
        await select(connection)
        rows = connection.fetch_rows(ALL)
        total = len((await anext(rows)).rows)
        await asyncio.wait_for(blocked.wait(), 20)
        async for batch in rows:
            total += len(batch.rows)

    assert count == total


async def test_time_in_which_we_did_not_read_is_not_the_servers() -> None:
    """Neither the deadline nor the inactivity of a command counts while reading is paused for our sake."""
    limits = Limits(held_max_bytes=10, command_s=0.3, inactivity_s=0.3)
    seen = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.expect(b"NOOP")
        seen.set()
        await peer.ok()

    async with connected(script, limits=limits) as connection:
        wire = connection._session.wire
        wire.hold(11)
        noop = asyncio.ensure_future(connection.noop())
        await seen.wait()
        assert not (await asyncio.wait([noop], timeout=0.8))[0]
        wire.release(11)
        await noop


async def test_logs_hold_no_content() -> None:
    """At debug level the names and results of commands are logged, and nothing that was in them."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)
        await peer.expect(b"APPEND")
        await peer.no(b"[OVERQUOTA] not for ana@example.org")

    with structlog.testing.capture_logs() as logs:
        async with connected(script) as connection:
            await connection.select(b"Confidential")
            with pytest.raises(RefusedError):
                await connection.append(b"INBOX", b"Subject: private\r\n\r\n")

    said = repr(logs)
    assert "LOGIN" in said
    assert not [word for word in ("secret", "ana", "private", "Confidential") if word in said]


async def test_stock_library_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """No octet of the wire reaches the library's own logger, which would format and show all of it."""
    caplog.set_level(logging.DEBUG)

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)

    async with connected(script) as connection:
        await select(connection)
        await connection.aclose()

    assert [record for record in caplog.records if record.name.startswith("aioimaplib")] == []
