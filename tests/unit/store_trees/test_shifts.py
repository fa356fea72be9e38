"""Shifts in the store: found among what is planned, announced as what they replace, settled, and taken back."""

from collections.abc import Sequence

import pytest
from sqlalchemy import select

from syncd.mail.flags import Flags
from syncd.mail.tree import BodyForm, ReplicaState
from syncd.mail.uidset import UidSet
from syncd.reconcile.effects import Remove
from syncd.reconcile.guard import Reason
from syncd.reconcile.planner import Selection
from syncd.store.rounds import holds, pairs, shifts
from syncd.store.rounds.pairs import Settled, Settlement
from syncd.store.rounds.shifts import Shiftable, ShiftedFile
from syncd.store.tables import schema
from syncd.store.trees import replica_news, replica_tree, server_tree
from syncd.store.trees.replica_tree import MintedFile
from syncd.store.trees.server_tree import ObservedMessage
from tests.unit.store_trees.grove import NOW, UIDVALIDITY, Grove

NONE: Flags = frozenset()
SEEN, FLAGGED = frozenset({"\\Seen"}), frozenset({"\\Flagged"})
SIZE, DATE = 20, 500


def letter(grove: Grove, uid: int, *, archive: bool = False, date: int = DATE, of: bytes = b"") -> int:
    """Put a message with its body on the server, and return its row id."""
    mailbox_id = grove.archive if archive else grove.inbox
    grove.observe(ObservedMessage(uid, SEEN if archive else NONE, 1, SIZE, date), mailbox_id=mailbox_id)
    columns = schema.server_message.c
    query = select(columns.id).where(columns.mailbox_id == mailbox_id, columns.uid == uid)
    (row,) = grove.rows(query)
    body_id = grove.body((b"Subject: x\n%s" % of).ljust(SIZE, b"y"))
    grove(lambda conn: server_tree.bind_bodies(conn, mailbox_id, {row.id: body_id}))
    return int(row.id)


def deliver(grove: Grove, message_id: int, *, size: int = SIZE, name: str | None = None) -> int:
    """Put the file of a message of INBOX into the laptop, and settle all that is planned; return its row id."""
    of = grove.laptop
    minted = MintedFile(message_id, name or f"m{message_id}", "", "cur", NONE, size, DATE, BodyForm.RAW)
    made = grove(lambda conn: replica_tree.announce_deliveries(conn, of.id, [minted]))[message_id]
    grove(lambda conn: pairs.settle(conn, of, Settlement(as_announced=(made.id,)), now=NOW))
    return made.id


def settle_cursor(grove: Grove) -> None:
    for of in (grove.laptop, grove.laptop_archive):
        upto = grove.replica(of).mailbox_version
        grove(lambda conn, of=of, upto=upto: pairs.settle(conn, of, Settlement(upto=upto), now=NOW))


def expunge(grove: Grove, *uids: int) -> None:
    grove(lambda conn: server_tree.record_vanished(conn, grove.inbox, UIDVALIDITY, UidSet.of(uids), now=NOW))


def find(grove: Grove, *, selection: Selection | None = None, held: Sequence[int] = ()) -> tuple[Shiftable, ...]:
    of = [grove.replica(one) for one in (grove.laptop, grove.laptop_archive)]
    return grove(lambda conn: shifts.find(conn, of, selection=selection or Selection(), held=held))


def begun(grove: Grove) -> tuple[Shiftable, ...]:
    of = [grove.replica(one) for one in (grove.laptop, grove.laptop_archive)]
    return grove(lambda conn: shifts.begun(conn, of))


def announce(grove: Grove, one: Shiftable, flags: Flags = SEEN) -> int | None:
    """Announce a shift, and return the row id of the file that is to be in Archive."""
    file = one.file
    placed = MintedFile(one.successor.id, file.name, "S", "cur", flags, file.size_bytes, file.mtime, file.form)
    made = grove(lambda conn: shifts.announce(conn, grove.laptop_archive, {file.id: placed}, bases={file.id: SEEN}))
    return made[file.id].id if made else None


