"""The replica tree: files as announced, as confirmed, and as their device changed them."""

from collections.abc import Callable

import pytest
from sqlalchemy import select

from syncd.mail.flags import parse_flags
from syncd.mail.tree import BodyForm, ReplicaState
from syncd.reconcile.changes import Appeared, Change, Edited, Lost, Reflagged, Sighting, Vanished
from syncd.store.tables.schema import replica_message
from syncd.store.trees import replica_tree
from syncd.store.trees.replica_tree import FilePlace
from tests.unit.store_trees.grove import NOW, Grove

SEEN = frozenset({"\\Seen"})


def record(grove: Grove, *changes: Change) -> None:
    grove(lambda conn: replica_tree.record_changes(conn, grove.laptop.id, changes, now=NOW))


def test_announced_delivery_is_nobodys_news(grove: Grove) -> None:
    """A minted name is committed as on its way, with what the file will be, and raises no version."""
    (row_id,) = grove.plant(1)
    minted = grove.minted(grove.laptop, row_id, SEEN)
    grove(lambda conn: replica_tree.announce_deliveries(conn, grove.laptop.id, [minted]))

    file = grove.pair(grove.laptop, row_id).replica
    assert file is not None
    assert (file.state, file.name, file.flags, file.form) == (ReplicaState.DELIVERING, minted.name, SEEN, BodyForm.LF)
    assert not grove.replica(grove.laptop).has_replica_news


def test_message_that_has_got_a_file_since_it_was_planned_is_not_delivered(grove: Grove) -> None:
    """One that the device added may be bound to it at the last moment: it has no second one then."""
    bound, other = grove.plant(1, 2)
    grove.deliver(grove.laptop, bound)
    planned = [grove.minted(grove.laptop, id_)._replace(name=f"planned{id_}") for id_ in (bound, other)]

    made = grove(lambda conn: replica_tree.announce_deliveries(conn, grove.laptop.id, planned))

    assert made.keys() == {other}
    assert grove.file(grove.laptop, bound).state == ReplicaState.PRESENT
    assert grove.file(grove.laptop, other).name == f"planned{other}"


def test_announced_move_and_withdrawal_can_be_taken_back(grove: Grove) -> None:
    """What was announced and not done is as before; the rows of other files are not touched."""
    one, other = grove.plant(1, 2)
    grove.deliver(grove.laptop, one, other)
    file_id = grove.file(grove.laptop, one).id

    grove(lambda conn: replica_tree.announce_moves(conn, [file_id]))
    assert grove.file(grove.laptop, one).state == "moving"
    grove(lambda conn: replica_tree.retract_announcements(conn, [file_id]))
    grove(lambda conn: replica_tree.announce_withdrawals(conn, [file_id]))
    assert grove.file(grove.laptop, one).state == ReplicaState.WITHDRAWN
    assert grove.file(grove.laptop, other).state == ReplicaState.PRESENT
    grove(lambda conn: replica_tree.retract_announcements(conn, [file_id]))
    assert grove.file(grove.laptop, one).state == "present"


def test_places_say_where_each_file_should_be(grove: Grove) -> None:
    """A listing is compared by name, directory and letters; only what is present and unannounced is settled."""
    one, other = grove.plant(1, 2)
    grove.deliver(grove.laptop, one, other)
    grove.set_state(grove.laptop, other, ReplicaState.MISSING)

    places = grove(lambda conn: replica_tree.places(conn, grove.laptop.id))

    for message_id, is_settled in ((one, True), (other, False)):
        file = grove.file(grove.laptop, message_id)
        flags = parse_flags(file.flags)
        place = FilePlace("cur", f"{file.name}:2,", flags, file.size_bytes, file.mtime, is_settled)
        assert places[file.name] == place


@pytest.mark.parametrize(
    ("change", "state"),
    [
        (Reflagged, ReplicaState.PRESENT),
        (Edited, ReplicaState.EDITED),
        (lambda file_id, _: Vanished(file_id, is_own=False), ReplicaState.MISSING),
        (lambda file_id, _: Lost(file_id), ReplicaState.DELIVERING),
    ],
    ids=["reflagged", "edited", "vanished", "lost"],
)
def test_what_the_device_did_is_a_state_and_news(
    grove: Grove, change: Callable[[int, Sighting], Change], state: ReplicaState
) -> None:
    """Every change of one look has the same new version of the replica."""
    one, other = grove.plant(1, 2)
    grove.deliver(grove.laptop, one, other)
    before = grove.replica(grove.laptop).version
    made = [
        change(file.id, Sighting(file.name, "S", "cur", SEEN, 20, 500))
        for file in (grove.file(grove.laptop, message_id) for message_id in (one, other))
    ]

    record(grove, *made)

    rows = [grove.file(grove.laptop, message_id) for message_id in (one, other)]
    assert [(row.state, row.version) for row in rows] == [(state, before + 1)] * 2
    assert grove.replica(grove.laptop).version == before + 1


def test_missing_file_that_is_back_is_present(grove: Grove) -> None:
    """The time since when a file is missing is kept as long as it is missing."""
    (row_id,) = grove.plant(1)
    grove.deliver(grove.laptop, row_id)
    file = grove.file(grove.laptop, row_id)
    record(grove, Vanished(file.id, is_own=False))
    assert grove.file(grove.laptop, row_id).missing_since == NOW

    record(grove, Reflagged(file.id, Sighting(file.name, "", "cur", SEEN, 20, 500)))
    row = grove.file(grove.laptop, row_id)
    assert (row.state, row.missing_since, row.flags) == (ReplicaState.PRESENT, None, "\\Seen")


def test_file_of_the_devices_own_comes_changes_and_goes(grove: Grove) -> None:
    """A new file is a row without a message, stays new whatever its flags, and goes with its file."""
    mine = select(replica_message).where(replica_message.c.replica_id == grove.laptop.id)
    record(grove, Appeared(Sighting("own", "", "cur", frozenset(), 9, 9)))
    (row,) = grove.rows(mine)
    assert (row.state, row.message_id, row.size_bytes) == (ReplicaState.NEW, None, 9)

    record(grove, Reflagged(row.id, Sighting("own", "S", "cur", SEEN, 9, 9)))
    assert [(one.state, one.flags) for one in grove.rows(mine)] == [(ReplicaState.NEW, "\\Seen")]

    record(grove, Vanished(row.id, is_own=True))
    assert grove.rows(mine) == []


@pytest.mark.parametrize("name", ["plain", "with space", "ümlaut", "\udcff\udc80", "a:2,b", "x" * 240])
def test_any_file_name_comes_back_as_it_was(grove: Grove, name: str) -> None:
    """Names are octets, also those that are no UTF-8."""
    record(grove, Appeared(Sighting(name, None, "new", frozenset(), 1, 1)))

    assert list(grove(lambda conn: replica_tree.files_by_name(conn, grove.laptop.id, [name]))) == [name]
    assert grove(lambda conn: replica_tree.places(conn, grove.laptop.id))[name].filename == name
