"""Expunging never touches a message that is not ours, whatever a server says or hides."""

from contextlib import nullcontext

import pytest

from syncd.errors import RefusedError
from syncd.imap.effects.expunges import Expunged, ExpungeOutcome, expunge_at_once, expunge_messages
from syncd.mail.uidset import UidSet
from tests.unit.imap.scripted import SELECTED, Peer, connected

STORE = b"UID STORE 1:2 +FLAGS (\\Deleted)"
MARKED = b"* 1 FETCH (UID 1 FLAGS (\\Deleted))\r\n* 2 FETCH (UID 2 FLAGS (\\Deleted))\r\n"


async def expunged(capabilities: bytes, *script: tuple[bytes, bytes, bytes]) -> dict[int, ExpungeOutcome]:
    """Expunge 1:2 with a server that answers each expected command by untagged data and an end."""

    async def whole(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)
        for expected, untagged, end in script:
            assert await peer.command() == expected
            await peer.send(untagged + peer.tag + b" " + end + b"\r\n")

    async with connected(whole, capabilities=capabilities) as connection:
        await connection.select(b"INBOX")
        outcomes = await expunge_messages(connection, UidSet.span(1, 2))
    assert len(outcomes) == 2
    return {one.uid: one for one in outcomes}


@pytest.mark.parametrize(
    "listed",
    [
        pytest.param(b"1 2 3", id="another's"),
        pytest.param(b"1", id="one of ours is missing"),
        pytest.param(b"", id="none"),
    ],
)
async def test_plain_expunge_waits_until_exactly_ours_are_deleted(listed: bytes) -> None:
    """One message too many is somebody else's, and one too few says that the search is cut short."""
    found = await expunged(
        b"IMAP4rev1", (STORE, MARKED, b"OK done"), (b"UID SEARCH DELETED", b"* SEARCH " + listed + b"\r\n", b"OK done")
    )

    assert {one.expunged for one in found.values()} == {Expunged.OWED}


async def test_plain_expunge_takes_ours_when_they_are_alone() -> None:
    """Where nobody else deleted anything, EXPUNGE is as good as UID EXPUNGE."""
    found = await expunged(
        b"IMAP4rev1",
        (STORE, MARKED, b"OK done"),
        (b"UID SEARCH DELETED", b"* SEARCH 2 1\r\n", b"OK done"),
        (b"EXPUNGE", b"* 1 EXPUNGE\r\n* 1 EXPUNGE\r\n", b"OK done"),
    )

    assert {one.expunged for one in found.values()} == {Expunged.EXPUNGED}


@pytest.mark.parametrize("end", [b"NO [UNAVAILABLE] not now", b"BAD what", b"OK without an answer"])
async def test_search_without_an_answer_expunges_nothing(end: bytes) -> None:
    """A server that does not say what is deleted gets no EXPUNGE."""
    found = await expunged(b"IMAP4rev1", (STORE, MARKED, b"OK done"), (b"UID SEARCH DELETED", b"", end))

    assert {one.expunged for one in found.values()} == {Expunged.OWED}


@pytest.mark.parametrize("capabilities", [b"IMAP4rev1", b"IMAP4rev1 UIDPLUS"])
async def test_refused_expunge_leaves_them_owed(capabilities: bytes) -> None:
    """What is marked and not expunged is owed, with the server's words."""
    search = [(b"UID SEARCH DELETED", b"* SEARCH 1 2\r\n", b"OK done")] if b"UIDPLUS" not in capabilities else []
    expunge = (b"EXPUNGE" if search else b"UID EXPUNGE 1:2", b"", b"NO [NOPERM] not you")

    found = await expunged(capabilities, (STORE, MARKED, b"OK done"), *search, expunge)

    assert {one.expunged for one in found.values()} == {Expunged.OWED}
    assert "not you" in found[1].text


async def test_refused_mark_is_refused_and_nothing_is_expunged() -> None:
    """A message that the server gives no \\Deleted, by NO or silently, stays."""
    found = await expunged(
        b"IMAP4rev1 UIDPLUS",
        (STORE, b"", b"NO one of them"),
        (b"UID STORE 1 +FLAGS (\\Deleted)", b"", b"NO [NOPERM] not this one"),
        (b"UID STORE 2 +FLAGS (\\Deleted)", b"* 2 FETCH (UID 2 FLAGS (\\Seen))\r\n", b"OK done"),
    )

    assert {one.expunged for one in found.values()} == {Expunged.REFUSED}
    assert "not this one" in found[1].text


