"""The custody decisions as pure functions, one asymmetry each."""

import hashlib
from collections.abc import Sequence

import pytest

from syncd.pop3.custody import (
    Candidate,
    CustodyState,
    Known,
    Matcher,
    SessionPlan,
    Term,
    Verdict,
    after_failure,
    after_refused_delete,
    candidates_of,
    plan_session,
    when_too_large,
)
from syncd.pop3.listing import Listed
from syncd.values import replace

COMMITTED, DELETED = CustodyState.COMMITTED, CustodyState.DELETED
DOUBTFUL, UNTAKEN = CustodyState.DOUBTFUL, CustodyState.UNTAKEN
OCTETS = b"Subject: x\r\n\r\nbody\r\n"
SIZE = len(OCTETS)


def digest(octets: bytes = OCTETS) -> bytes:
    return hashlib.sha256(octets).digest()


def row(key: str = "u", state: CustodyState = COMMITTED, size: int | None = SIZE, tries: int = 0) -> Known:
    return Known(key, state, size, b"" if state is UNTAKEN else digest(), tries)


def listed(*uidls: str | None, size: int | None = SIZE) -> tuple[Candidate, ...]:
    return candidates_of(Listed(number, uidl, size) for number, uidl in enumerate(uidls, 1))


def plan(candidates: Sequence[Candidate], *rows: Known) -> SessionPlan:
    return plan_session(candidates, {each.key: each for each in rows}, max_message_bytes=1000, max_tries=3)


def test_unknown_message_is_retrieved() -> None:
    """What the store does not know is fetched before anything else."""
    candidates = listed("u")

    assert plan(candidates) == SessionPlan(candidates, (), (), (), 0)


def test_committed_message_with_its_recorded_size_is_deleted_without_being_retrieved() -> None:
    """The only way to a DELE without RETR."""
    candidates = listed("u")

    assert plan(candidates, row()) == SessionPlan((), candidates, (), (), 0)


@pytest.mark.parametrize(
    ("keep_s", "since", "is_over"),
    [
        (0.0, 90.0, True),
        (0.0, None, True),
        (None, 0.0, False),
        (11.0, 90.0, False),
        (10.0, 90.0, True),
        (10.0, None, False),
        (10.0, 200.0, False),
    ],
)
def test_committed_message_stays_until_its_term_is_over(
    keep_s: float | None, since: float | None, is_over: bool
) -> None:
    """For ever, for so many seconds, or not at all; it is neither retrieved nor deleted meanwhile."""
    candidates = listed("u")
    rows = {"u": replace(row(), since=since)}

    found = plan_session(candidates, rows, max_message_bytes=1000, max_tries=3, term=Term(keep_s, 100.0))

    assert (found.retrieve, found.delete, found.kept) == (((), candidates, ()) if is_over else ((), (), candidates))


@pytest.mark.parametrize("known", [row(size=SIZE + 1), row(state=DELETED), row(state=CustodyState.UNLISTED)])
def test_term_keeps_nothing_that_may_be_another_message(known: Known) -> None:
    """Another size, a deletion, an absence: content decides, as where nothing is kept."""
    candidates = listed("u")

    found = plan_session(candidates, {"u": known}, max_message_bytes=1000, max_tries=3, term=Term(None))

    assert found == SessionPlan(candidates, (), (), (), 0)


def test_message_that_was_not_deleted_is_kept_once_it_is_to_stay() -> None:
    """That its DELE was refused until it was given up is no trouble any more."""
    candidates = listed("u")

    found = plan_session(candidates, {"u": row(tries=3)}, max_message_bytes=1000, max_tries=3, term=Term(None))

    assert (found.kept, found.set_aside) == (candidates, ())


@pytest.mark.parametrize(
    "known",
    [row(size=SIZE + 1), row(size=None), row(state=DELETED), row(state=DOUBTFUL), row(state=UNTAKEN), row("U")],
)
def test_anything_else_that_is_known_is_retrieved_again(known: Known) -> None:
    """Another size, a confirmed deletion, a doubt: content decides."""
    candidates = listed("u")

    assert plan(candidates, known) == SessionPlan(candidates, (), (), (), 0)


def test_message_of_unknown_size_is_never_deleted_unseen() -> None:
    """No size is equal to no size only by accident."""
    candidates = listed("u", size=None)

    assert plan(candidates, row(size=None)).delete == ()


def test_anonymous_message_is_always_retrieved() -> None:
    """A key made of a size is no identity, whatever a row under it says."""
    candidates = listed(None, None)

    assert [each.key for each in candidates] == [f"size {SIZE} 1", f"size {SIZE} 2"]
    assert plan(candidates).retrieve == candidates


def test_failed_message_waits_for_a_session_of_its_own() -> None:
    """What broke a session does not break the next one for the others."""
    candidates = listed("bad", "good")

    assert plan(candidates, row("bad", UNTAKEN, tries=1)) == SessionPlan(candidates[1:], (), (), (), 1)


