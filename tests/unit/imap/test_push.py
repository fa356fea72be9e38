"""Waiting for news ends when it should, and never turns into a race."""

import asyncio
from unittest import mock

import pytest

from syncd.errors import RefusedError, TooSlowError
from syncd.imap.news import push
from syncd.imap.news.push import wait_for_news
from syncd.imap.types import Resync
from syncd.imap.wire.limits import Limits
from tests.unit.imap.scripted import SELECTED, Peer, connected


async def test_server_that_ends_every_idle_is_not_raced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two IDLEs that the server ended there is a pause, which our own work still ends."""
    monkeypatch.setattr(push, "PAUSE_S", 600.0)
    idles = 0
    ended = asyncio.Event()

    async def script(peer: Peer) -> None:
        nonlocal idles
        await peer.answer(b"SELECT", SELECTED)
        while await peer.command() == b"IDLE":
            idles += 1
            await peer.send(b"+ idling\r\n")
            await peer.ok()
            ended.set()

    async with connected(script) as connection:
        await connection.select(b"INBOX")
        wake = asyncio.Event()
        wait = asyncio.ensure_future(wait_for_news(connection, wake=wake, timeout_s=600))
        await ended.wait()
        assert not (await asyncio.wait([wait], timeout=0.2))[0]
        wake.set()
        assert not await wait
        await connection.aclose()

    assert idles == 1


async def test_wake_that_is_set_already_says_nothing_to_the_server() -> None:
    """With work waiting there is no IDLE at all."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)
        await peer.answer(b"NOOP")

    async with connected(script) as connection:
        await connection.select(b"INBOX")
        wake = asyncio.Event()
        wake.set()
        assert not await wait_for_news(connection, wake=wake, timeout_s=600)
        await connection.noop()


async def test_news_that_was_not_drained_says_nothing_to_the_server() -> None:
    """Events of an earlier command end the wait before it begins."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)
        await peer.answer(b"NOOP", b"* 4 EXISTS\r\n")

    async with connected(script) as connection:
        await connection.select(b"INBOX")
        await connection.noop()
        assert await wait_for_news(connection, wake=asyncio.Event(), timeout_s=600)


async def test_end_of_idle_and_what_follows_it_are_one_packet() -> None:
    """A round without news is one packet, and so one wake-up of the server, and mostly one of ours."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)
        await peer.expect(b"IDLE")
        idle = peer.tag
        await peer.send(b"+ idling\r\n")
        assert await peer.line() == b"DONE"
        await peer.send(idle + b" OK\r\n")
        await peer.answer(b"LIST")
        await peer.answer(b"SELECT", SELECTED)

    async with connected(script) as connection:
        wire, wake = connection._session.wire, asyncio.Event()
        with mock.patch.object(wire, "transport", wraps=wire.transport) as transport:
            await connection.select(b"INBOX")
            asyncio.get_running_loop().call_later(0.05, wake.set)
            assert not await wait_for_news(connection, wake=wake, timeout_s=600)
            await connection.list_and_select(b"INBOX")

    packets = [bytes(call.args[0]) for call in transport.write.call_args_list]
    assert [packet.count(b"\r\n") for packet in packets] == [1, 1, 3]