def moved(grove: Grove) -> tuple[int, int, int]:
    """Let the server move a message that the laptop has; return its row ids before and after, and the file's."""
    old = letter(grove, 1)
    file_id = deliver(grove, old)
    settle_cursor(grove)
    new = letter(grove, 11, archive=True)
    expunge(grove, 1)
    return old, new, file_id


def test_what_went_here_and_came_there_is_found(grove: Grove) -> None:
    """A file whose message is gone, and a message of the same content that the device does not have."""
    old, new, file_id = moved(grove)

    (one,) = find(grove)

    assert (one.file.message_id, one.file.id, one.successor.id) == (old, file_id, new)
    assert (one.source.id, one.target.id) == (grove.laptop.id, grove.laptop_archive.id)
    assert (one.base, one.successor.flags) == (NONE, SEEN)


def test_one_half_is_nothing(grove: Grove) -> None:
    """A copy leaves the file where it is, and an expunge has no successor."""
    old = letter(grove, 1)
    deliver(grove, old)
    settle_cursor(grove)
    letter(grove, 11, archive=True)
    assert find(grove) == ()

    grove(lambda conn: server_tree.record_vanished(conn, grove.archive, UIDVALIDITY, UidSet.of([11]), now=NOW))
    expunge(grove, 1)
    assert find(grove) == ()


def test_file_that_waits_to_be_put_back_follows_its_message(grove: Grove) -> None:
    """Its device's round is past the one half when the other is seen: what the device changed waits to be told."""
    file_id = deliver(grove, letter(grove, 1))
    expunge(grove, 1)
    settle_cursor(grove)
    new = letter(grove, 11, archive=True)
    assert find(grove) == ()

    grove(lambda conn: replica_news.tell_again(conn, grove.laptop.id, [file_id]))

    (one,) = find(grove)
    assert (one.file.id, one.successor.id) == (file_id, new)


def test_only_what_is_to_be_removed_and_delivered_anyway_is_found(grove: Grove) -> None:
    """What a round has been past asks for nothing, but for a removal that is held; what is not taken does not come."""
    old, new, _ = moved(grove)
    assert find(grove, selection=Selection(max_size_bytes=SIZE - 1)) == ()

    upto = grove.replica(grove.laptop).mailbox_version
    grove(lambda conn: pairs.settle(conn, grove.laptop, Settlement(upto=upto), now=NOW))
    assert find(grove) == ()
    assert [one.successor.id for one in find(grove, held=[old])] == [new]


@pytest.mark.parametrize("state", [ReplicaState.MISSING, ReplicaState.DELETED, ReplicaState.EDITED])
def test_file_that_is_not_there_as_it_was_is_not_found(grove: Grove, state: ReplicaState) -> None:
    """What the device removed or edited is not its message's file any more."""
    old, _, _ = moved(grove)
    grove.set_state(grove.laptop, old, state)

    assert find(grove) == ()


def test_file_that_a_delivery_would_make_otherwise_is_not_found(grove: Grove) -> None:
    """Another date, other octets or another size: the new file would differ."""
    for uid, date, of in ((1, DATE, b"a"), (2, DATE + 1, b""), (3, DATE, b"")):
        old = letter(grove, uid, date=date, of=of)
        deliver(grove, old, size=SIZE + (uid == 3))
    settle_cursor(grove)
    for uid, of in ((11, b"b"), (12, b""), (13, b"")):
        letter(grove, uid, archive=True, of=of)
    expunge(grove, 1, 2, 3)

    assert find(grove) == ()


def test_announced_shift_is_a_withdrawal_and_a_delivery(grove: Grove) -> None:
    """Under the same name; it is found again as begun, and not as one that may begin."""
    old, new, file_id = moved(grove)
    (one,) = find(grove)

    there = announce(grove, one)

    before, after = grove.file(grove.laptop, old), grove.file(grove.laptop_archive, new)
    assert (before.state, after.state) == (ReplicaState.WITHDRAWN, ReplicaState.DELIVERING)
    assert (before.name, after.id) == (after.name, there)
    assert find(grove) == ()
    (again,) = begun(grove)
    assert again.announced is not None
    assert (again.file.id, again.announced.id, again.base, again.successor.id) == (file_id, there, NONE, new)


