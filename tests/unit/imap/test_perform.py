"""Outcomes of STORE are per message, also where the server treats a set as one."""

from syncd.imap.effects.perform import FlagChange, Stored, StoreOutcome, store_changes
from syncd.imap.types import FetchRow
from syncd.mail.flags import NONE
from tests.unit.imap.scripted import SELECTED, Peer, connected

SEEN = frozenset({"\\Seen"})
ADD = b" +FLAGS (\\Seen)"


def row(uid: int, flags: bytes = b"\\Seen", modseq: int = 12) -> bytes:
    return b"* 1 FETCH (UID %d MODSEQ (%d) FLAGS (%s))\r\n" % (uid, modseq, flags)


async def stored(script: list[tuple[bytes, bytes, bytes]], changes: list[FlagChange]) -> dict[int, StoreOutcome]:
    """Store changes with a server that answers each expected command by untagged data and a result."""

    async def whole(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)
        for expected, untagged, result in script:
            assert await peer.command() == expected
            await peer.send(untagged + peer.tag + b" " + result + b"\r\n")

    async with connected(whole) as connection:
        await connection.select(b"INBOX")
        outcomes = await store_changes(connection, changes, unchanged_since=10)
    assert len(outcomes) == len({one.uid for one in outcomes})
    return {one.uid: one for one in outcomes}


async def test_refused_set_is_halved_until_the_culprit_stands_alone() -> None:
    """One message that the server will not touch does not keep the others from it."""
    prefix, condition = b"UID STORE ", b" (UNCHANGEDSINCE 10)"
    found = await stored(
        [
            (prefix + b"1:3" + condition + ADD, b"", b"NO one of them"),
            (prefix + b"1:2" + condition + ADD, row(1) + row(2), b"OK"),
            (prefix + b"3" + condition + ADD, b"", b"NO [CANNOT] not this one"),
        ],
        [FlagChange(uid, SEEN, NONE) for uid in (1, 2, 3)],
    )

    assert {uid: one.stored for uid, one in found.items()} == {
        1: Stored.APPLIED,
        2: Stored.APPLIED,
        3: Stored.REFUSED,
    }
    assert "not this one" in found[3].text


async def test_flag_that_the_server_silently_dropped_is_refused() -> None:
    """OK with other flags than wanted is no success."""
    found = await stored([(b"UID STORE 1 (UNCHANGEDSINCE 10)" + ADD, row(1, b"k"), b"OK")], [FlagChange(1, SEEN, NONE)])

    assert found[1] == StoreOutcome(1, Stored.REFUSED, FetchRow(1, frozenset({"k"}), 12, None, None, None))


async def test_modified_in_a_no_names_its_messages_only() -> None:
    """`NO [MODIFIED 2]` means that the others were stored (RFC 7162 §3.1.3)."""
    found = await stored(
        [(b"UID STORE 1:2 (UNCHANGEDSINCE 10)" + ADD, row(1), b"NO [MODIFIED 2] some are gone")],
        [FlagChange(uid, SEEN, NONE) for uid in (1, 2)],
    )

    assert (found[1].stored, found[2].stored) == (Stored.APPLIED, Stored.MODIFIED)


async def test_second_half_of_a_change_knows_the_modseq_of_the_first() -> None:
    """Adding raises the MODSEQ, so removing is conditional on the raised one; who failed the first is left out."""
    found = await stored(
        [
            (b"UID STORE 1:2 (UNCHANGEDSINCE 10)" + ADD, row(1, b"\\Seen \\Draft"), b"OK [MODIFIED 2] done"),
            (b"UID STORE 1 (UNCHANGEDSINCE 12) -FLAGS (\\Draft)", row(1, modseq=13), b"OK"),
        ],
        [FlagChange(uid, SEEN, frozenset({"\\Draft"})) for uid in (1, 2)],
    )

    assert (found[1].stored, found[2].stored) == (Stored.APPLIED, Stored.MODIFIED)
    assert found[1].row == FetchRow(1, SEEN, 13, None, None, None)


async def test_keyword_in_another_case_is_applied() -> None:
    """Keywords that differ in case only are the same keyword."""
    found = await stored(
        [(b"UID STORE 1 (UNCHANGEDSINCE 10) +FLAGS (NonJunk)", row(1, b"nonjunk"), b"OK")],
        [FlagChange(1, frozenset({"NonJunk"}), NONE)],
    )

    assert found[1].stored is Stored.APPLIED
