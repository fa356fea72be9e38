"""Found files become those of messages, or new, once no message of the server can be the same."""

import pytest
from sqlalchemy import delete, select, update

from syncd.errors import StoreError, Temper
from syncd.mail.message import TUID_BYTES, facts_of
from syncd.mail.tree import BodyForm
from syncd.reconcile.planner import Selection
from syncd.store.bodies import bodies, known_bodies
from syncd.store.bodies.wanted_bodies import wanted_bodies
from syncd.store.files import found_files
from syncd.store.files.found_files import FoundFile, Identity
from syncd.store.tables.schema import body_chunk, journal, replica_message, server_message
from syncd.store.trees import server_tree, troubles
from syncd.store.trees.devices import ReplicaRow
from syncd.store.trees.server_tree import ObservedMessage
from syncd.sync.device.first_looks import same_but_for_notes
from syncd.values import replace
from tests.unit.store_trees.adopting import (
    ANY,
    base,
    doubt,
    find,
    identity,
    look,
    octets,
    plant,
    sighting,
    states,
    succeed,
)
from tests.unit.store_trees.grove import NOW, UIDVALIDITY, Grove


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
    either = (identity("a", BodyForm.LF), Identity(facts.digest, facts.header_digest, facts.size_bytes, BodyForm.RAW))
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
        return {one.message_id for one in grove(lambda conn: wanted_bodies(conn, **ask))}

    assert known() == {same: 1}
    assert wanted() == {same, late}
    doubt(grove, of)
    assert wanted() == set()


def test_detached_file_is_found_by_its_new_content(grove: Grove) -> None:
    """A file of a message that holds something else by now has neither message nor base; what it was known by goes."""
    (id_,) = grove.plant(1)
    grove.deliver(grove.phone, id_)
    row = grove.file(grove.phone, id_)
    for key in ("a", "b"):
        file = FoundFile(replace(sighting(row.name), size_bytes=9), (identity(key),), row.id)
        grove(lambda conn, file=file: found_files.record_found(conn, grove.phone, [file], account_id=1, now=NOW))

    (kept,) = grove.rows(select(replica_message).where(replica_message.c.id == row.id))
    assert (kept.message_id, kept.state, kept.size_bytes) == (None, "found", 9)
    assert base(grove, grove.phone) == {}
    (left,) = grove.rows(select(journal).where(journal.c.replica_message_id == row.id))
    assert left.digest == identity("b").digest


def test_file_that_differs_by_notes_waits_until_it_was_compared(grove: Grove) -> None:
    """Neither is it new before that, nor the message's by their Message-ID alone; then it is, in a form of its own."""
    noted = octets("a").replace(b"\r\n\r\n", b"\r\nX-TUID: abcdefghijkl\r\n\r\n")
    id_ = plant(grove, 1, "a", has_body=False)
    body_id = grove.body(noted)
    grove(lambda conn: server_tree.bind_bodies(conn, grove.inbox, {id_: body_id}))
    of = doubt(grove, grove.phone)
    find(grove, of, ("file", "a"), ("other", "b"))
    look(grove, of, sighting("file"), sighting("other"))
    succeed(grove, NOW + 1)
    of = grove.replica(grove.phone)

    (like,) = grove(lambda conn: found_files.likes(conn, of))
    assert grove(lambda conn: found_files.match(conn, of, selection=ANY, now=NOW)) == (0, 1)
    assert states(grove, of) == {"file": "found", "other": "new"}
    grove(lambda conn: found_files.identify(conn, of, [like], now=NOW))

    assert grove(lambda conn: found_files.likes(conn, of)) == ()
    assert grove(lambda conn: found_files.match(conn, of, selection=ANY, now=NOW)) == (1, 0)
    assert (grove.file(of, id_).name, grove.file(of, id_).form) == ("file", "own")


def test_file_that_was_compared_and_is_another_message_is_new(grove: Grove) -> None:
    """One Message-ID is no proof."""
    id_ = plant(grove, 1, "a", has_body=False)
    body_id = grove.body(octets("a") + b"more\r\n")
    grove(lambda conn: server_tree.bind_bodies(conn, grove.inbox, {id_: body_id}))
    of = doubt(grove, grove.phone)
    find(grove, of, ("file", "a"))
    look(grove, of, sighting("file"))
    succeed(grove, NOW + 1)
    of = grove.replica(grove.phone)
    examined = grove(lambda conn: found_files.likes(conn, of))

    assert grove(lambda conn: found_files.match(conn, of, selection=ANY, now=NOW, examined=examined)) == (0, 1)
    assert states(grove, of) == {"file": "new"}


