"""What a server says once about an extraordinary absence is not believed; what it says again is."""

from syncd.mail.uidset import EMPTY, UidSet
from syncd.reconcile.guard import DEFAULT
from syncd.sync.imap.suspicions import Suspicions, Verdict

BOX, KNOWN, LATER_S = 1, 100, 5.0
NONE, SOME, MANY, ALL = EMPTY, UidSet.span(1, 25), UidSet.span(1, 26), UidSet.span(1, KNOWN)


def test_ordinary_absence_is_recorded_at_once() -> None:
    """As many as the guard lets pass are no reason to look again; one more is."""
    suspicions = _suspicions()

    assert _judge(suspicions, NONE) is _judge(suspicions, SOME) is Verdict.ORDINARY
    assert (bool(suspicions), suspicions.wait_s(0.0)) == (False, None)
    assert _judge(suspicions, MANY) is Verdict.DOUBTED


def test_emptied_mailbox_is_doubted_however_small() -> None:
    """One message that was all there was is everything."""
    assert _judge(_suspicions(), UidSet.of([7]), known=1) is Verdict.DOUBTED


def test_second_look_confirms_only_when_its_time_has_come() -> None:
    """A moment later the server may be as ill as it was."""
    suspicions = _suspicions()
    assert _judge(suspicions, ALL, at=100.0) is Verdict.DOUBTED
    assert suspicions.has(BOX)
    assert suspicions.wait_s(101.0) == LATER_S - 1

    assert _judge(suspicions, ALL, at=100.0 + LATER_S - 0.1) is Verdict.DOUBTED
    assert suspicions.wait_s(100.0 + LATER_S) == 0.0
    assert _judge(suspicions, ALL, at=100.0 + LATER_S) is Verdict.CONFIRMED
    assert not suspicions


def test_what_comes_back_is_dropped_from_the_suspicion() -> None:
    """A look that finds the messages ends it; the next absence is a first one again."""
    suspicions = _suspicions()
    assert _judge(suspicions, ALL) is Verdict.DOUBTED
    assert _judge(suspicions, NONE, at=1.0) is Verdict.ORDINARY
    assert not suspicions

    assert _judge(suspicions, ALL, at=100.0) is Verdict.DOUBTED


def test_second_look_that_misses_many_others_confirms_nothing() -> None:
    """Each extraordinary absence needs two looks of its own; a few that went besides are ordinary."""
    suspicions = _suspicions()
    assert _judge(suspicions, MANY) is Verdict.DOUBTED
    assert _judge(suspicions, ALL, at=10.0) is Verdict.DOUBTED
    assert _judge(suspicions, MANY | UidSet.span(30, 40), at=20.0) is Verdict.CONFIRMED


def test_what_was_confirmed_waits_for_the_other_mailboxes_and_not_for_a_new_look() -> None:
    """It is recorded with theirs, unless its mailbox was looked at again before."""
    suspicions, records = _suspicions(), (lambda _: None, lambda _: None)
    for mailbox_id, record in enumerate(records):
        suspicions.confirm(mailbox_id, record)
    _judge(suspicions, NONE, mailbox_id=0)

    assert suspicions.take_confirmed() == records[1:]
    assert suspicions.take_confirmed() == ()


def test_mailbox_that_is_listed_again_is_not_recorded_as_gone() -> None:
    """Not even if it was believed to be, and the connection ended before that was recorded."""
    suspicions, records = _suspicions(), (lambda _: None, lambda _: None)
    suspicions.confirm_gone(records[0])
    suspicions.believe_unlisted((), now=1.0)
    assert suspicions.take_confirmed() == ()

    suspicions.confirm(BOX, records[0])
    suspicions.confirm_gone(records[1])
    assert suspicions.take_confirmed() == records


def test_mailbox_that_could_not_be_looked_at_in_time_is_forgotten() -> None:
    """Else a pass would follow the other without end; one that is not due, or doubted in this pass, stays."""
    suspicions = _suspicions()
    _judge(suspicions, ALL, mailbox_id=BOX)
    suspicions.end_pass(LATER_S - 1)
    assert suspicions.has(BOX)

    _judge(suspicions, ALL, mailbox_id=2, at=20.0)
    suspicions.end_pass(10.0)
    assert (suspicions.has(BOX), suspicions.has(2)) == (False, True)


def test_all_that_is_doubted_waits_for_the_last() -> None:
    """Mailboxes that are emptied one soon after the other are recorded together."""
    suspicions = _suspicions()
    _judge(suspicions, ALL, mailbox_id=BOX)
    _judge(suspicions, ALL, mailbox_id=2, at=LATER_S - 1)

    assert _judge(suspicions, ALL, mailbox_id=BOX, at=LATER_S) is Verdict.DOUBTED
    assert suspicions.wait_s(LATER_S) == LATER_S - 1
    assert _judge(suspicions, ALL, mailbox_id=BOX, at=2 * LATER_S - 1) is Verdict.CONFIRMED
    assert _judge(suspicions, ALL, mailbox_id=2, at=2 * LATER_S - 1) is Verdict.CONFIRMED


def test_unlisted_mailbox_is_believed_when_a_later_list_misses_it_too() -> None:
    """Each by itself; one that is listed again is doubted no more."""
    suspicions, first, second = _suspicions(), {b"A", b"B", b"C"}, {b"B", b"C", b"D"}

    def ask(missed: set[bytes], at: float) -> frozenset[bytes]:
        return suspicions.believe_unlisted(missed, now=at)

    assert ask(first, 0.0) == ask(first, 1.0) == frozenset()
    assert ask(second, LATER_S) == {b"B", b"C"}
    assert suspicions.wait_s(LATER_S) == LATER_S
    assert ask({b"D"}, 2 * LATER_S) == {b"D"}
    assert not suspicions
    assert ask(first, 20.0) == frozenset()
    assert ask(set(), 40.0) == frozenset()
    assert ask(first, 60.0) == frozenset()


def _suspicions() -> Suspicions:
    return Suspicions("work", rule=DEFAULT, second_look_s=LATER_S)


def _judge(
    suspicions: Suspicions, vanished: UidSet, *, at: float = 0.0, known: int = KNOWN, mailbox_id: int = BOX
) -> Verdict:
    return suspicions.judge(mailbox_id, vanished, known=known, now=at)
