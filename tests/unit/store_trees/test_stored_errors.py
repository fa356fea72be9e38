"""What a hook of errors is told from the store: each trouble under a key that stays, until it is over."""

from functools import partial
from itertools import pairwise
from typing import Any

from sqlalchemy import select, update

from syncd.daemon.hooks.troubles import StoredErrors, stored_errors
from syncd.errors import Temper
from syncd.reconcile.effects import Remove
from syncd.reconcile.guard import Reason
from syncd.store.rounds import holds
from syncd.store.rounds.holds import HoldState
from syncd.store.tables import schema
from syncd.store.trees import accounts, devices, troubles
from tests.unit.store_trees.grove import NOW, Grove


def set_aside(grove: Grove, message_id: int, *, temper: Temper = Temper.WAIT, device_id: int | None = None) -> None:
    grove(
        partial(
            troubles.set_aside,
            mailbox_id=grove.inbox,
            message_id=message_id,
            device_id=device_id,
            error="over quota",
            temper=temper,
            now=NOW,
        )
    )


def name_of(grove: Grove, table: Any, id_: int) -> str:
    return str(grove.rows(select(table.c.name).where(table.c.id == id_))[0][0])


def of(grove: Grove) -> StoredErrors:
    """Return what there is of the grove's account; other tests leave theirs."""
    found = grove(stored_errors)
    account = name_of(grove, schema.account, grove.account_id)
    return StoredErrors(
        {key: one for key, one in found.troubles.items() if one.account == account},
        frozenset(name for name in found.devices if name.startswith(f"{account}-")),
        found.is_whole,
    )


def test_messages_that_are_set_aside_are_the_same_at_each_try_and_are_over_when_they_went_well(grove: Grove) -> None:
    """On which side, in which mailbox, and whether it is tried again by itself."""
    first, second = grove.plant(1, 2)
    set_aside(grove, first, device_id=grove.laptop.device_id)
    set_aside(grove, second, temper=Temper.GIVE_UP)
    before = of(grove).troubles
    set_aside(grove, first, device_id=grove.laptop.device_id)
    after = of(grove)

    laptop = name_of(grove, schema.device, grove.laptop.device_id)
    found = {(one.device, one.uid, one.waiting_helps, one.reach, one.mailbox) for one in before.values()}
    assert found == {(laptop, 1, True, "message", "INBOX"), (None, 2, False, "message", "INBOX")}
    assert before.keys() == after.troubles.keys()
    assert after.is_whole

    grove(partial(troubles.resolve, message_ids=[first], device_id=grove.laptop.device_id))
    assert [one.uid for one in of(grove).troubles.values()] == [2]


def test_mailbox_that_cannot_be_read_and_device_that_failed_are_told_of(grove: Grove) -> None:
    """As long as the store has it so."""
    laptop = grove.laptop.device_id
    grove(partial(accounts.record_mailbox_error, mailbox_id=grove.archive, error="no permission"))
    grove(partial(devices.record_device_state, device_id=laptop, state=devices.AWAY, error="not there"))

    (trouble,) = of(grove).troubles.values()
    assert (trouble.mailbox, trouble.error, trouble.reach, trouble.waiting_helps) == (
        "Archive",
        "no permission",
        "mailbox",
        True,
    )
    assert of(grove).devices == {name_of(grove, schema.device, laptop)}

    grove(partial(accounts.record_mailbox_error, mailbox_id=grove.archive, error=None))
    grove(partial(devices.record_device_state, device_id=laptop, state=devices.ACTIVE, error=None))
    assert of(grove) == StoredErrors()


def test_mark_of_holds_changes_with_them(grove: Grove) -> None:
    """With one more, one that grows, one that is released, and one that is over; else they are not read again."""
    marks = [grove(holds.mark)]

    def put(*message_ids: int) -> None:
        effects = [Remove(id_, id_) for id_ in message_ids]
        where = {"scope_id": grove.laptop.device_id, "mailbox_id": grove.inbox, "now": NOW}
        grove(partial(holds.put_hold, reason=Reason.TOO_MANY, effects=effects, **where))
        marks.append(grove(holds.mark))

    put(1)
    put(1, 2)
    (one,) = grove(partial(holds.holds, device_id=grove.laptop.device_id))
    mine = schema.hold.c.id == one.id
    grove(lambda conn: conn.execute(update(schema.hold).where(mine).values(state=HoldState.RELEASED)) and None)
    marks.append(grove(holds.mark))
    grove(partial(holds.drop_holds, ids=[one.id]))
    marks.append(grove(holds.mark))

    assert all(before != after for before, after in pairwise(marks))
    assert marks[-1] == grove(holds.mark)
