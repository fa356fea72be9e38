"""Floor 3: discarded holds: what was about to go is put back, by the ways that there are for it.

Theory. Of deletions by devices the files are announced as deliveries again, so that each device gets back what it lost.
Of removals on a device the server has nothing any more: the files become ones that the devices added, and so messages
of the server once more. All devices that have the message take part, for else each would send it.
"""

from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import Connection, and_, delete, select, update

from syncd.mail.tree import ReplicaState
from syncd.store.added_files import FileAsRead, added_file, file_columns, take_in
from syncd.store.deletions import touch
from syncd.store.holds import Hold, HoldScope, drop_holds, holds, take_out
from syncd.store.mailbox_removals import give_back
from syncd.store.queries import is_one_of
from syncd.store.replica_tree import raise_replica_version
from syncd.store.schema import base_message, replica, replica_message, server_message


def discard_hold(conn: Connection, one: Hold, *, now: float) -> None:
    """Put back what a hold holds, and forget the hold; a device that removed the whole mailbox gets it again."""
    if one.scope is HoldScope.ON_DEVICE:
        _send_again(conn, one, now=now)
    else:
        _deliver_again(conn, one)
        give_back(conn, mailbox_id=one.mailbox_id, device_id=one.device_id)
    drop_holds(conn, (one.id,))


def _deliver_again(conn: Connection, one: Hold) -> None:
    columns = replica_message.c
    where = and_(is_one_of(conn, columns.message_id, one.message_ids), columns.state == ReplicaState.DELETED)
    if one.device_id is not None:
        where &= columns.replica_id.in_(_replicas(one, one.device_id))
    rows = conn.execute(select(columns.id, columns.replica_id).where(where)).all()
    for replica_id in {row.replica_id for row in rows}:
        version = raise_replica_version(conn, replica_id)
        mine = is_one_of(conn, columns.id, [row.id for row in rows if row.replica_id == replica_id])
        back = update(replica_message).where(mine)
        conn.execute(back.values(state=ReplicaState.DELIVERING, missing_since=None, version=version))
    touch(conn, one.mailbox_id, one.message_ids)


def _send_again(conn: Connection, one: Hold, *, now: float) -> None:
    """Make the files of messages that the server lost those of their devices, taken in already."""
    columns, base = replica_message.c, base_message.c
    query = (
        select(server_message.c.body_id, replica_message.c.form, replica.c.device_id, *file_columns())
        .select_from(replica_message)
        .join(replica, replica.c.id == columns.replica_id)
        .join(server_message, server_message.c.id == columns.message_id)
        .where(
            is_one_of(conn, columns.message_id, one.message_ids),
            columns.state == ReplicaState.PRESENT,
            server_message.c.body_id.is_not(None),
            server_message.c.gone_at.is_not(None),
        )
        .order_by(columns.id)
    )
    rows = [tuple(row) for row in conn.execute(query)]
    files = [(body_id, form, added_file(row)) for body_id, form, _, *row in rows]
    _detach(conn, (file.file_id for _, _, file in files))
    for body_id, form, file in files:
        mine = (base.replica_id == file.replica_id, base.message_id == file.message_id)
        conn.execute(delete(base_message).where(*mine))
        seen = FileAsRead(file.size_bytes, file.mtime, form, file.info)
        take_in(conn, file, seen=seen, body_id=body_id, now=now)
    for other in _on_devices(conn, one):
        take_out(
            conn,
            mailbox_id=one.mailbox_id,
            message_ids=one.message_ids,
            of=(HoldScope.ON_DEVICE, other.scope_id),
        )


def _detach(conn: Connection, file_ids: Iterable[int]) -> None:
    here = is_one_of(conn, replica_message.c.id, list(file_ids))
    conn.execute(update(replica_message).where(here).values(message_id=None, state=ReplicaState.NEW))


def _on_devices(conn: Connection, one: Hold) -> Collection[Hold]:
    """Return the holds of the same mailbox on other devices."""
    found = holds(conn, mailbox_id=one.mailbox_id, scope=HoldScope.ON_DEVICE)
    return [other for other in found if other.id != one.id]


def _replicas(one: Hold, device_id: int) -> Any:
    return select(replica.c.id).where(replica.c.device_id == device_id, replica.c.mailbox_id == one.mailbox_id)
