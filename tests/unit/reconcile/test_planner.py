"""What one message asks for, one asymmetry at a time."""

import pytest

from syncd.mail.flags import with_delta
from syncd.mail.tree import ReplicaState, Successor
from syncd.reconcile.deletions import Deletion, ForGood, ToTrash
from syncd.reconcile.effects import Agree, Deliver, Drop, Effect, Expunge, Forget, Move, Remove, Rename, Restore, Store
from syncd.reconcile.planner import NOTHING, FlagChanges, Policy, Selection, is_in_doubt, merge, plan
from tests.unit.reconcile.builders import FILE, MESSAGE, UID, flags, pair, policy


def store(add: str = "", remove: str = "") -> Store:
    return Store(MESSAGE, UID, flags(add), flags(remove))


def rename(add: str = "", remove: str = "") -> Rename:
    return Rename(MESSAGE, FILE, flags(add), flags(remove))


def agree(add: str = "", remove: str = "") -> Agree:
    return Agree(MESSAGE, flags(add), flags(remove))


FLAGS: list[tuple[str, str, str, tuple[Effect, ...]]] = [
    # server, base, replica: what happens
    ("", "", "", ()),
    ("S", "S", "S", ()),
    ("S", "", "", (rename(add="S"),)),
    ("", "S", "S", (rename(remove="S"),)),
    ("", "", "S", (store(add="S"),)),
    ("S", "S", "", (store(remove="S"),)),
    ("S", "", "S", (agree(add="S"),)),
    ("", "S", "", (agree(remove="S"),)),
    ("F", "", "S", (store(add="S"), rename(add="F"))),
    ("", "SF", "S", (rename(remove="S"), agree(remove="F"))),
    ("FT", "F", "RT", (store(add="R", remove="F"), agree(add="T"))),
    ("a", "", "b", (store(add="b"), rename(add="a"))),
    ("T", "", "", (rename(add="T"),)),
]


@pytest.mark.parametrize(("server", "base", "replica", "wanted"), FLAGS, ids=lambda value: str(value)[:20])
def test_each_flag_goes_from_the_side_that_changed_it(
    server: str, base: str, replica: str, wanted: tuple[Effect, ...]
) -> None:
    """A flag that differs from the base goes to the other side; equal changes only move the base."""
    assert plan(pair(server, base, replica), policy()) == wanted


def test_keyword_in_another_case_is_the_same_keyword() -> None:
    """Keywords are compared without case, and none is set or taken back for its spelling."""
    nothing = frozenset[str]()

    merged = merge(frozenset({"Project"}), frozenset({"project"}), frozenset({"PROJECT"}))

    assert merged == FlagChanges(nothing, nothing, nothing, nothing, nothing, nothing)


def test_new_message_is_delivered_with_what_the_replica_can_hold() -> None:
    """A message that no replica had is delivered with its flags, without those that have no letter."""
    full = policy(replica_keywords=False, replica="a")

    assert plan(pair("Sab", None, None), full) == (Deliver(MESSAGE, flags("Sa")),)


def test_message_without_body_waits() -> None:
    """Nothing is delivered before its body is in the store."""
    assert plan(pair("S", None, None, has_body=False), policy()) == ()


@pytest.mark.parametrize(
    ("selection", "is_taken"),
    [
        (Selection(not_before=1000), True),
        (Selection(not_before=1001), False),
        (Selection(max_size_bytes=100), True),
        (Selection(max_size_bytes=99), False),
        (Selection(not_before=1001, max_size_bytes=100), False),
    ],
)
def test_selection_decides_about_new_messages(selection: Selection, is_taken: bool) -> None:
    """Too old or too large for the device: not delivered."""
    planned = plan(pair("", None, None), policy(selection=selection))

    assert bool(planned) is is_taken


# What the device does not take any more.

SMALLER = Selection(max_size_bytes=1)
GIVEN_UP = [policy(selection=NOTHING), policy(selection=SMALLER, is_outgrown=True)]


def test_message_outside_of_the_selection_is_synced_until_it_has_been_outgrown() -> None:
    """A file does not go under anybody's hands, whatever happens to it meanwhile."""
    assert plan(pair("S", "", ""), policy(selection=SMALLER)) == (rename(add="S"),)


@pytest.mark.parametrize("given_up", GIVEN_UP, ids=["mailbox", "message"])
def test_what_is_given_up_is_dropped_once_the_server_has_all_of_it(given_up: Policy) -> None:
    """The file goes when nothing of it is left to tell, and a change of the device is told before."""
    assert plan(pair("S", "S", "S"), given_up) == (Drop(MESSAGE, FILE),)
    assert plan(pair("SF", "S", "S"), given_up) == (Drop(MESSAGE, FILE),)
    assert plan(pair("S", "S", "SF"), given_up) == (store(add="F"),)
    assert plan(pair("S", "S", "S", has_body=False), given_up) == ()


