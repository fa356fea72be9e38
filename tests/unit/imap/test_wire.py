"""Regressions on our layer for what the stock library loses, swaps, or never wakes."""

import asyncio
import logging

import pytest
import structlog

from syncd.errors import ConnectionLostError, ProtocolError, RefusedError
from syncd.imap.connection import ImapConnection
from syncd.imap.types import Appended, Resync
from syncd.mail.uidset import UID_MAX, UidSet
from tests.unit.imap.appending import append
from tests.unit.imap.scripted import SELECTED, Peer, connected

ALL = UidSet.span(1, UID_MAX)


async def select(connection: ImapConnection) -> None:
    await connection.select(b"INBOX")


async def uids_of(connection: ImapConnection, uids: UidSet = ALL) -> list[int]:
    return [row.uid async for batch in connection.fetch_rows(uids) for row in batch]


async def test_thousands_of_lines_in_one_read_all_arrive() -> None:
    """A QRESYNC SELECT whose answer comes in one piece is read whole."""
    count = 20_000
    rows = b"".join(b"* %d FETCH (UID %d FLAGS (\\Seen) MODSEQ (12))\r\n" % (n, n) for n in range(1, count + 1))

    async def script(peer: Peer) -> None:
        await peer.answer(b'SELECT "INBOX" (QRESYNC (7 5))', SELECTED + b"* VANISHED (EARLIER) 8:9\r\n" + rows)

    async with connected(script) as connection:
        selected = await connection.select(b"INBOX", qresync=Resync(7, 5))

    assert count == len(selected.rows)
    assert UidSet.span(8, 9) == selected.vanished
    assert (selected.uidvalidity, selected.uidnext, selected.highestmodseq) == (7, 4, 10)


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
        found = await asyncio.gather(*(append(connection, b"INBOX", body) for body in bodies))

    assert sorted(bodies) == sorted(appended)
    assert [appended.index(body) + 1 for body in bodies] == [where.uid for where in found if where]
    assert Appended(7, 1) in found


@pytest.mark.parametrize("body", [b"x" * 100, b""])
async def test_append_that_is_refused_before_its_literal_leaves_the_connection_good(body: bytes) -> None:
    """NO instead of `+` ends one APPEND, and nothing of the body is sent."""

    async def script(peer: Peer) -> None:
        line = await peer.reader.readline()
        await peer.send(line.partition(b" ")[0] + b" NO [OVERQUOTA] full\r\n")
        await peer.answer(b"NOOP")

    async with connected(script, capabilities=b"IMAP4rev1") as connection:
        with pytest.raises(RefusedError) as refused:
            await append(connection, b"INBOX", body)
        await connection.noop()

    assert refused.value.code == "OVERQUOTA"


async def test_lines_that_are_said_again_are_heard_again() -> None:
    """Those that are not, and what is between them, are what they are."""
    lines = [b'* LIST () "/" Box%d\r\n* STATUS Box%d (UIDNEXT %d)\r\n' % (n, n, n) for n in range(1, 5)]
    counts: list[list[int | None]] = []

    async def script(peer: Peer) -> None:
        await peer.answer(b"LIST", b"".join(lines))
        await peer.answer(b"LIST", b"".join(lines))
        await peer.answer(b"LIST", b"".join(lines).replace(b"UIDNEXT 3)", b"UIDNEXT 7)\r\n* 4 EXISTS\r\n* OK hm"))

    async with connected(script, capabilities=b"IMAP4rev1 LIST-STATUS") as connection:
        for _ in range(3):
            listed = await connection.list_mailboxes(with_status=True)
            counts.append([one.status.uidnext if one.status else None for one in listed])
        assert connection.exists == 4

    assert counts == [[1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 7, 4]]


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
        assert has_bye == str(results[0]).endswith('"see <address>"')
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
                await append(connection, b"INBOX", b"Subject: private\r\n\r\n")

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
