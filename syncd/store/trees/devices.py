"""Floor 3: devices and their replicas as rows: where they are, their generation, how far each side is planned."""

import secrets
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, bindparam, delete, insert, or_, select, update

from syncd.store.engine.queries import is_listed, is_one_of
from syncd.store.tables.own_tables import store
from syncd.store.tables.schema import (
    account,
    base_message,
    device,
    journal,
    mailbox,
    mailbox_change,
    replica,
    replica_message,
)
from syncd.store.trees.journal import UploadState
from syncd.values import Value

NEW, ACTIVE, AWAY, FOREIGN, ADOPTING = "new", "active", "away", "foreign", "adopting"
"""How a device is: never seen; served; its root not there; not ours until a person says so; compared after that."""

UNSERVED = ""
"""The selection of a replica at which nobody looks: its account is not served, or its server has no such mailbox."""
LEAVING, LEFT = "leaving", "left"
"""The selections of a replica whose mailbox its device does not take any more, and of one that has nothing of it."""
READ_ONLY = "read_only"
"""A part of the selection of a replica whose device changes nothing on the server."""


class DeviceRow(Value):
    """A device. The marker in its path holds `generation`, or `generation_next` while a barrier is under way."""

    id: int
    name: str
    path: str
    layout: str
    generation: int
    generation_next: int
    state: str


class ReplicaRow(Value):
    """A device's copy of one mailbox; directory is relative to the device's path.

    listed_at: when a complete listing was last believed; None: nobody has looked since it was made, adopted or selected
    again, so that what is not there was not deleted, and what is there may be anything.
    """

    id: int
    device_id: int
    mailbox_id: int
    directory: str
    selection: str
    keywords: tuple[str, ...]
    version: int
    server_cursor: int
    replica_cursor: int
    mailbox_version: int
    listed_at: float | None = None

    @property
    def is_leaving(self) -> bool:
        """Tell whether the device does not take the mailbox any more and may have files of it."""
        return self.selection == LEAVING

    @property
    def has_left(self) -> bool:
        return self.selection == LEFT

    @property
    def has_server_news(self) -> bool:
        return self.mailbox_version > self.server_cursor

    @property
    def has_replica_news(self) -> bool:
        return self.version > self.replica_cursor


def store_id(conn: Connection, *, now: float) -> str:
    """Return the random id of this store, which is made on first use."""
    known = conn.execute(select(store.c.store_id)).scalar_one_or_none()
    if known is not None:
        return str(known)
    made = secrets.token_hex(16)
    conn.execute(insert(store).values(id=1, store_id=made, created_at=now, swept_at=now))
    return made


def ensure_device(conn: Connection, name: str, *, path: str, layout: str) -> DeviceRow:
    """Return the device called `name`, made with this path and layout if it is new."""
    row = conn.execute(select(device).where(device.c.name == name)).one_or_none()
    if row is None:
        made = insert(device).values(name=name, path=path, layout=layout, state=NEW).returning(device)
        row = conn.execute(made).one()
    return _device_row(row)


def device_of(conn: Connection, device_id: int) -> DeviceRow:
    """Return the device with this row id."""
    return _device_row(conn.execute(_DEVICE, {"of_id": device_id}).one())


def device_names(conn: Connection) -> Mapping[int, str]:
    """Return the names of all devices by id."""
    return {row.id: row.name for row in conn.execute(_NAMES)}


def devices_with_mail_of(conn: Connection, *, accounts: Iterable[str]) -> frozenset[str]:
    """Return the devices that have replicas of mailboxes of these accounts."""
    query = (
        select(device.c.name)
        .join(replica, replica.c.device_id == device.c.id)
        .join(mailbox, mailbox.c.id == replica.c.mailbox_id)
        .join(account, account.c.id == mailbox.c.account_id)
        .where(account.c.name.in_(tuple(accounts)))
    )
    return frozenset(conn.execute(query.distinct()).scalars())


def move_device(conn: Connection, device_id: int, path: str) -> None:
    """Record that the whole replica root, marker included, is at another path now."""
    conn.execute(update(device).where(device.c.id == device_id).values(path=path))


def empty_device(conn: Connection, device_id: int, *, path: str, layout: str) -> None:
    """Forget every file of a device, so that all of it is delivered afresh into an empty root."""
    mine = select(replica.c.id).where(replica.c.device_id == device_id)
    conn.execute(delete(base_message).where(base_message.c.replica_id.in_(mine)))
    conn.execute(delete(replica_message).where(replica_message.c.replica_id.in_(mine)))
    conn.execute(delete(replica).where(replica.c.device_id == device_id))
    conn.execute(delete(mailbox_change).where(mailbox_change.c.device_id == device_id))
    conn.execute(
        update(device).where(device.c.id == device_id).values(path=path, layout=layout, generation=0, generation_next=0)
    )


