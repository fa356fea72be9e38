"""A server that contradicts itself is not believed: the search wins, and absence needs proof."""

from collections.abc import Awaitable, Callable

import pytest

from syncd.errors import ProtocolError, RefusedError
from syncd.imap.news.few_rows import select_and_fetch
from syncd.imap.news.observe import (
    Cursor,
    Demoted,
    KnownMailbox,
    Observation,
    Renumbered,
    Rung,
    Selected,
    ServerChanges,
    choose_rung,
    list_uids,
    observe_changes,
)
from syncd.imap.quirks import Quirks, quirks_of
from syncd.imap.types import SelectResult
from syncd.mail.flags import NONE
from syncd.mail.uidset import UidSet
from tests.unit.imap.scripted import Peer, connected

CURSOR = Cursor(uidvalidity=7, uidnext=6, highestmodseq=10, count=5)
QRESYNC = b"IMAP4rev1 ENABLE CONDSTORE QRESYNC ESEARCH"
CONDSTORE = b"IMAP4rev1 CONDSTORE"
PLAIN = b"IMAP4rev1"
NEW = b"UID FETCH 6:1005 (UID FLAGS MODSEQ RFC822.SIZE INTERNALDATE)"
"""What is asked behind a SELECT that tells what changed."""


def box(exists: int, *, uidvalidity: int = 7, uidnext: int | None = 6, modseq: int | None = 10) -> bytes:
    """Return what SELECT says of a mailbox."""
    said = b"* %d EXISTS\r\n* OK [UIDVALIDITY %d] x\r\n" % (exists, uidvalidity)
    if uidnext is not None:
        said += b"* OK [UIDNEXT %d] x\r\n" % uidnext
    return said + (b"* OK [NOMODSEQ] x\r\n" if modseq is None else b"* OK [HIGHESTMODSEQ %d] x\r\n" % modseq)


def rows(*uids: int, full: bool = False) -> bytes:
    extra = b' RFC822.SIZE 9 INTERNALDATE " 1-Feb-2001 03:04:05 +0000"' if full else b""
    return b"".join(b"* 1 FETCH (UID %d FLAGS (\\Seen)%s)\r\n" % (uid, extra) for uid in uids)


def esearch(uids: str) -> bytes:
    return b"* ESEARCH UID" + (b" ALL " + uids.encode() if uids else b"") + b"\r\n"


async def observed(
    script: Callable[[Peer], Awaitable[None]],
    *,
    capabilities: bytes,
    cursor: Cursor = CURSOR,
    known: str = "1:5",
    ceiling: Rung = Rung.QRESYNC,
    quirks: Quirks | None = None,
) -> list[Observation]:
    async def uids(among: UidSet | None) -> UidSet:
        return UidSet.parse(known) if among is None else UidSet.parse(known) & among

    async def whole(peer: Peer) -> None:
        if capabilities is QRESYNC:
            await peer.answer(b"ENABLE QRESYNC", b"* ENABLED QRESYNC\r\n")
        await script(peer)

    async with connected(whole, capabilities=capabilities) as connection:
        await connection.enable("QRESYNC")
        changes = observe_changes(
            connection, b"INBOX", KnownMailbox(cursor, uids), ceiling=ceiling, quirks=quirks or Quirks()
        )
        return [change async for change in changes]


def demotions(seen: list[Observation]) -> list[tuple[Rung, str]]:
    return [(one.rung, one.reason) for one in seen if isinstance(one, Demoted)]


def vanished(seen: list[Observation]) -> str:
    return ",".join(str(one.vanished) for one in seen if isinstance(one, ServerChanges) and one.vanished)


def last_cursor(seen: list[Observation]) -> Cursor | None:
    last = seen[-1]
    assert isinstance(last, ServerChanges)
    return last.cursor


