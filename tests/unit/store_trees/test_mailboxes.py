"""Mailboxes as rows: what LIST said is kept as it was said, and what they can hold decides what is planned."""

from collections.abc import Iterable

from syncd.errors import Temper
from syncd.mail.flags import SYSTEM
from syncd.mail.mailbox import MailboxName
from syncd.reconcile.mailboxes import Listed, compare_listing
from syncd.reconcile.planner import Selection
from syncd.store.bodies.wanted_bodies import wanted_bodies
from syncd.store.due import backlog
from syncd.store.mailboxes import listings
from syncd.store.trees import accounts, devices, server_tree, troubles
from syncd.store.trees.accounts import MailboxRow
from syncd.values import replace
from tests.unit.store_trees.grove import NOW, Grove

_ALL = Selection()
NARROW = frozenset({"\\Seen", "todo"})


def inbox_of(grove: Grove) -> MailboxRow:
    return grove(lambda conn: accounts.mailbox_by_id(conn, mailbox_id=grove.inbox))


def read_with(grove: Grove, flags: Iterable[str], *, accepts_keywords: bool) -> None:
    cursor = replace(inbox_of(grove).cursor, permanent_flags=frozenset(flags), accepts_keywords=accepts_keywords)
    grove(lambda conn: accounts.move_cursor(conn, grove.inbox, cursor, is_listed=True))


def test_mailbox_listed_again_as_it_was_is_no_change(grove: Grove) -> None:
    """Attributes are kept, those without a special use too, so that a poll rewrites nothing."""
    attributes = frozenset({"\\HasNoChildren", "\\Sent"})
    entry = Listed(b"Sent", MailboxName(("Sent",)), "/", attributes, is_selected=True)
    listed = {b"Sent": entry}
    changes = compare_listing({}, [entry])
    grove(lambda conn: listings.record_listing(conn, account_id=grove.account_id, changes=changes, now=NOW))

    rows = grove(lambda conn: accounts.mailboxes(conn, account_id=grove.account_id))
    known = {row.wire_name: accounts.listed(row) for row in rows if row.wire_name in listed}

    assert compare_listing(known, listed.values()).changed == ()


def test_mailbox_whose_flags_are_unknown_holds_the_system_flags_and_any_keyword(grove: Grove) -> None:
    """Without PERMANENTFLAGS all flags can be changed permanently."""
    cursor = replace(inbox_of(grove).cursor, permanent_flags=None)
    grove(lambda conn: accounts.move_cursor(conn, grove.inbox, cursor, is_listed=True))

    assert inbox_of(grove).holdable.part_of(SYSTEM | {"todo"}) == SYSTEM | {"todo"}


def test_mailbox_that_can_hold_more_than_before_is_planned_anew(grove: Grove) -> None:
    """What was left out as unholdable is planned once it can be held; nothing is when no more or less can be."""
    read_with(grove, NARROW, accepts_keywords=False)

    for flags, accepts_keywords, is_anew in (
        (NARROW, False, False),
        (NARROW | {"later"}, False, True),
        (NARROW, True, True),
        (NARROW | {"made"}, True, False),
        (NARROW | {"\\Flagged"}, True, True),
        (NARROW, False, False),
    ):
        grove(lambda conn: devices.move_replica_cursor(conn, grove.laptop.id, 1))
        grove(lambda conn: devices.move_server_cursor(conn, grove.laptop.id, 1))
        read_with(grove, flags, accepts_keywords=accepts_keywords)
        row = grove.replica(grove.laptop)
        assert (row.replica_cursor == 0, row.server_cursor == 0) == (is_anew, is_anew), (flags, accepts_keywords)


def test_due_troubles_of_a_server_are_of_stores_or_of_bodies(grove: Grove) -> None:
    """A message with its body was refused a change; one without was not given."""
    (with_body,) = grove.plant(1)
    grove.observe(server_tree.ObservedMessage(2, frozenset(), 1, 20, 500), mailbox_id=grove.archive)
    (without,) = grove(
        lambda conn: wanted_bodies(conn, mailbox_id=grove.archive, uidvalidity=9, selections=[_ALL], limit=9, now=NOW)
    )
    for mailbox_id, message_id in ((grove.inbox, with_body), (grove.archive, without.message_id)):
        grove(
            lambda conn, mailbox_id=mailbox_id, message_id=message_id: troubles.set_aside(
                conn,
                mailbox_id=mailbox_id,
                message_id=message_id,
                device_id=None,
                error="no",
                temper=Temper.WAIT,
                now=NOW,
            )
        )

    for now, stores, bodies in ((NOW, set(), set()), (NOW + 60, {grove.inbox}, {grove.archive})):
        at = {"account_id": grove.account_id, "now": now}
        assert grove(lambda conn, at=at: backlog.mailboxes_with_due_stores(conn, **at)) == stores
        assert grove(lambda conn, at=at: backlog.mailboxes_with_due_bodies(conn, **at)) == bodies
    assert grove(lambda conn: backlog.refused_stores(conn, mailbox_id=grove.inbox)) == {with_body}
