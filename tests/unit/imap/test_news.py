"""Whatever command runs, what the server reports unasked is kept, and is not taken for an answer."""

import asyncio

import pytest

from syncd.errors import ProtocolError
from syncd.imap.commands.rows import Items
from syncd.imap.connection import ImapConnection
from syncd.imap.types import FetchRow
from syncd.mail.uidset import UID_MAX, UidSet
from tests.unit.imap.scripted import SELECTED, Peer, connected

ALL = UidSet.span(1, UID_MAX)


async def select(connection: ImapConnection) -> None:
    await connection.select(b"INBOX")


async def uids_of(connection: ImapConnection, uids: UidSet = ALL) -> list[int]:
    return [row.uid async for batch in connection.fetch_rows(uids) for row in batch]


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


async def test_row_without_what_was_asked_is_news() -> None:
    """A change of flags that comes within a full listing does not pass for the listed row."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)
        flags = b"* 1 FETCH (UID 1 FLAGS (\\Flagged))\r\n"
        row = b'* 1 FETCH (UID 1 FLAGS () RFC822.SIZE 5 INTERNALDATE " 1-Feb-2001 03:04:05 +0000")\r\n'
        await peer.answer(b"UID FETCH 1:3 ", flags + row)

    async with connected(script) as connection:
        await select(connection)
        listing = connection.fetch_rows(UidSet.span(1, 3), items=Items.ALL)
        found = [row.size_bytes async for batch in listing for row in batch]
        events = connection.drain_events()

    assert found == [5]
    assert [row.flags for row in events.rows] == [{"\\Flagged"}]


async def test_earlier_vanished_is_no_event() -> None:
    """Named beside the rows though nobody asked, such UIDs were not among those that the server counts."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)
        answer = b"* VANISHED (EARLIER) 1:2\r\n* 1 FETCH (UID 3 MODSEQ (12) FLAGS (x))\r\n"
        await peer.answer(b"UID FETCH 1:9 (UID FLAGS MODSEQ) (CHANGEDSINCE 10)", answer)

    async with connected(script) as connection:
        await select(connection)
        exists = connection.exists
        batches = [batch async for batch in connection.fetch_rows(UidSet.span(1, 9), changed_since=10)]

        assert [(FetchRow(3, frozenset({"x"}), 12, None, None, None),)] == batches
        assert (exists, False) == (connection.exists, connection.has_events)


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
        await peer.answer(b"NOOP")

    async with connected(script) as connection:
        await select(connection)
        await connection.idle(timeout_s=10, until=done)
        await connection.noop()
        events = connection.drain_events()

    assert (4, UidSet.of([1])) == (events.exists, events.vanished)


async def test_who_is_woken_in_idle_asks_in_the_same_round_trip() -> None:
    """Mailboxes are asked for, and one selected anew, before IDLE is over; what goes alone waits for its end."""
    done = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)
        await peer.expect(b"IDLE")
        tags = [peer.tag]
        await peer.send(b"+ idling\r\n")
        done.set()
        assert await peer.line() == b"DONE"
        for command in (b"LIST", b"SELECT"):
            await peer.expect(command)
            tags.append(peer.tag)
        await peer.send(b"* 1 EXPUNGE\r\n* 5 EXISTS\r\n" + tags[0] + b" OK idle ended\r\n")
        await peer.send(b'* LIST () "/" INBOX\r\n' + tags[1] + b" OK\r\n")
        await peer.send(SELECTED.replace(b"3 EXISTS", b"4 EXISTS") + tags[2] + b" OK [READ-WRITE] selected\r\n")
        await peer.answer(b"NOOP")

    async with connected(script) as connection:
        await select(connection)
        assert not await connection.idle(timeout_s=10, until=done)
        listed = await connection.list_and_select(b"INBOX")
        assert [entry.octets for entry in listed] == [b"INBOX"]
        assert connection.selection is not None
        assert (connection.selection.exists, connection.has_events) == (4, False)
        await connection.noop()