def record_device_state(
    conn: Connection, device_id: int, *, state: str, error: str | None, cause: str | None = None
) -> None:
    """Record how a device is, and what is the matter with it; cause: `errors.Cause` of what its state does not say."""
    told = {"state": state, "error": error, "cause": cause}
    is_news = or_(*(device.c[name].is_distinct_from(value) for name, value in told.items()))  # else it need not be kept
    conn.execute(update(device).where(device.c.id == device_id, is_news).values(told))


def begin_barrier(conn: Connection, device_id: int) -> int:
    """Return the generation that the marker gets with the next barrier; commit it before the marker is written."""
    return int(conn.execute(_BEGIN_BARRIER, {"device_id": device_id}).scalar_one())


def settle_barrier(conn: Connection, device_id: int, generation: int, *, now: float) -> None:
    """Record that the marker with `generation` is on disk, and so is everything delivered before it."""
    conn.execute(_SETTLE_BARRIER, {"device_id": device_id, "reached": generation, "now": now})


def replicas(
    conn: Connection, *, device_id: int | None = None, account_id: int | None = None
) -> tuple[ReplicaRow, ...]:
    """Return the replicas of a device, or of an account's mailboxes, or both."""
    of = {"device_id": device_id, "account_id": account_id}
    wanted = {name: id_ for name, id_ in of.items() if id_ is not None}
    return tuple(replica_row(row) for row in conn.execute(_replicas(*wanted), wanted))


def replica_of(conn: Connection, replica_id: int) -> ReplicaRow:
    """Return one replica as it is now."""
    return replica_row(conn.execute(_REPLICA, {"of_id": replica_id}).one())


def replica_row(row: Iterable[Any]) -> ReplicaRow:
    """Return a row of `REPLICAS`."""
    # NOTE: in the order of `REPLICAS`: see `accounts`.
    (
        id_,
        device_id,
        mailbox_id,
        directory,
        selection,
        keywords,
        version,
        server_cursor,
        replica_cursor,
        listed_at,
        mailbox_version,
    ) = row
    return ReplicaRow(
        id=id_,
        device_id=device_id,
        mailbox_id=mailbox_id,
        directory=directory,
        selection=selection,
        keywords=tuple(keywords.split()),
        version=version,
        server_cursor=server_cursor,
        replica_cursor=replica_cursor,
        mailbox_version=mailbox_version,
        listed_at=listed_at,
    )


def replica_ids(conn: Connection, *, device_id: int, mailbox_ids: Collection[int]) -> frozenset[int]:
    """Return the replicas that a device has of these mailboxes."""
    if not mailbox_ids:
        return frozenset()
    of = {"of_device": device_id, "ids": mailbox_ids}
    return frozenset(conn.execute(_replica_ids(), of).scalars())


@cache
def _replica_ids() -> Select[Any]:
    # NOTE: without the sum SQLite begins with all replicas of the device instead of the ids.
    is_mine = replica.c.device_id + 0 == bindparam("of_device")
    return select(replica.c.id).where(is_listed(replica.c.mailbox_id, "ids"), is_mine)


def ensure_replica(
    conn: Connection,
    device_id: int,
    mailbox_id: int,
    *,
    directory: str,
    selection: str,
    listed_at: float | None = None,
) -> None:
    """Make the replica of a mailbox on a device; another selection than before plans the whole mailbox anew.

    listed_at: of one that is made, or that had left, when its directory was seen to hold nothing. One that was about to
    leave, or might only read until now, is looked at as for the first time: what is not there was not deleted. What one
    that may only read from now on has not sent, it does not send.
    """
    where = (replica.c.device_id == device_id, replica.c.mailbox_id == mailbox_id)
    known = conn.execute(select(replica.c.id, replica.c.selection).where(*where)).one_or_none()
    if known is None:
        place = {"directory": directory, "selection": selection, "listed_at": listed_at}
        conn.execute(insert(replica).values(device_id=device_id, mailbox_id=mailbox_id, **place))
    elif known.selection != selection:
        values: dict[str, Any] = {"selection": selection, "server_cursor": 0}
        if known.selection == LEFT:
            values["listed_at"] = listed_at
        elif known.selection == LEAVING or (READ_ONLY in known.selection and READ_ONLY not in selection):
            values["listed_at"] = None
        if READ_ONLY in selection and READ_ONLY not in known.selection:
            _drop_uploads(conn, known.id)
        conn.execute(update(replica).where(replica.c.id == known.id).values(values))


