"""Changes that are carried to where a message is now: written down, told once it is proved, and forgotten."""

import pytest
from sqlalchemy import select, update

from syncd.errors import Temper
from syncd.mail.flags import Flags, parse_flags
from syncd.mail.uidset import UidSet
from syncd.reconcile.effects import Drop, Remove
from syncd.store.due import carried_changes
from syncd.store.due.carried_changes import CarriedChange
from syncd.store.tables.schema import carried_change, journal, mailbox
from syncd.store.trees import server_tree, troubles
from syncd.store.trees.server_tree import ObservedMessage
from syncd.values import replace
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


def lost(grove: Grove) -> frozenset[int]:
    return grove(lambda conn: carried_changes.lost(conn, mailbox_id=grove.inbox))


def conclude(grove: Grove) -> int:
    return grove(
        lambda conn: carried_changes.conclude(conn, carried_changes.lost(conn, mailbox_id=grove.inbox), now=NOW)
    )


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
    grove(lambda conn: carried_changes.carry(conn, grove.phone, [removed]))
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
    grove(lambda conn: carried_changes.carry(conn, grove.phone, [removed]))
    bind(grove, there, b"Subject: another one\r\n\r\n")
    assert [one.is_same for one in carried(grove)] == [False]


def test_change_follows_a_message_that_goes_on(grove: Grove, removed: Remove) -> None:
    """It is for nobody meanwhile; where the message is nowhere its account looks everywhere, and then puts it back."""
    bind(grove, arrive(grove, 11), b"Subject: of %d\r\n\r\n" % grove.inbox)
    grove(lambda conn: carried_changes.carry(conn, grove.phone, [removed]))
    vanish(grove, 11)
    assert (carried(grove), mailboxes(grove), lacking(grove), count(grove)) == ((), frozenset(), frozenset(), 1)

    projects = grove._mailbox("Projects")
    grove.observe(ObservedMessage(3, ANSWERED, 1, 20, 501), mailbox_id=projects)
    grove(carried_changes.follow)
    assert count(grove) == 1
    assert lacking(grove) == {projects}

    uids = UidSet.of([3])
    grove(lambda conn: server_tree.record_vanished(conn, projects, UIDVALIDITY, uids, now=NOW))
    grove(carried_changes.follow)
    assert (count(grove), wanted_back(grove), lost(grove)) == (1, {}, {removed.message_id})
    assert mailboxes(grove) == {grove.inbox}
    assert (conclude(grove), count(grove), wanted_back(grove)) == (1, 0, {removed.message_id: FLAGGED})


def test_mailbox_that_is_not_synced_any_more_is_nobodys_business(grove: Grove, removed: Remove) -> None:
    """Its row waits, and nobody is kept from resting by it."""
    bind(grove, arrive(grove, 11), b"Subject: of %d\r\n\r\n" % grove.inbox)
    grove(lambda conn: carried_changes.carry(conn, grove.phone, [removed]))
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
    grove(lambda conn: carried_changes.carry(conn, grove.phone, [removed]))
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
    grove(lambda conn: carried_changes.carry(conn, grove.phone, removed))
    assert sorted(one.message_id for one in carried(grove)) == news


def test_refused_change_waits_for_its_time(grove: Grove, removed: Remove) -> None:
    there = arrive(grove, 11)
    bind(grove, there, b"Subject: of %d\r\n\r\n" % grove.inbox)
    grove(lambda conn: carried_changes.carry(conn, grove.phone, [removed]))
    where = {"mailbox_id": grove.archive, "message_id": there, "device_id": None}
    grove(lambda conn: troubles.set_aside(conn, **where, error="no", temper=Temper.GIVE_UP, now=NOW))
    assert mailboxes(grove) == frozenset()


