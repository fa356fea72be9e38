"""Rows of new messages come in the round trip in which their mailbox is selected, and are of no other mailbox."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from syncd.errors import ProtocolError, RefusedError
from syncd.imap.connection import ImapConnection
from syncd.imap.news.observe import Cursor, KnownMailbox, Observation, Renumbered, ServerChanges, observe_changes
from syncd.imap.quirks import NONE
from syncd.imap.types import Resync
from syncd.mail.uidset import UidSet
from syncd.values import replace
from tests.unit.imap.scripted import SELECTED, Peer, connected
from tests.unit.imap.test_observe import CURSOR, NEW, QRESYNC, box, demotions, esearch, last_cursor, rows, vanished

Script = Callable[[Peer], Awaitable[None]]


def enabled(script: Script) -> Script:
    """Let a server enable QRESYNC first."""

    async def whole(peer: Peer) -> None:
        await peer.answer(b"ENABLE QRESYNC", b"* ENABLED QRESYNC\r\n")
        await script(peer)

    return whole


async def looked(
    connection: ImapConnection, octets: bytes = b"INBOX", *, cursor: Cursor = CURSOR, is_out_of_order: bool = False
) -> list[Observation]:
    async def uids(among: UidSet | None) -> UidSet:
        return UidSet.span(1, 5) if among is None else UidSet.span(1, 5) & among

    quirks = replace(NONE, out_of_order=is_out_of_order)
    await connection.enable("QRESYNC")
    return [one async for one in observe_changes(connection, octets, KnownMailbox(cursor, uids), quirks=quirks)]


def new_uids(seen: list[Observation]) -> list[int]:
    changes = [one for one in seen if isinstance(one, ServerChanges)]
    return [row.uid for one in changes for row in one.rows if row.size_bytes is not None]


async def test_new_rows_come_in_the_round_trip_of_select() -> None:
    """The server answers nothing before it was asked for both, and is asked for nothing else."""

    async def script(peer: Peer) -> None:
        await peer.expect(b'SELECT "INBOX" (QRESYNC (7 10))')
        selecting = peer.tag
        await peer.expect(NEW)
        await peer.send(box(7, uidnext=8, modseq=12) + rows(3, 6, 7) + selecting + b" OK done\r\n")
        await peer.ok(rows(6, 7, full=True))

    async with connected(enabled(script), capabilities=QRESYNC) as connection:
        seen = await looked(connection)
        assert new_uids(seen) == [6, 7]
        assert last_cursor(seen) == replace(CURSOR, uidnext=8, highestmodseq=12, count=7)


async def test_where_many_are_new_the_rest_is_asked_for_when_their_number_is_known() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", box(1007, uidnext=1008, modseq=12))
        await peer.answer(NEW, rows(*range(6, 1006), full=True))
        await peer.answer(b"UID FETCH 1006:4294967295 (", rows(1006, 1007, full=True))

    async with connected(enabled(script), capabilities=QRESYNC) as connection:
        assert new_uids(await looked(connection)) == [*range(6, 1008)]


async def test_new_rows_that_are_refused_are_asked_for_again() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", box(6, uidnext=7, modseq=12))
        await peer.expect(NEW)
        await peer.no(b"not now")
        await peer.answer(b"UID FETCH 6:4294967295 (", rows(6, full=True))

    async with connected(enabled(script), capabilities=QRESYNC) as connection:
        assert new_uids(await looked(connection)) == [6]


async def test_message_that_comes_behind_select_is_taken_once() -> None:
    """SELECT told of none; the count that is behind the row fits, so that nothing is searched for."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", box(5))
        await peer.answer(NEW, b"* 6 EXISTS\r\n" + rows(6, full=True))

    async with connected(enabled(script), capabilities=QRESYNC) as connection:
        seen = await looked(connection)
        assert new_uids(seen) == [6]
        assert last_cursor(seen) == replace(CURSOR, uidnext=7, count=6)


async def test_new_rows_of_another_uidvalidity_are_none() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", box(6, uidvalidity=8, uidnext=7))
        await peer.answer(NEW, rows(6, full=True))

    async with connected(enabled(script), capabilities=QRESYNC) as connection:
        seen = await looked(connection)
        assert seen[1:] == [Renumbered(8)]