async def test_refused_idle_is_told() -> None:
    """NO to IDLE is the caller's to judge, and the connection is still good."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)
        await peer.expect(b"IDLE")
        await peer.no(b"not now")
        await peer.answer(b"NOOP")

    async with connected(script) as connection:
        await connection.select(b"INBOX")
        with pytest.raises(RefusedError):
            await wait_for_news(connection, wake=asyncio.Event(), timeout_s=600)
        await connection.noop()


async def test_end_of_idle_and_all_that_is_asked_of_the_selected_mailbox_are_one_packet() -> None:
    """The rows of new messages, too, and where the server had news as well as where somebody else has woken us."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"ENABLE QRESYNC", b"* ENABLED QRESYNC\r\n")
        await peer.answer(b"SELECT", SELECTED)
        await peer.expect(b"IDLE")
        idle = peer.tag
        await peer.send(b"+ idling\r\n* 4 EXISTS\r\n")
        assert await peer.line() == b"DONE"
        await peer.expect(b"SELECT")
        selecting = peer.tag
        await peer.expect(b"UID FETCH 9:1008 ")
        await peer.send(idle + b" OK\r\n" + SELECTED + selecting + b" OK\r\n")
        await peer.ok()
        await peer.expect(b"IDLE")
        idle = peer.tag
        await peer.send(b"+ idling\r\n")
        assert await peer.line() == b"DONE"
        await peer.expect(b"LIST")
        listing = peer.tag
        await peer.expect(b"SELECT")
        selecting = peer.tag
        await peer.expect(b"UID FETCH 9:1008 ")
        await peer.send(idle + b" OK\r\n" + listing + b" OK\r\n" + SELECTED + selecting + b" OK\r\n")
        await peer.ok()

    resync = Resync(7, 5, 9)
    async with connected(script) as connection:
        await connection.enable("QRESYNC")
        wire, wake = connection._session.wire, asyncio.Event()
        with mock.patch.object(wire, "transport", wraps=wire.transport) as transport:
            await connection.select(b"INBOX")
            assert await wait_for_news(connection, wake=wake, timeout_s=600)
            connection.drain_events()
            await connection.resync(b"INBOX", resync)
            asyncio.get_running_loop().call_later(0.05, wake.set)
            assert not await wait_for_news(connection, wake=wake, timeout_s=600)
            await connection.list_and_select(b"INBOX", qresync=resync)

    packets = [bytes(call.args[0]) for call in transport.write.call_args_list]
    assert [packet.count(b"\r\n") for packet in packets] == [1, 1, 3, 1, 4]


async def test_where_messages_went_the_end_of_idle_is_heard_out() -> None:
    """What else went with them is told by then, and is looked for together."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)
        await peer.expect(b"IDLE")
        idle = peer.tag
        await peer.send(b"+ idling\r\n* 2 EXPUNGE\r\n")
        assert await peer.line() == b"DONE"
        await peer.send(b"* 1 EXPUNGE\r\n* 2 EXISTS\r\n" + idle + b" OK\r\n")
        await peer.answer(b"NOOP")

    async with connected(script) as connection:
        await connection.select(b"INBOX")
        assert await wait_for_news(connection, wake=asyncio.Event(), timeout_s=600)
        events = connection.drain_events()
        assert (events.expunged, events.exists) == (2, 2)
        await connection.noop()


async def idle_till_news(peer: Peer) -> None:
    """Take SELECT and an IDLE, which news end, and answer DONE."""
    await peer.answer(b"SELECT", SELECTED)
    await peer.expect(b"IDLE")
    idle = peer.tag
    await peer.send(b"+ idling\r\n* 4 EXISTS\r\n")
    assert await peer.line() == b"DONE"
    await peer.send(idle + b" OK\r\n")


async def test_server_that_drops_what_comes_with_the_end_of_idle_is_known_by_that() -> None:
    """Told that it does, a connection waits for the end of IDLE with all that follows."""

    async def drops(peer: Peer) -> None:
        await idle_till_news(peer)
        await peer.gone()

    async def answers(peer: Peer) -> None:
        await idle_till_news(peer)
        await peer.answer(b"SELECT", SELECTED)

    async with connected(drops) as connection:
        await connection.select(b"INBOX")
        assert await wait_for_news(connection, wake=asyncio.Event(), timeout_s=600)
        connection._session.wire._limits = Limits(command_s=0.1)
        with pytest.raises(TooSlowError):
            await connection.select(b"INBOX", is_pipelined=True)
        assert connection.is_deaf_behind_idle

    async with connected(answers) as connection:
        wire = connection._session.wire
        with mock.patch.object(wire, "transport", wraps=wire.transport) as transport:
            await connection.select(b"INBOX")
            assert await wait_for_news(connection, wake=asyncio.Event(), timeout_s=600, is_alone=True)
            await connection.select(b"INBOX", is_pipelined=True)

    packets = [bytes(call.args[0]) for call in transport.write.call_args_list]
    assert [packet.count(b"\r\n") for packet in packets] == [1, 1, 1, 1]


async def test_server_that_falls_silent_later_is_not_taken_for_one_that_drops_anything() -> None:
    """What came with the end of IDLE was answered."""

    async def script(peer: Peer) -> None:
        await idle_till_news(peer)
        await peer.answer(b"SELECT", SELECTED)
        await peer.gone()

    async with connected(script) as connection:
        await connection.select(b"INBOX")
        assert await wait_for_news(connection, wake=asyncio.Event(), timeout_s=600)
        await connection.select(b"INBOX", is_pipelined=True)
        connection._session.wire._limits = Limits(command_s=0.1)
        with pytest.raises(TooSlowError):
            await connection.noop()
        assert not connection.is_deaf_behind_idle