def test_failed_messages_are_tried_when_nothing_else_is_to_be_done_the_least_tried_first() -> None:
    """Each session gets one further, whichever of them breaks it."""
    candidates = listed("twice", "once")

    assert plan(candidates, row("twice", UNTAKEN, tries=2), row("once", UNTAKEN, tries=1)) == SessionPlan(
        candidates[::-1], (), (), (), 0
    )


def test_message_that_failed_too_often_is_set_aside() -> None:
    """Tries are bounded."""
    candidates = listed("u")

    assert plan(candidates, row(state=UNTAKEN, tries=3)) == SessionPlan((), (), (), candidates, 0)


def test_refused_deletion_is_asked_again_until_the_message_is_set_aside() -> None:
    """What is stored needs no trial, but a server that never deletes is not asked for ever."""
    candidates = listed("u")

    assert plan(candidates, row(tries=2)).delete == candidates
    assert plan(candidates, after_refused_delete(row(tries=2))).set_aside == candidates


def test_too_large_message_is_reported_once_and_tried_when_the_limit_is_raised() -> None:
    """Setting aside by size costs no try."""
    candidates = listed("u", size=1001)
    assert plan(candidates) == SessionPlan((), (), candidates, (), 0)

    known = when_too_large(candidates[0], None)
    assert plan(candidates, known) == SessionPlan((), (), (), candidates, 0)

    raised = plan_session(candidates, {"u": known}, max_message_bytes=2000, max_tries=3)
    assert raised.retrieve == candidates


def test_failure_counts_and_keeps_what_is_stored() -> None:
    """The recorded size of a stored body stays: the new one would allow a DELE of what was never retrieved."""
    (candidate,) = listed("u", size=77)

    assert after_failure(candidate, None) == Known("u", UNTAKEN, 77, b"", 1)
    assert after_failure(candidate, row(state=UNTAKEN, tries=1)) == Known("u", UNTAKEN, 77, b"", 2)
    assert after_failure(candidate, row(size=5)) == row(size=5, tries=1)
    assert when_too_large(candidate, row(size=5)) == row(size=5)


def test_new_message_is_new_and_may_be_deleted() -> None:
    """The plain case."""
    (candidate,) = listed("u")

    retrieved = Matcher([candidate], {}).decide(candidate, SIZE, digest(), [])

    assert (retrieved.verdict, retrieved.row, retrieved.takes_over) == (Verdict.NEW, row(), ())
    assert retrieved.may_be_deleted


@pytest.mark.parametrize("octets", [b"", OCTETS[:-2]])
def test_body_shorter_than_listed_is_kept_on_the_server(octets: bytes) -> None:
    """Stored, but doubtful."""
    (candidate,) = listed("u")

    retrieved = Matcher([candidate], {}).decide(candidate, len(octets), digest(octets), [])

    assert (retrieved.verdict, retrieved.row.state, retrieved.may_be_deleted) == (Verdict.NEW, DOUBTFUL, False)


def test_empty_body_that_is_listed_as_more_is_never_believed() -> None:
    """However often it comes; it counts a try each time."""
    (candidate,) = listed("u")
    known = Known("u", DOUBTFUL, SIZE, digest(b""))

    retrieved = Matcher([candidate], {"u": known}).decide(candidate, 0, digest(b""), [known])

    assert (retrieved.verdict, retrieved.row) == (Verdict.SAME, replace(known, tries=1))


def test_two_messages_cut_to_the_same_octets_are_two() -> None:
    """What is left of an unlisted message says nothing about another one of another size."""
    (candidate,) = listed("u")
    other = Known("other", DOUBTFUL, SIZE + 1, digest(b"cut"))

    retrieved = Matcher([candidate], {}).decide(candidate, len(b"cut"), digest(b"cut"), [other])

    assert (retrieved.verdict, retrieved.row.state, retrieved.takes_over) == (Verdict.NEW, DOUBTFUL, ())


def test_body_listed_without_a_size_is_kept_on_the_server_until_it_comes_again() -> None:
    """Without LIST nothing tells a whole mail from half of one, but a second half that is the same."""
    (candidate,) = listed("u", size=None)

    first = Matcher([candidate], {}).decide(candidate, SIZE, digest(), [])
    second = Matcher([candidate], {"u": first.row}).decide(candidate, SIZE, digest(), [first.row])

    assert (first.row.state, second.row.state, second.verdict) == (DOUBTFUL, COMMITTED, Verdict.SAME)


def test_body_longer_than_listed_is_whole() -> None:
    """Servers that count LF as one octet list less than they send."""
    (candidate,) = listed("u", size=SIZE - 3)

    assert Matcher([candidate], {}).decide(candidate, SIZE, digest(), []).may_be_deleted


