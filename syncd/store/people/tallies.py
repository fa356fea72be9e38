"""Floor 3: what metrics ask of the store: how accounts and devices are, and what was done since it was asked last.

Theory. What was done is counted where it is told to people anyway: a row of the history is written in the transaction
that settles what it tells of, so a count of rows repeats and misses nothing, and costs nothing until it is asked for.
House rule: nothing here may read every message.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, func, select, text

from syncd.reconcile.planner import Selection
from syncd.store.people.report import (
    NO_LIMITS,
    account_ids,
    account_reports,
    device_reports,
    held,
    unsynced_by_replica,
    waiting_by_replica,
)
from syncd.store.people.trouble_report import mailbox_errors, trouble_counts
from syncd.store.rounds.holds import HoldState
from syncd.store.tables.own_tables import history
from syncd.store.tables.schema import account, device, mailbox, replica
from syncd.store.trees.history import Outcome
from syncd.values import Value


class AccountTally(Value):
    """Count what is not well with an account; succeeded_at: when all of it was last in sync.

    kept: messages that are in its maildrop as well; None: it has none.
    """

    succeeded_at: float | None = None
    failing_mailboxes: int = 0
    set_aside: int = 0
    held: int = 0
    kept: int | None = None


class DeviceTally(Value):
    """Count what a device waits for, and what it did that its servers have not heard of."""

    state: str = "new"
    settled_at: float | None = None
    waiting: int = 0
    unsynced: int = 0


class Deeds(Value):
    """Count the messages to which the same was done: at a device, without one at the server of the account.

    origin and verb: as in the history.
    """

    account: str | None
    device: str | None
    origin: str
    verb: str
    messages: int


class Tallies(Value):
    """Hold one snapshot: everybody by name, and the deeds since the one before, whose last had the number `upto`."""

    accounts: Mapping[str, AccountTally]
    devices: Mapping[str, DeviceTally]
    deeds: tuple[Deeds, ...]
    upto: int
    size_bytes: int


def last_deed(conn: Connection) -> int:
    """Return the number of the newest row of the history."""
    return int(conn.execute(select(func.coalesce(func.max(history.c.id), 0))).scalar_one())


def tallies(conn: Connection, *, after: int, selections: Mapping[str, Selection] = NO_LIMITS) -> Tallies:
    """Return how everybody is, and what was done after the deed of that number; selections: of devices, by name."""
    upto = max(last_deed(conn), after)
    return Tallies(
        _accounts(conn), _devices(conn, selections), _deeds(conn, after=after, upto=upto), upto, _size_bytes(conn)
    )


def _accounts(conn: Connection) -> Mapping[str, AccountTally]:
    failing = Counter(name for name, _ in mailbox_errors(conn, of_accounts=account_ids(conn).keys()))
    set_aside = trouble_counts(conn)
    waiting: Counter[str] = Counter()
    for one in held(conn):
        if one.hold.state is HoldState.HELD:
            waiting[one.account] += max(len(one.hold.effects), 1)
    return {
        one.name: AccountTally(
            one.succeeded_at,
            failing[one.name],
            set_aside.get(one.name, 0),
            waiting[one.name],
            one.kept if one.kind == "pop3" else None,
        )
        for one in account_reports(conn)
    }


def _devices(conn: Connection, selections: Mapping[str, Selection]) -> Mapping[str, DeviceTally]:
    devices = {row.id: row.device_id for row in conn.execute(select(replica.c.id, replica.c.device_id))}
    waiting = _by_device(devices, waiting_by_replica(conn, selections).items())
    states = unsynced_by_replica(conn).items()
    unsynced = _by_device(devices, ((replica_id, sum(by_state.values())) for replica_id, by_state in states))
    return {
        one.name: DeviceTally(one.state, one.settled_at, waiting[one.id], unsynced[one.id])
        for one in device_reports(conn)
    }


def _by_device(devices: Mapping[int, int], counts: Iterable[tuple[int, int]]) -> Counter[int]:
    found: Counter[int] = Counter()
    for replica_id, number in counts:
        found[devices[replica_id]] += number
    return found


def _deeds(conn: Connection, *, after: int, upto: int) -> tuple[Deeds, ...]:
    query = (
        select(
            account.c.name.label("account_name"),
            device.c.name.label("device_name"),
            history.c.origin,
            history.c.verb,
            func.sum(history.c.messages).label("number"),
        )
        .outerjoin(mailbox, mailbox.c.id == history.c.mailbox_id)
        .outerjoin(account, account.c.id == mailbox.c.account_id)
        .outerjoin(device, device.c.id == history.c.device_id)
        .where(history.c.id > after, history.c.id <= upto, history.c.outcome == Outcome.DONE.value)
        .group_by(account.c.name, device.c.name, history.c.origin, history.c.verb)
    )
    return tuple(
        Deeds(row.account_name, row.device_name, row.origin, row.verb, int(row.number)) for row in conn.execute(query)
    )


def _size_bytes(conn: Connection) -> int:
    """Return what the database takes on its disk, without its log of what is to be written."""
    if conn.dialect.name == "sqlite":
        query = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
    else:
        query = "SELECT pg_database_size(current_database())"
    return int(conn.execute(text(query)).scalar_one())
