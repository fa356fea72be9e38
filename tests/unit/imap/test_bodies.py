"""Each wanted body has an outcome of its own, by UID, in bounded memory, whatever the server does."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import aclosing, nullcontext

import pytest

from syncd.errors import ConnectionLostError, FileError, ProtocolError, RefusedError
from syncd.imap.commands.bodies import Body, Lack, NoBody, Wanted
from syncd.imap.connection import ImapConnection
from syncd.imap.wire.limits import Limits
from tests.unit.imap.scripted import SELECTED, Peer, Script, connected, until


class MemorySpool:
    """A spool that remembers what was done to it, and on which threads."""

    def __init__(self, size_bytes: int, *, fails: bool = False) -> None:
        self.size_bytes = size_bytes
        self.octets = b""
        self.is_discarded = False
        self.fails = fails
        self.threads: set[int] = set()

    def write(self, piece: bytes) -> None:
        if self.fails:
            raise OSError(28, "No space left on device")
        self.threads.add(threading.get_ident())
        self.octets += piece

    def discard(self) -> None:
        self.is_discarded = True


def wanted(*uids: int, size_bytes: int = 10) -> list[Wanted]:
    return [Wanted(uid, size_bytes) for uid in uids]


def body(uid: int, octets: bytes, sequence: int = 1) -> bytes:
    return b"* %d FETCH (UID %d BODY[] {%d}\r\n%s)\r\n" % (sequence, uid, len(octets), octets)


def outcome(one: Body | NoBody) -> tuple[int, object]:
    if isinstance(one, NoBody):
        return one.uid, one.lack
    return one.uid, one.content.octets if isinstance(one.content, MemorySpool) else one.content


async def fetched(
    connection: ImapConnection, bodies: list[Wanted], *, window_bytes: int = 2**22
) -> list[tuple[int, object]]:
    await connection.select(b"INBOX")
    outcomes = connection.fetch_bodies(bodies, spool=MemorySpool, window_bytes=window_bytes)
    return [outcome(one) async for one in outcomes]


def selected(script: Script) -> Script:
    async def whole(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)
        await script(peer)

    return whole


async def test_interleaved_answers_of_two_fetches_go_by_uid() -> None:
    """A body that comes within another command's answer, after its own command has ended, is that UID's body."""

    first_is_over = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.expect(b"UID FETCH 1:100 ")
        first = peer.tag
        await peer.expect(b"UID FETCH 101:102 ")
        second = peer.tag
        early = [body(uid, b"%d" % uid) for uid in range(1, 100)]
        await peer.send(body(102, b"102") + b"".join(early) + first + b" OK done\r\n")
        await first_is_over.wait()
        await peer.send(body(100, b"100") + body(101, b"101") + second + b" OK done\r\n")

    found = []
    async with connected(selected(script)) as connection:
        await connection.select(b"INBOX")
        async for one in connection.fetch_bodies(wanted(*range(1, 103)), spool=MemorySpool):
            found.append(outcome(one))
            if len(found) == 100:
                asyncio.get_running_loop().call_later(0.05, first_is_over.set)

    assert dict(found) == {uid: b"%d" % uid for uid in range(1, 103)}
    assert len(found) == 102


async def test_uid_counts_as_absent_only_when_nothing_can_bring_it_any_more() -> None:
    """A UID that its own command left out, and no other brought, is absent."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"UID FETCH 1:3 ", body(1, b"a") + body(3, b"c"))

    async with connected(selected(script)) as connection:
        assert await fetched(connection, wanted(1, 2, 3)) == [(1, b"a"), (3, b"c"), (2, Lack.ABSENT)]


async def test_nil_missing_and_foreign_bodies() -> None:
    """NIL is no body; a body that was not asked for, or comes twice, is ignored."""

    async def script(peer: Peer) -> None:
        twice = b"* 1 FETCH (UID 2 BODY[] {1}\r\nb BODY[] {5}\r\nagain)\r\n"
        answer = b"* 1 FETCH (UID 1 BODY[] NIL)\r\n" + body(9, b"foreign") + twice + body(2, b"again")
        await peer.answer(b"UID FETCH 1:2 ", answer)

    async with connected(selected(script)) as connection:
        assert await fetched(connection, wanted(1, 2)) == [(1, Lack.NIL), (2, b"b")]