def test_doubtful_body_that_comes_the_same_again_is_whole() -> None:
    """Twice the same octets: LIST was wrong, not RETR."""
    (candidate,) = listed("u", size=SIZE + 9)
    known = row(state=DOUBTFUL, size=SIZE + 9)

    retrieved = Matcher([candidate], {"u": known}).decide(candidate, SIZE, digest(), [known])

    assert (retrieved.verdict, retrieved.row) == (Verdict.SAME, row(size=SIZE + 9))


def test_doubtful_body_that_comes_whole_is_replaced() -> None:
    """The better copy takes its place."""
    (candidate,) = listed("u")
    known = Known("u", DOUBTFUL, SIZE, digest(b""))

    retrieved = Matcher([candidate], {"u": known}).decide(candidate, SIZE, digest(), [])

    assert (retrieved.verdict, retrieved.row) == (Verdict.REPLACES, row())


def test_doubtful_body_that_comes_short_in_another_way_counts_a_try() -> None:
    """A server that cuts at random is not asked for ever."""
    (candidate,) = listed("u", size=SIZE + 9)
    known = Known("u", DOUBTFUL, SIZE + 9, digest(b""), 1)

    retrieved = Matcher([candidate], {"u": known}).decide(candidate, SIZE, digest(), [])

    assert (retrieved.verdict, retrieved.row) == (Verdict.REPLACES, row(state=DOUBTFUL, size=SIZE + 9, tries=2))


def test_doubtful_body_under_a_reused_uidl_is_not_replaced() -> None:
    """Another size under the same UIDL is another message: the first one stays."""
    (candidate,) = listed("u")
    known = Known("u", DOUBTFUL, SIZE + 9, digest(b""))

    assert Matcher([candidate], {"u": known}).decide(candidate, SIZE, digest(), []).verdict is Verdict.NEW


def test_deleted_message_that_is_listed_again_is_deleted_again_and_not_stored_again() -> None:
    """Content decides, and believing the server's deletions is bounded."""
    (candidate,) = listed("u")
    known = row(state=DELETED, tries=1)

    retrieved = Matcher([candidate], {"u": known}).decide(candidate, SIZE, digest(), [known])

    assert (retrieved.verdict, retrieved.row) == (Verdict.SAME, row(tries=2))


@pytest.mark.parametrize("state", [DELETED, COMMITTED])
def test_reused_uidl_with_other_content_is_a_new_message(state: CustodyState) -> None:
    """A UIDL is believed only together with the octets."""
    (candidate,) = listed("u")
    known = Known("u", state, 5, digest(b"other"))

    retrieved = Matcher([candidate], {"u": known}).decide(candidate, SIZE, digest(), [])

    assert (retrieved.verdict, retrieved.row) == (Verdict.NEW, row())


def test_committed_message_under_a_new_uidl_takes_over_its_old_row() -> None:
    """After a reset of UIDLs nothing is stored twice."""
    (candidate,) = listed("new")
    old = row("old", size=5)

    retrieved = Matcher([candidate], {}).decide(candidate, SIZE, digest(), [old])

    assert (retrieved.verdict, retrieved.row, retrieved.takes_over) == (Verdict.SAME, row("new"), ("old",))


def test_equal_messages_stay_distinct() -> None:
    """A copy that is itself listed, was deleted, or is already somebody's is not mine."""
    candidates = listed("a", "b", "c")
    matcher = Matcher(candidates, {"a": row("a")})
    copies = [row("a"), row("gone", DELETED), row("old")]

    verdicts = [matcher.decide(candidate, SIZE, digest(), copies).verdict for candidate in candidates[1:]]

    assert verdicts == [Verdict.SAME, Verdict.NEW]


def test_anonymous_equal_messages_are_counted() -> None:
    """Two on the server are two rows; the next session finds both, and a third is new."""
    two, three = listed(None, None), listed(None, None, None)
    first = Matcher(two, {})
    stored = [first.decide(candidate, SIZE, digest(), []).row for candidate in two]
    assert [each.key for each in stored] == [f"sha256 {digest().hex()} 1", f"sha256 {digest().hex()} 2"]

    second = Matcher(three, {})
    again = [second.decide(candidate, SIZE, digest(), stored) for candidate in three]

    assert [each.verdict for each in again] == [Verdict.SAME, Verdict.SAME, Verdict.NEW]
    assert len({each.row.key for each in again}) == 3


def test_anonymous_message_takes_over_its_failures() -> None:
    """The row of failed tries goes when the message has come."""
    (candidate,) = listed(None)
    failures = row(candidate.key, UNTAKEN, tries=2)

    retrieved = Matcher([candidate], {candidate.key: failures}).decide(candidate, SIZE, digest(), [])

    assert retrieved.takes_over == (candidate.key,)


def test_anonymous_message_is_found_under_the_uidl_it_had() -> None:
    """A server that stops giving UIDLs repeats nothing."""
    (candidate,) = listed(None)

    retrieved = Matcher([candidate], {}).decide(candidate, SIZE, digest(), [row("old")])

    assert (retrieved.verdict, retrieved.row.key, retrieved.takes_over) == (Verdict.SAME, "old", ())
