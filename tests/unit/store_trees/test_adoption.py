"""Adoption as rows: first looks conclude nothing, and found files become those of messages, or new."""

import dataclasses

from sqlalchemy import select, update

from syncd.mail.flags import Flags
from syncd.mail.message import facts_of
from syncd.mail.tree import BodyForm, ReplicaState
from syncd.reconcile.changes import Sighting
from syncd.reconcile.planner import Selection
from syncd.store import accounts, adoption, backlog, devices, found_files, known_bodies, server_tree
from syncd.store.adoption import KnownFile, Looked
from syncd.store.devices import ReplicaRow
from syncd.store.found_files import FoundFile, Identity
from syncd.store.pairs import Settlement, settle
from syncd.store.schema import base_message, journal, replica_message, server_message
from syncd.store.server_tree import ObservedMessage
from syncd.sync.known_mailboxes import Part, parts_of
from tests.unit.store_trees.grove import NOW, UIDVALIDITY, Grove

SEEN, FLAGGED, ANSWERED = "\\Seen", "\\Flagged", "\\Answered"
ANY = Selection()


def octets(key: str) -> bytes:
    return f"Message-ID: <{key}@example.org>\r\n\r\n{key}\r\n".encode()


def sighting(name: str, *, flags: Flags = frozenset(), size_bytes: int = 20, mtime: int = 500) -> Sighting:
    return Sighting(name, "", "cur", flags, size_bytes, mtime)


def find(grove: Grove, of: ReplicaRow, *files: tuple[str, str], mtime: int = 500) -> None:
    """Record found files, each by its name and the key of what it holds, with its body in the store."""
    for _, key in files:
        grove.body(octets(key))
    found = [
        FoundFile(sighting(name, mtime=mtime, size_bytes=len(octets(key))), (identity(key),)) for name, key in files
    ]
    grove(lambda conn: found_files.record_found(conn, of, found, account_id=grove.account_id, now=NOW))


def identity(key: str) -> Identity:
    facts = facts_of([octets(key)])
    return Identity(facts.digest, facts.header_digest, facts.size_bytes)


def plant(grove: Grove, uid: int, key: str, *, has_body: bool = True, date: int = 500) -> int:
    """Put a message into INBOX, and return its row id."""
    grove.observe(ObservedMessage(uid, frozenset({SEEN}), 1, len(octets(key)), date))
    id_ = int(grove.message(uid).id)
    if has_body:
        body_id = grove.body(octets(key))
        grove(lambda conn: server_tree.bind_bodies(conn, grove.inbox, {id_: body_id}))
    return id_


def doubt(grove: Grove, of: ReplicaRow) -> ReplicaRow:
    grove(lambda conn: adoption.doubt(conn, of.device_id))
    return grove.replica(of)


def look(grove: Grove, of: ReplicaRow, *seen: Sighting, listed_at: float = NOW) -> int:
    """Unite a replica with a listing that has these files under their rows' names, and no others."""
    rows = grove(lambda conn: adoption.all_files(conn, of.id))
    by_name = {one.name: one for one in seen}
    there = [KnownFile(row, by_name[name], BodyForm.LF) for name, row in rows.items() if name in by_name]
    gone = [row for name, row in rows.items() if name not in by_name]
    return grove(lambda conn: adoption.unite(conn, of, Looked(there, (), gone, listed_at)))


def base(grove: Grove, of: ReplicaRow) -> dict[int, str]:
    query = select(base_message).where(base_message.c.replica_id == of.id)
    return {row.message_id: row.flags for row in grove.rows(query)}


def states(grove: Grove, of: ReplicaRow) -> dict[str, str]:
    query = select(replica_message).where(replica_message.c.replica_id == of.id)
    return {row.name: row.state for row in grove.rows(query)}


