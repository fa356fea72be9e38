"""Floor 2: recoveries: which deleted messages can come back, where to, and how.

Theory. A message is followed by its octets: one whose octets the account has still was moved, and is not deleted, but
for the Trash, from where it comes back. Of rows with equal octets the newest outside the Trash tells from where it was
deleted; those before are earlier places of the same message. Those that went in one instant were as many messages.

House rules. No I/O, no clock: the same rows give the same answer.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from syncd.reconcile.moves import Candidate, Origin, Way
from syncd.values import Value


class Fate(StrEnum):
    """Say what becomes of a deleted message that a person wants back.

    sent: its server gets it again. moved: out of the Trash, where it is still. kept: devices have files of it still,
    which become its messages again. there: nothing is to be done. underway: a person has asked before. swept: the
    store has no octets of it any more, or never had.
    """

    SENT = "sent"
    MOVED = "moved"
    KEPT = "kept"
    THERE = "there"
    UNDERWAY = "underway"
    SWEPT = "swept"


COMING = frozenset({Fate.SENT, Fate.MOVED, Fate.KEPT})
"""What is done by a restore."""


class Deleted(Value):
    """A message as it was in a mailbox. gone_at: None of one that is there, in Trash if it counts as deleted.

    body_id: None once it is swept. went_along: its mailbox went with it. has_file: a served device has its file still.
    """

    message_id: int
    mailbox_id: int
    body_id: int | None
    gone_at: float | None
    went_along: bool = False
    has_file: bool = False
    is_underway: bool = False


class Place(Value):
    """A message that its server has."""

    message_id: int
    mailbox_id: int
    body_id: int


class WantedBack(Value):
    """A deleted message that a person wants back, by its row of the journal, and the mailbox that is to have it."""

    id: int
    message_id: int
    mailbox_id: int
    body_id: int


def last_lives(
    deleted: Iterable[Deleted], lives: Mapping[int, Iterable[Deleted]], *, trash_id: int | None
) -> tuple[Deleted, ...]:
    """Return those of these rows that tell where messages were last, before the Trash if they were put there.

    lives: everything that the account ever had, by octets. What went along with its mailbox was there last whatever
    else there was; of what is only known to have been in the Trash, that is the last place.
    """
    found: list[Deleted] = []
    by_body: dict[int, list[Deleted]] = defaultdict(list)
    for one in deleted:
        if one.body_id is None or one.went_along:
            found.append(one)
        else:
            by_body[one.body_id].append(one)
    for body_id, rows in by_body.items():
        outside = [life for life in lives.get(body_id, ()) if life.mailbox_id != trash_id]
        of_last = [one for one in rows if outside and _when(one) == _when(max(outside, key=_newest))]
        trashed = [one for one in rows if one.mailbox_id == trash_id]
        last_trashed = [one for one in trashed if _when(one) == _when(max(trashed, key=_newest))]
        found += of_last or last_trashed
    return tuple(sorted(found, key=_newest))


def without_trash(named: Iterable[Deleted], *, trash_id: int | None) -> tuple[Deleted, ...]:
    """Return these without those of the Trash whose place before is among them: a person named one message twice."""
    rows = tuple(named)
    outside = {one.body_id for one in rows if one.mailbox_id != trash_id and one.body_id is not None}
    return tuple(one for one in rows if one.mailbox_id != trash_id or one.body_id not in outside)


def home(one: Deleted, lives: Iterable[Deleted], *, trash_id: int | None) -> int | None:
    """Return the mailbox that a message comes back to; None: it was in no other than the Trash, as far as is known.

    lives: everything that the account ever had with its octets.
    """
    if one.mailbox_id != trash_id:
        return one.mailbox_id
    before = [life for life in lives if life.mailbox_id != trash_id and life.gone_at is not None]
    return max(before, key=_newest).mailbox_id if before else None


def fate_of(
    one: Deleted, there: Iterable[Place], *, trash_id: int | None, to_id: int, is_elsewhere: bool
) -> tuple[Fate, Place | None]:
    """Return what becomes of a message, and where its octets are now: what it is moved from, or why nothing is done.

    there: what the account has with its octets. to_id: where it is to be. is_elsewhere: a person named another mailbox
    than it was in, so that what other mailboxes have of it does not count.
    """
    places = sorted(there, key=lambda place: place.message_id)
    here = [place for place in places if place.mailbox_id == to_id]
    others = [place for place in places if place.mailbox_id not in {to_id, trash_id}]
    trashed = [place for place in places if place.mailbox_id == trash_id]
    if one.is_underway:
        return Fate.UNDERWAY, None
    if one.gone_at is None and one.mailbox_id != trash_id:
        return Fate.THERE, next((place for place in places if place.message_id == one.message_id), None)
    if here:
        return Fate.THERE, here[-1]
    if others and not one.went_along and not is_elsewhere:
        return Fate.THERE, others[-1]
    if one.body_id is None:
        return Fate.SWEPT, None
    if one.has_file and to_id == one.mailbox_id:
        return Fate.KEPT, None
    if trashed:
        return Fate.MOVED, next((place for place in trashed if place.message_id == one.message_id), trashed[-1])
    return Fate.SENT, None


def ways_back(
    wanted: Iterable[WantedBack], candidates: Iterable[Candidate], *, trash_id: int | None
) -> Mapping[int, Origin]:
    """Return how each message that is wanted comes back, by its row of the journal.

    Moved out of the Trash, each of those once, or sent; bound where its own row is there again.
    """
    known = sorted(candidates, key=lambda one: (one.uid, one.message_id))
    used: set[int] = set()
    found: dict[int, Origin] = {}
    for one in sorted(wanted, key=lambda each: each.id):
        own = next((each for each in known if each.message_id == one.message_id), None)
        trashed = [
            each
            for each in known
            if each.body_id == one.body_id and each.mailbox_id == trash_id and each.message_id not in used
        ]
        if own is not None and own.mailbox_id == one.mailbox_id:
            found[one.id] = Origin(Way.BIND, own)
        elif trashed and one.mailbox_id != trash_id:
            source = own if own is not None and own in trashed else trashed[-1]
            used.add(source.message_id)
            found[one.id] = Origin(Way.MOVE, source)
        else:
            found[one.id] = Origin(Way.APPEND)
    return found


def group_by_body(rows: Iterable[Place]) -> Mapping[int, Sequence[Place]]:
    """Return what is there, by its octets."""
    found: dict[int, list[Place]] = defaultdict(list)
    for row in rows:
        found[row.body_id].append(row)
    return found


def _when(one: Deleted) -> tuple[float | None, int]:
    return one.gone_at, one.mailbox_id


def _newest(one: Deleted) -> tuple[bool, float, int]:
    return one.gone_at is None, one.gone_at or 0.0, one.message_id
