"""Every appended message has an outcome of its own, whenever and however a server refuses or goes away."""

from collections.abc import AsyncIterator

import pytest

from syncd.errors import ConnectionLostError
from syncd.imap.commands.appends import Accepted, AppendOutcome, NewMessage, NotAppended
from syncd.imap.connection import ImapConnection
from syncd.imap.types import Appended
from syncd.imap.wire.arguments import Streamed
from tests.unit.imap.scripted import Peer, Script, connected

SYNC = b"IMAP4rev1 UIDPLUS MULTIAPPEND"
MULTI = SYNC + b" LITERAL+"
HEAD = b'APPEND "INBOX" '


def plain(bodies: tuple[bytes, ...]) -> list[NewMessage]:
    return [NewMessage(body) for body in bodies]


async def appended(script: Script, capabilities: bytes, *messages: NewMessage) -> list[AppendOutcome | str]:
    """Append messages; a refusal is told by its code."""
    async with connected(script, capabilities=capabilities) as connection:
        return await outcomes_of(connection, *messages)


async def outcomes_of(connection: ImapConnection, *messages: NewMessage) -> list[AppendOutcome | str]:
    outcomes = [one async for one in connection.append_many(b"INBOX", messages)]
    return [one.error.code if isinstance(one, NotAppended) else one for one in outcomes]


async def test_batch_is_one_command() -> None:
    """Several messages with flags and dates go together, and each learns its UID."""

    async def script(peer: Peer) -> None:
        first = b'(\\Seen) " 1-Jan-1970 00:00:00 +0000" {2+}\r\nm1'
        assert await peer.command() == HEAD + first + b" {2+}\r\nm2 (k) {2+}\r\nm3"
        await peer.ok(text=b"[APPENDUID 7 4,8:9] done")

    messages = [NewMessage(b"m1", frozenset({"\\Seen"}), 0), NewMessage(b"m2"), NewMessage(b"m3", frozenset({"k"}))]

    assert await appended(script, MULTI, *messages) == [Appended(7, uid) for uid in (4, 8, 9)]


@pytest.mark.parametrize(
    "code", [b"", b"[APPENDUID 7 4] ", b"[APPENDUID 7 5:4] ", b"[APPENDUID 7 4:6] ", b"[APPENDUID 4:5] "]
)
async def test_batch_with_an_odd_appenduid_is_accepted(code: bytes) -> None:
    """A set that does not fit the messages tells no UID, and the OK still counts for all of them."""

    async def script(peer: Peer) -> None:
        await peer.answer(HEAD, text=code + b"done")

    assert await appended(script, MULTI, *plain((b"m1", b"m2"))) == [Accepted(), Accepted()]