def succeed(grove: Grove, at: float) -> None:
    grove(lambda conn: accounts.record_success(conn, account_id=grove.account_id, now=at))


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
    back = [(sighting(name), found[name].message_id)]
    assert grove(lambda conn: adoption.record_returned(conn, grove.laptop, back)) == {name}
    assert grove(lambda conn: adoption.record_returned(conn, grove.laptop, [(sighting("x"), back[0][1])])) == set()
    assert states(grove, grove.laptop) == {name: "present"}
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
    """So it is not taken for one that returned, unless nobody had looked before."""
    name = removed(grove, 1)
    find(grove, grove.laptop_archive, (name, "x"))

    moved = grove(lambda conn: adoption.removed_by_us(conn, grove.laptop, [name], is_first=False))

    assert moved == {}
    assert grove(lambda conn: adoption.removed_by_us(conn, grove.laptop, [name])).keys() == {name}


def test_message_that_is_there_again_has_not_been_removed(grove: Grove) -> None:
    """Then the file is no litter, and is found by its content."""
    name = removed(grove, 1)
    grove(lambda conn: conn.execute(update(server_message).values(gone_at=None)))

    assert grove(lambda conn: adoption.removed_by_us(conn, grove.laptop, [name])) == {}


# Found files.


def test_found_file_becomes_that_of_a_message_with_its_body(grove: Grove) -> None:
    """Its flags and the server's are both to be kept, so the base says nothing; both sides plan it."""
    id_ = plant(grove, 1, "a")
    find(grove, grove.phone, ("file", "a"))
    before = grove.replica(grove.phone)

    assert grove(lambda conn: found_files.pair(conn, grove.phone)) == 1

    row = grove.file(grove.phone, id_)
    assert (row.name, row.state, row.form) == ("file", "present", "raw")
    assert base(grove, grove.phone) == {id_: ""}
    assert grove.replica(grove.phone).version > before.version
    assert id_ in {pair.server.id for pair in grove.server_news(grove.phone).pairs if pair.server}
    assert grove.rows(select(journal).where(journal.c.mailbox_id == grove.inbox)) == []
    assert grove(lambda conn: found_files.pair(conn, grove.phone)) == 0


def test_file_that_may_be_two_bodies_is_the_one_of_its_message(grove: Grove) -> None:
    """Where the message has LF line ends on its server, the file with LF has them too."""
    raw = octets("a").replace(b"\r\n", b"\n")
    grove.observe(ObservedMessage(1, frozenset(), 1, len(raw), 500))
    id_ = int(grove.message(1).id)
    body_id = grove.body(raw)
    grove(lambda conn: server_tree.bind_bodies(conn, grove.inbox, {id_: body_id}))
    facts = facts_of([raw])
    either = (identity("a"), Identity(facts.digest, facts.header_digest, facts.size_bytes))
    file = FoundFile(sighting("file", size_bytes=len(raw)), either)
    grove(lambda conn: found_files.record_found(conn, grove.phone, [file], account_id=grove.account_id, now=NOW))

    assert grove(lambda conn: found_files.pair(conn, grove.phone)) == 1
    assert grove.file(grove.phone, id_).form == "raw"


def test_message_that_has_a_file_or_is_gone_takes_no_other(grove: Grove) -> None:
    """Equal messages stay distinct: a second file is another message's, or new."""
    has_file, gone = plant(grove, 1, "a"), plant(grove, 2, "b")
    grove.deliver(grove.phone, has_file)
    grove(lambda conn: conn.execute(update(server_message).where(server_message.c.id == gone).values(gone_at=NOW)))
    find(grove, grove.phone, ("one", "a"), ("other", "b"))

    assert grove(lambda conn: found_files.pair(conn, grove.phone)) == 0


def test_found_file_is_new_once_the_server_was_read(grove: Grove) -> None:
    """Not before a whole round since, and not while a message of its size has no body."""
    of = doubt(grove, grove.phone)
    look(grove, of, listed_at=NOW)
    of = grove.replica(of)
    find(grove, of, ("file", "a"))

    def is_new(selection: Selection = ANY) -> bool:
        grove(lambda conn: found_files.match(conn, of, selection=selection, now=NOW))
        return states(grove, of) == {"file": "new"}

    assert not is_new()
    succeed(grove, NOW - 1)
    assert not is_new()
    succeed(grove, NOW + 1)
    twin = plant(grove, 7, "b", has_body=False)
    assert not is_new(Selection(not_before=10_000))
    body_id = grove.body(octets("b"))
    grove(lambda conn: server_tree.bind_bodies(conn, grove.inbox, {twin: body_id}))
    plant(grove, 8, "of another length", has_body=False)
    assert not is_new()
    assert is_new(Selection(not_before=10_000))