async def test_one_refused_message_does_not_cost_the_others() -> None:
    """A batch that ends in NO is asked again one by one, and only what is refused alone is set aside."""

    async def script(peer: Peer) -> None:
        await peer.expect(b"UID FETCH 1:3 ")
        await peer.send(body(1, b"a"))
        await peer.no(b"[UNAVAILABLE] some failed")
        await peer.expect(b"UID FETCH 2 ")
        await peer.no(b"System Error")
        await peer.answer(b"UID FETCH 3 ", body(3, b"c"))

    async with connected(selected(script)) as connection:
        assert await fetched(connection, wanted(1, 2, 3)) == [(1, b"a"), (2, Lack.REFUSED), (3, b"c")]


async def test_mailbox_that_refuses_everything_is_not_asked_for_ever() -> None:
    """After a hundred refusals in a row the mailbox is the trouble, not its messages."""

    async def script(peer: Peer) -> None:
        while await peer.command():
            await peer.no(b"[UNAVAILABLE] later")

    async with connected(selected(script)) as connection:
        with pytest.raises(RefusedError):
            await fetched(connection, wanted(*range(1, 1000)))
        assert connection.is_usable
        await connection.aclose()


async def test_large_body_is_spooled_on_threads_and_small_ones_are_not() -> None:
    """Above the limit octets go to the spool as they arrive, and never run on the event loop."""
    large = bytes(range(256)) * 40
    spools: list[MemorySpool] = []

    def spool(size_bytes: int) -> MemorySpool:
        spools.append(MemorySpool(size_bytes))
        return spools[-1]

    async def script(peer: Peer) -> None:
        await peer.expect(b"UID FETCH 1:2 ")
        await peer.send(b"* 1 FETCH (BODY[] {%d}\r\n" % len(large))
        for at in range(0, len(large), 1000):
            await peer.send(large[at : at + 1000])
        await peer.ok(b" UID 2)\r\n" + body(1, b"small"))

    async with connected(selected(script), limits=Limits(memory_literal_max_bytes=1000)) as connection:
        await connection.select(b"INBOX")
        found = {one.uid: one async for one in connection.fetch_bodies(wanted(1, 2), spool=spool)}

    assert outcome(found[1]) == (1, b"small")
    assert outcome(found[2]) == (2, large)
    assert isinstance(found[2], Body)
    assert found[2].size_bytes == len(large) == spools[0].size_bytes
    assert threading.get_ident() not in spools[0].threads
    assert [spool.is_discarded for spool in spools] == [False]


async def test_large_foreign_body_is_discarded() -> None:
    """Nobody's large body leaves nothing behind and holds nothing up."""
    spools: list[MemorySpool] = []

    def spool(size_bytes: int) -> MemorySpool:
        spools.append(MemorySpool(size_bytes))
        return spools[-1]

    async def script(peer: Peer) -> None:
        await peer.answer(b"UID FETCH 1 ", body(9, b"x" * 5000) + body(1, b"a"))

    async with connected(selected(script), limits=Limits(memory_literal_max_bytes=1000)) as connection:
        await connection.select(b"INBOX")
        found = [outcome(one) async for one in connection.fetch_bodies(wanted(1), spool=spool)]

    assert found == [(1, b"a")]


