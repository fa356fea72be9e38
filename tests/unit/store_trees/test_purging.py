"""What was purged goes in small steps, and nothing of anybody else with it."""

from functools import partial

from sqlalchemy import func, select

from syncd.reconcile.effects import Remove
from syncd.reconcile.guard import Reason
from syncd.store.bodies import sweeping
from syncd.store.people import purging
from syncd.store.people.purging import Kind, Left
from syncd.store.rounds import holds
from syncd.store.rounds.holds import HoldScope
from syncd.store.tables.partial_indexes import metadata
from syncd.store.tables.schema import account, body, device, server_message
from syncd.store.trees import accounts
from tests.unit.store_trees.grove import NOW, Grove


def left(grove: Grove, *accounts: str) -> dict[str, Left]:
    return {one.name: one for one in grove(partial(purging.left_over, accounts=accounts, devices=()))}


def name_of(grove: Grove) -> str:
    return str(grove.rows(select(account.c.name).where(account.c.id == grove.account_id))[0][0])


def remove(grove: Grove, *, count: int = 2) -> int:
    """Remove all that was purged, and return in how many steps."""
    steps = 0
    while grove(partial(purging.remove_purged, count=count)):
        steps += 1
        assert steps < 200
    return steps


def test_account_goes_with_all_that_is_its_own(grove: Grove) -> None:
    """Its bodies are old then, but for those that another account has as well; its name is free at once."""
    ids = grove.plant(*range(1, 8))
    grove.deliver(grove.laptop, *ids)
    name, body_id = name_of(grove), grove.message(1).body_id
    assert left(grove)[name] == Left(Kind.ACCOUNT, name, 7)
    assert name not in left(grove, name)

    grove(partial(purging.purge, left=[Left(Kind.ACCOUNT, name, 7)]))
    assert name not in left(grove)
    assert grove(sweeping.swept_at) in (0.0, None)
    again = grove(lambda conn: accounts.ensure_account(conn, name, kind="pop3", identity="another"))
    assert again != grove.account_id

    assert remove(grove) == 5
    assert grove.rows(select(account.c.id).where(account.c.id == grove.account_id)) == []
    assert grove.rows(select(server_message.c.id).where(server_message.c.mailbox_id == grove.inbox)) == []
    assert grove.rows(select(body.c.stored_at).where(body.c.id == body_id)) == [(0.0,)]
    before = NOW - 86400
    swept = grove(partial(sweeping.sweep, body_ids=[body_id], before=before))
    assert swept.bodies == 1


def test_device_goes_and_the_account_stays(grove: Grove) -> None:
    ids = grove.plant(*range(1, 4))
    for of in (grove.laptop, grove.phone):
        grove.deliver(of, *ids)
    name = str(grove.rows(select(device.c.name).where(device.c.id == grove.phone.device_id))[0][0])
    assert left(grove)[name] == Left(Kind.DEVICE, name, 3)
    grove(partial(purging.purge, left=[Left(Kind.DEVICE, name, 3)]))
    remove(grove)
    assert grove.rows(select(device.c.id).where(device.c.id == grove.phone.device_id)) == []
    assert [grove.pair(grove.laptop, id_).replica is not None for id_ in ids] == [True] * 3
    assert grove.message(1).body_id is not None


def test_what_the_guard_held_of_a_device_goes_with_it(grove: Grove) -> None:
    """Nobody could release it any more; what is held of others stays."""
    ids = grove.plant(1)
    for scope, scope_id in (
        (HoldScope.ON_DEVICE, grove.phone.device_id),
        (HoldScope.BY_DEVICE, grove.phone.device_id),
        (HoldScope.ON_DEVICE, grove.laptop.device_id),
        (HoldScope.OF_ACCOUNT, grove.account_id),
    ):
        where = {"scope": scope, "scope_id": scope_id, "mailbox_id": grove.inbox}
        hold = partial(holds.put_hold, **where, reason=Reason.TOO_MANY, effects=[Remove(ids[0], 1)], now=NOW)
        grove(hold)
    name = str(grove.rows(select(device.c.name).where(device.c.id == grove.phone.device_id))[0][0])
    grove(partial(purging.purge, left=[Left(Kind.DEVICE, name, 0)]))
    remove(grove)
    left_of = [(one.scope, one.scope_id) for one in grove(lambda conn: holds.holds(conn, mailbox_id=grove.inbox))]
    assert sorted(left_of) == [
        (HoldScope.OF_ACCOUNT, grove.account_id),
        (HoldScope.ON_DEVICE, grove.laptop.device_id),
    ]


def test_nothing_is_left_of_what_was_purged(grove: Grove) -> None:
    """Whatever table refers to an account or a device, in whatever way."""
    ids = grove.plant(*range(1, 4))
    grove.deliver(grove.laptop, *ids)
    grove.deliver(grove.phone, *ids)
    devices = {grove.laptop.device_id, grove.phone.device_id}
    names = [row[0] for row in grove.rows(select(device.c.name).where(device.c.id.in_(devices)))]
    purged = [Left(Kind.ACCOUNT, name_of(grove), 3), *(Left(Kind.DEVICE, name, 3) for name in names)]
    grove(partial(purging.purge, left=purged))
    remove(grove)
    owners = {"account_id": {grove.account_id}, "device_id": devices, "mailbox_id": {grove.inbox, grove.archive}}
    for table in metadata.sorted_tables:
        if table.name == "history":  # which tells what was, and sweeps itself
            continue
        for column, ids_of in owners.items():
            if column in table.c:
                count = select(func.count()).select_from(table).where(table.c[column].in_(ids_of))
                assert grove.rows(count) == [(0,)], table.name
