"""Deletions by devices in the store: concluded, counted, copied once, and settled on every device."""

from sqlalchemy import select

from syncd.mail.tree import ReplicaState
from syncd.mail.uidset import UidSet
from syncd.reconcile.changes import Vanished
from syncd.reconcile.effects import Expunge
from syncd.reconcile.guard import Reason
from syncd.store.files import deletions
from syncd.store.rounds import holds, pairs
from syncd.store.rounds.holds import HoldScope, HoldState
from syncd.store.rounds.pairs import Settlement
from syncd.store.tables import schema
from syncd.store.trees import journal, replica_tree, server_tree
from syncd.store.trees.devices import ReplicaRow
from syncd.store.trees.journal import CopyState
from tests.unit.store_trees.grove import NOW, UIDVALIDITY, Grove

LATER = NOW + 10


def lose(grove: Grove, of: ReplicaRow, *message_ids: int) -> list[int]:
    """Let a look miss the files of messages; return their row ids."""
    ids = [int(grove.file(of, message_id).id) for message_id in message_ids]
    missed = [Vanished(file_id, is_own=False) for file_id in ids]
    grove(lambda conn: replica_tree.record_changes(conn, of.id, missed, now=NOW))
    return ids


def conclude(grove: Grove, of: ReplicaRow, *file_ids: int) -> int:
    return grove(lambda conn: deletions.conclude(conn, of, file_ids, listed_at=LATER))


def test_only_what_is_missing_still_is_concluded(grove: Grove) -> None:
    """A file that is back, or that was never missing, keeps its state; what is deleted is news for the account."""
    one, other, third = grove.plant(1, 2, 3)
    grove.deliver(grove.laptop, one, other, third)
    lost = lose(grove, grove.laptop, one, other)
    grove.set_state(grove.laptop, other, ReplicaState.PRESENT)
    before = grove.replica(grove.laptop)
    [missing] = grove(lambda conn: deletions.missing_files(conn, grove.laptop.device_id))
    rows = grove(lambda conn: deletions.missing_rows(conn, grove.laptop, lost))

    assert (missing.mailbox_id, missing.file_id, missing.since) == (grove.inbox, lost[0], NOW)
    assert [row.message_id for row in rows.values()] == [one]
    assert conclude(grove, grove.laptop, *lost, int(grove.file(grove.laptop, third).id)) == 1

    after = grove.replica(grove.laptop)
    assert after.version == before.version + 1
    assert [pair.replica.state for pair in grove.replica_news(after).pairs if pair.replica][-1] is ReplicaState.DELETED
    assert grove(lambda conn: deletions.deleted_messages(conn, grove.laptop)) == (one,)
    assert conclude(grove, grove.laptop, *lost) == 0


def test_what_a_device_misses_is_counted_for_the_guard(grove: Grove) -> None:
    """Deleted ones of the account whenever, others since the window began, and none that are exempt."""
    ids = grove.plant(1, 2, 3, 4)
    grove.deliver(grove.laptop, *ids)
    first, *_ = lose(grove, grove.laptop, ids[0])
    lose(grove, grove.laptop, ids[1], ids[2])
    conclude(grove, grove.laptop, first)

    def count(since: float, *without: int) -> dict[int, int]:
        device_id = grove.laptop.device_id
        return dict(
            grove(
                lambda conn: deletions.not_there(
                    conn, device_id=device_id, account_id=grove.account_id, since=since, without=without
                )
            )
        )

    assert count(NOW - 1) == {grove.inbox: 3}
    assert count(NOW + 1) == {grove.inbox: 1}
    assert count(NOW - 1, ids[0], ids[1]) == {grove.inbox: 1}
    assert count(NOW + 1, ids[0]) == {}


def test_settled_deletion_leaves_nothing_but_the_devices_that_have_the_file(grove: Grove) -> None:
    """Rows and base go where the file is missing or deleted, without a tombstone; the phone still has to remove it."""
    one, other = grove.plant(1, 2)
    for of in (grove.laptop, grove.phone):
        grove.deliver(of, one, other)
    conclude(grove, grove.laptop, *lose(grove, grove.laptop, one))
    grove(
        lambda conn: (
            server_tree.record_vanished(conn, grove.inbox, UIDVALIDITY, UidSet.of([1]), now=LATER)
            and deletions.settle(conn, grove.inbox, [one])
        )
    )

    assert (grove.pair(grove.laptop, one).replica, grove.pair(grove.laptop, one).base) == (None, None)
    phone = grove.pair(grove.phone, one)
    assert (phone.replica is not None, phone.base is not None) == (True, True)
    assert grove.pair(grove.laptop, other).base is not None
    mine = schema.tombstone.c.replica_id == grove.laptop.id
    assert grove.rows(select(schema.tombstone).where(mine)) == []