async def test_mailbox_that_is_refused_while_mailboxes_are_listed_is_not_selected() -> None:
    """The list counts all the same."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)
        await peer.expect(b"LIST")
        tag = peer.tag
        await peer.expect(b"SELECT")
        await peer.send(b'* LIST () "/" INBOX\r\n' + tag + b" OK\r\n" + peer.tag + b" NO not now\r\n")
        assert await peer.command() == b'SELECT "INBOX"'
        await peer.send(peer.tag + b" NO not now\r\n")

    async with connected(script) as connection:
        await select(connection)
        listed = await connection.list_and_select(b"INBOX")
        assert [entry.octets for entry in listed] == [b"INBOX"]
        assert connection.selected is None


async def test_mailbox_that_is_selected_anew_keeps_its_news() -> None:
    """What is told before it is closed, and behind the end of SELECT, are events; what was fetched is an answer."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)
        await peer.expect(b"SELECT")
        selecting = peer.tag
        await peer.expect(b"UID FETCH 4:5 ")
        before = b"* VANISHED 2\r\n* 3 EXISTS\r\n* OK [CLOSED] so\r\n" + SELECTED + selecting + b" OK selected\r\n"
        row = b'* 3 FETCH (UID 4 FLAGS () MODSEQ (12) RFC822.SIZE 9 INTERNALDATE "17-Jul-1996 02:44:25 -0700")\r\n'
        await peer.send(before + row + b"* 1 FETCH (UID 1 FLAGS (\\Flagged) MODSEQ (13))\r\n" + peer.tag + b" OK\r\n")

    async with connected(script) as connection:
        await select(connection)
        rows = connection.fetch_rows(UidSet.span(4, 5), items=Items.ALL, is_pipelined=True)
        _, fetched = await asyncio.gather(
            connection.select(b"INBOX", is_pipelined=True, is_anew=True), anext(rows), return_exceptions=True
        )
        await rows.aclose()

        assert not isinstance(fetched, BaseException)
        assert [row.uid for row in fetched] == [4]
        events = connection.drain_events()
        assert (events.vanished, [row.uid for row in events.rows]) == (UidSet.span(2, 2), [1])


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


async def test_more_news_than_is_kept_says_so() -> None:
    """Memory is bounded; what was dropped, or named no UID, is told as "look again"."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)
        await peer.answer(b"NOOP", b"".join(b"* 1 FETCH (UID %d FLAGS ())\r\n" % uid for uid in range(1, 10_002)))
        await peer.answer(b"NOOP", b"* 1 FETCH (FLAGS ())\r\n")
        await peer.answer(b"NOOP", b"* 1 FETCH (UID 1 FLAGS ())\r\n" * 20_000)

    async with connected(script) as connection:
        await select(connection)
        await connection.noop()
        flood = connection.drain_events()
        await connection.noop()
        nameless = connection.drain_events()
        await connection.noop()
        repeated = connection.drain_events()

    assert (len(flood.rows), flood.is_partial) == (10_000, True)
    assert (len(nameless.rows), nameless.is_partial) == (0, True)
    assert (len(repeated.rows), repeated.is_partial) == (1, False)


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
        assert (connection.selected, connection.selection) == (None, None)


async def test_news_of_the_mailbox_before_is_not_news_of_the_next() -> None:
    """What comes before CLOSED within SELECT belongs to the mailbox that is left."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)
        late = b"* 1 EXPUNGE\r\n* 99 EXISTS\r\n* VANISHED 1\r\n* 2 FETCH (FLAGS ())\r\n* OK [CLOSED] left\r\n"
        await peer.answer(b"SELECT", late + SELECTED)

    async with connected(script) as connection:
        await select(connection)
        selected = await connection.select(b"Other")
        assert (connection.selected, connection.selection) == (b"Other", selected)
        assert (selected.exists, connection.exists) == (3, 3)
        assert not selected.vanished
        assert not connection.has_events


async def test_what_comes_right_behind_the_end_of_select_is_counted() -> None:
    """What arrives together with the end of SELECT was told of that mailbox, and later."""

    async def script(peer: Peer) -> None:
        await peer.expect(b"SELECT")
        await peer.send(SELECTED + peer.tag + b" OK [READ-WRITE] selected\r\n* 5 EXISTS\r\n* 1 EXPUNGE\r\n")

    async with connected(script) as connection:
        selected = await connection.select(b"INBOX")

        assert (selected.exists, connection.exists) == (3, 4)
        events = connection.drain_events()
        assert (events.exists, events.expunged) == (5, 1)