async def test_full_disk_ends_the_fetch_with_its_reason() -> None:
    """A spool that cannot be written is our trouble, not the message's."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"UID FETCH 1 ", body(1, b"x" * 5000))

    async with connected(selected(script), limits=Limits(memory_literal_max_bytes=1000)) as connection:
        await connection.select(b"INBOX")
        with pytest.raises(FileError) as error:
            await anext(connection.fetch_bodies(wanted(1), spool=lambda size: MemorySpool(size, fails=True)))

    assert isinstance(error.value.__cause__, OSError)


@pytest.mark.parametrize("announced", [500, 5000])
async def test_connection_lost_within_a_body_yields_no_body(announced: int) -> None:
    """A literal that is cut short is never handed over, in memory or spooled, and its spool is discarded."""
    spools: list[MemorySpool] = []

    def spool(size_bytes: int) -> MemorySpool:
        spools.append(MemorySpool(size_bytes))
        return spools[-1]

    async def script(peer: Peer) -> None:
        await peer.expect(b"UID FETCH 1 ")
        await peer.send(b"* 1 FETCH (UID 1 BODY[] {%d}\r\n" % announced + b"x" * (announced - 1))
        peer.writer.close()

    async with connected(selected(script), limits=Limits(memory_literal_max_bytes=1000)) as connection:
        await connection.select(b"INBOX")
        with pytest.raises(ConnectionLostError):
            await anext(connection.fetch_bodies(wanted(1), spool=spool))
        await until(lambda: all(one.is_discarded for one in spools))


async def test_window_bounds_what_is_asked_for() -> None:
    """No more bytes are asked for than the window holds; the next batch follows when the reader has taken some."""
    asked: list[bytes] = []

    async def script(peer: Peer) -> None:
        asked.append(await peer.expect(b"UID FETCH 1 "))
        first = peer.tag
        asked.append(await peer.expect(b"UID FETCH 2 "))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(peer.reader.read(1), 0.1)
        await peer.send(body(1, b"a") + first + b" OK\r\n")
        second = peer.tag
        asked.append(await peer.expect(b"UID FETCH 3 "))
        await peer.send(body(2, b"b") + second + b" OK\r\n")
        await peer.ok(body(3, b"c"))

    async with connected(selected(script)) as connection:
        await connection.select(b"INBOX")
        bodies = connection.fetch_bodies(wanted(1, 2, 3, size_bytes=400_000), spool=MemorySpool, window_bytes=900_000)
        async with aclosing(bodies):
            assert outcome(await anext(bodies)) == (1, b"a")
            assert len(asked) == 2
            assert [outcome(one) async for one in bodies] == [(2, b"b"), (3, b"c")]


async def test_leaving_early_closes_the_connection() -> None:
    """Bodies that are still to come may not meet another command."""

    async def script(peer: Peer) -> None:
        await peer.expect(b"UID FETCH 1:2 ")
        await peer.send(body(1, b"a"))
        await peer.gone()

    async with connected(selected(script)) as connection:
        await connection.select(b"INBOX")
        async with aclosing(connection.fetch_bodies(wanted(1, 2), spool=MemorySpool)) as bodies:
            assert outcome(await anext(bodies)) == (1, b"a")
        assert not connection.is_usable


async def test_flags_that_come_with_a_body_are_an_event() -> None:
    """News in the same FETCH as the body is not lost."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"UID FETCH 1 ", b"* 1 FETCH (FLAGS (\\Seen) UID 1 BODY[] {1}\r\na)\r\n")

    async with connected(selected(script)) as connection:
        assert await fetched(connection, wanted(1)) == [(1, b"a")]
        assert [row.flags for row in connection.drain_events().rows] == [{"\\Seen"}]


async def test_body_beyond_every_limit_is_a_protocol_error() -> None:
    """A literal that no limit allows ends the connection before it is read."""

    async def script(peer: Peer) -> None:
        await peer.expect(b"UID FETCH 1 ")
        await peer.send(b"* 1 FETCH (UID 1 BODY[] {9999999999}\r\n")
        await peer.gone()

    async with connected(selected(script)) as connection:
        with pytest.raises(ProtocolError):
            await fetched(connection, wanted(1))


def selecting(connection: ImapConnection) -> Callable[[], Awaitable[bool]]:
    async def select() -> bool:
        return not (await connection.select(b"Next", is_pipelined=True)).is_plain

    return select


