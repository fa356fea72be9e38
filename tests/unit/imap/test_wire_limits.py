"""No server can make us wait, read or hold without end."""

import asyncio
import time

import pytest

from syncd.errors import ConnectionLostError, ProtocolError, TooSlowError
from syncd.imap.commands.appends import NewMessage
from syncd.imap.connection import ImapConnection
from syncd.imap.wire.limits import Limits
from syncd.mail.uidset import UID_MAX, UidSet
from tests.unit.imap.appending import append
from tests.unit.imap.scripted import SELECTED, Peer, connected, serve, until

ALL = UidSet.span(1, UID_MAX)


async def select(connection: ImapConnection) -> None:
    await connection.select(b"INBOX")


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


async def test_answers_without_end_end_the_connection() -> None:
    """Small responses, each well within its limits, are counted for each command."""

    async def script(peer: Peer) -> None:
        for _ in range(2):
            await peer.expect(b"NOOP")
            await peer.ok(b"* OK still here\r\n" * 100)
        await peer.expect(b"NOOP")
        await peer.send(b"* OK still here\r\n" * 101)
        await peer.gone()

    async with connected(script, limits=Limits(untagged_max=100)) as connection:
        for _ in range(2):
            await connection.noop()
        with pytest.raises(ProtocolError, match="sent more responses than our limit"):
            await connection.noop()


async def test_silent_server_is_noticed_before_the_deadline() -> None:
    """A command without any answer fails after the time of inactivity."""

    async def script(peer: Peer) -> None:
        await peer.expect(b"NOOP")
        await peer.gone()

    async with connected(script, limits=Limits(inactivity_s=0.3)) as connection:
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

    async with connected(script, limits=Limits(inactivity_s=0.3)) as connection:
        await select(connection)
        begun = time.monotonic()
        with pytest.raises(TooSlowError, match="fell silent"):
            await connection.idle(timeout_s=0.4)

    assert time.monotonic() - begun >= 0.4


async def test_end_is_heard_of_a_server_that_takes_nothing_more() -> None:
    """Nobody takes what is still to be sent of a large message, so that nothing waits for it."""
    is_over = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.reader.readline()
        peer.writer.transport.pause_reading()
        peer.writer.write_eof()
        await is_over.wait()

    async with connected(script) as connection:
        with pytest.raises(ConnectionLostError, match="the server closed the connection"):
            async with asyncio.timeout(5):
                await append(connection, b"INBOX", bytes(32 * 1024 * 1024))
        is_over.set()


async def test_idle_connection_is_looked_after_by_no_timer() -> None:
    """A thousand accounts at rest wake the process for nothing: who is silent in IDLE is told so by its deadline."""
    has_begun = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)
        await peer.expect(b"IDLE")
        await peer.send(b"+ idling\r\n")
        has_begun.set()
        assert await peer.line() == b"DONE"
        await peer.ok()

    async with connected(script, limits=Limits(inactivity_s=0.3)) as connection:
        await select(connection)
        wake = asyncio.Event()
        idling = asyncio.create_task(connection.idle(timeout_s=10, until=wake))
        await has_begun.wait()

        await until(lambda: connection._session.wire._watchdog is None)

        wake.set()
        assert not await idling


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
        total = len(await anext(rows))
        await asyncio.wait_for(blocked.wait(), 20)
        async for batch in rows:
            total += len(batch)

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


async def test_command_has_its_time_once_those_before_it_have_ended() -> None:
    """What is sent behind a large body does not run into its deadline while the server still takes that."""
    limits = Limits(command_s=0.1, bytes_per_s=1)
    fetched: list[asyncio.Future[object]] = []

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)
        await peer.expect(b"APPEND")
        appending = peer.tag
        await peer.expect(b"UID FETCH")
        deadline = connection._session.wire.in_flight[peer.tag.decode()].deadline
        await until(lambda: connection._session.wire.in_flight[peer.tag.decode()].deadline is not deadline)
        await peer.send(appending + b" OK\r\n" + peer.tag + b" OK\r\n")

    async with connected(script, limits=limits) as connection:
        await select(connection)
        uids = connection.fetch_rows(ALL, is_pipelined=True)
        many = connection.append_many(
            b"INBOX",
            [NewMessage(b"x" * 20)],
            behind=lambda: fetched.append(asyncio.ensure_future(anext(uids, None))),
        )
        assert len([one async for one in many]) == 1
        assert await fetched[0] is None
