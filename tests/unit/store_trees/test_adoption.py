"""Adoption as rows: first looks conclude nothing, and until then a device takes nothing."""

from sqlalchemy import update

from syncd.mail.tree import BodyForm, ReplicaState
from syncd.store.files import adoption
from syncd.store.files.adoption import ReturnedFile
from syncd.store.rounds.pairs import Settlement, settle
from syncd.store.tables.schema import server_message
from syncd.store.trees import devices
from syncd.sync.device.known_mailboxes import Part, parts_of
from tests.unit.store_trees.adopting import (
    ANSWERED,
    FLAGGED,
    SEEN,
    base,
    doubt,
    find,
    look,
    sighting,
    states,
)
from tests.unit.store_trees.grove import NOW, Grove

# First looks.


def test_first_look_concludes_nothing(grove: Grove) -> None:
    """A missing file has no row any more, and so is delivered; a missing flag was not removed; all is planned anew."""
    one, other, third = grove.plant(1, 2, 3)
    grove.deliver(grove.phone, one, other, third, flags=frozenset({SEEN, FLAGGED}))
    grove.set_state(grove.phone, third, ReplicaState.DELETED)
    kept, back = (grove.file(grove.phone, id_).name for id_ in (one, third))
    of = doubt(grove, grove.phone)
    assert grove.file(grove.phone, third).state == ReplicaState.MISSING
    assert of.listed_at is None

    look(grove, of, sighting(kept, flags=frozenset({SEEN, ANSWERED})), sighting(back, flags=frozenset({SEEN, FLAGGED})))

    of = grove.replica(grove.phone)
    assert states(grove, of) == {kept: "present", back: "present"}
    assert base(grove, of) == {one: "\\Seen", third: "\\Flagged \\Seen"}
    assert (of.listed_at, of.server_cursor) == (NOW, 0)
    assert of.version > of.replica_cursor


def test_first_look_leaves_what_was_announced(grove: Grove) -> None:
    """A file about to be written or removed is missing by our own doing."""
    one, other = grove.plant(1, 2)
    grove.deliver(grove.phone, one, other)
    grove.set_state(grove.phone, one, ReplicaState.DELIVERING)
    grove.set_state(grove.phone, other, ReplicaState.WITHDRAWN)

    look(grove, doubt(grove, grove.phone))

    assert sorted(states(grove, grove.phone).values()) == ["delivering", "withdrawn"]


def test_store_that_is_older_knows_nothing_of_what_was_agreed(grove: Grove) -> None:
    """Then each side keeps all flags that it has; the marker's generation is reserved."""
    (one,) = grove.plant(1)
    grove.deliver(grove.phone, one, flags=frozenset({FLAGGED}))
    device_id = grove.phone.device_id
    where = {"path": "/here", "layout": "fs", "generation": 7}

    grove(lambda conn: adoption.begin(conn, device_id, **where, knows_what_was_agreed=True))
    assert base(grove, grove.phone) == {one: "\\Flagged"}
    grove(lambda conn: adoption.begin(conn, device_id, **where, knows_what_was_agreed=False))
    assert base(grove, grove.phone) == {one: ""}

    row = grove(lambda conn: devices.device_of(conn, device_id))
    assert (row.path, row.layout, row.generation, row.generation_next) == ("/here", "fs", 0, 7)


def test_replica_that_is_not_served_has_to_be_looked_at_again(grove: Grove) -> None:
    """What is missing when it is selected again was not deleted, for nobody looked."""
    of = grove.phone
    grove(lambda conn: devices.ensure_replica(conn, of.device_id, of.mailbox_id, directory="x", selection="all"))
    look(grove, grove.replica(of))
    assert Part.UNSEEN not in parts_of(None, grove.replica(of), is_taken=False)

    grove(lambda conn: devices.mark_unserved(conn, [of.id]))
    assert Part.UNSEEN not in parts_of(None, grove.replica(of), is_taken=False)
    grove(lambda conn: devices.ensure_replica(conn, of.device_id, of.mailbox_id, directory="x", selection="all"))

    assert grove.replica(of).listed_at is None
    assert Part.UNSEEN in parts_of(None, grove.replica(of), is_taken=False)


