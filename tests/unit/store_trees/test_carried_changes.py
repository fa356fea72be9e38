"""Changes that are carried to where a message is now: written down, told once it is proved, and forgotten."""

import pytest

from syncd.errors import Temper
from syncd.mail.uidset import UidSet
from syncd.reconcile.effects import Remove
from syncd.store import carried_changes, server_tree, troubles
from syncd.store.carried_changes import CarriedChange
from syncd.store.server_tree import ObservedMessage
from tests.unit.store_trees.grove import NOW, UIDVALIDITY, Grove

FLAGGED, ANSWERED = frozenset({"\\Flagged"}), frozenset({"\\Answered"})


def carried(grove: Grove) -> tuple[CarriedChange, ...]:
    return grove(lambda conn: carried_changes.carried_changes(conn, mailbox_id=grove.archive))


def mailboxes(grove: Grove) -> frozenset[int]:
    ask = carried_changes.mailboxes_with_changes
    return grove(lambda conn: ask(conn, account_id=grove.account_id, now=NOW))


def arrive(grove: Grove, uid: int) -> int:
    """Let Archive have a message of the size and date of that which went."""
    grove.observe(ObservedMessage(uid, ANSWERED, 1, 20, 501), mailbox_id=grove.archive)
    find = server_tree.message_ids_of
    return grove(lambda conn: find(conn, mailbox_id=grove.archive, uidvalidity=UIDVALIDITY, uids=[uid]))[uid]


def bind(grove: Grove, message_id: int, octets: bytes) -> None:
    body_id = grove.body(octets)
    grove(lambda conn: server_tree.bind_bodies(conn, grove.archive, {message_id: body_id}))


@pytest.fixture
def removed(grove: Grove) -> Remove:
    """Let the phone have flagged a message that went, and Archive have one that looks like it."""
    (message_id,) = grove.plant(1)
    grove.deliver(grove.phone, message_id, flags=FLAGGED)
    grove(lambda conn: server_tree.record_vanished(conn, grove.inbox, UIDVALIDITY, UidSet.of([1]), now=NOW))
    return Remove(message_id, 1, add=FLAGGED)


def test_change_waits_until_it_is_the_same_message(grove: Grove, removed: Remove) -> None:
    there = arrive(grove, 11)
    grove(lambda conn: carried_changes.carry(conn, grove.phone, [removed]))
    assert (carried(grove), mailboxes(grove)) == ((), frozenset())

    bind(grove, there, b"Subject: of %d\r\n\r\n" % grove.inbox)
    ((one),) = carried(grove)
    assert (one.message_id, one.uid, one.flags, one.add, one.is_same) == (there, 11, ANSWERED, FLAGGED, True)
    assert one.device_id == grove.phone.device_id
    assert mailboxes(grove) == {grove.archive}

    grove(lambda conn: carried_changes.drop(conn, [one.id]))
    assert (carried(grove), mailboxes(grove)) == ((), frozenset())


def test_change_is_not_for_another_message_of_equal_size_and_date(grove: Grove, removed: Remove) -> None:
    there = arrive(grove, 11)
    grove(lambda conn: carried_changes.carry(conn, grove.phone, [removed]))
    bind(grove, there, b"Subject: another one\r\n\r\n")
    assert [one.is_same for one in carried(grove)] == [False]


def test_change_of_a_message_that_went_on_is_over(grove: Grove, removed: Remove) -> None:
    there = arrive(grove, 11)
    bind(grove, there, b"Subject: of %d\r\n\r\n" % grove.inbox)
    grove(lambda conn: carried_changes.carry(conn, grove.phone, [removed]))
    grove(lambda conn: server_tree.record_vanished(conn, grove.archive, UIDVALIDITY, UidSet.of([11]), now=NOW))
    assert [one.is_same for one in carried(grove)] == [False]


def test_refused_change_waits_for_its_time(grove: Grove, removed: Remove) -> None:
    there = arrive(grove, 11)
    bind(grove, there, b"Subject: of %d\r\n\r\n" % grove.inbox)
    grove(lambda conn: carried_changes.carry(conn, grove.phone, [removed]))
    where = {"mailbox_id": grove.archive, "message_id": there, "device_id": None}
    grove(lambda conn: troubles.set_aside(conn, **where, error="no", temper=Temper.GIVE_UP, now=NOW))
    assert mailboxes(grove) == frozenset()


def test_message_that_is_nowhere_else_is_carried_nowhere(grove: Grove, removed: Remove) -> None:
    grove(lambda conn: carried_changes.carry(conn, grove.phone, [removed]))
    assert carried(grove) == ()