@pytest.mark.parametrize("state", [ReplicaState.EDITED, ReplicaState.NEW, ReplicaState.FOUND])
@pytest.mark.parametrize("given_up", GIVEN_UP, ids=["mailbox", "message"])
def test_what_only_the_device_has_is_never_dropped(given_up: Policy, state: ReplicaState) -> None:
    """An edit, or a file of which nobody knows what it is, waits until it is in the store."""
    assert plan(pair("S", "S", "S", state=state), given_up) == ()


@pytest.mark.parametrize("state", [ReplicaState.MISSING, ReplicaState.DELETED])
def test_file_that_is_missing_in_a_mailbox_that_is_given_up_is_no_deletion(state: ReplicaState) -> None:
    """What went before is forgotten, on neither side is anything done, whatever deletions become otherwise."""
    missing = pair("SF", "S", "S", state=state)

    assert plan(missing, policy(selection=NOTHING)) == (Forget(MESSAGE),)
    assert plan(missing, policy(selection=NOTHING, deletion=TRASH)) == (Forget(MESSAGE),)


def test_deletion_of_a_message_that_is_outgrown_stays_a_deletion() -> None:
    """A device that goes on taking the mailbox deleted it while it had it; against a person's flag it is forgotten."""
    deleted = pair("S", "S", "S", state=ReplicaState.DELETED)
    outgrown = policy(selection=SMALLER, is_outgrown=True, deletion=TRASH)

    assert plan(deleted, outgrown) == plan(deleted, policy(deletion=TRASH))
    assert plan(pair("SF", "S", "S", state=ReplicaState.DELETED), outgrown) == (Forget(MESSAGE),)
    assert plan(pair("S", "S", "S", state=ReplicaState.MISSING), outgrown) == ()


@pytest.mark.parametrize(
    ("full", "wanted"),
    [
        (policy(selection=NOTHING), Drop(MESSAGE, FILE)),
        (policy(selection=SMALLER), Drop(MESSAGE, FILE)),
        (policy(), Deliver(MESSAGE, flags("S"))),
    ],
    ids=["not taken", "outgrown", "taken again"],
)
def test_interrupted_withdrawal_goes_on_or_is_undone(full: Policy, wanted: Effect) -> None:
    """The file may be there or not: it goes, or, where the device takes it again by then, it is as it was."""
    assert plan(pair("SF", "S", "S", state=ReplicaState.WITHDRAWN), full) == (wanted,)


# A device that may only read.


@pytest.mark.parametrize(("server", "base", "replica"), [row[:3] for row in FLAGS])
def test_read_only_device_is_made_what_its_server_is(server: str, base: str, replica: str) -> None:
    """Whatever changed where, the server gets no flag, and file and base end with its flags."""
    effects = plan(pair(server, base, replica), policy(is_read_only=True))

    file, agreed = flags(replica), flags(base)
    for effect in effects:
        assert isinstance(effect, Rename | Agree)
        agreed = with_delta(agreed, add=effect.add, remove=effect.remove)
        if isinstance(effect, Rename):
            file = with_delta(file, add=effect.add, remove=effect.remove)
    assert (file, agreed) == (flags(server), flags(server))


@pytest.mark.parametrize("successor", [None, *Successor])
def test_file_deleted_on_a_read_only_device_is_delivered_again(successor: Successor | None) -> None:
    """It deletes and moves nothing on the server, whatever it put in its place."""
    deleted = pair("S", "S", "S", state=ReplicaState.DELETED)._replace(successor=successor)

    assert plan(deleted, policy(is_read_only=True, deletion=TRASH)) == (Deliver(MESSAGE, flags("S")),)
    assert plan(deleted, policy(is_read_only=True, selection=SMALLER)) == (Forget(MESSAGE),)


def test_read_only_device_drops_what_it_does_not_take_whatever_it_changed() -> None:
    """There is nothing to tell the server."""
    assert plan(pair("", "", "F"), policy(is_read_only=True, selection=NOTHING)) == (Drop(MESSAGE, FILE),)


def test_interrupted_delivery_is_repeated_as_it_was_announced() -> None:
    """It may have got through, so a file without the server's newer flags must not read as its device's doing."""
    coming = pair("S", None, "F", state=ReplicaState.DELIVERING)

    assert plan(coming, policy()) == (Deliver(MESSAGE, flags("F")),)


def test_base_without_a_file_delivers_nothing() -> None:
    """A message that both sides had is not new, whatever became of the file's row."""
    assert plan(pair("S", "S", None), policy()) == ()


# Gone on the server.


