"""The table of conflicts is what the planner does, row by row, and the page in docs/ is what the table says."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from syncd.mail.flags import ANSWERED, DRAFT, FLAGGED, FORWARDED, Flags
from syncd.mail.tree import Pair, ReplicaState, Successor
from syncd.reconcile.changes import Edited, Sighting, compare
from syncd.reconcile.conflicts import CONFLICTS, Conflict, as_markdown
from syncd.reconcile.deletions import YIELDING, ToTrash
from syncd.reconcile.effects import Deliver, Effect, Expunge, Forget, Move, Remove, Rename, Restore, Store
from syncd.reconcile.moves import Candidate, DeviceFile, OwnFile, Way, origins
from syncd.reconcile.planner import plan
from syncd.reconcile.shifts import Arriving, Leaving, match
from tests.unit.reconcile.builders import FILE, MESSAGE, UID, pair, policy

PAGE = Path(__file__).parents[3] / "docs" / "conflicts.md"
TRASH = ToTrash(2, "Trash")
PERSONAL = (FLAGGED, ANSWERED, DRAFT, FORWARDED, "todo")
INBOX, ARCHIVE, OTHER, BIN, BODY = 1, 2, 3, 9, 5
LAPTOP, PHONE = 1, 2
PRESENT, DELETED, NEVER = DeviceFile(ReplicaState.PRESENT, "n"), DeviceFile(ReplicaState.DELETED, "n"), None


def told(one: Pair, **more: object) -> tuple[Effect, ...]:
    return plan(one, policy(deletion=TRASH, **more))  # type: ignore[arg-type]


def flagged(one: Pair, *, server: Flags = frozenset(), replica: Flags = frozenset()) -> Pair:
    """Let the flags of a side be these."""
    assert one.server is not None
    assert one.replica is not None
    return one._replace(server=one.server._replace(flags=server), replica=one.replica._replace(flags=replica))


def deleted_by_device(flag: str) -> tuple[Effect, ...]:
    return told(flagged(pair("", "", "", state=ReplicaState.DELETED), server=frozenset({flag})))


def deleted_by_server(flag: str) -> tuple[Effect, ...]:
    return told(flagged(pair("", "", "", is_gone=True), replica=frozenset({flag})))


def way(*candidates: Candidate, mailbox: int = ARCHIVE, is_restored: bool = False) -> tuple[Way, int | None]:
    """Return what becomes of a file that the laptop added to a mailbox."""
    own = OwnFile(30, LAPTOP, mailbox, BODY, "n", is_restored=is_restored)
    origin = origins([own], candidates, trash_id=BIN)[30]
    return origin.way, None if origin.source is None else origin.source.mailbox_id


def message(mailbox: int, *, laptop: DeviceFile | None = NEVER, uid: int = 10) -> Candidate:
    return Candidate(100 * mailbox + uid, mailbox, uid, BODY, {} if laptop is None else {LAPTOP: laptop})


def flags() -> None:
    assert told(pair("F", "", "S")) == (
        Store(MESSAGE, UID, frozenset({"\\Seen"})),
        Rename(MESSAGE, FILE, frozenset({FLAGGED})),
    )


def same_flag() -> None:
    assert not any(isinstance(effect, Store | Rename) for effect in told(pair("F", "", "F")))


def unsaid() -> None:
    assert told(pair("ab", "a", "a"), replica_keywords=False, replica="a") == ()


def deletion_by_device_and_weak() -> None:
    for flag in YIELDING:
        assert deleted_by_device(flag) == (Move(MESSAGE, UID, 2, "Trash"),)


def deletion_by_device_and_strong() -> None:
    for flag in PERSONAL:
        assert deleted_by_device(flag) == (Deliver(MESSAGE, frozenset()),)
    assert told(pair("", "F", "F", state=ReplicaState.DELETED)) == (Deliver(MESSAGE, frozenset({FLAGGED})),)


def deletion_by_server_and_weak() -> None:
    for flag in YIELDING:
        assert deleted_by_server(flag) == (Remove(MESSAGE, FILE),)


def deletion_by_server_and_strong() -> None:
    for flag in PERSONAL:
        assert deleted_by_server(flag) == (Restore(MESSAGE, FILE),)
    assert told(pair("F", "F", "", is_gone=True)) == (Restore(MESSAGE, FILE),)


def back_from_trash() -> None:
    deletion_by_server_and_strong()
    assert way(message(BIN), mailbox=INBOX, is_restored=True) == (Way.MOVE, BIN)


def back_from_the_store() -> None:
    deletion_by_server_and_strong()
    assert way(mailbox=INBOX, is_restored=True) == (Way.APPEND, None)


def both_deleted() -> None:
    assert told(pair("F", "", "", is_gone=True, state=ReplicaState.DELETED)) == (Forget(MESSAGE),)


def moved_and_flagged() -> None:
    assert told(pair("", "", "F", is_gone=True)._replace(successor=Successor.THERE)) == (
        Remove(MESSAGE, FILE, frozenset({FLAGGED})),
    )
    content = (1, BODY, 1000)
    leaving, arriving = Leaving(INBOX, UID, FILE, "n", content), Arriving(ARCHIVE, 7, 8, content)
    assert match([leaving], [arriving]) == ((leaving, arriving),)


def moved_and_deleted() -> None:
    both_deleted()
    assert told(pair("", None, None)) == (Deliver(MESSAGE, frozenset()),)


def moved_twice() -> None:
    assert way(message(OTHER)) == (Way.COPY, OTHER)


def moved_alike() -> None:
    assert way(message(ARCHIVE)) == (Way.BIND, ARCHIVE)


def moved_by_device() -> None:
    assert way(message(INBOX, laptop=DELETED)) == (Way.MOVE, INBOX)


def moved_before_or_after_a_deletion() -> None:
    moved_by_device()
    assert way(message(BIN)) == (Way.COPY, BIN)


def moved_and_expunged() -> None:
    assert way() == (Way.APPEND, None)


def edited_and_deleted() -> None:
    assert told(pair("", "", "", is_gone=True, state=ReplicaState.EDITED)) == ()
    assert way(mailbox=INBOX) == (Way.APPEND, None)


def edited_and_flagged() -> None:
    row = pair("", "", "").replica
    assert row is not None
    seen = Sighting("name", None, "cur", frozenset(), row.size_bytes + 1, row.mtime)
    assert compare({"name": row}, {"name": seen}, ["name"]) == (Edited(FILE, seen),)
    assert told(pair("F", "", "", state=ReplicaState.EDITED)) == ()


def two_drafts() -> None:
    replaced = pair("D", "D", "D", state=ReplicaState.DELETED)._replace(successor=Successor.THERE)
    assert told(replaced) == (Expunge(MESSAGE, UID, is_replaced=True),)
    assert way() == (Way.APPEND, None)


def draft_and_flagged() -> None:
    replaced = pair("DF", "D", "D", state=ReplicaState.DELETED)._replace(successor=Successor.THERE)
    assert told(replaced) == (Deliver(MESSAGE, frozenset({DRAFT})),)


def copies() -> None:
    assert told(pair("S", "S", "S")) == ()
    assert way(message(ARCHIVE, laptop=PRESENT), message(INBOX, laptop=PRESENT)) == (Way.COPY, INBOX)


def not_there() -> None:
    for server in ("", "S", "F"):
        assert told(pair(server, "", "", state=ReplicaState.MISSING)) == ()


def away() -> None:
    for one in (flags, deletion_by_server_and_weak, deletion_by_server_and_strong, deletion_by_device_and_strong):
        one()


PROOFS: Mapping[str, Callable[[], None]] = {
    "flags": flags,
    "same flag": same_flag,
    "unsaid": unsaid,
    "deleted, weak": deletion_by_device_and_weak,
    "deleted, strong": deletion_by_device_and_strong,
    "trashed, weak": deletion_by_server_and_weak,
    "trashed, strong": back_from_trash,
    "expunged, weak": deletion_by_server_and_weak,
    "expunged, strong": back_from_the_store,
    "deleted twice": both_deleted,
    "moved, flagged": moved_and_flagged,
    "moved in two steps, flagged": moved_and_flagged,
    "moved, deleted": moved_and_deleted,
    "moved twice": moved_twice,
    "same move": moved_alike,
    "flagged, moved": moved_by_device,
    "deleted, moved": moved_before_or_after_a_deletion,
    "expunged, moved": moved_and_expunged,
    "edited, deleted": edited_and_deleted,
    "edited, flagged": edited_and_flagged,
    "draft twice": two_drafts,
    "draft, deleted": two_drafts,
    "draft, flagged": draft_and_flagged,
    "copies": copies,
    "not there": not_there,
    "away": away,
}


@pytest.mark.parametrize("conflict", CONFLICTS, ids=lambda one: one.key)
def test_each_conflict_ends_as_the_table_says(conflict: Conflict) -> None:
    """What decides about it, asked with that very conflict, gives that outcome."""
    PROOFS[conflict.key]()


def test_each_conflict_is_there_once() -> None:
    """No two rows say something about the same two deeds, and no proof is of a row that is gone."""
    assert len({(one.one, one.other) for one in CONFLICTS}) == len(CONFLICTS)
    assert sorted(PROOFS) == sorted(one.key for one in CONFLICTS)


def test_page_is_what_the_code_prints() -> None:
    """The page that people read is the table that is proven."""
    rewrite = "python -m syncd.reconcile.conflicts > docs/conflicts.md"
    assert PAGE.read_text() == as_markdown(), f"the page is old; write it anew: {rewrite}"