async def test_vanished_that_a_search_finds_has_not_vanished() -> None:
    """VANISHED names 2:3, the search still finds 3: only what a second look proves is reported, and trust sinks."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", box(4, modseq=12) + b"* VANISHED (EARLIER) 2:3,40\r\n")
        await peer.answer(NEW)
        await peer.answer(b"UID SEARCH RETURN (ALL) UID 2:3", esearch("3"))
        await peer.answer(b"UID SEARCH RETURN (ALL) ALL", esearch("1,3:5"))
        await peer.answer(b"UID SEARCH RETURN (ALL) UID 2", esearch(""))

    seen = await observed(script, capabilities=QRESYNC)

    assert vanished(seen) == "2"
    assert demotions(seen)[0] == (Rung.CONDSTORE, "a vanished message was found by search")
    assert last_cursor(seen) == Cursor(7, 6, 12, 4)


async def test_expunge_that_qresync_kept_quiet_is_found_by_counting() -> None:
    """EXISTS says one less than we know: a search tells which, and VANISHED is trusted no more."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", box(4))
        await peer.answer(NEW)
        await peer.answer(b"UID SEARCH RETURN (ALL) ALL", esearch("1:4"))
        await peer.answer(b"UID SEARCH RETURN (ALL) UID 5", esearch(""))

    seen = await observed(script, capabilities=QRESYNC)

    assert vanished(seen) == "5"
    assert demotions(seen) == [(Rung.CONDSTORE, "an expunged message was not named")]


async def test_qresync_that_is_announced_but_not_enabled_is_not_used() -> None:
    """What ENABLE did not confirm is not there."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"ENABLE QRESYNC", b"* ENABLED\r\n")
        assert await peer.command() == b'SELECT "INBOX" (CONDSTORE)'
        await peer.ok(box(5))

    seen = await observed(script, capabilities=bytes(bytearray(QRESYNC)))

    assert isinstance(seen[0], Selected)
    assert seen[0].rung is Rung.CONDSTORE
    assert seen[1:] == [ServerChanges((), UidSet(), CURSOR)]


async def test_nomodseq_means_a_listing() -> None:
    """A mailbox without MODSEQs is listed, whatever the server announces; whoever asks for them there is told BAD."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", box(5, modseq=None))
        await peer.answer(b"UID FETCH 1:5 (UID FLAGS)", rows(1, 2, 3, 4, 5))

    seen = await observed(script, capabilities=CONDSTORE)

    assert isinstance(seen[0], Selected)
    assert seen[0].rung is Rung.LISTING
    assert last_cursor(seen) == Cursor(7, 6, None, 5)


async def test_falling_highestmodseq_means_a_listing() -> None:
    """A HIGHESTMODSEQ below the known one (restored backup, other backend) proves nothing unchanged, nor who is who."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", box(5, modseq=4))
        await peer.answer(b"UID FETCH 1:5 (UID FLAGS MODSEQ RFC822.SIZE INTERNALDATE)", rows(1, 2, 3, 4, 5, full=True))

    seen = await observed(script, capabilities=CONDSTORE)

    assert [one.is_compared for one in seen if isinstance(one, Selected)] == [True]
    assert demotions(seen) == [(Rung.LISTING, "highestmodseq fell")]
    assert last_cursor(seen) == Cursor(7, 6, 4, 5)


async def test_uidnext_that_fell_brings_size_and_date_of_every_message() -> None:
    """After a restored backup a UID may name another message; only its facts can tell."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", box(5, uidnext=5, modseq=None))
        await peer.answer(b"UID FETCH 1:5 (UID FLAGS RFC822.SIZE INTERNALDATE)", rows(1, 2, 3, 4, 5, full=True))

    seen = await observed(script, capabilities=PLAIN)

    changes = [one for one in seen if isinstance(one, ServerChanges)]
    assert [row.size_bytes for one in changes for row in one.rows] == [9] * 5
    assert [one.is_compared for one in seen if isinstance(one, Selected)] == [True]


