"""Floor 3: what accounts and devices left in the store that the configuration does not have any more, removed.

Theory. To purge is one small transaction: the row loses its name, by which alone it is ever served, and another one
may get that. All that belongs to it goes afterwards in small steps, as time allows (`sync/sweeper.py`); interrupted,
the rest is found by the row without a name. Files on devices and mail on servers are not touched.
"""

from collections.abc import Collection, Iterable, Iterator
from enum import StrEnum

from sqlalchemy import Column, ColumnElement, Connection, Select, Table, delete, exists, func, select, update

from syncd.store.engine.queries import is_one_of
from syncd.store.rounds.holds import HoldScope
from syncd.store.tables.own_tables import store
from syncd.store.tables.schema import (
    account,
    base_message,
    body,
    device,
    guard_removal,
    hold,
    mailbox,
    replica,
    replica_message,
    server_message,
    tombstone,
    uidl,
)
from syncd.values import Value

NAMELESS = ".purged."
"""What the name of a purged row begins with, before its id; no name in a configuration has a dot."""


class Kind(StrEnum):
    """Say what is purged."""

    ACCOUNT = "account"
    DEVICE = "device"


class Left(Value):
    """An account with its messages, or a device with its files, that the configuration does not have.

    is_only_copy: its mail is on no server.
    """

    kind: Kind
    name: str
    messages: int
    is_only_copy: bool = False


def left_over(conn: Connection, *, accounts: Collection[str], devices: Collection[str]) -> tuple[Left, ...]:
    """Return what is in the store of accounts and devices other than these."""
    return (*_accounts_left(conn, accounts), *_devices_left(conn, devices))


def purge(conn: Connection, left: Iterable[Left]) -> None:
    """Give up accounts and devices; what belonged to them goes with the next sweep, which is due from now on."""
    for one in left:
        table = account if one.kind is Kind.ACCOUNT else device
        row_id = conn.execute(select(table.c.id).where(table.c.name == one.name)).scalar_one()
        conn.execute(update(table).where(table.c.id == row_id).values(name=f"{NAMELESS}{row_id}"))
    conn.execute(update(store).values(swept_at=0.0))


def is_any_purged(conn: Connection) -> bool:
    """Tell whether anything that was purged is still to be removed."""
    found = (_nameless(table).limit(1) for table in (account, device))
    return any(conn.execute(query).first() is not None for query in found)


def remove_purged(conn: Connection, *, count: int) -> bool:
    """Remove about `count` rows of what was purged, and tell whether there may be more."""
    for account_id in conn.execute(_nameless(account)).scalars():
        mine = select(mailbox.c.id).where(mailbox.c.account_id == account_id)
        message = server_message.c
        if _remove(conn, uidl.c.id, uidl.c.account_id == account_id, count=count):
            return True
        found = select(message.id, message.body_id).where(message.mailbox_id.in_(mine)).limit(count)
        if rows := conn.execute(found).all():
            conn.execute(delete(server_message).where(is_one_of(message.id, [row.id for row in rows])))
            _release(conn, {row.body_id for row in rows if row.body_id is not None})
            return True
        if _remove_files(conn, select(replica.c.id).where(replica.c.mailbox_id.in_(mine)), count=count):
            return True
        _remove_of_guard(conn, (HoldScope.OF_ACCOUNT,), account_id)
        conn.execute(delete(account).where(account.c.id == account_id))
        return True
    for device_id in conn.execute(_nameless(device)).scalars():
        if not _remove_files(conn, select(replica.c.id).where(replica.c.device_id == device_id), count=count):
            _remove_of_guard(conn, (HoldScope.ON_DEVICE, HoldScope.BY_DEVICE), device_id)
            conn.execute(delete(device).where(device.c.id == device_id))
        return True
    return False


def _accounts_left(conn: Connection, known: Collection[str]) -> Iterator[Left]:
    count = (
        select(func.count())
        .select_from(server_message)
        .join(mailbox, mailbox.c.id == server_message.c.mailbox_id)
        .where(mailbox.c.account_id == account.c.id, server_message.c.gone_at.is_(None))
        .scalar_subquery()
    )
    query = select(account.c.name, account.c.kind, count.label("messages")).order_by(account.c.name)
    for row in conn.execute(query.where(*_is_left(account.c.name, known))):
        yield Left(Kind.ACCOUNT, row.name, row.messages, is_only_copy=row.kind == "pop3" and row.messages > 0)


def _devices_left(conn: Connection, known: Collection[str]) -> Iterator[Left]:
    count = (
        select(func.count())
        .select_from(replica_message)
        .join(replica, replica.c.id == replica_message.c.replica_id)
        .where(replica.c.device_id == device.c.id)
        .scalar_subquery()
    )
    query = select(device.c.name, count.label("files")).order_by(device.c.name)
    for row in conn.execute(query.where(*_is_left(device.c.name, known))):
        yield Left(Kind.DEVICE, row.name, row.files)


def _is_left(name: Column[str], known: Collection[str]) -> tuple[ColumnElement[bool], ...]:
    return name.not_in(known), ~name.startswith(NAMELESS, autoescape=True)


def _nameless(table: Table) -> Select[int]:
    return select(table.c.id).where(table.c.name.startswith(NAMELESS, autoescape=True)).order_by(table.c.id)


def _remove_files(conn: Connection, replica_ids: Select[int], *, count: int) -> bool:
    """Remove rows of these replicas, and tell whether there were any."""
    return (
        _remove(conn, replica_message.c.id, replica_message.c.replica_id.in_(replica_ids), count=count)
        or _remove(conn, tombstone.c.id, tombstone.c.replica_id.in_(replica_ids), count=count)
        or _remove(conn, base_message.c.message_id, base_message.c.replica_id.in_(replica_ids), count=count)
    )


def _remove_of_guard(conn: Connection, scopes: Collection[HoldScope], scope_id: int) -> None:
    """Remove what the guard counted and held of one device or account; no foreign key does."""
    for table in (hold, guard_removal):
        mine = (table.c.scope.in_([scope.value for scope in scopes]), table.c.scope_id == scope_id)
        conn.execute(delete(table).where(*mine))


def _remove(conn: Connection, key: Column[int], where: ColumnElement[bool], *, count: int) -> bool:
    """Remove rows of the key's table, and tell whether there were any."""
    keys = conn.execute(select(key).where(where).limit(count)).scalars().all()
    if keys:
        conn.execute(delete(key.table).where(where, is_one_of(key, keys)))
    return bool(keys)


def _release(conn: Connection, body_ids: Collection[int]) -> None:
    """Let bodies be old that no message has any more, so that the sweep does not keep them for the retention."""
    is_named = exists().where(server_message.c.body_id == body.c.id)
    conn.execute(update(body).where(is_one_of(body.c.id, body_ids), ~is_named).values(stored_at=0.0))