def alike(grove: Grove, *tails: str) -> ReplicaRow:
    """Let the phone find a file, and its server have messages of the same Message-ID with more at their ends."""
    of = doubt(grove, grove.phone)
    find(grove, of, ("file", "a"))
    look(grove, of, sighting("file"))
    for uid, tail in enumerate(tails, start=1):
        id_ = plant(grove, uid, "a", has_body=False)
        body_id = grove.body(octets("a") + tail.encode())
        grove(lambda conn, id_=id_, body_id=body_id: server_tree.bind_bodies(conn, grove.inbox, {id_: body_id}))
    return grove.replica(of)


def test_body_that_cannot_be_read_is_like_no_other(grove: Grove) -> None:
    """One that is damaged stops nobody: the file of which it may have been the message's is another one's, or new."""
    noted = octets("a").replace(b"\r\n\r\n", b"\r\nX-TUID: abcdefghijkl\r\n\r\n")
    of = alike(grove, "more\r\n")
    id_ = plant(grove, 2, "a", has_body=False)
    body_id = grove.body(noted)
    grove(lambda conn: server_tree.bind_bodies(conn, grove.inbox, {id_: body_id}))
    other, same = sorted(grove(lambda conn: found_files.likes(conn, of)), key=lambda like: like.body_id == body_id)

    assert same_but_for_notes(grove.db.read_now, [other, same]) == (same,)
    grove(lambda conn: conn.execute(delete(body_chunk).where(body_chunk.c.body_id == other.body_id)))
    assert same_but_for_notes(grove.db.read_now, [other, same]) == (same,)
    grove(lambda conn: conn.execute(delete(body_chunk).where(body_chunk.c.body_id == same.body_id)))
    assert same_but_for_notes(grove.db.read_now, [other, same]) == ()


def test_store_that_cannot_be_read_tells_nothing_of_files(grove: Grove) -> None:
    """Only what is the matter with one body is passed over."""
    of = alike(grove, "more\r\n")
    (like,) = grove(lambda conn: found_files.likes(conn, of))

    def read(_: object) -> None:
        raise StoreError("the database cannot be reached")

    with pytest.raises(StoreError, match="cannot be reached"):
        same_but_for_notes(read, [like])


def test_nearest_bodies_alone_are_compared(grove: Grove) -> None:
    """Of thousands with one Message-ID not each is compared with each; then the file is new."""
    of = alike(grove, *("x" * (30 - n) for n in range(30)))
    succeed(grove, NOW + 1)

    near = grove(lambda conn: found_files.likes(conn, of))

    sizes = {len(octets("a")) + n for n in range(1, 17)}
    facts = grove(lambda conn: bodies.body_facts(conn, {like.body_id for like in near}))
    assert {one.size_bytes for one in facts.values()} == sizes
    assert len(near) == len(sizes)
    assert grove(lambda conn: found_files.match(conn, of, selection=ANY, now=NOW, examined=near)) == (0, 1)


def test_message_that_mbsync_may_have_sent_is_waited_for_and_wanted(grove: Grove) -> None:
    """On its server it is longer by the line of mbsync than the file that it was sent from, whoever takes it."""
    of = doubt(grove, grove.phone)
    find(grove, of, ("file", "a"))
    look(grove, of, sighting("file"))
    succeed(grove, NOW + 1)
    of = grove.replica(of)
    nothing = Selection(not_before=10_000)
    for uid, more in ((1, 21), (2, TUID_BYTES), (3, 23)):
        grove.observe(ObservedMessage(uid, frozenset(), 1, len(octets("a")) + more, 500))
    sent = int(grove.message(2).id)

    ask = {"mailbox_id": grove.inbox, "uidvalidity": UIDVALIDITY, "selections": (nothing,), "limit": 9, "now": NOW}
    assert [one.message_id for one in grove(lambda conn: wanted_bodies(conn, **ask))] == [sent]
    # NOTE: set aside it is wanted no more, and may still be the file's.
    aside = {"mailbox_id": grove.inbox, "message_id": sent, "device_id": None, "temper": Temper.GIVE_UP}
    grove(lambda conn: troubles.set_aside(conn, **aside, error="no such body", now=NOW))
    assert grove(lambda conn: found_files.release(conn, of, selection=nothing, now=NOW)) == 0
    grove(lambda conn: conn.execute(update(server_message).where(server_message.c.id == sent).values(gone_at=NOW)))
    assert grove(lambda conn: found_files.release(conn, of, selection=nothing, now=NOW)) == 1