async def test_uidnext_that_fell_is_not_left_to_mod_sequences() -> None:
    """A server that was set back has no changes to tell since a moment that it never saw; all of it is listed."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", box(3, uidnext=4, modseq=12))
        await peer.answer(NEW)
        await peer.answer(b"UID FETCH 1:5 (UID FLAGS MODSEQ RFC822.SIZE INTERNALDATE)", rows(1, 2, 3, full=True))
        await peer.answer(b"UID SEARCH RETURN (ALL) UID 4:5", esearch(""))

    seen = await observed(script, capabilities=QRESYNC)

    assert (vanished(seen), demotions(seen)) == ("4:5", [])
    assert last_cursor(seen) == Cursor(7, 4, 12, 3)


async def test_refused_changedsince_falls_back_to_a_listing() -> None:
    """A server that announces CONDSTORE and answers BAD to it is listed from then on."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", box(5, modseq=11))
        await peer.expect(b"UID FETCH 1:5 (UID FLAGS MODSEQ) (CHANGEDSINCE 10)")
        await peer.send(peer.tag + b" BAD what\r\n")
        await peer.answer(b"UID FETCH 1:5 (UID FLAGS MODSEQ)", rows(1, 2, 3, 4, 5))

    seen = await observed(script, capabilities=CONDSTORE)

    assert demotions(seen) == [(Rung.LISTING, "changedsince was refused")]
    assert last_cursor(seen) == Cursor(7, 6, 11, 5)


@pytest.mark.parametrize(
    ("answers", "is_over"),
    [("BAD", True), ("NO", False), ("NO OK NO", False), ("NO NO", True), ("NO[INUSE] NO[INUSE]", False)],
)
async def test_refused_parameter_of_select_is_left_out(answers: str, *, is_over: bool) -> None:
    """For other mailboxes as well if it was not understood, or never granted; else a NO may be about this mailbox.

    One that is of the moment is about neither: by the next look the parameter may be granted.
    """

    async def script(peer: Peer) -> None:
        await peer.answer(b"ENABLE QRESYNC", b"* ENABLED QRESYNC\r\n")
        for answer in answers.split():
            await peer.expect(b'SELECT "INBOX" (QRESYNC')
            if answer == "OK":
                await peer.ok(box(5))
                await peer.answer(NEW)
                continue
            await peer.send(peer.tag + f" {answer.replace('[', ' [')} what\r\n".encode())
            await peer.expect(NEW)
            await peer.no(b"no mailbox is selected")
            assert await peer.command() == b'SELECT "INBOX"'
            await peer.ok(box(5))

    async def uids(_: UidSet | None) -> UidSet:
        return UidSet.parse("1:5")

    async with connected(script, capabilities=QRESYNC) as connection:
        await connection.enable("QRESYNC")
        for answer in answers.split():
            seen = [one async for one in observe_changes(connection, b"INBOX", KnownMailbox(CURSOR, uids))]

            expected = (
                [] if answer == "OK" or "[" in answer else [(Rung.CONDSTORE, "a parameter of select was refused")]
            )
            assert demotions(seen) == expected
        assert ("QRESYNC" in connection.enabled) is not is_over


async def test_short_search_proves_no_absence() -> None:
    """A search that lists fewer than EXISTS is not believed, nor a listing that is as short."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", box(5, modseq=None))
        await peer.answer(b"UID FETCH 1:5 (UID FLAGS)", rows(1, 2))
        await peer.answer(b"UID SEARCH ALL", b"* SEARCH 1 2\r\n")
        await peer.answer(b"UID FETCH 1:4294967295 (UID FLAGS)", rows(1, 2))

    seen = await observed(script, capabilities=PLAIN)

    assert vanished(seen) == ""
    assert last_cursor(seen) == Cursor(7, 6, None, 5)


async def test_short_listing_is_completed_by_a_search() -> None:
    """A FETCH that left rows out does not make them vanish."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", box(4, modseq=None))
        await peer.answer(b"UID FETCH 1:5 (UID FLAGS)", rows(1, 2))
        await peer.answer(b"UID SEARCH ALL", b"* SEARCH 4 1 2 3\r\n")
        await peer.answer(b"UID SEARCH UID 5", b"* SEARCH\r\n")

    seen = await observed(script, capabilities=PLAIN)

    assert vanished(seen) == "5"