async def test_large_streamed_and_empty_bodies_go_alone() -> None:
    """What would cost much to send twice, can be read once, or would cancel a batch, is no part of one."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"s"
        yield b"t"

    async def script(peer: Peer) -> None:
        assert await peer.command() == HEAD + b"{2+}\r\nm1 {2+}\r\nm2"
        await peer.ok(text=b"[APPENDUID 7 1:2] done")
        assert await peer.command() == HEAD + b"{2+}\r\nst"
        await peer.ok(text=b"[APPENDUID 7 3] done")
        assert await peer.command() == HEAD + b"{0+}\r\n"
        await peer.no(b"empty")
        assert len(await peer.command()) > 2_000_000
        await peer.ok(text=b"[APPENDUID 7 4] done")
        assert await peer.command() == HEAD + b"{2+}\r\nm3"
        await peer.ok()

    bodies = (b"m1", b"m2", Streamed(2, pieces()), b"", b"x" * 2_000_000, b"m3")
    found = await appended(script, MULTI, *(NewMessage(body) for body in bodies))

    assert found == [*(Appended(7, uid) for uid in (1, 2, 3)), "", Appended(7, 4), Accepted()]


async def test_batch_is_bounded_by_bytes_and_by_count() -> None:
    """What has to be sent once more when one of it is refused is never more than a MiB or a hundred messages."""
    sizes: list[int] = []

    async def script(peer: Peer) -> None:
        while sum(sizes) < 253:
            command = await peer.expect(HEAD)
            sizes.append(command.count(b"+}\r\n"))
            await peer.ok()

    bodies = (*(b"x" * 400_000 for _ in range(3)), *(b"m" for _ in range(250)))
    assert await appended(script, MULTI, *plain(bodies)) == [Accepted()] * 253

    assert sizes == [2, 100, 100, 51]


async def test_refusal_in_place_of_a_continuation_costs_only_the_guilty() -> None:
    """NO before the literal of the second message: nothing more of the batch is sent, and each goes alone."""

    async def script(peer: Peer) -> None:
        line = await peer.reader.readline()
        assert line.endswith(HEAD + b"{2}\r\n")
        await peer.send(b"+ go on\r\n")
        assert await peer.reader.readline() == b"m1 {2}\r\n"
        await peer.send(line.partition(b" ")[0] + b" NO [TOOBIG] the second\r\n")
        assert await peer.command() == HEAD + b"{2}\r\nm1"
        await peer.ok(text=b"[APPENDUID 7 4] done")
        line = await peer.reader.readline()
        assert line.endswith(HEAD + b"{2}\r\n")
        await peer.send(line.partition(b" ")[0] + b" NO [TOOBIG] too large\r\n")
        assert await peer.command() == HEAD + b"{2}\r\nm3"
        await peer.ok(text=b"[APPENDUID 7 5] done")

    assert await appended(script, SYNC, *plain((b"m1", b"m2", b"m3"))) == [Appended(7, 4), "TOOBIG", Appended(7, 5)]


async def test_refusal_between_two_literals_ends_the_line() -> None:
    """A batch refused while it is sent is ended as a line, so that the next command is not a part of it."""

    async def script(peer: Peer) -> None:
        line = await peer.reader.readline()
        await peer.send(b"+ go on\r\n" + line.partition(b" ")[0] + b" NO [LIMIT] not together\r\n")
        assert await peer.reader.readline() == b"m1\r\n"
        for body in (b"m1", b"m2"):
            assert await peer.command() == HEAD + b"{2}\r\n" + body
            await peer.ok()

    assert await appended(script, SYNC, *plain((b"m1", b"m2"))) == [Accepted(), Accepted()]


async def test_refusal_after_the_batch_costs_only_the_guilty() -> None:
    """A batch that was sent whole and refused is appended message by message."""

    async def script(peer: Peer) -> None:
        await peer.expect(HEAD)
        await peer.no(b"[CANNOT] one of them")
        for body, answer in ((b"m1", b"OK [APPENDUID 7 4]"), (b"m2", b"NO [CANNOT]"), (b"m3", b"OK [APPENDUID 7 5]")):
            assert await peer.command() == HEAD + b"{2+}\r\n" + body
            await peer.send(peer.tag + b" " + answer + b" that is it\r\n")

    assert await appended(script, MULTI, *plain((b"m1", b"m2", b"m3"))) == [Appended(7, 4), "CANNOT", Appended(7, 5)]


async def test_missing_mailbox_is_not_asked_for_each_message() -> None:
    """A mailbox that is not there is not there for any message."""

    async def script(peer: Peer) -> None:
        await peer.expect(HEAD)
        await peer.no(b"[TRYCREATE] no such mailbox")

    assert await appended(script, MULTI, *plain((b"m1", b"m2"))) == ["TRYCREATE", "TRYCREATE"]


async def test_server_that_refuses_batches_only_is_not_asked_for_them_again() -> None:
    """Messages that are welcome one by one are sent one by one from then on, but for what is under way already."""
    bodies = tuple(b"%02d" % number * 200_000 for number in range(12))

    async def script(peer: Peer) -> None:
        for _ in range(5):
            await peer.expect(HEAD)
            await peer.no(b"what is this")
        for body in bodies:
            assert await peer.command() == HEAD + b"{400000+}\r\n" + body
            await peer.ok()

    assert await appended(script, MULTI, *plain(bodies)) == [Accepted()] * 12


async def test_commands_that_need_no_leave_are_sent_at_once() -> None:
    """A server with LITERAL+ and without MULTIAPPEND answers nothing before it has all; no more than some megabytes."""

    async def script(peer: Peer) -> None:
        commands = [(await peer.expect(HEAD), peer.tag) for _ in range(3)]
        for number, (_, tag) in enumerate(commands):
            await peer.send(b"%b OK [APPENDUID 7 %d] done\r\n" % (tag, number + 1))
        await peer.answer(HEAD)

    bodies = (b"m1", b"m2", b"m3", b"x" * 5_000_000)
    outcomes = await appended(script, b"IMAP4rev1 UIDPLUS LITERAL+", *plain(bodies))

    assert outcomes == [*(Appended(7, uid) for uid in (1, 2, 3)), Accepted()]


async def test_full_mailbox_is_sent_nothing_more() -> None:
    """What was under way has outcomes of its own, and what was not is refused with it."""

    async def script(peer: Peer) -> None:
        for code in (b"OK [APPENDUID 7 4]", b"NO [OVERQUOTA]", b"OK [APPENDUID 7 5]"):
            await peer.expect(HEAD)
            await peer.send(peer.tag + b" " + code + b" that is it\r\n")
        await peer.answer(b"NOOP")

    messages = plain((b"m1", b"m2", b"m3", b"x" * 5_000_000, b"m5"))
    async with connected(script, capabilities=b"IMAP4rev1 UIDPLUS LITERAL+") as connection:
        outcomes = await outcomes_of(connection, *messages)
        await connection.noop()

    assert outcomes == [Appended(7, 4), "OVERQUOTA", Appended(7, 5), "OVERQUOTA", "OVERQUOTA"]


async def test_batches_of_a_full_mailbox_are_not_sent_again() -> None:
    """One message alone tells that the mailbox is full, also of batches that were under way."""

    async def script(peer: Peer) -> None:
        for _ in range(3):
            await peer.expect(HEAD)
            await peer.no(b"[OVERQUOTA] full")
        await peer.answer(b"NOOP")

    async with connected(script, capabilities=MULTI) as connection:
        outcomes = await outcomes_of(connection, *plain(tuple(b"%d" % number * 400_000 for number in range(4))))
        await connection.noop()

    assert outcomes == ["OVERQUOTA"] * 4


async def test_without_multiappend_one_follows_the_other() -> None:
    """A server without batches gets single messages, and a refused one does not end the row."""

    async def script(peer: Peer) -> None:
        await peer.answer(HEAD + b"{2+}\r\nm1", text=b"[APPENDUID 7 4] done")
        await peer.expect(HEAD + b"{2+}\r\nm2")
        await peer.no(b"[OVERQUOTA] full")
        await peer.answer(HEAD + b"{2+}\r\nm3")

    capabilities = b"IMAP4rev1 UIDPLUS LITERAL+"
    assert await appended(script, capabilities, *plain((b"m1", b"m2", b"m3"))) == [
        Appended(7, 4),
        "OVERQUOTA",
        Accepted(),
    ]


@pytest.mark.parametrize("has_bye", [True, False])
async def test_connection_lost_within_a_body_keeps_what_was_known(*, has_bye: bool) -> None:
    """Who waits is woken with the server's reason; outcomes until then were yielded, later ones are unknown."""

    async def script(peer: Peer) -> None:
        await peer.answer(HEAD, text=b"[APPENDUID 7 4] done")
        await peer.reader.readline()
        await peer.send(b"+ go on\r\n")
        await peer.reader.readexactly(10)
        if has_bye:
            await peer.send(b"* BYE token of ana@example.org expired\r\n")
            peer.writer.write_eof()
            await peer.gone()
        else:
            peer.writer.transport.abort()

    messages = plain((b"m1", b"x" * 20_000_000, b"m3"))
    async with connected(script, capabilities=SYNC) as connection:
        outcomes = connection.append_many(b"INBOX", messages)
        assert await anext(outcomes) == Appended(7, 4)
        with pytest.raises(ConnectionLostError) as lost:
            await anext(outcomes)
        assert not connection.is_usable

    assert has_bye == str(lost.value).endswith('"token of <address> expired"')


