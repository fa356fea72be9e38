"""Pairs: what each side changed since a cursor, and the base that moves when both agree."""

from sqlalchemy import select

from syncd.mail.tree import BaseMessage, ReplicaState
from syncd.mail.uidset import UidSet
from syncd.reconcile.changes import Reflagged, Sighting
from syncd.store.rounds import pairs
from syncd.store.rounds.pairs import Settled, Settlement
from syncd.store.tables import schema
from syncd.store.trees import devices, replica_tree, server_tree
from syncd.store.trees.server_tree import FlagDelta, ObservedMessage
from tests.unit.store_trees.grove import NOW, UIDVALIDITY, Grove

SEEN, FLAGGED = frozenset({"\\Seen"}), frozenset({"\\Flagged"})
NONE = frozenset[str]()


def uids(news: pairs.News) -> list[int]:
    return [pair.server.uid for pair in news.pairs if pair.server is not None]


def test_news_of_the_server_is_what_is_newer_than_the_cursor(grove: Grove) -> None:
    """Each replica has its own cursor; a cursor moved to `upto` leaves nothing."""
    grove.plant(1, 2)
    news = grove.server_news(grove.laptop)
    assert sorted(uids(news)) == [1, 2]

    grove(lambda conn: devices.move_server_cursor(conn, grove.laptop.id, news.upto))
    assert not grove.replica(grove.laptop).has_server_news
    assert grove.replica(grove.phone).has_server_news

    grove.observe(ObservedMessage(1, SEEN, 5))
    assert uids(grove.server_news(grove.laptop)) == [1]


def test_message_that_is_only_listed_is_no_news_until_its_body_is_there(grove: Grove) -> None:
    """A first sync lists everything before it has the bodies; what a replica has, or what is gone, is news without."""
    listed, had, _ = grove.plant_rows(1, 2, 3)
    grove.deliver(grove.laptop, had)
    grove(lambda conn: server_tree.record_vanished(conn, grove.inbox, UIDVALIDITY, UidSet.of([3]), now=NOW))

    news = grove.server_news(grove.phone)
    assert uids(news) == [3]
    assert sorted(uids(grove.server_news(grove.laptop))) == [2, 3]
    grove(lambda conn: devices.move_server_cursor(conn, grove.phone.id, news.upto))
    body_id = grove.body(b"Subject: 1\r\n\r\n")
    grove(lambda conn: server_tree.bind_bodies(conn, grove.inbox, {listed: body_id}))

    assert uids(grove.server_news(grove.phone)) == [1]


def test_page_ends_with_a_whole_version(grove: Grove) -> None:
    """Rows of one version come together even above the limit, and pages cover everything once."""
    grove.plant(1)
    grove.plant(2, 3, 4)
    grove.plant(5)
    seen: list[int] = []
    pages = 0
    while grove.replica(grove.laptop).has_server_news:
        news = grove.server_news(grove.laptop, limit=2)
        seen += uids(news)
        pages += 1
        grove(lambda conn, upto=news.upto: devices.move_server_cursor(conn, grove.laptop.id, upto))

    assert set(seen) == {1, 2, 3, 4, 5}
    assert pages > 1


def test_cursor_never_falls(grove: Grove) -> None:
    """A late transaction with an older position changes nothing."""
    grove(lambda conn: devices.move_server_cursor(conn, grove.laptop.id, 5))
    grove(lambda conn: devices.move_server_cursor(conn, grove.laptop.id, 3))
    grove(lambda conn: devices.move_replica_cursor(conn, grove.laptop.id, 4))
    grove(lambda conn: devices.move_replica_cursor(conn, grove.laptop.id, 2))

    row = grove.replica(grove.laptop)
    assert (row.server_cursor, row.replica_cursor) == (5, 4)


def test_cursor_that_was_set_back_meanwhile_stays(grove: Grove) -> None:
    """What was planned before that says nothing of what is to be planned anew."""
    grove.plant(2)
    of = grove.replica(grove.laptop)
    grove(lambda conn: devices.move_server_cursor(conn, of.id, 1))
    planned = grove.replica(grove.laptop)
    grove(lambda conn: devices.record_keywords(conn, of.id, ("more",), can_hold_more=True))
    grove(lambda conn: pairs.settle(conn, planned, Settlement(upto=2), now=1.0))

    assert grove.replica(grove.laptop).server_cursor == 0


def test_what_a_device_did_is_news_of_its_replica_only(grove: Grove) -> None:
    """Our own deliveries are no news; a change that a look found is, for this replica."""
    (row_id,) = grove.plant(1)
    grove.deliver(grove.laptop, row_id)
    grove.deliver(grove.phone, row_id)
    assert not grove.replica(grove.laptop).has_replica_news

    file = grove.file(grove.laptop, row_id)
    seen = Sighting(file.name, "S", "cur", SEEN, 20, 500)
    grove(lambda conn: replica_tree.record_changes(conn, grove.laptop.id, [Reflagged(file.id, seen)], now=NOW))

    assert uids(grove.replica_news(grove.laptop)) == [1]
    assert not grove.replica(grove.phone).has_replica_news
    pair = grove.pair(grove.laptop, row_id)
    assert pair.replica is not None
    assert (pair.base, pair.replica.flags) == (BaseMessage(NONE), SEEN)