async def test_search_without_an_answer_is_no_empty_answer() -> None:
    """OK alone does not say that everything is gone."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", box(0, modseq=None))
        await peer.answer(b"UID FETCH 1:5")
        await peer.answer(b"UID SEARCH UID 1:5")

    with pytest.raises(ProtocolError):
        await observed(script, capabilities=PLAIN)


async def test_unknown_uid_below_uidnext_is_fetched_in_full() -> None:
    """A message that was missed once is found by the count."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", box(5))
        await peer.answer(b"UID SEARCH ALL", b"* SEARCH 1 2 3 4 5\r\n")
        await peer.answer(b"UID FETCH 3 (UID FLAGS MODSEQ RFC822.SIZE INTERNALDATE)", rows(3, full=True))

    cursor = Cursor(7, 6, 10, 4)
    seen = await observed(script, capabilities=CONDSTORE, cursor=cursor, known="1:2,4:5")

    assert last_cursor(seen) == CURSOR


async def test_server_without_uidnext_is_always_asked_for_new_messages() -> None:
    """No UIDNEXT is no proof that nothing is new."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", box(6, uidnext=None))
        await peer.answer(b"UID FETCH 6:4294967295 (UID FLAGS MODSEQ RFC822.SIZE INTERNALDATE)", rows(8, full=True))

    seen = await observed(script, capabilities=CONDSTORE)

    assert last_cursor(seen) == Cursor(7, 9, 10, 6)


@pytest.mark.parametrize(("said", "told"), [(b"8", 8), (b"0", None), (b"4294967296", None), (b"x", None)])
async def test_other_or_senseless_uidvalidity_ends_the_observation(said: bytes, told: int | None) -> None:
    """Nothing is asked and nothing concluded under a UIDVALIDITY that is not ours."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", box(5).replace(b"UIDVALIDITY 7", b"UIDVALIDITY " + said))

    seen = await observed(script, capabilities=CONDSTORE)

    assert seen[1:] == [Renumbered(told)]


async def test_modseq_that_runs_ahead_is_not_the_cursor() -> None:
    """With that quirk the cursor rises only to MODSEQs that were seen."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", box(5, modseq=20))
        row = b"* 1 FETCH (UID 2 FLAGS () MODSEQ (14))\r\n"
        await peer.answer(b"UID FETCH 1:5 (UID FLAGS MODSEQ) (CHANGEDSINCE 10)", row)

    seen = await observed(script, capabilities=CONDSTORE, quirks=Quirks(modseq_runs_ahead=True))

    assert last_cursor(seen) == Cursor(7, 6, 14, 5)


async def test_mailbox_that_cannot_be_selected_is_refused() -> None:
    """NO to SELECT with and without parameters is the mailbox's trouble."""

    async def script(peer: Peer) -> None:
        for _ in range(2):
            await peer.expect(b"SELECT")
            await peer.no(b"[NONEXISTENT] gone")

    with pytest.raises(RefusedError) as refused:
        await observed(script, capabilities=CONDSTORE)

    assert refused.value.code == "NONEXISTENT"


