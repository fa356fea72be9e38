"""Moves on servers that do things by halves, or say them oddly: an outcome is never better than what was said."""

import pytest

from syncd.errors import ConnectionLostError
from syncd.imap.answers.refusals import CopyRefusedError
from syncd.imap.effects.moves import Moved, MoveOutcome, move_messages
from syncd.imap.types import Appended, Copied
from syncd.mail.uidset import UidSet
from tests.unit.imap.scripted import SELECTED, Peer, connected

MOVE = b"IMAP4rev1 UIDPLUS MOVE"
UIDPLUS = b"IMAP4rev1 UIDPLUS"
OURS = UidSet.span(1, 3)


async def moved(
    capabilities: bytes, *script: tuple[bytes, bytes, bytes], uids: UidSet = OURS
) -> dict[int, MoveOutcome]:
    """Move messages with a server that answers each expected command by untagged data and an end."""

    async def whole(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)
        for expected, untagged, end in script:
            assert await peer.command() == expected
            await peer.send(untagged + peer.tag + b" " + end + b"\r\n")

    async with connected(whole, capabilities=capabilities) as connection:
        await connection.select(b"INBOX")
        outcomes = await move_messages(connection, uids, b"Bin")
    assert len(outcomes) == len(uids)
    return {one.uid: one for one in outcomes}


def rows(*uids: int) -> bytes:
    return b"".join(b"* %d FETCH (UID %d FLAGS (\\Deleted))\r\n" % (uid, uid) for uid in uids)


def at(uid: int) -> Appended:
    return Appended(9, uid)


@pytest.mark.parametrize("capabilities", [MOVE, b"IMAP4rev1 IMAP4rev2"])
async def test_untagged_copyuid_before_the_expunges_counts(capabilities: bytes) -> None:
    """New UIDs that are told before the end are known; what the server does not name is not called moved."""
    found = await moved(
        capabilities,
        (b'UID MOVE 1:3 "Bin"', b"* OK [COPYUID 9 1,3 21:22] moved\r\n* 1 EXPUNGE\r\n* 2 EXPUNGE\r\n", b"OK done"),
    )

    assert found == {
        1: MoveOutcome(1, Moved.MOVED, at(21)),
        2: MoveOutcome(2, Moved.SILENT),
        3: MoveOutcome(3, Moved.MOVED, at(22)),
    }