def test_change_of_a_message_that_is_nowhere_yet_waits_until_its_account_has_looked(
    grove: Grove, removed: Remove
) -> None:
    """It went on in the very moment; nobody else concludes that it was deleted, and where it is found it is changed."""
    grove(lambda conn: carried_changes.carry(conn, grove.phone, [removed]))
    grove(carried_changes.follow)
    assert (carried(grove), count(grove), wanted_back(grove), lost(grove)) == ((), 1, {}, {removed.message_id})
    there = arrive(grove, 11)
    assert (conclude(grove), count(grove), wanted_back(grove), lost(grove)) == (0, 1, {}, frozenset())
    bind(grove, there, b"Subject: of %d\r\n\r\n" % grove.inbox)
    assert [(one.message_id, one.is_same) for one in carried(grove)] == [(there, True)]


def test_change_in_passing_is_no_cause_to_put_a_message_back(grove: Grove, removed: Remove) -> None:
    grove(lambda conn: carried_changes.carry(conn, grove.phone, [replace(removed, add=SEEN)]))
    assert (conclude(grove), count(grove), wanted_back(grove)) == (0, 0, {})


def test_change_for_what_is_another_message_goes_on_to_the_right_one(grove: Grove, removed: Remove) -> None:
    """Or waits for the body of the next that may be it; when none is left the message is put back, once."""
    wrong = arrive(grove, 11)
    grove(lambda conn: carried_changes.carry(conn, grove.phone, [removed]))
    grove(lambda conn: carried_changes.carry(conn, grove.phone, [replace(removed, add=ANSWERED)]))
    bind(grove, wrong, b"Subject: another one\r\n\r\n")
    right = arrive(grove, 12)
    mistaken = [one.id for one in carried(grove)]
    grove(lambda conn: carried_changes.follow(conn, mistaken=mistaken))
    assert (count(grove), lacking(grove), lost(grove)) == (2, {grove.archive}, frozenset())

    bind(grove, right, b"Subject: and another\r\n\r\n")
    mistaken = [one.id for one in carried(grove)]
    grove(lambda conn: carried_changes.follow(conn, mistaken=mistaken))
    assert (count(grove), wanted_back(grove), lost(grove)) == (2, {}, {removed.message_id})
    assert (conclude(grove), count(grove)) == (1, 0)
    assert wanted_back(grove) == {removed.message_id: FLAGGED | ANSWERED}


def test_message_that_came_back_to_where_it_was_is_not_put_back(grove: Grove, removed: Remove) -> None:
    """The device has a file of it again, and it gets what was changed before."""
    grove(lambda conn: carried_changes.carry(conn, grove.phone, [removed]))
    (again,) = grove.plant(2)
    grove.deliver(grove.phone, again)
    assert (conclude(grove), wanted_back(grove)) == (0, {})
    find = carried_changes.carried_changes
    ((one),) = grove(lambda conn: find(conn, mailbox_id=grove.inbox, limit=9, now=NOW))
    assert (one.message_id, one.add, one.is_same) == (again, FLAGGED, True)


def test_message_that_comes_back_already_is_not_wanted_twice(grove: Grove, removed: Remove) -> None:
    """Two devices changed it, and the second is heard of when it is on its way."""
    for _ in range(2):
        grove(lambda conn: carried_changes.carry(conn, grove.phone, [removed]))
        conclude(grove)
    assert wanted_back(grove) == {removed.message_id: FLAGGED}
    query = select(journal.c.id).where(journal.c.account_id == grove.account_id)
    assert len(grove.rows(query)) == 1


def test_change_of_a_message_whose_octets_are_others_by_now_is_over(grove: Grove) -> None:
    """The device does not take it any more, its message is there, and nobody can tell that it is the same."""
    (message_id,) = grove.plant(1)
    grove.deliver(grove.phone, message_id, flags=FLAGGED)
    grove(lambda conn: carried_changes.carry(conn, grove.phone, [Drop(message_id, 1, add=FLAGGED)]))
    bind(grove, message_id, b"Subject: rewritten\r\n\r\n")
    find = carried_changes.carried_changes
    ((one),) = grove(lambda conn: find(conn, mailbox_id=grove.inbox, limit=9, now=NOW))
    assert not one.is_same
    grove(lambda conn: carried_changes.follow(conn, mistaken=[one.id]))
    assert count(grove) == 0
