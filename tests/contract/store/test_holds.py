"""Holds and the window of the guard, on both databases."""

import pytest
from sqlalchemy import Connection, delete, insert, select, update

from syncd.reconcile.effects import Expunge, Remove
from syncd.reconcile.guard import DEFAULT, MailboxLoss, Reason, Rule
from syncd.store.engine.database import Database
from syncd.store.people.report import held, store_report
from syncd.store.rounds import guard_window, holds
from syncd.store.rounds.holds import HoldScope, HoldState
from syncd.store.tables.schema import account, base_message, guard_removal, mailbox, replica_message, server_message
from syncd.store.trees import devices

NOW = 1_700_000_000.0
WINDOW_S = 600.0


@pytest.fixture
def store(database: Database) -> Database:
    """Return a store with laptop and phone, which both have an INBOX of twelve messages and an empty Trash."""
    database.write_now(_fill)
    return database


def test_hold_is_read_as_it_was_put(store: Database) -> None:
    """Device, mailbox, reason and exactly the effects come back; and one's own when asked for them."""
    store.write_now(lambda conn: _put(conn, device_id=1, messages=(1, 2, 3)))
    store.write_now(lambda conn: _put(conn, device_id=2, messages=(4,)))

    first, second = store.read_now(holds.holds)

    assert (first.device_id, first.mailbox_id, first.reason, first.state) == (1, 1, Reason.TOO_MANY, HoldState.HELD)
    assert first.effects == (Remove(1, 101), Remove(2, 102), Remove(3, 103))
    assert (first.message_ids, first.held_at) == ((1, 2, 3), NOW)
    assert store.read_now(lambda conn: holds.holds(conn, device_id=2)) == (second,)
    assert store.read_now(lambda conn: holds.holds(conn, mailbox_id=2)) == ()


def test_second_hold_of_a_replica_takes_the_place_of_the_first(store: Database) -> None:
    """There is one for each replica, held since the first began, under a number that was never another's."""
    store.write_now(lambda conn: _put(conn, device_id=1, messages=(1, 2)))
    (before,) = store.read_now(holds.holds)
    store.write_now(lambda conn: _put(conn, device_id=1, messages=(1, 2, 3), now=NOW + 50))

    (after,) = store.read_now(holds.holds)

    assert (after.message_ids, after.held_at) == ((1, 2, 3), NOW)
    assert after.id > before.id
    assert store.write_now(lambda conn: holds.release_hold(conn, hold_id=before.id)) is False


def test_released_hold_stays_beside_a_new_one_until_its_removals_are_settled(store: Database) -> None:
    """What a person released is not held again with others, and is forgotten once it happened."""
    store.write_now(lambda conn: _put(conn, device_id=1, messages=(1, 2)))
    (one,) = store.read_now(holds.holds)
    assert store.write_now(lambda conn: holds.release_hold(conn, hold_id=one.id)) is True
    store.write_now(lambda conn: _put(conn, device_id=1, messages=(3,), now=NOW + 50))

    def states(conn: Connection) -> list[tuple[tuple[int, ...], HoldState]]:
        return [(each.message_ids, each.state) for each in holds.holds(conn)]

    assert store.read_now(states) == [((1, 2), HoldState.RELEASED), ((3,), HoldState.HELD)]
    assert store.read_now(lambda conn: _mailboxes(conn, HoldState.RELEASED)) == {1}

    store.write_now(lambda conn: _settle(conn, (1,)))
    assert len(store.read_now(states)) == 2
    store.write_now(lambda conn: _settle(conn, (2,)))
    assert store.read_now(states) == [((3,), HoldState.HELD)]
    assert store.read_now(lambda conn: _mailboxes(conn, HoldState.RELEASED)) == frozenset()
    assert store.read_now(lambda conn: _mailboxes(conn, *HoldState)) == {1}


def test_window_tells_what_each_mailbox_lost_and_had(store: Database) -> None:
    """A mailbox had what was there before the first removal counted; one that loses nothing has what it has."""
    store.write_now(lambda conn: _record(conn, 4, at=NOW))
    store.write_now(lambda conn: _settle(conn, (1, 2, 3, 4)))

    def ask(conn: Connection, since: float) -> dict[int, MailboxLoss]:
        found = guard_window.tallies(conn, HoldScope.ON_DEVICE, 1, since=since, planned=1, rule=DEFAULT)
        return {one.mailbox_id: one for one in found}

    within = store.read_now(lambda conn: ask(conn, NOW - 1))
    after = store.read_now(lambda conn: ask(conn, NOW + 1))

    assert within == {1: MailboxLoss(1, 4, 12, may_empty=False), 2: MailboxLoss(2, 0, 0, may_empty=True)}
    assert after[1] == MailboxLoss(1, removed=0, had=8, may_empty=False)


