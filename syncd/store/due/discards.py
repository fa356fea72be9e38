"""Floor 3: discarded holds: what was about to go is put back, by the ways that there are for it.

Theory. Of deletions by devices the files are announced as deliveries again, so that each device gets back what it lost.
Of removals on a device the server has nothing any more: the messages are put back (`restores`).
"""

from typing import Any

from sqlalchemy import Connection, and_, select, update

from syncd.mail.tree import ReplicaState
from syncd.store.engine.queries import is_one_of
from syncd.store.files.deletions import touch
from syncd.store.files.restores import put_back
from syncd.store.mailboxes.mailbox_removals import give_back
from syncd.store.rounds.holds import Hold, HoldScope, drop_holds
from syncd.store.tables.schema import replica, replica_message
from syncd.store.trees.replica_news import raise_replica_version


def discard_hold(conn: Connection, one: Hold, *, now: float) -> None:
    """Put back what a hold holds, and forget the hold; a device that removed the whole mailbox gets it again."""
    if one.scope is HoldScope.ON_DEVICE:
        put_back(conn, one.mailbox_id, one.message_ids, now=now)
    else:
        _deliver_again(conn, one)
        give_back(conn, mailbox_id=one.mailbox_id, device_id=one.device_id)
    drop_holds(conn, (one.id,))


def _deliver_again(conn: Connection, one: Hold) -> None:
    columns = replica_message.c
    where = and_(is_one_of(columns.message_id, one.message_ids), columns.state == ReplicaState.DELETED)
    if one.device_id is not None:
        where &= columns.replica_id.in_(_replicas(one, one.device_id))
    rows = conn.execute(select(columns.id, columns.replica_id).where(where)).all()
    for replica_id in {row.replica_id for row in rows}:
        version = raise_replica_version(conn, replica_id)
        mine = is_one_of(columns.id, [row.id for row in rows if row.replica_id == replica_id])
        back = update(replica_message).where(mine)
        conn.execute(back.values(state=ReplicaState.DELIVERING, missing_since=None, version=version))
    touch(conn, one.mailbox_id, one.message_ids)


def _replicas(one: Hold, device_id: int) -> Any:
    return select(replica.c.id).where(replica.c.device_id == device_id, replica.c.mailbox_id == one.mailbox_id)
