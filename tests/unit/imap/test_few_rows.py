"""The rows of the mailbox that comes next are asked for behind the bodies of the one before, and are never mixed up."""

import asyncio

import pytest

from syncd.errors import ConnectionLostError, ProtocolError
from syncd.imap.news.few_rows import RowsAhead
from syncd.mail.uidset import UidSet
from tests.unit.imap.scripted import SELECTED, Peer, connected
from tests.unit.imap.test_bodies import MemorySpool, body, outcome, selected, wanted
from tests.unit.imap.test_observe import CONDSTORE, box, rows

TURNS = 200
"""Of the loop: many more than a client takes from an answer to its next command."""


async def _asked_behind(peer: Peer) -> tuple[bytes, bytes, bytes]:
    """Return the tags of a FETCH of bodies, and of SELECT and FETCH of what comes next, of which none is answered."""
    await peer.expect(b"UID FETCH 1:2 (UID BODY.PEEK[]")
    fetching = peer.tag
    await peer.expect(b'SELECT "Next"')
    selecting = peer.tag
    await peer.expect(b"UID FETCH 1:4294967295 (UID FLAGS ")
    return fetching, selecting, peer.tag


async def test_what_is_told_until_the_bodies_have_come_is_of_the_mailbox_before() -> None:
    """Counts, rows and expunges of it say nothing of the next one, with CLOSED between them or without."""

    async def script(peer: Peer) -> None:
        fetching, selecting, _ = await _asked_behind(peer)
        before = b"* 9 EXISTS\r\n* 1 FETCH (UID 9 FLAGS () RFC822.SIZE 9)\r\n* 3 EXPUNGE\r\n"
        await peer.send(before + body(1, b"a") + before + body(2, b"b") + fetching + b" OK done\r\n")
        await peer.send(box(2, uidvalidity=8) + selecting + b" OK [READ-WRITE] done\r\n")
        await peer.ok(rows(1, 2, full=True))

    async with connected(selected(script), capabilities=CONDSTORE) as connection:
        await connection.select(b"INBOX")
        ahead = RowsAhead(connection, b"Next", most=2)
        connection.fetch_ahead(wanted(2, 1), behind=ahead.ask)
        bodies = connection.fetch_bodies(wanted(1, 2), spool=MemorySpool, place=(b"INBOX", 7))
        assert sorted([outcome(one) async for one in bodies]) == [(1, b"a"), (2, b"b")]

        found = await ahead.take(b"Next")
        assert found is not None
        assert ([row.uid for row in found.rows], found.selected.exists) == ([1, 2], 2)
        assert await ahead.take(b"Next") is None
        assert (connection.selected, connection.exists, connection.has_events) == (b"Next", 2, False)


async def test_rows_that_came_ahead_are_those_of_the_mailbox_that_is_selected_then() -> None:
    """They come with what SELECT said, and not any more once another mailbox was selected."""

    async def script(peer: Peer) -> None:
        for again in (b'SELECT "INBOX"', b'SELECT "INBOX"', b'SELECT "Next"'):
            fetching, selecting, _ = await _asked_behind(peer)
            await peer.send(body(1, b"a") + body(2, b"b") + fetching + b" OK done\r\n")
            await peer.send(box(2, uidvalidity=8) + selecting + b" OK [READ-WRITE] done\r\n")
            await peer.ok(rows(1, 2, full=True))
            await peer.answer(again, SELECTED)

    async with connected(selected(script), capabilities=CONDSTORE) as connection:
        await connection.select(b"INBOX")
        ahead = RowsAhead(connection, b"Next", most=2)
        connection.fetch_ahead(wanted(2, 1), behind=ahead.ask)
        found = await ahead.take(b"Next")
        assert found is not None
        assert (found.selected.uidvalidity, found.listing.uids) == (8, UidSet.span(1, 2))
        assert [row.uid for row in found.rows] == [1, 2]

        await connection.select(b"INBOX")
        connection.fetch_ahead(wanted(2, 1), behind=ahead.ask)
        await connection.select(b"INBOX")
        assert await ahead.take(b"Next") is None
        assert connection.selected == b"INBOX"

        connection.fetch_ahead(wanted(2, 1), behind=ahead.ask)
        await connection.select(b"Next")  # by somebody else, who has heard what is new since
        assert await ahead.take(b"Next") is None