def test_delivery_is_agreed_with_its_flags(grove: Grove) -> None:
    """A settled delivery is present, and its flags are the base."""
    (row_id,) = grove.plant(1, flags=SEEN)
    grove.deliver(grove.laptop, row_id, flags=SEEN)

    pair = grove.pair(grove.laptop, row_id)
    assert pair.replica is not None
    assert (pair.base, pair.replica.state) == (BaseMessage(SEEN), ReplicaState.PRESENT)
    assert grove.pair(grove.phone, row_id).base is None


def test_file_that_is_put_back_keeps_its_base(grove: Grove) -> None:
    """What was agreed stays agreed when a lost file is delivered again with what its device had changed."""
    (row_id,) = grove.plant(1)
    grove.deliver(grove.laptop, row_id)
    again = Settled(grove.file(grove.laptop, row_id).id, row_id, "S", "cur", SEEN)
    grove(lambda conn: pairs.settle(conn, grove.laptop, Settlement(delivered=(again,)), now=NOW))

    pair = grove.pair(grove.laptop, row_id)
    assert pair.replica is not None
    assert (pair.base, pair.replica.flags) == (BaseMessage(NONE), SEEN)


def test_base_moves_by_single_flags(grove: Grove) -> None:
    """Deltas of one batch add up on the base as it is, each on its own message and replica."""
    one, other = grove.plant(1, 2, flags=SEEN)
    grove.deliver(grove.laptop, one, other, flags=SEEN)
    deltas = [FlagDelta(one, FLAGGED, NONE), FlagDelta(one, NONE, SEEN), FlagDelta(404, SEEN, NONE)]
    grove(lambda conn: pairs.agree(conn, grove.laptop.id, deltas))

    assert grove.pair(grove.laptop, one).base == BaseMessage(FLAGGED)
    assert grove.pair(grove.laptop, other).base == BaseMessage(SEEN)


def test_renamed_file_stands_as_it_was_done(grove: Grove) -> None:
    """A settled rename moves row and base together."""
    (row_id,) = grove.plant(1)
    grove.deliver(grove.laptop, row_id)
    file = grove.file(grove.laptop, row_id)
    grove(lambda conn: replica_tree.announce_moves(conn, [file.id]))
    assert grove.file(grove.laptop, row_id).state == ReplicaState.MOVING

    done = Settled(file.id, row_id, "S", "cur", SEEN, base_add=SEEN)
    grove(lambda conn: pairs.settle(conn, grove.laptop, Settlement(renamed=(done,), upto=3), now=NOW))

    row = grove.file(grove.laptop, row_id)
    assert (row.state, row.info) == (ReplicaState.PRESENT, "S")
    assert grove.pair(grove.laptop, row_id).base == BaseMessage(SEEN)
    assert grove.replica(grove.laptop).server_cursor == 3


def test_removed_file_leaves_a_tombstone(grove: Grove) -> None:
    """A removal takes file and base rows and leaves the name and digest; the server's row and other replicas stay."""
    (row_id,) = grove.plant(1)
    grove.deliver(grove.laptop, row_id)
    grove.deliver(grove.phone, row_id)
    name = grove.file(grove.laptop, row_id).name
    grove(lambda conn: pairs.settle(conn, grove.laptop, Settlement(removed=(row_id,)), now=NOW))

    assert grove.pair(grove.laptop, row_id).replica is None
    assert grove.pair(grove.laptop, row_id).base is None
    assert grove.pair(grove.phone, row_id).replica is not None
    (tombstone,) = grove.rows(select(schema.tombstone).where(schema.tombstone.c.replica_id == grove.laptop.id))
    assert (tombstone.name, tombstone.uid, len(tombstone.digest)) == (name, 1, 32)


def test_page_of_many_lists_is_complete(grove: Grove) -> None:
    """More messages than a database takes in one IN list are read and settled alike."""
    ids = grove.plant(*range(1, 1203))
    grove.deliver(grove.laptop, *ids)
    grove(lambda conn: pairs.agree(conn, grove.laptop.id, [FlagDelta(row_id, SEEN, NONE) for row_id in ids]))

    found = grove(lambda conn: pairs.pairs_of(conn, grove.laptop, ids))
    assert len(found) == 1202
    assert {pair.base for pair in found} == {BaseMessage(SEEN)}
    count = grove(lambda conn: server_tree.count_messages(conn, mailbox_id=grove.inbox, uidvalidity=9))
    assert count == 1202