async def test_what_is_told_while_idle_ends_is_of_the_mailbox_before() -> None:
    """Without a word that it is closed, too: whole rows, counts and expunges of it say nothing of the next one."""
    done = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)
        await peer.expect(b"IDLE")
        idling = peer.tag
        await peer.send(b"+ idling\r\n")
        done.set()
        assert await peer.line() == b"DONE"
        await peer.expect(b'SELECT "Next" (QRESYNC')
        selecting = peer.tag
        await peer.expect(NEW)
        before = b"* 9 EXISTS\r\n* VANISHED 1:2\r\n" + rows(3, 6, full=True) + rows(4)
        await peer.send(before + idling + b" OK idle ended\r\n")
        await peer.send(box(6, uidnext=7, modseq=12) + selecting + b" OK done\r\n")
        await peer.ok(rows(6, full=True))

    async with connected(enabled(script), capabilities=QRESYNC + b" IDLE") as connection:
        await connection.enable("QRESYNC")
        await connection.select(b"INBOX")
        assert not await connection.idle(timeout_s=10, until=done)

        seen = await looked(connection, b"Next")
        assert new_uids(seen) == [6]
        assert last_cursor(seen) == replace(CURSOR, uidnext=7, highestmodseq=12, count=6)
        assert not connection.has_events


async def test_mailbox_that_is_refused_gives_no_rows() -> None:
    """Whatever is fetched behind: another mailbox may still have been selected."""

    async def script(peer: Peer) -> None:
        await peer.expect(b"SELECT")
        await peer.no(b"[NONEXISTENT] gone")
        await peer.answer(NEW, rows(6, full=True))
        await peer.answer(b"NOOP")

    async with connected(enabled(script), capabilities=QRESYNC) as connection:
        with pytest.raises(RefusedError, match="gone"):
            await looked(connection)
        assert connection.selected is None
        await connection.noop()


async def test_server_that_fetches_before_it_selects_is_asked_for_nothing_ahead_any_more() -> None:
    """What it gave may be of another mailbox: that connection ends, and the next one waits for SELECT."""

    async def unordered(peer: Peer) -> None:
        await peer.expect(b"SELECT")
        selecting = peer.tag
        await peer.answer(NEW, rows(6, full=True))
        await peer.send(box(6, uidnext=7) + selecting + b" OK done\r\n")

    async def ordered(peer: Peer) -> None:
        await peer.answer(b"SELECT", box(6, uidnext=7, modseq=12))
        await peer.answer(b"UID FETCH 6:4294967295 (", rows(6, full=True))

    async with connected(enabled(unordered), capabilities=QRESYNC) as connection:
        with pytest.raises(ProtocolError, match="before others"):
            await looked(connection)
        assert not connection.is_in_order
    async with connected(enabled(ordered), capabilities=QRESYNC) as connection:
        assert new_uids(await looked(connection, is_out_of_order=True)) == [6]


async def test_proof_of_what_is_gone_waits_for_no_rows() -> None:
    """A search is all that is sent behind the answers to both."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", box(5, uidnext=7, modseq=12) + b"* VANISHED (EARLIER) 2\r\n")
        await peer.answer(NEW, rows(6, full=True))
        await peer.answer(b"UID SEARCH RETURN (ALL) UID 2", esearch(""))

    async with connected(enabled(script), capabilities=QRESYNC) as connection:
        seen = await looked(connection)
        assert new_uids(seen) == [6]
        assert last_cursor(seen) == replace(CURSOR, uidnext=7, highestmodseq=12)


async def test_list_may_end_behind_select_and_rows() -> None:
    """With many mailboxes and a slow reader a server goes on with what does not rest on LIST (RFC 9051 §5.5)."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)
        await peer.expect(b"LIST")
        listing = peer.tag
        await peer.expect(b'SELECT "INBOX" (QRESYNC (7 10))')
        selecting = peer.tag
        await peer.expect(NEW)
        await peer.send(b'* LIST () "/" INBOX\r\n' + box(6, uidnext=7, modseq=12) + selecting + b" OK done\r\n")
        await peer.ok(rows(6, full=True))
        await peer.send(b'* LIST () "/" Work\r\n' + listing + b" OK done\r\n")

    async with connected(enabled(script), capabilities=QRESYNC) as connection:
        await connection.enable("QRESYNC")
        await connection.select(b"INBOX")
        listed = await connection.list_and_select(b"INBOX", qresync=Resync(7, 10, 6))
        assert [entry.octets for entry in listed] == [b"INBOX", b"Work"]

        seen = await looked(connection)
        assert new_uids(seen) == [6]
        assert last_cursor(seen) == replace(CURSOR, uidnext=7, highestmodseq=12, count=6)