async def test_server_that_selects_before_the_bodies_have_come_is_not_listened_to_any_more() -> None:
    """What it says afterwards could be of either mailbox."""

    async def script(peer: Peer) -> None:
        fetching, selecting, _ = await _asked_behind(peer)
        await peer.send(body(1, b"a") + box(2, uidvalidity=8) + selecting + b" OK [READ-WRITE] done\r\n")
        await peer.send(body(2, b"of the other") + fetching + b" OK done\r\n")

    async with connected(selected(script), capabilities=CONDSTORE) as connection:
        await connection.select(b"INBOX")
        ahead = RowsAhead(connection, b"Next", most=2)
        connection.fetch_ahead(wanted(2, 1), behind=ahead.ask)
        bodies = connection.fetch_bodies(wanted(1, 2), spool=MemorySpool, place=(b"INBOX", 7))
        with pytest.raises(ConnectionLostError):
            assert [outcome(one) async for one in bodies] == [(1, b"a")]
        assert (connection.is_usable, connection.is_in_order) == (False, False)
        assert await ahead.take(b"Next") is None
        with pytest.raises(ConnectionLostError, match="before others"):
            await connection.noop()


async def test_body_that_was_refused_is_asked_for_again_of_its_own_mailbox() -> None:
    """Behind the SELECT of the next one nothing is asked of the one before; refused itself, it brings no rows."""

    async def script(peer: Peer) -> None:
        fetching, selecting, listing = await _asked_behind(peer)
        await peer.send(body(1, b"a") + fetching + b" NO try again\r\n")
        again = asyncio.ensure_future(peer.expect(b'SELECT "INBOX"'))
        for _ in range(TURNS):
            await asyncio.sleep(0)
        assert not again.done()  # where the one before would be selected meanwhile, its rows would be taken for Next's
        await peer.send(selecting + b" NO [NONEXISTENT] gone\r\n" + listing + b" BAD nothing is selected\r\n")
        await again
        await peer.ok(SELECTED)
        await peer.answer(b"UID FETCH 2 ", body(2, b"b"))

    async with connected(selected(script), capabilities=CONDSTORE) as connection:

        async def select_again() -> bool:
            await connection.select(b"INBOX", is_pipelined=True)
            return True

        await connection.select(b"INBOX")
        ahead = RowsAhead(connection, b"Next", most=2)
        connection.fetch_ahead(wanted(2, 1), behind=ahead.ask)
        here = {"place": (b"INBOX", 7), "selecting": select_again}
        bodies = connection.fetch_bodies(wanted(1, 2), spool=MemorySpool, **here)
        assert sorted([outcome(one) async for one in bodies]) == [(1, b"a"), (2, b"b")]
        assert await ahead.take(b"Next") is None


async def test_bodies_of_a_mailbox_that_is_not_selected_any_more_are_not_asked_for() -> None:
    """Who has not noticed that another one was to be selected gets an error, and no body of that."""

    async def script(peer: Peer) -> None:
        fetching, selecting, _ = await _asked_behind(peer)
        await peer.send(body(1, b"a") + body(2, b"b") + fetching + b" OK done\r\n")
        await peer.send(box(2, uidvalidity=8) + selecting + b" OK [READ-WRITE] done\r\n")
        await peer.ok(rows(1, 2, full=True))

    async with connected(selected(script), capabilities=CONDSTORE) as connection:
        await connection.select(b"INBOX")
        connection.fetch_ahead(wanted(2, 1), behind=RowsAhead(connection, b"Next", most=2).ask)
        bodies = connection.fetch_bodies(wanted(3), spool=MemorySpool, place=(b"INBOX", 7))
        with pytest.raises(ProtocolError):
            await anext(bodies)
