"""Changes that are carried to where a message is now: written down, told once it is proved, and forgotten."""

from dataclasses import replace

import pytest
from sqlalchemy import select, update

from syncd.errors import Temper
from syncd.mail.flags import Flags, parse_flags
from syncd.mail.uidset import UidSet
from syncd.reconcile.effects import Remove
from syncd.store import carried_changes, server_tree, troubles
from syncd.store.carried_changes import CarriedChange
from syncd.store.schema import carried_change, journal, mailbox
from syncd.store.server_tree import ObservedMessage
from tests.unit.store_trees.grove import NOW, UIDVALIDITY, Grove

FLAGGED, ANSWERED, SEEN = (frozenset({flag}) for flag in ("\\Flagged", "\\Answered", "\\Seen"))


def carried(grove: Grove) -> tuple[CarriedChange, ...]:
    ask = carried_changes.carried_changes
    return grove(lambda conn: ask(conn, mailbox_id=grove.archive, limit=100, now=NOW))


def mailboxes(grove: Grove) -> frozenset[int]:
    ask = carried_changes.mailboxes_with_changes
    return grove(lambda conn: ask(conn, account_id=grove.account_id, now=NOW))


def lacking(grove: Grove) -> frozenset[int]:
    ask = carried_changes.mailboxes_without_bodies
    return grove(lambda conn: ask(conn, account_id=grove.account_id, now=NOW))


def count(grove: Grove) -> int:
    of = carried_change.c.device_id == grove.phone.device_id
    return len(grove.rows(select(carried_change.c.id).where(of)))


def wanted_back(grove: Grove) -> dict[int, Flags]:
    of = journal.c.account_id == grove.account_id
    return {
        row[0]: parse_flags(row[1])
        for row in grove.rows(select(journal.c.message_id, journal.c.restored_flags).where(of))
    }


def arrive(grove: Grove, uid: int, *, date: int = 501) -> int:
    """Let Archive have a message of the size and date of that which went."""
    grove.observe(ObservedMessage(uid, ANSWERED, 1, 20, date), mailbox_id=grove.archive)
    find = server_tree.message_ids_of
    return grove(lambda conn: find(conn, mailbox_id=grove.archive, uidvalidity=UIDVALIDITY, uids=[uid]))[uid]


def vanish(grove: Grove, uid: int) -> None:
    uids = UidSet.of([uid])
    grove(lambda conn: server_tree.record_vanished(conn, grove.archive, UIDVALIDITY, uids, now=NOW))


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
    grove(lambda conn: carried_changes.carry(conn, grove.phone, [removed], now=NOW))
    assert (carried(grove), mailboxes(grove), lacking(grove)) == ((), frozenset(), {grove.archive})

    bind(grove, there, b"Subject: of %d\r\n\r\n" % grove.inbox)
    assert lacking(grove) == frozenset()
    ((one),) = carried(grove)
    assert (one.message_id, one.uid, one.flags, one.add, one.is_same) == (there, 11, ANSWERED, FLAGGED, True)
    assert one.device_id == grove.phone.device_id
    assert mailboxes(grove) == {grove.archive}

    grove(lambda conn: carried_changes.drop(conn, [one.id]))
    assert (carried(grove), mailboxes(grove)) == ((), frozenset())


def test_change_is_not_for_another_message_of_equal_size_and_date(grove: Grove, removed: Remove) -> None:
    there = arrive(grove, 11)
    grove(lambda conn: carried_changes.carry(conn, grove.phone, [removed], now=NOW))
    bind(grove, there, b"Subject: another one\r\n\r\n")
    assert [one.is_same for one in carried(grove)] == [False]


def test_change_follows_a_message_that_goes_on(grove: Grove, removed: Remove) -> None:
    """It is for nobody meanwhile; nowhere any more the message was deleted, and is put back."""
    bind(grove, arrive(grove, 11), b"Subject: of %d\r\n\r\n" % grove.inbox)
    grove(lambda conn: carried_changes.carry(conn, grove.phone, [removed], now=NOW))
    vanish(grove, 11)
    assert (carried(grove), mailboxes(grove), lacking(grove), count(grove)) == ((), frozenset(), frozenset(), 1)

    projects = grove._mailbox("Projects")
    grove.observe(ObservedMessage(3, ANSWERED, 1, 20, 501), mailbox_id=projects)
    grove(lambda conn: carried_changes.follow(conn, now=NOW))
    assert count(grove) == 1
    assert lacking(grove) == {projects}

    uids = UidSet.of([3])
    grove(lambda conn: server_tree.record_vanished(conn, projects, UIDVALIDITY, uids, now=NOW))
    grove(lambda conn: carried_changes.follow(conn, now=NOW))
    assert (count(grove), wanted_back(grove)) == (0, {removed.message_id: FLAGGED})


