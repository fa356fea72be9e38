"""Messages set aside: one by one, each with its own wait, and forgotten when they go well."""

from sqlalchemy import update

from syncd.errors import Temper
from syncd.store.tables import schema
from syncd.store.trees import troubles
from syncd.store.trees.server_tree import ObservedMessage
from tests.unit.store_trees.grove import NOW, Grove


def aside(grove: Grove, message_id: int, *, device_id: int | None = None, temper: Temper = Temper.WAIT) -> None:
    grove(
        lambda conn: troubles.set_aside(
            conn,
            mailbox_id=grove.inbox,
            message_id=message_id,
            device_id=device_id,
            error="refused",
            temper=temper,
            now=NOW,
        )
    )


def due(grove: Grove, after_s: float, *, device_id: int | None = None) -> tuple[int, ...]:
    now = NOW + after_s
    return grove(lambda conn: troubles.due(conn, mailbox_id=grove.inbox, device_id=device_id, now=now))


def test_each_failure_waits_twice_as_long(grove: Grove) -> None:
    """A minute, two, four, and never more than six hours, however often it fails."""
    (row_id,) = grove.plant(1)
    for wait_s in (60, 120, 240):
        aside(grove, row_id)
        assert due(grove, wait_s - 1) == ()
        assert due(grove, wait_s) == (row_id,)
    grove(lambda conn: conn.execute(update(schema.trouble).values(attempts=10**6)))
    aside(grove, row_id)
    assert due(grove, 6 * 3600) == (row_id,)


def test_what_waiting_does_not_help_is_not_tried_again(grove: Grove) -> None:
    """A message that was given up is left alone."""
    (row_id,) = grove.plant(1)
    aside(grove, row_id, temper=Temper.GIVE_UP)

    assert due(grove, 10**9) == ()


def test_server_and_each_device_have_troubles_of_their_own(grove: Grove) -> None:
    """One side that fails neither counts for the others nor is resolved by them."""
    (row_id,) = grove.plant(1)
    laptop, phone = grove.laptop.device_id, grove.phone.device_id
    aside(grove, row_id)
    aside(grove, row_id, device_id=laptop)

    assert due(grove, 60, device_id=phone) == ()
    assert grove(lambda conn: troubles.due_mailboxes(conn, device_id=laptop, now=NOW + 60)) == (grove.inbox,)
    grove(lambda conn: troubles.resolve(conn, [row_id], device_id=laptop))
    assert due(grove, 60, device_id=laptop) == ()
    assert due(grove, 60) == (row_id,)


def test_trouble_does_not_wait_for_a_clock_that_was_set_back(grove: Grove) -> None:
    """What is to be tried again later than after the longest wait is due; what was given up is not."""
    one, other = grove.plant(1, 2)
    aside(grove, one)
    aside(grove, other, temper=Temper.GIVE_UP)

    assert due(grove, -7 * 3600) == (one,)
    assert due(grove, -5 * 3600) == ()


def test_resolved_message_begins_anew(grove: Grove) -> None:
    """After it went well, the next failure waits a minute again."""
    (row_id,) = grove.plant(1)
    aside(grove, row_id)
    aside(grove, row_id)
    grove(lambda conn: troubles.resolve(conn, [row_id], device_id=None))
    aside(grove, row_id)

    assert due(grove, 60) == (row_id,)


def test_gone_message_has_no_trouble_left(grove: Grove) -> None:
    """What is gone is tried again by nobody."""
    one, other = grove.plant(1, 2)
    for row_id in (one, other):
        aside(grove, row_id)
        aside(grove, row_id, device_id=grove.laptop.device_id)
    grove(lambda conn: troubles.forget(conn, [one]))

    assert due(grove, 60) == due(grove, 60, device_id=grove.laptop.device_id) == (other,)


def test_hurried_trouble_is_due_even_if_it_was_given_up(grove: Grove) -> None:
    """Who asks means all that this device could not do, and nothing of another's."""
    one, other = grove.plant(1, 2)
    laptop, phone = grove.laptop.device_id, grove.phone.device_id
    aside(grove, one, device_id=laptop, temper=Temper.GIVE_UP)
    aside(grove, other, device_id=laptop)
    aside(grove, one, device_id=phone)
    grove(lambda conn: troubles.hurry(conn, device_id=laptop))

    assert due(grove, 0, device_id=laptop) == (one, other)
    assert due(grove, 0, device_id=phone) == ()


def test_troubles_are_due_a_round_at_a_time(grove: Grove) -> None:
    """However many there are, those that wait longest come first and no more than a round takes."""
    for message_id in grove.plant(*range(1, 1201)):
        aside(grove, message_id)

    assert len(due(grove, 60)) == 1000


def test_bodies_that_did_not_come_are_tried_again_at_once_when_asked(grove: Grove) -> None:
    """What is wrong with a message whose body is there, or with its file on a device, keeps its own time."""
    (with_body,) = grove.plant(1)
    grove.observe(ObservedMessage(2, frozenset(), 1, 20, 500))
    lacking = grove.message(2).id
    for message_id in (with_body, lacking):
        aside(grove, message_id)
    aside(grove, lacking, device_id=grove.laptop.device_id)

    grove(lambda conn: troubles.hurry_bodies(conn, account_id=grove.account_id))

    assert due(grove, 0) == (lacking,)
    assert due(grove, 0, device_id=grove.laptop.device_id) == ()
    assert grove(lambda conn: troubles.attempts(conn, message_id=lacking, device_id=None)) == 1
    assert grove(lambda conn: troubles.attempts(conn, message_id=lacking, device_id=grove.phone.device_id)) == 0
