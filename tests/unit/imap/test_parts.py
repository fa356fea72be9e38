"""Bodies that are asked for before somebody wants them come once, and stand in nobody's way."""

from collections.abc import Iterable

import pytest

from syncd.errors import ConnectionLostError
from syncd.imap.commands import parts
from syncd.imap.commands.bodies import Lack, Wanted
from syncd.imap.commands.headers import Header
from syncd.imap.connection import ImapConnection
from syncd.imap.news.observe import select_and_list
from syncd.imap.wire.limits import Limits
from syncd.mail.uidset import UidSet
from tests.unit.imap.scripted import SELECTED, Peer, connected
from tests.unit.imap.test_bodies import MemorySpool, body, outcome, selected, wanted

ANEW = SELECTED.replace(b"UIDVALIDITY 7]", b"UIDVALIDITY 8]")


async def fetched(connection: ImapConnection, bodies: Iterable[Wanted]) -> list[tuple[int, object]]:
    return [outcome(one) async for one in connection.fetch_bodies(bodies, spool=MemorySpool)]


async def test_body_that_was_asked_for_ahead_is_not_asked_for_again() -> None:
    """What came is yielded with the others, of which alone the server is asked, and is yielded once."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"UID FETCH 2:3 ", body(2, b"b") + body(3, b"c"))
        await peer.answer(b"UID FETCH 1 ", body(1, b"a"))
        await peer.answer(b"UID FETCH 2 ", body(2, b"b"))

    async with connected(selected(script)) as connection:
        await connection.select(b"INBOX")
        connection.fetch_ahead(wanted(3, 2))
        assert sorted(await fetched(connection, wanted(1, 2, 3))) == [(1, b"a"), (2, b"b"), (3, b"c")]
        assert await fetched(connection, wanted(2)) == [(2, b"b")]


async def test_what_did_not_come_ahead_is_fetched_like_any() -> None:
    """NIL, no answer, and a literal that is too large for memory."""
    large = b"x" * 40

    async def script(peer: Peer) -> None:
        await peer.answer(b"UID FETCH 1:3 ", b"* 1 FETCH (UID 1 BODY[] NIL)\r\n" + body(3, large))
        await peer.answer(b"UID FETCH 1:3 ", body(2, b"b") + body(3, large))

    async with connected(selected(script), limits=Limits(memory_literal_max_bytes=20)) as connection:
        await connection.select(b"INBOX")
        connection.fetch_ahead(wanted(1, 2, 3))
        found = await fetched(connection, wanted(1, 2, 3))
    assert sorted(found, key=lambda one: one[0]) == [(1, Lack.ABSENT), (2, b"b"), (3, large)]


async def test_refused_ahead_is_asked_again() -> None:
    """NO to all of it, and to each by itself, is told by no error, and decides nothing."""

    async def script(peer: Peer) -> None:
        await peer.expect(b"UID FETCH 1:2 ")
        await peer.no()
        for _ in range(2):
            await peer.expect(b"UID FETCH ")
            await peer.no()
        await peer.answer(b"UID FETCH 1:2 ", body(1, b"a") + body(2, b"b"))

    async with connected(selected(script)) as connection:
        await connection.select(b"INBOX")
        connection.fetch_ahead(wanted(1, 2))
        assert sorted(await fetched(connection, wanted(1, 2))) == [(1, b"a"), (2, b"b")]


@pytest.mark.parametrize("is_renumbered", [False, True])
async def test_body_of_another_uidvalidity_is_another_body(*, is_renumbered: bool) -> None:
    """SELECT waits for what is under way; afterwards it counts only if the mailbox is the same."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"UID FETCH 1 ", body(1, b"a"))
        await peer.answer(b"SELECT", SELECTED)
        await peer.answer(b"SELECT", ANEW if is_renumbered else SELECTED)
        if is_renumbered:
            await peer.answer(b"UID FETCH 1 ", body(1, b"z"))

    async with connected(selected(script)) as connection:
        await connection.select(b"INBOX")
        connection.fetch_ahead(wanted(1))
        await connection.select(b"Archive")
        await connection.select(b"INBOX")
        assert await fetched(connection, wanted(1)) == [(1, b"z" if is_renumbered else b"a")]