async def test_bodies_come_in_the_round_trip_of_their_select() -> None:
    """Both are sent before either is answered, and what comes together with the end of SELECT is not lost."""

    async def script(peer: Peer) -> None:
        await peer.expect(b'SELECT "Next"')
        tag = peer.tag
        await peer.expect(b"UID FETCH 1:2 ")
        await peer.ok(SELECTED + tag + b" OK [READ-WRITE] done\r\n" + body(1, b"a") + body(2, b"b"))

    async with connected(selected(script)) as connection:
        await connection.select(b"INBOX")
        outcomes = connection.fetch_bodies(wanted(1, 2), spool=MemorySpool, selecting=selecting(connection))
        assert [outcome(one) async for one in outcomes] == [(1, b"a"), (2, b"b")]
        assert connection.selected == b"Next"


async def test_what_is_made_again_behind_a_refused_select_is_not_asked_again() -> None:
    """It was asked of no mailbox; the connection goes on once all of it is answered."""

    async def script(peer: Peer) -> None:
        await peer.expect(b'SELECT "Next"')
        refused = peer.tag + b" NO [NONEXISTENT] gone\r\n"
        await peer.expect(b"UID FETCH 1:100 ")
        refused += peer.tag + b" BAD no mailbox\r\n"
        await peer.expect(b"UID FETCH 101:102 ")
        await peer.send(refused + peer.tag + b" BAD no mailbox\r\n")
        await peer.answer(b"NOOP")

    async with connected(selected(script)) as connection:
        await connection.select(b"INBOX")
        some = wanted(*range(1, 103))
        with pytest.raises(RefusedError, match="gone"):
            await anext(connection.fetch_bodies(some, spool=MemorySpool, selecting=selecting(connection)))
        await connection.noop()


async def test_bodies_behind_a_refused_parameter_of_select_are_of_no_account() -> None:
    """They may be those of the mailbox before, which some servers keep selected."""

    async def script(peer: Peer) -> None:
        await peer.expect(b'SELECT "Next" (CONDSTORE)')
        tag = peer.tag
        await peer.expect(b"UID FETCH 1:2 ")
        await peer.send(tag + b" BAD no parameters\r\n")
        await peer.ok(body(1, b"another") + body(2, b"another"))
        await peer.answer(b'SELECT "Next"', SELECTED)

    async with connected(selected(script), capabilities=b"IMAP4rev1 CONDSTORE") as connection:
        await connection.select(b"INBOX")
        outcomes = connection.fetch_bodies(wanted(1, 2), spool=MemorySpool, selecting=selecting(connection))
        assert [outcome(one) async for one in outcomes] == []
        assert connection.selected == b"Next"


@pytest.mark.parametrize("is_made_again", [False, True], ids=["parameter-refused", "made-again"])
async def test_much_that_came_of_another_mailbox_does_not_stop_the_wire(*, is_made_again: bool) -> None:
    """More than the wire may hold: bodies are larger than those that were asked for."""
    many = range(1, 21)
    others = b"".join(body(uid, b"x" * 40_000) for uid in many)

    async def script(peer: Peer) -> None:
        await peer.expect(b'SELECT "Next" (CONDSTORE)')
        tag = peer.tag
        await peer.expect(b"UID FETCH 1:20 ")
        if is_made_again:
            await peer.send(SELECTED + tag + b" OK done\r\n")
        else:
            await peer.send(tag + b" BAD no parameters\r\n")
        for at in range(0, len(others), 10_000):
            await peer.send(others[at : at + 10_000])
        await peer.ok()
        if not is_made_again:
            await peer.answer(b'SELECT "Next"', SELECTED)
        await peer.answer(b"NOOP")

    async def select() -> bool:
        is_plain = (await connection.select(b"Next", is_pipelined=True)).is_plain
        if is_made_again:
            raise RefusedError("made again")
        return not is_plain

    limits = Limits(held_max_bytes=60_000)
    async with connected(selected(script), limits=limits, capabilities=b"IMAP4rev1 CONDSTORE") as connection:
        await connection.select(b"INBOX")
        outcomes = connection.fetch_bodies(wanted(*many), spool=MemorySpool, window_bytes=30_000, selecting=select)
        async with asyncio.timeout(10), aclosing(outcomes):
            with pytest.raises(RefusedError, match="made again") if is_made_again else nullcontext():
                assert [one async for one in outcomes] == []
        await connection.noop()