@pytest.mark.parametrize(
    "state", [ReplicaState.PRESENT, ReplicaState.MOVING, ReplicaState.WITHDRAWN, ReplicaState.DELIVERING]
)
def test_expunged_message_is_removed(state: ReplicaState) -> None:
    """A file of a message that the server expunged goes, also one that was on its way."""
    assert plan(pair("", "", "S", is_gone=True, state=state), policy()) == (Remove(MESSAGE, FILE),)


def test_expunged_and_removed_by_the_device_is_forgotten() -> None:
    """Where both sides deleted, only the rows go."""
    assert plan(pair("", "", "", is_gone=True, state=ReplicaState.MISSING), policy()) == (Forget(MESSAGE),)


def test_expunged_before_anybody_had_it_asks_for_nothing() -> None:
    """A message that came and went leaves no trace here."""
    assert plan(pair("", None, None, is_gone=True), policy()) == ()


def test_edited_file_is_never_removed() -> None:
    """An edit exists nowhere else, so an expunge does not reach it."""
    assert plan(pair("", "", "", is_gone=True, state=ReplicaState.EDITED), policy()) == ()


@pytest.mark.parametrize(("base", "replica"), [("", "F"), ("F", ""), ("", "R"), ("", "D"), ("", "a"), ("S", "SF")])
def test_flag_of_a_person_is_stronger_than_a_deletion_by_the_server(base: str, replica: str) -> None:
    """Whoever flags a message before hearing that it is gone wants it: the message is put back."""
    assert plan(pair(base, base, replica, is_gone=True), policy()) == (Restore(MESSAGE, FILE),)


@pytest.mark.parametrize(("base", "replica"), [("", "S"), ("S", ""), ("", "T"), ("F", "FS")])
def test_deletion_by_the_server_is_stronger_than_seen_and_deleted(base: str, replica: str) -> None:
    """That somebody read it on the device brings no message back."""
    assert plan(pair(base, base, replica, is_gone=True), policy()) == (Remove(MESSAGE, FILE),)


@pytest.mark.parametrize(("server", "base", "replica"), [("R", "", "R"), ("", "F", ""), ("F", "", "FS")])
def test_flag_that_the_server_had_as_well_puts_nothing_back(server: str, base: str, replica: str) -> None:
    """Whoever deleted the message saw it so; this is all that an adopted device, of which no base is known, can say."""
    assert plan(pair(server, base, replica, is_gone=True), policy()) == (Remove(MESSAGE, FILE),)


def test_message_that_the_server_moved_is_not_put_back() -> None:
    """The file follows it, with its flags."""
    moved = pair("", "", "F", is_gone=True)._replace(successor=Successor.THERE)

    assert plan(moved, policy()) == (Remove(MESSAGE, FILE, frozenset({"\\Flagged"})),)


@pytest.mark.parametrize(("replica", "flag"), [("F", "\\Flagged"), ("S", "\\Seen")])
def test_file_waits_while_its_message_may_be_about_to_be_found_elsewhere(replica: str, flag: str) -> None:
    """It takes along what the device changed, or it is put back; if the device would not have it, the change goes."""
    moved = pair("", "", replica, is_gone=True)._replace(successor=Successor.ON_ITS_WAY)

    assert plan(moved, policy()) == ()
    assert is_in_doubt(moved, policy())
    assert plan(moved, policy(selection=NOTHING)) == (Drop(MESSAGE, FILE, frozenset({flag})),)
    assert not is_in_doubt(moved, policy(selection=NOTHING))


def test_message_without_a_body_is_not_put_back() -> None:
    """What the store does not have cannot be sent."""
    assert plan(pair("", "", "F", is_gone=True, has_body=False), policy()) == (Remove(MESSAGE, FILE),)


# Deleted by the device.


TRASH = ToTrash(2, "Trash")


@pytest.mark.parametrize(
    ("deletion", "wanted"),
    [
        (TRASH, (Move(MESSAGE, UID, 2, "Trash"),)),
        (ToTrash(None, "Trash"), (Move(MESSAGE, UID, None, "Trash"),)),
        (ForGood(), (Expunge(MESSAGE, UID),)),
        (None, ()),
    ],
)
def test_deletion_becomes_what_the_policy_says(deletion: Deletion | None, wanted: tuple[Effect, ...]) -> None:
    """To Trash, for good, or nothing where deletions do not reach the server."""
    assert plan(pair("S", "S", "S", state=ReplicaState.DELETED), policy(deletion=deletion)) == wanted


def test_missing_file_is_no_deletion() -> None:
    """What one look did not find proves nothing."""
    assert plan(pair("S", "S", "S", state=ReplicaState.MISSING), policy(deletion=TRASH)) == ()