def mark_unserved(conn: Connection, replica_ids: Iterable[int]) -> None:
    """Record that nobody looks at these replicas any more; what is missing then will not have been deleted."""
    here = is_one_of(replica.c.id, replica_ids)
    conn.execute(update(replica).where(here).values(selection=UNSERVED, listed_at=None))


def without_part(conn: Connection, *, mailbox_id: int) -> frozenset[str]:
    """Return the devices for which nothing of a mailbox is to be fetched yet.

    Nobody knows yet what is in their directories, or a person must say so first, or what is there has to be compared.
    """
    return frozenset(conn.execute(_without_part(), {"of_mailbox": mailbox_id}).scalars())


@cache
def _without_part() -> Select[Any]:
    return (
        select(device.c.name)
        .outerjoin(replica, and_(replica.c.device_id == device.c.id, replica.c.mailbox_id == bindparam("of_mailbox")))
        .where(
            or_(
                device.c.state.in_((NEW, FOREIGN)),
                and_(replica.c.id.is_not(None), replica.c.listed_at.is_(None), replica.c.selection != LEFT),
                and_(device.c.state == ADOPTING, replica.c.id.is_(None)),
            )
        )
    )


def record_keywords(conn: Connection, replica_id: int, keywords: tuple[str, ...], *, can_hold_more: bool) -> None:
    """Record a replica's keyword letters; where it can hold more than before, plan its whole mailbox anew."""
    values: dict[str, Any] = {"keywords": " ".join(keywords)}
    if can_hold_more:
        values["server_cursor"] = 0
    conn.execute(update(replica).where(replica.c.id == replica_id).values(**values))


def move_server_cursor(conn: Connection, replica_id: int, upto: int, *, since: int = 0) -> None:
    """Record that the server tree is planned and settled up to this version for a replica.

    since: where the cursor was when that was planned; if it was set back meanwhile, all is to be planned anew.
    """
    conn.execute(_MOVE_SERVER_CURSOR, {"of_replica": replica_id, "upto": upto, "since": since})


def move_replica_cursor(conn: Connection, replica_id: int, upto: int) -> None:
    """Record that the replica tree is planned and settled up to this version for the server."""
    conn.execute(_MOVE_REPLICA_CURSOR, {"of_replica": replica_id, "upto": upto, "since": 0})


_NAMES = select(device.c.id, device.c.name)
_DEVICE = select(device).where(device.c.id == bindparam("of_id"))
_OF_ROWS = tuple(column for column in replica.c if column is not replica.c.moving_to)
REPLICAS = (
    select(*_OF_ROWS, mailbox.c.version.label("mailbox_version"))
    .join(mailbox, mailbox.c.id == replica.c.mailbox_id)
    .order_by(replica.c.id)
)
_REPLICA = REPLICAS.where(replica.c.id == bindparam("of_id"))
_MOVE_SERVER_CURSOR, _MOVE_REPLICA_CURSOR = (
    update(replica)
    .where(replica.c.id == bindparam("of_replica"), cursor < bindparam("upto"), cursor >= bindparam("since"))
    .values({cursor: bindparam("upto")})
    for cursor in (replica.c.server_cursor, replica.c.replica_cursor)
)
_BY_ID = update(device).where(device.c.id == bindparam("device_id"))
_BEGIN_BARRIER = _BY_ID.values(generation_next=device.c.generation + 1).returning(device.c.generation_next)
_SETTLE_BARRIER = _BY_ID.values(
    generation=bindparam("reached"), generation_next=bindparam("reached"), settled_at=bindparam("now")
)


def _drop_uploads(conn: Connection, replica_id: int) -> None:
    """Forget what was taken in of a replica and not begun: from now on its device sends nothing by itself."""
    mine = select(replica_message.c.id).where(
        replica_message.c.replica_id == replica_id, replica_message.c.message_id.is_(None)
    )
    here = (journal.c.kind == UploadState.TAKEN_IN.value, journal.c.replica_message_id.in_(mine))
    conn.execute(delete(journal).where(*here))


def _device_row(row: Row[Any]) -> DeviceRow:
    return DeviceRow(row.id, row.name, row.path, row.layout, row.generation, row.generation_next, row.state)


@cache
def _replicas(*of: str) -> Select[Any]:
    """Select the replicas of what parameters of these names say."""
    columns = {"device_id": replica.c.device_id, "account_id": mailbox.c.account_id}
    return REPLICAS.where(*(columns[name] == bindparam(name) for name in of))