def test_window_of_an_account_counts_what_is_alive_there(store: Database) -> None:
    """Whichever device deleted it; the window of a device with the same number is another."""
    store.write_now(
        lambda conn: guard_window.record_account_deletions(
            conn, account_id=1, mailbox_id=1, deleted=3, now=NOW, window_s=WINDOW_S
        )
    )

    def ask(conn: Connection, scope: HoldScope) -> list[MailboxLoss]:
        found = guard_window.tallies(conn, scope, 1, since=NOW - 1, planned=1, rule=DEFAULT)
        return sorted(found, key=lambda one: one.mailbox_id)

    assert store.read_now(lambda conn: ask(conn, HoldScope.OF_ACCOUNT)) == [
        MailboxLoss(1, 3, 12, may_empty=False),
        MailboxLoss(2, 0, 0, may_empty=True),
    ]
    assert [one.removed for one in store.read_now(lambda conn: ask(conn, HoldScope.ON_DEVICE))] == [0, 0]


def test_window_counts_no_more_than_makes_a_difference(store: Database) -> None:
    """Twelve messages are as good as eleven where none is lost; those that are gone on the server are none of them."""
    gone = update(server_message).where(server_message.c.id.in_((11, 12))).values(gone_at=NOW)
    store.write_now(lambda conn: conn.execute(gone))

    def ask(conn: Connection, scope: HoldScope) -> int:
        found = guard_window.tallies(conn, scope, 1, since=NOW, planned=0, rule=Rule(share=0.0))
        return next(one.had for one in found if one.mailbox_id == 1)

    assert store.read_now(lambda conn: ask(conn, HoldScope.ON_DEVICE)) == 11
    assert store.read_now(lambda conn: ask(conn, HoldScope.OF_ACCOUNT)) == 10


def test_pending_removals_are_those_of_the_other_mailboxes(store: Database) -> None:
    """Gone on the server and not planned yet, or held lately; not what a person released, or what waits anyhow."""

    def lose(conn: Connection, *message_ids: int, version: int) -> None:
        gone = update(server_message).where(server_message.c.id.in_(message_ids))
        conn.execute(gone.values(gone_at=NOW, version=version))
        conn.execute(update(mailbox).where(mailbox.c.id == 1).values(version=version))

    def pending(since: float = NOW - 1) -> dict[int, int]:
        return dict(
            store.read_now(lambda conn: guard_window.pending_removals(conn, _replica(conn, mailbox_id=2), since=since))
        )

    assert pending() == {}
    store.write_now(lambda conn: lose(conn, 1, 2, version=20))
    assert pending() == {1: 2}
    assert store.read_now(lambda conn: guard_window.pending_removals(conn, _inbox(conn), since=NOW)) == {}

    store.write_now(lambda conn: devices.move_server_cursor(conn, _inbox(conn).id, 20))
    assert pending() == {}
    store.write_now(lambda conn: _put(conn, device_id=1, messages=(1, 2)))
    assert (pending(), pending(since=NOW + 1)) == ({1: 2}, {})

    store.write_now(lambda conn: lose(conn, 3, 4, version=21))
    store.write_now(lambda conn: holds.hold_lost(conn, mailbox_id=1, message_ids=[3], now=NOW))
    assert pending() == {1: 4}  # nothing has a file here, so that nothing was held


def test_what_a_server_lost_is_held_beside_what_the_rule_holds(store: Database) -> None:
    """On every device that has a file of it; a second loss joins the first, and neither touches the other hold."""
    store.write_now(lambda conn: _file(conn, (1, 2, 3)))
    store.write_now(lambda conn: _put(conn, device_id=1, messages=(9,)))

    for ids, at in (([1, 2, 9], NOW), ([3], NOW + 5)):
        store.write_now(lambda conn, ids=ids, at=at: holds.hold_lost(conn, mailbox_id=1, message_ids=ids, now=at))

    found = store.read_now(lambda conn: [(one.reason, one.message_ids, one.held_at) for one in holds.holds(conn)])
    assert found == [(Reason.TOO_MANY, (9,), NOW), (Reason.SERVER_WENT_BACK, (1, 2, 3), NOW)]
    assert store.read_now(lambda conn: holds.lost_messages(conn, mailbox_id=1)) == {1, 2, 3}
    assert store.read_now(lambda conn: holds.lost_messages(conn, mailbox_id=2)) == frozenset()


def test_hold_of_an_account_names_no_device(store: Database) -> None:
    """Its release is news of every replica of the mailbox, and it is none of the device with the same number."""
    effects = [Expunge(1, 1), Expunge(2, 2)]
    store.write_now(
        lambda conn: holds.put_hold(
            conn,
            scope_id=1,
            mailbox_id=1,
            reason=Reason.TOO_MANY,
            effects=effects,
            now=NOW,
            scope=HoldScope.OF_ACCOUNT,
        )
    )
    (one,) = store.read_now(lambda conn: holds.holds(conn, account_id=1))
    (shown,) = store.read_now(held)
    assert (one.device_id, one.scope_id, shown.device, shown.mailbox) == (None, 1, None, "INBOX")
    assert store.read_now(lambda conn: holds.holds(conn, device_id=1)) == ()

    before = store.read_now(lambda conn: [row.version for row in devices.replicas(conn)])
    assert store.write_now(lambda conn: holds.release_hold(conn, hold_id=one.id))
    after = store.read_now(lambda conn: [row.version for row in devices.replicas(conn)])
    assert [now - then for then, now in zip(before, after, strict=True)] == [1, 0, 1, 0]

    store.write_now(lambda conn: holds.take_out(conn, mailbox_id=1, message_ids=[1]))
    assert store.read_now(lambda conn: holds.holds(conn, account_id=1))[0].message_ids == (2,)