def test_forgotten_file_leaves_no_tombstone(grove: Grove) -> None:
    """Where both sides deleted, nothing of ours can come back."""
    (one,) = grove.plant(1)
    grove.deliver(grove.laptop, one)
    grove(lambda conn: pairs.settle(conn, grove.laptop, Settlement(forgotten=(one,)), now=NOW))

    assert grove.pair(grove.laptop, one).replica is None
    mine = schema.tombstone.c.replica_id == grove.laptop.id
    assert grove.rows(select(schema.tombstone).where(mine)) == []


def test_deleted_file_is_announced_again_only_while_it_is_deleted(grove: Grove) -> None:
    """An account that settled the deletion meanwhile was faster: nothing is delivered under a row that is gone."""
    one, other = grove.plant(1, 2)
    grove.deliver(grove.laptop, one, other)
    ids = lose(grove, grove.laptop, one, other)
    conclude(grove, grove.laptop, ids[0])

    returned = grove(lambda conn: replica_tree.announce_returns(conn, [*ids, 10**9]))

    assert returned == {ids[0]}
    assert grove.file(grove.laptop, one).state == ReplicaState.DELIVERING


def test_copy_is_remembered_until_its_source_is_gone(grove: Grove) -> None:
    """What is known before the command is found again; what the server named is remembered as made."""
    one, other = grove.plant(1, 2)
    grove.deliver(grove.laptop, one, other)
    conclude(grove, grove.laptop, *lose(grove, grove.laptop, one, other))
    grove(
        lambda conn: journal.begin_copies(
            conn,
            [one, other],
            account_id=grove.account_id,
            target_id=grove.archive,
            uidvalidity=5,
            uidnext=77,
            now=NOW,
        )
    )
    grove(lambda conn: journal.copies_made(conn, [other]))

    found = grove(lambda conn: journal.copies(conn, [one, other]))
    assert {id_: row.state for id_, row in found.items()} == {one: CopyState.BEGUN, other: CopyState.MADE}
    assert (found[one].target_id, found[one].uidvalidity, found[one].uidnext) == (grove.archive, 5, 77)
    assert (found[one].size_bytes, found[one].internaldate) == (20, 501)

    grove(lambda conn: journal.drop_copies(conn, [one]))
    assert set(grove(lambda conn: journal.copies(conn, [one, other]))) == {other}


def test_release_of_deletions_is_news_of_their_replica(grove: Grove) -> None:
    """The account is past them, so it is told; a message that is gone leaves its hold, and the last one ends it."""
    one, other = grove.plant(1, 2)
    grove.deliver(grove.laptop, one, other)
    device_id, scope = grove.laptop.device_id, HoldScope.BY_DEVICE
    effects = [Expunge(one, 1), Expunge(other, 2)]
    grove(
        lambda conn: holds.put_hold(
            conn,
            scope_id=device_id,
            mailbox_id=grove.inbox,
            reason=Reason.TOO_MANY,
            effects=effects,
            now=NOW,
            scope=scope,
        )
    )
    [hold] = grove(lambda conn: holds.holds(conn, device_id=device_id, scope=scope))
    before = grove.replica(grove.laptop).version
    assert hold.effects == tuple(effects)

    assert grove(lambda conn: holds.release_hold(conn, hold_id=hold.id))
    assert grove.replica(grove.laptop).version == before + 1
    grove(lambda conn: holds.take_out(conn, mailbox_id=grove.inbox, message_ids=[one]))
    [rest] = grove(lambda conn: holds.holds(conn, device_id=device_id, scope=scope))
    assert (rest.id, rest.state, rest.message_ids) == (hold.id, HoldState.RELEASED, (other,))
    grove(lambda conn: holds.take_out(conn, mailbox_id=grove.inbox, message_ids=[other]))
    assert grove(lambda conn: holds.holds(conn, device_id=device_id, scope=scope)) == ()