def test_mailbox_that_is_not_synced_any_more_is_nobodys_business(grove: Grove, removed: Remove) -> None:
    """Its row waits, and nobody is kept from resting by it."""
    bind(grove, arrive(grove, 11), b"Subject: of %d\r\n\r\n" % grove.inbox)
    grove(lambda conn: carried_changes.carry(conn, grove.phone, [removed], now=NOW))
    change = update(mailbox).where(mailbox.c.id == grove.archive)
    grove(lambda conn: conn.execute(change.values(is_selected=False)))
    live = select(carried_change.c.id).where(
        carried_change.c.device_id == grove.phone.device_id, carried_changes.is_live()
    )
    assert (mailboxes(grove), grove.rows(live)) == (frozenset(), [])
    grove(lambda conn: conn.execute(change.values(is_selected=True)))
    assert (mailboxes(grove), len(grove.rows(live))) == ({grove.archive}, 1)


def test_what_is_proved_to_be_the_message_comes_before_what_may_be_it(grove: Grove, removed: Remove) -> None:
    there = arrive(grove, 11)
    bind(grove, there, b"Subject: of %d\r\n\r\n" % grove.inbox)
    arrive(grove, 12)  # later, and its body is not known
    grove(lambda conn: carried_changes.carry(conn, grove.phone, [removed], now=NOW))
    assert [one.message_id for one in carried(grove)] == [there]


def test_changes_of_equal_messages_go_to_one_each(grove: Grove) -> None:
    grove.observe(*(ObservedMessage(uid, ANSWERED, 1, 20, 501) for uid in (1, 2)))
    find = server_tree.message_ids_of
    olds = grove(lambda conn: find(conn, mailbox_id=grove.inbox, uidvalidity=UIDVALIDITY, uids=[1, 2]))
    body_id = grove.body(b"Subject: of %d\r\n\r\n" % grove.inbox)
    grove(lambda conn: server_tree.bind_bodies(conn, grove.inbox, dict.fromkeys(olds.values(), body_id)))
    grove.deliver(grove.phone, *olds.values(), flags=FLAGGED)
    for uid in (1, 2):
        uids = UidSet.of([uid])
        grove(lambda conn, uids=uids: server_tree.record_vanished(conn, grove.inbox, UIDVALIDITY, uids, now=NOW))
    news = [arrive(grove, uid) for uid in (11, 12)]
    for id_ in news:
        bind(grove, id_, b"Subject: of %d\r\n\r\n" % grove.inbox)
    removed = [Remove(id_, 1, FLAGGED) for id_ in olds.values()]
    grove(lambda conn: carried_changes.carry(conn, grove.phone, removed, now=NOW))
    assert sorted(one.message_id for one in carried(grove)) == news


def test_refused_change_waits_for_its_time(grove: Grove, removed: Remove) -> None:
    there = arrive(grove, 11)
    bind(grove, there, b"Subject: of %d\r\n\r\n" % grove.inbox)
    grove(lambda conn: carried_changes.carry(conn, grove.phone, [removed], now=NOW))
    where = {"mailbox_id": grove.archive, "message_id": there, "device_id": None}
    grove(lambda conn: troubles.set_aside(conn, **where, error="no", temper=Temper.GIVE_UP, now=NOW))
    assert mailboxes(grove) == frozenset()


def test_change_of_a_message_that_is_nowhere_yet_waits_for_the_sweep(grove: Grove, removed: Remove) -> None:
    """It went on in the very moment; what is nowhere then is put back."""
    grove(lambda conn: carried_changes.carry(conn, grove.phone, [removed], now=NOW))
    assert (carried(grove), count(grove), wanted_back(grove)) == ((), 1, {})
    grove(lambda conn: carried_changes.follow(conn, now=NOW))
    assert (count(grove), wanted_back(grove)) == (0, {removed.message_id: FLAGGED})


def test_change_in_passing_is_no_cause_to_put_a_message_back(grove: Grove, removed: Remove) -> None:
    grove(lambda conn: carried_changes.carry(conn, grove.phone, [replace(removed, add=SEEN)], now=NOW))
    grove(lambda conn: carried_changes.follow(conn, now=NOW))
    assert (count(grove), wanted_back(grove)) == (0, {})


def test_change_for_what_is_another_message_goes_on_to_the_right_one(grove: Grove, removed: Remove) -> None:
    """Or waits for the body of the next that may be it; when none is left the message is put back, once."""
    wrong = arrive(grove, 11)
    grove(lambda conn: carried_changes.carry(conn, grove.phone, [removed], now=NOW))
    grove(lambda conn: carried_changes.carry(conn, grove.phone, [replace(removed, add=ANSWERED)], now=NOW))
    bind(grove, wrong, b"Subject: another one\r\n\r\n")
    right = arrive(grove, 12)
    mistaken = [one.id for one in carried(grove)]
    grove(lambda conn: carried_changes.follow(conn, now=NOW, mistaken=mistaken))
    assert (count(grove), lacking(grove), wanted_back(grove)) == (2, {grove.archive}, {})

    bind(grove, right, b"Subject: and another\r\n\r\n")
    mistaken = [one.id for one in carried(grove)]
    grove(lambda conn: carried_changes.follow(conn, now=NOW, mistaken=mistaken))
    assert (count(grove), wanted_back(grove)) == (0, {removed.message_id: FLAGGED | ANSWERED})