async def test_refused_search_is_replaced_by_a_fetch() -> None:
    """A server that cannot search can still be listed."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", box(2))
        await peer.expect(b"UID SEARCH")
        await peer.no()
        await peer.answer(b"UID FETCH 1:4294967295 (UID FLAGS)", rows(4, 9))

    async with connected(script, capabilities=PLAIN) as connection:
        await connection.select(b"INBOX")
        listing = await list_uids(connection)

    assert listing.uids == UidSet.of([4, 9])
    assert listing.is_complete


@pytest.mark.parametrize(
    ("capabilities", "enabled", "modseq", "quirks", "rung"),
    [
        ({"CONDSTORE", "QRESYNC"}, {"QRESYNC"}, 5, Quirks(), Rung.QRESYNC),
        ({"CONDSTORE", "QRESYNC"}, set(), 5, Quirks(), Rung.CONDSTORE),
        ({"CONDSTORE", "QRESYNC"}, {"QRESYNC"}, 5, Quirks(no_qresync=True), Rung.CONDSTORE),
        ({"CONDSTORE", "QRESYNC"}, {"QRESYNC"}, None, Quirks(), Rung.LISTING),
        (set(), set(), 5, Quirks(), Rung.LISTING),
    ],
)
def test_rung_is_what_was_shown(
    capabilities: set[str], enabled: set[str], modseq: int | None, quirks: Quirks, rung: Rung
) -> None:
    """An announcement, a confirmation and a MODSEQ each count for their own rung."""
    selected = SelectResult(7, 6, modseq, 5, NONE, accepts_keywords=False, read_only=False)

    assert choose_rung(frozenset(capabilities), selected, quirks, enabled=frozenset(enabled)) is rung


def test_quirks_are_known_by_host_or_capability() -> None:
    """A provider is recognised behind any name by what only it announces."""
    assert quirks_of("IMAP.mail.me.com", frozenset()).no_qresync
    assert quirks_of("imap.example.org", frozenset({"X-GM-EXT-1"})).modseq_runs_ahead
    assert quirks_of("imap.example.org", frozenset({"IDLE"})) == Quirks()


async def test_rows_that_come_together_with_the_end_of_select_are_not_lost() -> None:
    """Both commands are sent before either is answered, and an answer may end anywhere in what arrives at once."""

    async def script(peer: Peer) -> None:
        await peer.expect(b"SELECT")
        selecting = peer.tag
        await peer.expect(b"UID FETCH 1:4294967295 (UID FLAGS MODSEQ ")
        opened = box(2) + selecting + b" OK [READ-WRITE] done\r\n"
        await peer.ok(opened + rows(1, 2, full=True))

    async with connected(script, capabilities=CONDSTORE) as connection:
        selected, here, came = await select_and_fetch(connection, b"INBOX", most=2)

    assert (selected.uidvalidity, here.is_complete) == (7, True)
    assert [row.uid for row in came] == [1, 2]


async def test_where_rows_are_refused_together_with_select_uids_are_listed() -> None:
    """The mailbox is selected, and what is in it is asked for as of any other."""

    async def script(peer: Peer) -> None:
        await peer.expect(b"SELECT")
        selecting = peer.tag
        await peer.expect(b"UID FETCH 1:")
        await peer.send(box(2) + selecting + b" OK [READ-WRITE] done\r\n")
        await peer.no()
        await peer.answer(b"UID SEARCH", b"* SEARCH 1 2\r\n")

    async with connected(script, capabilities=CONDSTORE) as connection:
        _, here, came = await select_and_fetch(connection, b"INBOX", most=2)

    assert (str(here.uids), here.is_complete, came) == ("1:2", True, ())


async def test_rows_that_follow_a_refused_parameter_of_select_are_of_no_account() -> None:
    """They may be those of the mailbox before, which some servers keep selected; the mailbox is listed by itself."""

    async def script(peer: Peer) -> None:
        await peer.expect(b"SELECT")
        selecting = peer.tag
        await peer.expect(b"UID FETCH 1:")
        await peer.send(selecting + b" BAD no parameters\r\n")
        await peer.ok(rows(8, 9, full=True))
        await peer.answer(b"SELECT", box(2))
        await peer.answer(b"UID SEARCH", b"* SEARCH 1 2\r\n")

    async with connected(script, capabilities=CONDSTORE) as connection:
        selected, here, came = await select_and_fetch(connection, b"INBOX", most=2)

    assert (selected.is_plain, str(here.uids), came) == (True, "1:2", ())


async def test_more_rows_than_were_expected_are_not_kept() -> None:
    """The server said before how few there are; where that is not so, they are listed as in any large mailbox."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", box(3))
        await peer.answer(b"UID FETCH 1:", rows(1, 2, 3, full=True))
        await peer.answer(b"UID SEARCH", b"* SEARCH 1 2 3\r\n")

    async with connected(script, capabilities=CONDSTORE) as connection:
        _, here, came = await select_and_fetch(connection, b"INBOX", most=2)

    assert (str(here.uids), here.is_complete, came) == ("1:3", True, ())