def test_file_that_two_devices_have_becomes_one_message(grove: Grove) -> None:
    """The second device's waits until the first one's is a message; what only it has does not wait."""
    for of in (grove.laptop, grove.phone):
        look(grove, doubt(grove, of))
    laptop, phone = grove.replica(grove.laptop), grove.replica(grove.phone)
    find(grove, laptop, ("l1", "a"))
    find(grove, phone, ("p1", "a"), ("p2", "b"))
    succeed(grove, NOW + 1)

    for of in (phone, laptop, phone):
        grove(lambda conn, of=of: found_files.match(conn, of, selection=ANY, now=NOW))
    assert states(grove, laptop) == {"l1": "new"}
    assert states(grove, phone) == {"p1": "found", "p2": "new"}

    id_ = plant(grove, 1, "a")
    bound = update(replica_message).where(replica_message.c.name == "l1")
    grove(lambda conn: conn.execute(bound.values(message_id=id_, state="present")))
    grove(lambda conn: found_files.match(conn, phone, selection=ANY, now=NOW))
    assert states(grove, phone) == {"p1": "present", "p2": "new"}


def test_device_that_found_it_first_makes_it_a_message(grove: Grove) -> None:
    """Whichever was adopted first: the other one's file waits, however their rows are numbered."""
    succeed(grove, NOW + 1)
    look(grove, doubt(grove, grove.phone))
    phone, laptop = grove.replica(grove.phone), grove.laptop
    find(grove, phone, ("p1", "a"))
    grove(lambda conn: found_files.match(conn, phone, selection=ANY, now=NOW))
    look(grove, doubt(grove, laptop))
    laptop = grove.replica(laptop)
    find(grove, laptop, ("l1", "a"))
    grove(lambda conn: found_files.match(conn, laptop, selection=ANY, now=NOW))

    assert (states(grove, phone), states(grove, laptop)) == ({"p1": "new"}, {"l1": "found"})


def test_bodies_of_found_files_are_known_by_size_and_date(grove: Grove) -> None:
    """Then the header decides. A message of their size is wanted though no device takes it, once all were read."""
    look(grove, doubt(grove, grove.phone))
    of = grove.replica(grove.phone)
    find(grove, of, ("file", "a"), mtime=900)
    same, late = (plant(grove, uid, "a", has_body=False, date=date) for uid, date in ((1, 900), (2, 901)))
    plant(grove, 3, "longer", has_body=False, date=900)

    def known() -> dict[int, int]:
        ask = {"account_id": grove.account_id, "message_ids": (same, late)}
        found = grove(lambda conn: known_bodies.known_bodies(conn, **ask))
        return {id_: len(bodies) for id_, bodies in found.items()}

    def wanted() -> set[int]:
        ask = {"mailbox_id": grove.inbox, "uidvalidity": UIDVALIDITY, "selections": (), "limit": 9, "now": NOW}
        return {one.message_id for one in grove(lambda conn: backlog.wanted_bodies(conn, **ask))}

    assert known() == {same: 1}
    assert wanted() == {same, late}
    doubt(grove, of)
    assert wanted() == set()


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


def test_detached_file_is_found_by_its_new_content(grove: Grove) -> None:
    """A file of a message that holds something else by now has neither message nor base; what it was known by goes."""
    (id_,) = grove.plant(1)
    grove.deliver(grove.phone, id_)
    row = grove.file(grove.phone, id_)
    for key in ("a", "b"):
        file = FoundFile(dataclasses.replace(sighting(row.name), size_bytes=9), (identity(key),), row.id)
        grove(lambda conn, file=file: found_files.record_found(conn, grove.phone, [file], account_id=1, now=NOW))

    (kept,) = grove.rows(select(replica_message).where(replica_message.c.id == row.id))
    assert (kept.message_id, kept.state, kept.size_bytes) == (None, "found", 9)
    assert base(grove, grove.phone) == {}
    (left,) = grove.rows(select(journal).where(journal.c.replica_message_id == row.id))
    assert left.digest == identity("b").digest