async def test_what_comes_behind_the_rows_lets_the_mailbox_be_selected_anew() -> None:
    """What SELECT said beside LIST is older than that."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"LIST", b'* LIST () "/" INBOX\r\n')
        await peer.answer(b"SELECT", box(5))
        await peer.answer(NEW, b"* 6 EXISTS\r\n")
        await peer.answer(b"SELECT", box(6, uidnext=7, modseq=12))
        await peer.answer(NEW, rows(6, full=True))

    async with connected(enabled(script), capabilities=QRESYNC) as connection:
        await connection.enable("QRESYNC")
        await connection.list_and_select(b"INBOX", qresync=Resync(7, 10, 6))
        assert new_uids(await looked(connection)) == [6]


async def test_select_that_says_too_little_costs_no_connection() -> None:
    """It reaches one mailbox; the others are read over the same connection."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", b"* OK [UIDVALIDITY 7] x\r\n")
        await peer.answer(NEW, rows(6, full=True))
        await peer.answer(b"NOOP")

    async with connected(enabled(script), capabilities=QRESYNC) as connection:
        with pytest.raises(ProtocolError, match="how many messages"):
            await looked(connection)
        await connection.noop()


async def test_rows_that_nobody_asked_for_are_no_news() -> None:
    """A server that says the last row where there is no new one would else be asked again and again."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", box(5))
        await peer.answer(NEW, rows(5, full=True))
        await peer.answer(b"NOOP")

    async with connected(enabled(script), capabilities=QRESYNC) as connection:
        assert new_uids(await looked(connection)) == []
        assert not connection.has_events
        await connection.noop()


async def test_flags_of_a_message_that_came_meanwhile_are_news_and_no_row_of_it() -> None:
    """Without its size it is not recorded, and so it is not counted; the count that does not fit brings the rest."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", box(6, uidnext=7, modseq=12))
        await peer.answer(NEW, rows(6))
        await peer.answer(b"UID SEARCH RETURN (ALL) ALL", esearch("1:6"))
        await peer.answer(b"UID FETCH 6 (UID FLAGS MODSEQ RFC822.SIZE INTERNALDATE)", rows(6, full=True))

    async with connected(enabled(script), capabilities=QRESYNC) as connection:
        seen = await looked(connection)
        assert new_uids(seen) == [6]
        assert last_cursor(seen) == replace(CURSOR, uidnext=7, highestmodseq=12, count=6)


async def test_message_that_goes_behind_select_is_no_cause_for_doubt() -> None:
    """SELECT could not name it, and who says so is believed the next time as well."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", box(5))
        await peer.answer(NEW, b"* VANISHED 3\r\n")
        await peer.answer(b"UID SEARCH RETURN (ALL) ALL", esearch("1:2,4:5"))
        await peer.answer(b"UID SEARCH RETURN (ALL) UID 3", esearch(""))

    async with connected(enabled(script), capabilities=QRESYNC) as connection:
        seen = await looked(connection)
        assert (vanished(seen), demotions(seen)) == ("3", [])


@pytest.mark.parametrize(("uidnext", "asked"), [(2**32 - 2, b"4294967294:4294967295"), (2**32, None)])
async def test_where_uids_end_nothing_is_asked_for_that_cannot_be(uidnext: int, asked: bytes | None) -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", box(5, uidnext=None))
        if asked is not None:
            await peer.answer(b"UID FETCH " + asked + b" (UID FLAGS")
        await peer.answer(b"NOOP")

    async with connected(enabled(script), capabilities=QRESYNC) as connection:
        seen = await looked(connection, cursor=replace(CURSOR, uidnext=uidnext))
        assert last_cursor(seen) == replace(CURSOR, uidnext=uidnext)
        await connection.noop()


async def test_row_that_is_told_twice_is_one_message() -> None:
    """What is kept of an answer is bounded by what was asked, and the count fits."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", box(6, uidnext=7, modseq=12))
        await peer.answer(NEW, rows(6, 6, 6, full=True))

    async with connected(enabled(script), capabilities=QRESYNC) as connection:
        seen = await looked(connection)
        assert new_uids(seen) == [6]
        assert last_cursor(seen) == replace(CURSOR, uidnext=7, highestmodseq=12, count=6)