async def test_message_that_was_marked_before_is_expunged() -> None:
    """A server that tells nothing of a flag which was there already is asked, and what it does not list is silent."""
    found = await expunged(
        b"IMAP4rev1 UIDPLUS",
        (STORE, b"", b"OK done"),
        (b"UID SEARCH UID 1:2 DELETED", b"* SEARCH 2\r\n", b"OK done"),
        (b"UID EXPUNGE 2", b"* 2 EXPUNGE\r\n", b"OK done"),
    )

    assert {uid: one.expunged for uid, one in found.items()} == {1: Expunged.SILENT, 2: Expunged.EXPUNGED}


async def test_server_that_answers_no_search_hides_no_other_message() -> None:
    """A search that is not answered leaves its messages silent, and the others are expunged."""
    found = await expunged(
        b"IMAP4rev1 UIDPLUS",
        (STORE, MARKED.partition(b"* 2")[0], b"OK done"),
        (b"UID SEARCH UID 2 DELETED", b"", b"OK done"),
        (b"UID EXPUNGE 1", b"* 1 EXPUNGE\r\n", b"OK done"),
    )

    assert {uid: one.expunged for uid, one in found.items()} == {1: Expunged.EXPUNGED, 2: Expunged.SILENT}


@pytest.mark.parametrize("ends", [(b"OK", b"OK"), (b"NO", b"OK"), (b"OK", b"NO")])
async def test_uid_expunge_at_once_waits_for_no_answer(ends: tuple[bytes, bytes]) -> None:
    """Mark and expunge are one round trip; whether either is refused, only what is there afterwards tells."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)
        await peer.expect(STORE)
        marking = peer.tag
        await peer.expect(b"UID EXPUNGE 1:2")
        await peer.send(marking + b" " + ends[0] + b" so\r\n" + peer.tag + b" " + ends[1] + b" so\r\n")
        await peer.answer(b"NOOP")

    async with connected(script, capabilities=b"IMAP4rev1 UIDPLUS") as connection:
        await connection.select(b"INBOX")

        assert not await expunge_at_once(connection, UidSet.span(1, 2), asked=UidSet.span(1, 2))

        await connection.noop()


@pytest.mark.parametrize(
    ("selected", "found", "is_proven"),
    [
        pytest.param(b"OK", b" UID", True, id="gone"),
        pytest.param(b"OK", b" UID ALL 2", False, id="one is there"),
        pytest.param(b"NO", b"", None, id="no mailbox"),
    ],
)
async def test_proof_comes_with_the_answer_from_the_mailbox_selected_anew(
    selected: bytes, found: bytes, *, is_proven: bool | None
) -> None:
    """It counts only of what was searched behind the expunge, and there where the mailbox could be selected."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"ENABLE", b"* ENABLED QRESYNC\r\n")
        await peer.answer(b"SELECT", SELECTED)
        tags: list[bytes] = []
        for command in (STORE, b"UID EXPUNGE 1:2", b"SELECT", b"UID SEARCH RETURN (ALL) UID 1:2"):
            await peer.expect(command)
            tags.append(peer.tag)
        answer = b"".join(tag + b" OK done\r\n" for tag in tags[:2]) + b"* OK [CLOSED] so\r\n" + SELECTED
        answer += tags[2] + b" " + selected + b" so\r\n"
        if selected == b"NO":
            await peer.send(answer + tags[3] + b" BAD no mailbox\r\n")
            await peer.expect(b"SELECT")  # without its parameter
            await peer.no()
        else:
            await peer.send(answer + b"* ESEARCH (TAG x)" + found + b"\r\n" + tags[3] + b" OK done\r\n")

    async with connected(script, capabilities=b"IMAP4rev1 UIDPLUS ENABLE CONDSTORE QRESYNC ESEARCH") as connection:
        await connection.enable("QRESYNC")
        await connection.select(b"INBOX")

        with pytest.raises(RefusedError) if is_proven is None else nullcontext():
            asked = UidSet.span(1, 2)
            assert await expunge_at_once(connection, asked, asked=asked) is is_proven


async def test_nothing_is_expunged_at_once_without_uidplus() -> None:
    """A plain EXPUNGE takes others as well, so that it has to wait until it is known which there are."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)
        await peer.answer(b"NOOP")

    async with connected(script, capabilities=b"IMAP4rev1") as connection:
        await connection.select(b"INBOX")

        assert not await expunge_at_once(connection, UidSet.span(1, 2), asked=UidSet.span(1, 2))

        await connection.noop()  # the next that the server hears
