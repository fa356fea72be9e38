"""Which deleted messages come back, where to and how."""

import pytest

from syncd.reconcile.moves import Candidate, Origin, Way
from syncd.reconcile.recoveries import (
    Deleted,
    Fate,
    Place,
    WantedBack,
    fate_of,
    home,
    last_lives,
    ways_back,
    without_trash,
)

INBOX, ARCHIVE, TRASH = 1, 2, 3
BODY = 7


def deleted(message_id: int = 1, mailbox_id: int = INBOX, gone_at: float | None = 10.0, **more: object) -> Deleted:
    return Deleted(message_id, mailbox_id, BODY, gone_at, **more)  # type: ignore[arg-type]


def place(mailbox_id: int, message_id: int = 9) -> Place:
    return Place(message_id, mailbox_id, BODY)


@pytest.mark.parametrize(
    ("one", "there", "fate"),
    [
        (deleted(), [], Fate.SENT),
        (deleted(), [place(TRASH)], Fate.MOVED),
        (deleted(), [place(INBOX)], Fate.THERE),
        (deleted(), [place(ARCHIVE)], Fate.THERE),
        (deleted(), [place(ARCHIVE), place(TRASH)], Fate.THERE),
        (deleted(went_along=True), [place(ARCHIVE)], Fate.SENT),
        (deleted(went_along=True), [place(INBOX)], Fate.THERE),
        (deleted(has_file=True), [], Fate.KEPT),
        (deleted(is_underway=True), [place(TRASH)], Fate.UNDERWAY),
        (Deleted(1, INBOX, None, 10.0), [], Fate.SWEPT),
        (deleted(gone_at=None), [place(INBOX, 1)], Fate.THERE),
        (deleted(9, TRASH, None), [place(TRASH)], Fate.MOVED),
    ],
)
def test_fate_follows_from_where_the_octets_are(one: Deleted, there: list[Place], fate: Fate) -> None:
    """What was moved is not deleted; what is in Trash is moved back; what nobody has is sent again."""
    assert fate_of(one, there, trash_id=TRASH, to_id=INBOX, is_elsewhere=False)[0] is fate


def test_another_mailbox_that_is_named_gets_it_whatever_others_have() -> None:
    """But not what it has itself, and not one that was never deleted."""
    asked = {"trash_id": TRASH, "to_id": 4, "is_elsewhere": True}
    assert fate_of(deleted(), [place(ARCHIVE)], **asked)[0] is Fate.SENT  # type: ignore[arg-type]
    assert fate_of(deleted(has_file=True), [place(4)], **asked)[0] is Fate.THERE  # type: ignore[arg-type]
    assert fate_of(deleted(has_file=True), [], **asked)[0] is Fate.SENT  # type: ignore[arg-type]
    assert fate_of(deleted(gone_at=None), [place(INBOX, 1)], **asked)[0] is Fate.THERE  # type: ignore[arg-type]


def test_of_a_message_that_moved_only_its_last_place_counts() -> None:
    """In INBOX, in Archive, deleted: one message; two that went in the same instant were two."""
    moved, last, in_trash = deleted(1, INBOX, 5.0), deleted(2, ARCHIVE, 9.0), deleted(3, TRASH, 12.0)
    lives = [moved, last, in_trash]
    assert last_of([last, moved, in_trash], lives) == (last,)
    assert last_of([moved], lives) == ()
    assert last_of([in_trash], lives) == (in_trash,)

    twins = deleted(4, INBOX, 9.5), deleted(5, INBOX, 9.5)
    assert last_of([*twins, *lives], [*twins, *lives]) == twins


def test_what_went_along_with_its_mailbox_was_in_it() -> None:
    """Whatever other mailboxes had of it; so were those of which nothing is known any more but that they went."""
    along, later = deleted(1, ARCHIVE, 5.0, went_along=True), deleted(2, INBOX, 9.0)
    swept = Deleted(3, INBOX, None, 1.0)
    assert last_of([along, swept], [along, later]) == (swept, along)


def last_of(rows: list[Deleted], lives: list[Deleted]) -> tuple[Deleted, ...]:
    return last_lives(rows, {BODY: lives}, trash_id=TRASH)


def test_message_that_is_named_by_both_of_its_places_comes_back_once() -> None:
    """The history shows it in INBOX, and then in Trash under another number."""
    one, in_trash = deleted(1, INBOX, 5.0), deleted(2, TRASH, 9.0)
    assert without_trash([in_trash, one], trash_id=TRASH) == (one,)
    assert without_trash([in_trash], trash_id=TRASH) == (in_trash,)


def test_home_is_where_it_was_before_the_trash() -> None:
    """The last such place; None of what was never anywhere else."""
    in_trash = deleted(5, TRASH, 20.0)
    lives = [deleted(1, INBOX, 5.0), deleted(2, ARCHIVE, 9.0), in_trash]
    assert home(in_trash, lives, trash_id=TRASH) == ARCHIVE
    assert home(in_trash, [in_trash], trash_id=TRASH) is None
    assert home(lives[0], lives, trash_id=TRASH) == INBOX


def test_each_message_of_the_trash_comes_back_once() -> None:
    """Its own row first; equal ones that are wanted beside it are sent; into the Trash itself all are."""
    trashed = Candidate(11, TRASH, 3, BODY)
    first, second = WantedBack(1, 20, INBOX, BODY), WantedBack(2, 11, INBOX, BODY)

    assert ways_back([second], [trashed], trash_id=TRASH) == {2: Origin(Way.MOVE, trashed)}
    assert ways_back([first, second], [trashed], trash_id=TRASH) == {
        1: Origin(Way.MOVE, trashed),
        2: Origin(Way.APPEND),
    }
    in_trash = WantedBack(1, 20, TRASH, BODY)
    assert ways_back([in_trash], [trashed], trash_id=TRASH) == {1: Origin(Way.APPEND)}


def test_message_whose_row_is_there_again_is_not_brought_twice() -> None:
    """Its server has put it back itself meanwhile."""
    back = Candidate(20, INBOX, 3, BODY)
    assert ways_back([WantedBack(1, 20, INBOX, BODY)], [back], trash_id=TRASH) == {1: Origin(Way.BIND, back)}