async def test_parameter_that_one_mailbox_does_not_take_is_not_sent_for_it_again() -> None:
    """Others take it, so that the server is not what refuses; that mailbox costs one command as before."""

    async def script(peer: Peer) -> None:
        await peer.expect(b'SELECT "Virtual" (CONDSTORE)')
        await peer.no()
        assert await peer.answer(b'SELECT "Virtual"', box(2, modseq=None)) == b'SELECT "Virtual"'
        await peer.answer(b'SELECT "INBOX" (CONDSTORE)', box(2))
        assert await peer.answer(b'SELECT "Virtual"', box(2, modseq=None)) == b'SELECT "Virtual"'

    async with connected(script, capabilities=CONDSTORE) as connection:
        names = (b"Virtual", b"INBOX", b"Virtual")
        are_plain = [(await connection.select(name)).is_plain for name in names]

    assert are_plain == [True, False, False]


async def test_parameter_that_is_refused_for_the_moment_is_asked_for_again() -> None:
    """The mailbox was busy, and is not when it is selected without."""

    async def script(peer: Peer) -> None:
        for _ in range(3):
            await peer.expect(b'SELECT "INBOX" (CONDSTORE)')
            await peer.no(b"[INUSE] busy")
            assert await peer.answer(b'SELECT "INBOX"', box(2)) == b'SELECT "INBOX"'

    async with connected(script, capabilities=CONDSTORE) as connection:
        are_plain = [(await connection.select(b"INBOX")).is_plain for _ in range(3)]

    assert are_plain == [True] * 3


async def test_mailbox_that_is_not_there_is_asked_for_once() -> None:
    """Its parameter is not why it is refused, so that nothing is concluded of it."""

    async def script(peer: Peer) -> None:
        await peer.expect(b'SELECT "INBOX" (CONDSTORE)')
        await peer.no(b"[NONEXISTENT] gone")
        await peer.answer(b'SELECT "INBOX" (CONDSTORE)', box(2))

    async with connected(script, capabilities=CONDSTORE) as connection:
        with pytest.raises(RefusedError):
            await connection.select(b"INBOX")
        assert not (await connection.select(b"INBOX")).is_plain


async def test_mod_sequences_that_a_server_does_not_understand_are_asked_for_nowhere() -> None:
    """Nor in what is sent together with SELECT, before the mailbox has said whether it has any."""

    async def script(peer: Peer) -> None:
        await peer.expect(b"SELECT")
        await peer.send(peer.tag + b" BAD no parameters\r\n")
        await peer.answer(b"SELECT", box(2))
        await peer.expect(b'SELECT "Few"')
        selecting = peer.tag
        await peer.expect(b"UID FETCH 1:4294967295 (UID FLAGS RFC822.SIZE ")
        await peer.send(box(1) + selecting + b" OK done\r\n")
        await peer.ok(rows(1, full=True))

    async with connected(script, capabilities=CONDSTORE) as connection:
        await connection.select(b"INBOX")
        _, _, came = await select_and_fetch(connection, b"Few", most=2)

    assert [row.uid for row in came] == [1]