def test_deletion_waits_until_the_store_has_the_body() -> None:
    """Nothing is deleted of which the store has no copy."""
    deleted = pair("S", "S", "S", state=ReplicaState.DELETED, has_body=False)

    assert plan(deleted, policy(deletion=ForGood())) == ()


@pytest.mark.parametrize(("server", "base"), [("S", ""), ("", "S"), ("T", ""), ("ST", "")])
def test_deletion_is_stronger_than_seen_and_deleted(server: str, base: str) -> None:
    """That somebody read it, or a program marked it as deleted, keeps no message."""
    assert plan(pair(server, base, base, state=ReplicaState.DELETED), policy(deletion=TRASH)) == (
        Move(MESSAGE, UID, 2, "Trash"),
    )


@pytest.mark.parametrize("keyword", ["$Junk", "NonJunk", "$MDNSent"])
def test_deletion_is_stronger_than_what_programs_note(keyword: str) -> None:
    """A keyword that programs set by themselves keeps no message, in any case."""
    noted = pair("", "", "", state=ReplicaState.DELETED)
    server = noted._replace(server=noted.server._replace(flags=frozenset({keyword})))

    assert plan(server, policy(deletion=TRASH)) == (Move(MESSAGE, UID, 2, "Trash"),)


@pytest.mark.parametrize(("server", "base"), [("F", ""), ("", "F"), ("R", ""), ("D", ""), ("a", ""), ("SF", "S")])
def test_flag_of_a_person_is_stronger_than_a_deletion(server: str, base: str) -> None:
    """Whoever flags a message, or takes a flag back, wants it: the file is delivered again as its row has it."""
    deleted = pair(server, base, "S", state=ReplicaState.DELETED)

    assert plan(deleted, policy(deletion=TRASH)) == (Deliver(MESSAGE, flags("S")),)


def test_flag_that_the_replica_cannot_hold_keeps_no_message() -> None:
    """A 27th keyword differs from the base for ever, and was set by nobody since."""
    full = policy(replica_keywords=False, replica="a", deletion=TRASH)

    assert plan(pair("ab", "a", "a", state=ReplicaState.DELETED), full) == (Move(MESSAGE, UID, 2, "Trash"),)


def test_expunged_and_deleted_by_the_device_is_forgotten() -> None:
    """Where both sides deleted, only the rows go."""
    assert plan(pair("F", "", "", is_gone=True, state=ReplicaState.DELETED), policy()) == (Forget(MESSAGE),)


def test_file_that_another_one_took_the_place_of_is_no_deletion() -> None:
    """It leaves once the other is there, without a copy in Trash; against a person's flag it stays."""
    deleted = pair("S", "S", "S", state=ReplicaState.DELETED)
    flagged = pair("SF", "S", "S", state=ReplicaState.DELETED)
    full = policy(deletion=TRASH)

    assert plan(deleted._replace(successor=Successor.ON_ITS_WAY), full) == ()
    assert plan(flagged._replace(successor=Successor.ON_ITS_WAY), full) == ()
    assert plan(deleted._replace(successor=Successor.THERE), full) == (Expunge(MESSAGE, UID, is_replaced=True),)
    assert plan(deleted._replace(successor=Successor.THERE), policy()) == ()
    assert plan(flagged._replace(successor=Successor.THERE), full) == (Deliver(MESSAGE, flags("S")),)


# Not synced yet.


@pytest.mark.parametrize("state", [ReplicaState.MISSING, ReplicaState.EDITED])
def test_file_that_is_not_as_agreed_gets_and_gives_no_flags(state: ReplicaState) -> None:
    """What a device did in a way that is not synced yet changes nothing on the server, and nothing is done to it."""
    assert plan(pair("F", "", "S", state=state), policy()) == ()


def test_file_of_the_devices_own_asks_for_nothing() -> None:
    """A new file is noticed and left alone."""
    assert plan(pair(None, None, "S", state=ReplicaState.NEW), policy()) == ()


# What a side cannot hold.


def test_27th_keyword_is_no_removal() -> None:
    """A keyword without a letter in the replica is not taken from the server."""
    full = policy(replica_keywords=False, replica="a")

    assert plan(pair("ab", "ab", "a"), full) == ()
    assert plan(pair("ab", "ab", ""), full) == (store(remove="a"),)


def test_keyword_that_the_server_does_not_take_is_no_removal() -> None:
    """Without `\\*` in PERMANENTFLAGS a keyword that a device sets stays there, and is not taken back from it."""
    strict = policy(server_keywords=False, server="a")

    assert plan(pair("", "", "b"), strict) == ()
    assert plan(pair("", "b", "b"), strict) == ()
    assert plan(pair("", "", "ab"), strict) == (store(add="a"),)