async def test_expunges_of_a_move_are_events() -> None:
    """What leaves the mailbox by our own move is reported like any other expunge."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)
        await peer.answer(b"UID MOVE", b"* VANISHED 1:2\r\n", b"[COPYUID 9 1:2 21:22] done")

    async with connected(script, capabilities=MOVE) as connection:
        await connection.select(b"INBOX")
        assert await connection.move(UidSet.span(1, 2), b"Bin") == Copied(9, ((1, 21), (2, 22)))
        assert connection.drain_events().vanished == UidSet.span(1, 2)
        assert connection.exists == 1


async def test_move_refused_half_way_is_not_tried_again() -> None:
    """Only what the server named before its NO is moved; the rest is refused, for it may be there already."""
    found = await moved(
        MOVE, (b'UID MOVE 1:3 "Bin"', b"* OK [COPYUID 9 1 21] moved\r\n* 1 EXPUNGE\r\n", b"NO [OVERQUOTA] full")
    )

    assert found[1] == MoveOutcome(1, Moved.MOVED, at(21))
    assert {(found[uid].moved, found[uid].code) for uid in (2, 3)} == {(Moved.REFUSED, "OVERQUOTA")}
    assert "full" in found[2].text


@pytest.mark.parametrize("code", [b"", b"[COPYUID 9 1:3 21:22] ", b"[COPYUID 9 1:3] ", b"[COPYUID] ", b"[COPYUID "])
async def test_move_without_a_usable_copyuid_is_silent_where_one_is_promised(code: bytes) -> None:
    """OK alone also says that there was nothing to move; a malformed code does not cost the connection."""
    found = await moved(MOVE, (b'UID MOVE 1:3 "Bin"', b"", b"OK " + code + b"done"))

    assert {one.moved for one in found.values()} == {Moved.SILENT}


async def test_one_broken_copyuid_among_several_makes_none_certain() -> None:
    """A code that cannot be read may concern any message, so that none is said to be elsewhere."""
    found = await moved(
        MOVE,
        (b'UID MOVE 1:3 "Bin"', b"* OK [COPYUID 9 1 21] moved\r\n* OK [COPYUID 9 2:3 22] moved\r\n", b"OK done"),
    )

    assert {one.moved for one in found.values()} == {Moved.SILENT}


async def test_move_without_uidplus_looks_before() -> None:
    """Where no new UIDs are told, what was there and was moved is moved, and what was not there is silent."""
    found = await moved(
        b"IMAP4rev1 MOVE",
        (b"UID SEARCH UID 1:3", b"* SEARCH 1 3\r\n", b"OK done"),
        (b'UID MOVE 1:3 "Bin"', b"* 1 EXPUNGE\r\n* 2 EXPUNGE\r\n", b"OK done"),
    )

    assert {uid: (one.moved, one.target) for uid, one in found.items()} == {
        1: (Moved.MOVED, None),
        2: (Moved.SILENT, None),
        3: (Moved.MOVED, None),
    }


async def test_only_what_was_copied_is_expunged() -> None:
    """Without MOVE a message is expunged here once the server named its copy, and no other is."""
    found = await moved(
        UIDPLUS,
        (b'UID COPY 1:3 "Bin"', b"", b"OK [COPYUID 9 1,3 21:22] done"),
        (b"UID STORE 1,3 +FLAGS (\\Deleted)", rows(1, 3), b"OK done"),
        (b"UID EXPUNGE 1,3", b"* 1 EXPUNGE\r\n* 2 EXPUNGE\r\n", b"OK done"),
    )

    assert found == {
        1: MoveOutcome(1, Moved.MOVED, at(21)),
        2: MoveOutcome(2, Moved.SILENT),
        3: MoveOutcome(3, Moved.MOVED, at(22)),
    }


async def test_copy_without_copyuid_is_expunged_by_its_ok() -> None:
    """A copy whose UID is not told is a copy; who told nothing at all is to be observed."""
    found = await moved(
        UIDPLUS,
        (b'UID COPY 1:3 "Bin"', b"", b"OK done"),
        (b"UID STORE 1:3 +FLAGS (\\Deleted)", rows(1, 3), b"OK done"),
        (b"UID SEARCH UID 2 DELETED", b"* SEARCH\r\n", b"OK done"),
        (b"UID EXPUNGE 1,3", b"", b"OK done"),
    )

    assert {uid: (one.moved, one.target) for uid, one in found.items()} == {
        1: (Moved.MOVED, None),
        2: (Moved.SILENT, None),
        3: (Moved.MOVED, None),
    }


async def test_copy_that_cannot_be_removed_here_is_copied() -> None:
    """After the copy a refused STORE or EXPUNGE leaves the message in both places, and says so."""
    found = await moved(
        UIDPLUS,
        (b'UID COPY 1:2 "Bin"', b"", b"OK [COPYUID 9 1:2 21:22] done"),
        (b"UID STORE 1:2 +FLAGS (\\Deleted)", b"", b"NO one of them"),
        (b"UID STORE 1 +FLAGS (\\Deleted)", b"", b"NO [NOPERM] not this one"),
        (b"UID STORE 2 +FLAGS (\\Deleted)", rows(2), b"OK done"),
        (b"UID EXPUNGE 2", b"", b"NO [INUSE] not now"),
        uids=UidSet.span(1, 2),
    )

    assert {uid: (one.moved, one.target) for uid, one in found.items()} == {
        1: (Moved.COPIED, at(21)),
        2: (Moved.COPIED, at(22)),
    }
    assert "not this one" in found[1].text
    assert "not now" in found[2].text


async def test_refused_copy_is_halved_until_the_culprit_stands_alone() -> None:
    """COPY takes all or nothing, so that a set can be tried again in halves."""
    found = await moved(
        UIDPLUS,
        (b'UID COPY 1:2 "Bin"', b"", b"NO one of them"),
        (b'UID COPY 1 "Bin"', b"", b"NO [LIMIT] too large"),
        (b'UID COPY 2 "Bin"', b"", b"OK [COPYUID 9 2 21] done"),
        (b"UID STORE 2 +FLAGS (\\Deleted)", rows(2), b"OK done"),
        (b"UID EXPUNGE 2", b"", b"OK done"),
        uids=UidSet.span(1, 2),
    )

    assert (found[1].moved, found[1].code) == (Moved.REFUSED, "LIMIT")
    assert found[2] == MoveOutcome(2, Moved.MOVED, at(21))


async def test_missing_target_is_not_asked_for_each_message() -> None:
    """A target that is not there is not there for any message."""
    found = await moved(UIDPLUS, (b'UID COPY 1:3 "Bin"', b"", b"NO [TRYCREATE] no such mailbox"))

    assert {(one.moved, one.code) for one in found.values()} == {(Moved.REFUSED, "TRYCREATE")}


async def test_refusal_of_a_later_piece_keeps_what_is_known_of_the_earlier() -> None:
    """A set too long for one command that is refused half-way tells what was copied until then."""
    uids = UidSet.of(range(1_000_000_001, 1_000_000_601, 2))

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)
        await peer.expect(b"UID COPY 1000000001,")
        await peer.ok(text=b"[COPYUID 9 1000000001 21] done")
        await peer.expect(b"UID COPY ")
        await peer.no(b"[OVERQUOTA] full")

    async with connected(script, capabilities=UIDPLUS) as connection:
        await connection.select(b"INBOX")
        with pytest.raises(CopyRefusedError) as refused:
            await connection.copy(uids, b"Bin")

    assert refused.value.copied == Copied(9, ((1_000_000_001, 21),))
    assert refused.value.code == "OVERQUOTA"


@pytest.mark.parametrize("untagged", [b"", b"* OK [COPYUID 9 1 21] moved\r\n"])
async def test_connection_lost_within_a_move_tells_nothing(untagged: bytes) -> None:
    """A move that is not answered has no outcome at all."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)
        await peer.expect(b"UID MOVE")
        await peer.send(untagged)
        peer.writer.close()

    async with connected(script, capabilities=MOVE) as connection:
        await connection.select(b"INBOX")
        with pytest.raises(ConnectionLostError):
            await move_messages(connection, OURS, b"Bin")
        assert not connection.is_usable