def test_name_in_use_and_file_that_changed_are_not_announced(grove: Grove) -> None:
    """What happened since it was found decides."""
    old, _, _ = moved(grove)
    (one,) = find(grove)
    grove.set_state(grove.laptop, old, ReplicaState.MISSING)
    assert announce(grove, one) is None

    grove.set_state(grove.laptop, old, ReplicaState.PRESENT)
    other = letter(grove, 12, archive=True, of=b"other")
    mine = MintedFile(other, f"m{old}", "", "cur", NONE, SIZE, DATE, BodyForm.RAW)
    grove(lambda conn: replica_tree.announce_deliveries(conn, grove.laptop_archive.id, [mine]))
    assert announce(grove, one) is None
    assert grove.file(grove.laptop, old).state == ReplicaState.PRESENT
    assert find(grove) == ()


def test_file_stays_where_another_one_became_its_successors_meanwhile(grove: Grove) -> None:
    """It is as it was, with what the device changed of it; else it would go as one that nobody wants."""
    old, new, _ = moved(grove)
    (one,) = find(grove)
    added = MintedFile(new, "added", "", "cur", NONE, SIZE, DATE, BodyForm.RAW)
    grove(lambda conn: replica_tree.announce_deliveries(conn, grove.laptop_archive.id, [added]))

    assert announce(grove, one) is None
    assert grove.file(grove.laptop, old).state == ReplicaState.PRESENT


@pytest.mark.parametrize("flags", [SEEN, SEEN | FLAGGED], ids=["as-agreed", "changed-by-the-device"])
def test_settled_shift_is_as_if_it_had_been_delivered(grove: Grove, flags: Flags) -> None:
    """One file, its successor's; a change of the device's that was carried along is news for the account."""
    old, new, file_id = moved(grove)
    (one,) = find(grove)
    there = announce(grove, one, flags)
    assert there is not None
    before = grove.replica(grove.laptop_archive).version
    effects = [Remove(old, file_id)]

    def hold(conn: object) -> None:
        of = grove.laptop
        holds.put_hold(
            conn,  # type: ignore[arg-type]
            scope_id=of.device_id,
            mailbox_id=of.mailbox_id,
            reason=Reason.TOO_MANY,
            effects=effects,
            now=NOW,
        )

    grove(hold)

    settled = Settled(there, new, "S", "cur", flags)
    done = [ShiftedFile(old, settled, flags != SEEN)]
    grove(lambda conn: shifts.settle(conn, grove.laptop, grove.laptop_archive, done, now=NOW))

    pair = grove.pair(grove.laptop_archive, new)
    assert pair.base is not None
    assert pair.replica is not None
    assert (pair.base.flags, pair.replica.flags, pair.replica.state) == (SEEN, flags, ReplicaState.PRESENT)
    gone = grove.pair(grove.laptop, old)
    assert (gone.base, gone.replica) == (None, None)
    assert (grove.replica(grove.laptop_archive).version > before) is (flags != SEEN)
    (tombstone,) = grove.rows(select(schema.tombstone.c.name).where(schema.tombstone.c.replica_id == grove.laptop.id))
    assert tombstone.name == pair.replica.name
    assert grove(lambda conn: holds.holds(conn, device_id=grove.laptop.device_id)) == ()
    assert begun(grove) == ()


def test_shift_that_is_taken_back_is_as_before(grove: Grove) -> None:
    """The file is present where it was, and the message is to be delivered."""
    old, new, file_id = moved(grove)
    (one,) = find(grove)
    there = announce(grove, one)
    assert there is not None

    grove(lambda conn: shifts.retract(conn, {there: file_id}))

    assert grove.file(grove.laptop, old).state == ReplicaState.PRESENT
    assert grove.pair(grove.laptop_archive, new).replica is None
    assert find(grove) == (one,)
