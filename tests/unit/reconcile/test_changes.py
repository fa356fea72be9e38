"""What a look at a replica says about its rows."""

from collections.abc import Mapping

import pytest

from syncd.mail.tree import BodyForm, ReplicaMessage, ReplicaState
from syncd.reconcile.changes import Appeared, Change, Edited, Lost, Reflagged, Rewritten, Sighting, Vanished, compare
from tests.unit.reconcile.builders import flags


def row(state: ReplicaState = ReplicaState.PRESENT, letters: str = "", *, is_own: bool = False) -> ReplicaMessage:
    return ReplicaMessage(
        id=1,
        message_id=None if is_own else 7,
        name="name",
        info=letters,
        subdir="cur",
        flags=flags(letters),
        state=state,
        size_bytes=100,
        mtime=1000,
        form=BodyForm.LF,
        version=1,
    )


def seen(letters: str = "", *, subdir: str = "cur", size_bytes: int | None = 100, mtime: int | None = 1000) -> Sighting:
    return Sighting("name", letters, subdir, flags(letters), size_bytes, mtime)


def changes(known: ReplicaMessage | None, found: Sighting | None) -> tuple[Change, ...]:
    rows: Mapping[str, ReplicaMessage] = {} if known is None else {"name": known}
    return compare(rows, {} if found is None else {"name": found}, ["name"])


def test_file_as_recorded_is_no_change() -> None:
    """Equal flags, place, size and date say nothing."""
    assert changes(row(), seen()) == ()


def test_unknown_file_appeared() -> None:
    """A file without a row is new."""
    assert changes(None, seen("S")) == (Appeared(seen("S")),)


def test_file_that_is_nowhere_is_nothing() -> None:
    """A name without row and file is not of interest."""
    assert changes(None, None) == ()


def test_other_letters_or_directory_are_reflagged() -> None:
    """A renamed file has other flags, or other letters that mean nothing, or is in the other directory."""
    assert changes(row(), seen("S")) == (Reflagged(1, seen("S")),)
    assert changes(row(), seen(subdir="new")) == (Reflagged(1, seen(subdir="new")),)


def test_file_that_grew_before_its_delivery_was_settled_is_edited() -> None:
    """What we write is never larger than recorded; a torn file is, so to say, not there yet."""
    arriving = row(ReplicaState.DELIVERING)
    assert changes(arriving, seen(size_bytes=101)) == (Edited(1, seen(size_bytes=101)),)
    assert changes(arriving, seen(size_bytes=100)) == changes(arriving, seen(size_bytes=99)) == ()
    assert changes(row(ReplicaState.WITHDRAWN), seen(size_bytes=101)) == ()


def test_file_of_another_date_before_its_delivery_was_settled_is_edited() -> None:
    """What we wrote has its date before its name; a shorter file is written anew, whatever its date."""
    arriving = row(ReplicaState.DELIVERING)
    assert changes(arriving, seen(mtime=1001)) == (Edited(1, seen(mtime=1001)),)
    assert changes(arriving, seen(size_bytes=99, mtime=1001)) == ()
    assert changes(arriving, seen(size_bytes=None, mtime=None)) == ()
    assert changes(row(ReplicaState.WITHDRAWN), seen(mtime=1001)) == ()


@pytest.mark.parametrize("is_own", [True, False])
def test_known_file_that_is_not_there_vanished(is_own: bool) -> None:
    """A row that was present and has no file."""
    state = ReplicaState.NEW if is_own else ReplicaState.PRESENT
    assert changes(row(state, is_own=is_own), None) == (Vanished(1, is_own=is_own),)


def test_missing_file_vanishes_once() -> None:
    """What is recorded as missing is not told again; back again, it is told whatever its flags."""
    assert changes(row(ReplicaState.MISSING), None) == ()
    assert changes(row(ReplicaState.MISSING), seen()) == (Reflagged(1, seen()),)


@pytest.mark.parametrize("found", [None, seen(), seen("S"), seen(size_bytes=1)])
@pytest.mark.parametrize("state", [ReplicaState.DELIVERING, ReplicaState.WITHDRAWN])
def test_our_own_unfinished_doing_is_planned_again(state: ReplicaState, found: Sighting | None) -> None:
    """A file that comes or goes by our own doing says nothing of the device, whatever is seen."""
    assert changes(row(state), found) == ()


def test_rename_of_ours_that_was_interrupted() -> None:
    """A file that we were renaming is as it is seen; where it is not there, we lost it and put it back."""
    assert changes(row(ReplicaState.MOVING), seen()) == (Reflagged(1, seen()),)
    assert changes(row(ReplicaState.MOVING), seen("S")) == (Reflagged(1, seen("S")),)
    assert changes(row(ReplicaState.MOVING), None) == (Lost(1),)


@pytest.mark.parametrize("found", [seen(size_bytes=101), seen(mtime=1001), seen("S", mtime=999)])
def test_other_size_or_date_is_an_edit(found: Sighting) -> None:
    """Octets that are not ours any more are an edit, told once."""
    assert changes(row(), found) == (Edited(1, found),)
    assert changes(row(ReplicaState.EDITED), found) == ()


def test_size_and_date_that_nobody_asked_for_are_no_edit() -> None:
    """A look by name only cannot tell an edit."""
    assert changes(row(), seen(size_bytes=None, mtime=None)) == ()


def test_file_of_the_devices_own_is_rewritten_not_edited() -> None:
    """It is never an edit of ours; one that was rewritten on its way stays so until it is there."""
    assert changes(row(ReplicaState.NEW, is_own=True), seen(size_bytes=5)) == (Rewritten(1, seen(size_bytes=5)),)
    assert changes(row(ReplicaState.EDITED, is_own=True), seen()) == ()
    assert changes(row(ReplicaState.EDITED, is_own=True), seen("S")) == (Reflagged(1, seen("S")),)
    assert changes(row(ReplicaState.MISSING, is_own=True), seen()) == (Reflagged(1, seen()),)


def test_edited_file_with_the_old_octets_again_is_ours() -> None:
    """An edit that was taken back is no edit; its row is not left as one."""
    assert changes(row(ReplicaState.EDITED), seen()) == (Reflagged(1, seen()),)


def test_only_names_that_were_looked_for_count() -> None:
    """A look at some files says nothing of the others."""
    assert compare({"name": row()}, {}, []) == ()
