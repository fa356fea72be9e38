"""Which missed mailboxes may be which new ones, and what proves it."""

from syncd.mail.mailbox import MailboxName
from syncd.mail.uidset import EMPTY, UidSet
from syncd.reconcile.renames import Candidate, Standing, are_same_messages, candidates


def standing(name: str, uidvalidity: int = 7, uidnext: int = 10, object_id: str | None = None) -> Standing:
    return Standing(MailboxName.parse(name), uidvalidity, uidnext, object_id)


def test_object_id_proves_and_another_one_disproves() -> None:
    """Whatever UIDVALIDITY says; what one is proven to be no other can be."""
    lost = {1: standing("A", 7, object_id="one"), 2: standing("B", 7, object_id="two")}
    new = {b"C": standing("C", 8, object_id="one"), b"D": standing("D", 7, object_id="three")}

    assert candidates(lost, new) == (Candidate(1, b"C", is_proven=True, is_only=True),)


def test_without_object_ids_uidvalidity_and_uidnext_allow_it() -> None:
    """A UIDVALIDITY that is not known is equal to none, and UIDNEXT never falls."""
    lost = {1: standing("A", 7, 10), 2: standing("B", 0, 1), 3: standing("C", 8, 5)}
    new = {b"X": standing("X", 7, 12), b"Y": standing("Y", 0, 1), b"Z": standing("Z", 8, 4)}

    assert candidates(lost, new) == (Candidate(1, b"X", is_proven=False, is_only=True),)


def test_of_equal_uidvalidities_what_was_moved_or_is_inside_comes_first() -> None:
    """Many mailboxes that were made in one second, and the outermost renamed."""
    lost = {1: standing("Work"), 2: standing("Work/May"), 3: standing("Work/May/x")}
    new = {name.encode(): standing(name) for name in ("Job/May/x", "Job", "Job/May")}

    found = candidates(lost, new)
    firsts = {one.mailbox_id: one.wire_name for one in reversed(found)}

    assert firsts[2] == b"Job/May"
    assert firsts[3] == b"Job/May/x"
    assert len(found) == 9
    assert not any(one.is_only or one.is_proven for one in found)


def test_known_messages_under_known_uids_are_the_proof() -> None:
    """At least half of them; not with one that is another, nor with one where there was none."""
    known = UidSet.span(1, 4)

    def is_same(here: UidSet, *, unlike: int = 0) -> bool:
        return are_same_messages(known, here, unlike=unlike, is_only=True)

    assert is_same(known)
    assert is_same(UidSet.span(3, 4))
    assert not is_same(UidSet.of([4]))
    assert not is_same(EMPTY)
    assert not is_same(known, unlike=1)
    assert not is_same(UidSet.span(1, 5))


def test_empty_mailboxes_are_one_if_they_can_be_no_others() -> None:
    """There is nothing to compare."""
    assert are_same_messages(EMPTY, EMPTY, unlike=0, is_only=True)
    assert not are_same_messages(EMPTY, EMPTY, unlike=0, is_only=False)
    assert not are_same_messages(EMPTY, UidSet.of([1]), unlike=0, is_only=True)