# Files that we removed.


def removed(grove: Grove, uid: int) -> str:
    """Let a message have a file on the laptop, and be removed; return the name that the file had."""
    (id_,) = grove.plant(uid)
    grove.deliver(grove.laptop, id_)
    name = str(grove.file(grove.laptop, id_).name)
    gone = update(server_message).where(server_message.c.id == id_).values(gone_at=NOW)
    grove(lambda conn: conn.execute(gone))
    grove(lambda conn: settle(conn, grove.laptop, Settlement(removed=(id_,)), now=NOW))
    return name


def test_removed_file_is_known_by_its_name(grove: Grove) -> None:
    """Bound to its message that is gone, it is planned as any file of such a one."""
    name = removed(grove, 1)

    found = grove(lambda conn: adoption.removed_by_us(conn, grove.laptop, [name, "another"]))

    assert found.keys() == {name}
    back = [ReturnedFile(sighting(name), found[name].message_id, BodyForm.OWN)]
    other = [back[0]._replace(seen=sighting("x"))]
    assert grove(lambda conn: adoption.record_returned(conn, grove.laptop, back)) == {name}
    assert grove(lambda conn: adoption.record_returned(conn, grove.laptop, other)) == set()
    assert states(grove, grove.laptop) == {name: "present"}
    assert grove.file(grove.laptop, found[name].message_id).form == "own"
    assert found[name].message_id in base(grove, grove.laptop)
    (pair,) = [one for one in grove.server_news(grove.laptop).pairs if one.replica is not None]
    assert pair.server is not None
    assert pair.server.is_gone


def test_file_of_another_device_is_known_where_nobody_has_looked(grove: Grove) -> None:
    """A copy of the laptop's directory brings its removed files to the phone."""
    name = removed(grove, 1)

    assert grove(lambda conn: adoption.removed_by_us(conn, grove.phone, [name])).keys() == {name}
    assert grove(lambda conn: adoption.removed_by_us(conn, grove.phone, [name], is_first=False)) == {}
    assert grove(lambda conn: adoption.removed_by_us(conn, grove.laptop_archive, [name])) == {}


def test_name_that_another_mailbox_has_is_a_file_that_was_moved(grove: Grove) -> None:
    """So it is not taken for one that returned, unless nobody had looked before; nor is one that several have."""
    name = removed(grove, 1)
    for of in (grove.laptop_archive, grove.laptop):
        find(grove, of, (name, "x"))

    moved = grove(lambda conn: adoption.removed_by_us(conn, grove.laptop, [name], is_first=False))

    assert moved == {}
    assert grove(lambda conn: adoption.removed_by_us(conn, grove.laptop, [name])).keys() == {name}


def test_message_that_is_there_again_has_not_been_removed(grove: Grove) -> None:
    """Then the file is no litter, and is found by its content."""
    name = removed(grove, 1)
    grove(lambda conn: conn.execute(update(server_message).values(gone_at=None)))

    assert grove(lambda conn: adoption.removed_by_us(conn, grove.laptop, [name])) == {}


# Who takes nothing yet.


def test_device_of_which_nobody_knows_takes_nothing(grove: Grove) -> None:
    """New or foreign, or with a replica that was not looked at, or adopting without one."""
    name = grove(devices.device_names)[grove.phone.device_id]

    def is_left_out(state: str, mailbox_id: int) -> bool:
        grove(lambda conn: devices.record_device_state(conn, grove.phone.device_id, state=state, error=None))
        return name in grove(lambda conn: devices.without_part(conn, mailbox_id=mailbox_id))

    look(grove, doubt(grove, grove.phone))
    everywhere = {state: is_left_out(state, grove.inbox) for state in ("new", "foreign", "away", "active", "adopting")}
    without_replica = {state: is_left_out(state, grove.archive) for state in ("away", "active", "adopting")}
    doubt(grove, grove.phone)

    assert everywhere == {"new": True, "foreign": True, "away": False, "active": False, "adopting": False}
    assert without_replica == {"away": False, "active": False, "adopting": True}
    assert is_left_out("active", grove.inbox)