async def test_body_of_another_mailbox_is_another_body() -> None:
    """Two mailboxes may have the same UIDVALIDITY."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"UID FETCH 1 ", body(1, b"a"))
        await peer.answer(b"SELECT", SELECTED)
        await peer.answer(b"UID FETCH 1 ", body(1, b"z"))

    async with connected(selected(script)) as connection:
        await connection.select(b"INBOX")
        connection.fetch_ahead(wanted(1))
        await connection.select(b"Archive")
        assert await fetched(connection, wanted(1)) == [(1, b"z")]


async def test_what_came_is_there_while_another_mailbox_is_selected() -> None:
    """A mailbox of which nothing is lacking is not selected again."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"UID FETCH 1 ", body(1, b"a"))
        await peer.answer(b"SELECT", SELECTED)

    async def select_again() -> bool:
        raise AssertionError

    async with connected(selected(script)) as connection:
        await connection.select(b"INBOX")
        connection.fetch_ahead(wanted(1))
        await connection.select(b"Archive")
        again = connection.fetch_bodies(wanted(1), spool=MemorySpool, place=(b"INBOX", 7), selecting=select_again)
        assert [outcome(one) async for one in again] == [(1, b"a")]


async def test_nothing_overtakes_a_select_behind_bodies_under_way() -> None:
    """What is asked in the round trip of a SELECT is of its mailbox."""

    async def script(peer: Peer) -> None:
        await peer.expect(b"UID FETCH 1 ")
        await peer.ok(body(1, b"a"))
        await peer.answer(b'SELECT "Next"', SELECTED)
        await peer.answer(b"UID SEARCH ", b'* ESEARCH (TAG "%b") UID ALL 1:3\r\n' % next_tag(peer.tag))

    async with connected(selected(script)) as connection:
        await connection.select(b"INBOX")
        connection.fetch_ahead(wanted(1))
        _, listing = await select_and_list(connection, b"Next")
    assert listing.uids == UidSet.of([1, 2, 3])


def next_tag(tag: bytes) -> bytes:
    return tag[:4] + b"%d" % (int(tag[4:]) + 1)


async def test_bodies_that_are_larger_than_told_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a server says of sizes bounds nothing."""
    monkeypatch.setattr(parts, "WINDOW_BYTES", 10)

    async def script(peer: Peer) -> None:
        await peer.answer(b"UID FETCH 1:2 ", body(1, b"a" * 8) + body(2, b"b" * 8))
        await peer.answer(b"UID FETCH 2 ", body(2, b"b" * 8))

    async with connected(selected(script)) as connection:
        await connection.select(b"INBOX")
        connection.fetch_ahead(wanted(1, 2, size_bytes=0))
        assert sorted(await fetched(connection, wanted(1, 2))) == [(1, b"a" * 8), (2, b"b" * 8)]


async def test_headers_wait_for_bodies_under_way() -> None:
    """A large literal that comes meanwhile is none of a header's."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"UID FETCH 1 (UID BODY.PEEK[])", body(1, b"a"))
        header = b"* 1 FETCH (UID 1 BODY[HEADER] {2}\r\n\r\n)\r\n"
        await peer.answer(b"UID FETCH 1 (UID BODY.PEEK[HEADER]", header)

    async with connected(selected(script)) as connection:
        await connection.select(b"INBOX")
        connection.fetch_ahead(wanted(1))
        assert [one async for one in connection.fetch_headers(UidSet.of([1]))] == [Header(1, b"\r\n")]
        assert await fetched(connection, wanted(1)) == [(1, b"a")]


async def test_end_of_the_connection_is_told_to_who_fetches() -> None:
    """What was asked for ahead ends quietly with it."""

    async def script(peer: Peer) -> None:
        await peer.expect(b"UID FETCH 1 ")

    async with connected(selected(script)) as connection:
        await connection.select(b"INBOX")
        connection.fetch_ahead(wanted(1))
        with pytest.raises(ConnectionLostError):
            await fetched(connection, wanted(1))


async def test_rest_forgets_what_nobody_wanted() -> None:
    """What was asked for ahead takes no memory at rest: afterwards it is asked for again."""

    async def script(peer: Peer) -> None:
        for _ in range(2):
            await peer.answer(b"UID FETCH 1 ", body(1, b"a"))

    async with connected(selected(script)) as connection:
        await connection.select(b"INBOX")
        connection.fetch_ahead(wanted(1))
        await connection.rest()
        assert await fetched(connection, wanted(1)) == [(1, b"a")]
