"""Messages that their server deleted: told from those that it moved, and put back as if they had never gone."""

from collections.abc import Mapping
from functools import partial

from sqlalchemy import insert

from syncd.errors import Temper
from syncd.mail.tree import ReplicaState, Successor
from syncd.mail.uidset import UidSet
from syncd.reconcile.changes import Reflagged, Sighting
from syncd.store.files import restores, settled_uploads, successors, uploads
from syncd.store.files.settled_uploads import Settled
from syncd.store.rounds import leaving, pairs
from syncd.store.tables.schema import journal
from syncd.store.trees import devices, replica_tree, server_tree, troubles
from syncd.store.trees.devices import DeviceRow
from syncd.store.trees.journal import UploadState
from syncd.store.trees.server_tree import ObservedMessage
from syncd.sync.rounds.round_news import news_of
from tests.unit.reconcile.builders import policy
from tests.unit.store_trees.grove import NOW, UIDVALIDITY, Grove

SEEN, FLAGGED, DELETED = frozenset({"\\Seen"}), frozenset({"\\Flagged"}), frozenset({"\\Deleted"})


def flagged_and_gone(grove: Grove) -> int:
    """Let the laptop flag a message that the server then expunged, marked as that is done."""
    (message_id,) = grove.plant(1, flags=SEEN)
    grove.deliver(grove.laptop, message_id, flags=SEEN)
    grove.deliver(grove.phone, message_id, flags=SEEN)
    file = grove.file(grove.laptop, message_id)
    seen = Sighting(file.name, "FS", "cur", SEEN | FLAGGED)
    grove(lambda conn: replica_tree.record_changes(conn, grove.laptop.id, [Reflagged(file.id, seen)], now=NOW))
    grove.observe(ObservedMessage(1, SEEN | DELETED, 2))
    vanish(grove, 1)
    return message_id


def vanish(grove: Grove, uid: int) -> None:
    grove(lambda conn: server_tree.record_vanished(conn, grove.inbox, UIDVALIDITY, UidSet.of([uid]), now=NOW))


def elsewhere(grove: Grove, uid: int, *, has_body: bool = True, now: float = NOW, mailbox_id: int | None = None) -> int:
    """Let Archive, or another mailbox, have a message of the same size and date, and return its row id."""
    where = mailbox_id or grove.archive
    grove.observe(ObservedMessage(uid, SEEN, 1, 20, 501), mailbox_id=where, now=now)
    ids = grove(lambda conn: server_tree.message_ids_of(conn, mailbox_id=where, uidvalidity=UIDVALIDITY, uids=[uid]))
    if has_body:
        body_id = grove.body(b"Subject: of %d\r\n\r\n" % grove.inbox)
        grove(lambda conn: server_tree.bind_bodies(conn, where, {ids[uid]: body_id}))
    return ids[uid]


def take_archive(grove: Grove) -> None:
    """Let the laptop select Archive."""
    of = grove.laptop_archive
    what = {"device_id": of.device_id, "mailbox_id": of.mailbox_id, "directory": of.directory, "selection": "all"}
    grove(lambda conn: devices.ensure_replica(conn, **what, listed_at=NOW))


def successor(grove: Grove, message_id: int) -> Successor | None:
    found = grove(lambda conn: pairs.pairs_of(conn, grove.laptop, [message_id]))
    ((one),) = grove(lambda conn: successors.with_successors(conn, grove.laptop, found))
    return one.successor


def test_message_that_is_elsewhere_now_was_moved(grove: Grove) -> None:
    """Told by its octets, also if the device has it there already; by size and date it may be, until they are known."""
    message_id = flagged_and_gone(grove)
    take_archive(grove)
    assert successor(grove, message_id) is None

    elsewhere(grove, 11, has_body=False)
    assert successor(grove, message_id) is Successor.ON_ITS_WAY

    there = elsewhere(grove, 11)
    assert successor(grove, message_id) is Successor.THERE
    grove.deliver(grove.laptop_archive, there)
    assert successor(grove, message_id) is Successor.THERE


def test_copy_that_the_device_has_for_longer_or_made_itself_is_no_move(grove: Grove) -> None:
    """The message was deleted then, and what the device changed of it is a reason to put it back."""
    message_id = flagged_and_gone(grove)
    take_archive(grove)
    copies = elsewhere(grove, 11, now=NOW - 3600), elsewhere(grove, 12)
    grove.deliver(grove.laptop_archive, *copies)
    assert successor(grove, message_id) is Successor.THERE

    filed = {
        "account_id": grove.account_id,
        "mailbox_id": grove.archive,
        "replica_message_id": grove.file(grove.laptop_archive, copies[1]).id,
        "kind": UploadState.FILED.value,
    }
    unknown = {"digest": b"", "header_digest": b"", "size_bytes": 0, "uidvalidity": 0, "uidnext": 0, "begun_at": NOW}
    grove(lambda conn: conn.execute(insert(journal).values(**filed, **unknown)))
    assert successor(grove, message_id) is None