async def test_connection_lost_between_several_at_once_keeps_what_was_answered() -> None:
    """Of those that went together, each that has an answer is told; of the others nobody knows."""

    async def script(peer: Peer) -> None:
        tags = [(await peer.expect(HEAD), peer.tag)[1] for _ in range(3)]
        await peer.send(tags[0] + b" OK [APPENDUID 7 4] done\r\n" + tags[1] + b" NO [LIMIT] not this\r\n")
        peer.writer.write_eof()

    async with connected(script, capabilities=b"IMAP4rev1 UIDPLUS LITERAL+") as connection:
        outcomes = connection.append_many(b"INBOX", plain((b"m1", b"m2", b"m3")))
        assert await anext(outcomes) == Appended(7, 4)
        assert isinstance(await anext(outcomes), NotAppended)
        with pytest.raises(ConnectionLostError):
            await anext(outcomes)


async def test_connection_lost_instead_of_a_continuation_is_a_loss_not_a_refusal() -> None:
    """A server that goes away before it takes the literal has refused nothing."""

    async def script(peer: Peer) -> None:
        await peer.reader.readline()
        peer.writer.close()

    async with connected(script, capabilities=SYNC) as connection:
        with pytest.raises(ConnectionLostError):
            await outcomes_of(connection, *plain((b"m1", b"m2")))


async def test_append_many_left_early_leaves_the_connection_good() -> None:
    """Between two outcomes nothing is under way."""

    async def script(peer: Peer) -> None:
        await peer.answer(HEAD + b"{2+}\r\nm1 {2+}\r\nm2", text=b"[APPENDUID 7 1:2] done")
        await peer.answer(b"NOOP")

    async with connected(script, capabilities=MULTI) as connection:
        outcomes = connection.append_many(b"INBOX", plain((b"m1", b"m2")))
        assert await anext(outcomes) == Appended(7, 1)
        await outcomes.aclose()
        await connection.noop()