def test_counts_older_than_the_window_go_unless_a_hold_rests_on_them(store: Database) -> None:
    """The table stays small, and what is held does not become harmless by waiting."""

    def ages(conn: Connection) -> list[float]:
        return sorted(NOW - at for at in conn.execute(select(guard_removal.c.at)).scalars())

    store.write_now(lambda conn: _record(conn, 1, at=NOW - 500))
    store.write_now(lambda conn: _put(conn, device_id=1, messages=(9,)))
    store.write_now(lambda conn: _record(conn, 1, at=NOW + 5000))
    assert store.read_now(ages) == [-5000, 500]

    store.write_now(lambda conn: holds.drop_holds(conn, [one.id for one in holds.holds(conn)]))
    store.write_now(lambda conn: _record(conn, 1, at=NOW + 5001))
    assert store.read_now(ages) == [-5001, -5000]


def test_report_names_device_and_mailbox(store: Database) -> None:
    """Status has the names that a person knows."""
    store.write_now(lambda conn: _put(conn, device_id=2, messages=(4,)))

    (one,) = store.read_now(held)

    assert (one.device, one.account, one.mailbox, one.hold.message_ids) == ("phone", "work", "INBOX", (4,))
    assert store.read_now(lambda conn: store_report(conn, troubles_max=1)).holds == (one,)


def _fill(conn: Connection) -> None:
    conn.execute(insert(account).values(name="work", kind="imap", identity="x"))
    for name, special_use in (("INBOX", None), ("Trash", "\\Trash")):
        conn.execute(
            insert(mailbox).values(
                account_id=1,
                name=name,
                wire_name=name.encode(),
                special_use=special_use,
                is_selectable=True,
                is_selected=True,
            )
        )
    conn.execute(
        insert(server_message),
        [
            {"mailbox_id": 1, "uidvalidity": 1, "uid": uid, "size_bytes": 3, "internaldate": 1, "version": uid}
            for uid in range(1, 13)
        ],
    )
    for name in ("laptop", "phone"):
        row = devices.ensure_device(conn, name, path=f"/srv/{name}", layout="fs")
        for mailbox_id in (1, 2):
            devices.ensure_replica(
                conn, device_id=row.id, mailbox_id=mailbox_id, directory=f"{mailbox_id}", selection=""
            )
        (inbox, _) = devices.replicas(conn, device_id=row.id)
        conn.execute(
            insert(base_message), [{"replica_id": inbox.id, "message_id": id_, "flags": ""} for id_ in range(1, 13)]
        )


def _put(conn: Connection, *, device_id: int, messages: tuple[int, ...], now: float = NOW) -> None:
    effects = [Remove(message_id, 100 + message_id) for message_id in messages]
    holds.put_hold(conn, scope_id=device_id, mailbox_id=1, reason=Reason.TOO_MANY, effects=effects, now=now)


def _record(conn: Connection, count: int, *, at: float) -> None:
    of = _inbox(conn)
    guard_window.record_removals(conn, of, removed=count, now=at, window_s=WINDOW_S)


def _settle(conn: Connection, message_ids: tuple[int, ...]) -> None:
    of = _inbox(conn)
    conn.execute(
        delete(base_message).where(base_message.c.replica_id == of.id, base_message.c.message_id.in_(message_ids))
    )
    holds.drop_done(conn, of)


def _inbox(conn: Connection) -> devices.ReplicaRow:
    return devices.replicas(conn, device_id=1)[0]


def _replica(conn: Connection, *, mailbox_id: int) -> devices.ReplicaRow:
    return next(of for of in devices.replicas(conn, device_id=1) if of.mailbox_id == mailbox_id)


def _file(conn: Connection, message_ids: tuple[int, ...]) -> None:
    """Let the laptop have files of messages."""
    values = {"replica_id": _inbox(conn).id, "subdir": "cur", "state": "present", "form": "lf", "version": 1}
    sizes = {"size_bytes": 3, "mtime": 1}
    rows = [{"message_id": id_, "name": f"m{id_}", **values, **sizes} for id_ in message_ids]
    conn.execute(insert(replica_message), rows)


def _mailboxes(conn: Connection, *states: HoldState) -> frozenset[int]:
    return holds.mailboxes_of(conn, device_id=1, states=states)