def test_message_that_came_again_where_it_was_is_put_back_already(grove: Grove) -> None:
    """By another device, to which it was to stay as well; what was there before with its octets is another message."""
    message_id = flagged_and_gone(grove)
    elsewhere(grove, 7, mailbox_id=grove.inbox, now=NOW - 1)
    assert successor(grove, message_id) is None

    there = elsewhere(grove, 8, mailbox_id=grove.inbox, now=NOW + 1)
    grove.deliver(grove.laptop, there)
    assert successor(grove, message_id) is Successor.THERE
    found = grove(
        lambda conn: successors.moved_to(conn, [message_id], mailbox_id=grove.inbox, device_id=grove.laptop.device_id)
    )
    assert found == {message_id: there}


def test_message_whose_octets_will_not_come_is_believed_to_be_the_one(grove: Grove) -> None:
    """Where the device does not take it, or the server does not give it."""
    message_id = flagged_and_gone(grove)
    elsewhere(grove, 11, has_body=False)
    grove(lambda conn: leaving.mark_leaving(conn, [grove.laptop_archive.id]))
    assert successor(grove, message_id) is Successor.THERE

    take_archive(grove)
    assert successor(grove, message_id) is Successor.ON_ITS_WAY
    ids = grove(
        lambda conn: server_tree.message_ids_of(conn, mailbox_id=grove.archive, uidvalidity=UIDVALIDITY, uids=[11])
    )
    where = {"mailbox_id": grove.archive, "message_id": ids[11], "device_id": None}
    grove(lambda conn: troubles.set_aside(conn, **where, error="no such body", temper=Temper.GIVE_UP, now=NOW))
    assert successor(grove, message_id) is Successor.THERE


def test_message_that_came_since_shifts_were_looked_for_is_looked_for_once_more(grove: Grove) -> None:
    """Else its file would be removed instead of moved, and with it what the device changed."""
    message_id = flagged_and_gone(grove)
    take_archive(grove)
    before = versions(grove)
    elsewhere(grove, 11)

    def successor_in_news(shifted_upto: Mapping[int, int]) -> Successor | None:
        ask = partial(news_of, device=device_of(grove), of=grove.replica(grove.laptop), policy=policy(), now=NOW)
        news = grove(lambda conn: ask(conn, shifted_upto=shifted_upto))
        (one,) = (pair for pair in news.server.pairs if pair.server is not None and pair.server.id == message_id)
        return one.successor

    assert successor_in_news(before) is Successor.ON_ITS_WAY
    assert successor_in_news(versions(grove)) is Successor.THERE


def versions(grove: Grove) -> Mapping[int, int]:
    rows = grove(lambda conn: devices.replicas(conn, device_id=grove.laptop.device_id))
    return {row.id: row.mailbox_version for row in rows}


def device_of(grove: Grove) -> DeviceRow:
    return grove(lambda conn: devices.device_of(conn, grove.laptop.device_id))


def test_message_is_put_back_with_what_both_had_agreed_on(grove: Grove) -> None:
    """All files of it take part, without the mark of the expunge; what the device changed is a change still."""
    message_id = flagged_and_gone(grove)

    for _ in range(2):
        grove(lambda conn: restores.put_back(conn, grove.inbox, [message_id], now=NOW))

    both = grove(lambda conn: uploads.uploads(conn, account_id=grove.account_id))
    assert [(one.flags, one.is_restored, one.own.is_restored) for one in both] == [(SEEN, True, True)] * 2
    assert {one.device_id for one in both} == {grove.laptop.device_id, grove.phone.device_id}

    (again,) = (new for new in grove.plant(1, 2, flags=SEEN) if new != message_id)
    grove(lambda conn: settled_uploads.settle(conn, [Settled(one, again) for one in both], now=NOW))

    pair = grove.pair(grove.laptop, again)
    assert pair.base is not None
    assert pair.replica is not None
    assert (pair.base.flags, pair.replica.flags, pair.replica.state) == (SEEN, SEEN | FLAGGED, ReplicaState.PRESENT)
    assert [one.server.id for one in grove.replica_news(grove.laptop).pairs if one.server is not None] == [again]
