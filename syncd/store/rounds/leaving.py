"""Floor 3: what a device does not take any more: replicas that leave, and messages outside of its selection.

Theory. A replica that leaves is planned like any other, for a device that takes nothing, until it has no file that we
know of. Its rows go with its files, one withdrawn batch after the other, so that what is missing afterwards is nobody's
deletion. Messages become too old by time alone, and nobody tells: they are looked for by their dates.
"""

from collections.abc import Collection, Iterable, Mapping

from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, exists, false, or_, select, update

from syncd.mail.tree import NOT_THERE
from syncd.reconcile.planner import Selection
from syncd.store.engine.queries import is_one_of
from syncd.store.rounds.holds import HoldScope, drop_holds, holds, take_out
from syncd.store.tables.schema import base_message, journal, replica, replica_message, server_message
from syncd.store.trees.devices import LEAVING, LEFT, ReplicaRow
from syncd.store.trees.journal import ON_ITS_WAY
from syncd.store.trees.replica_tree import is_unsettled


def mark_leaving(conn: Connection, replica_ids: Iterable[int]) -> None:
    """Record that a device does not take these mailboxes any more, so that all of their files are planned anew."""
    here = is_one_of(replica.c.id, replica_ids)
    conn.execute(update(replica).where(here).values(selection=LEAVING, server_cursor=0))


def without_files(conn: Connection, device_id: int) -> frozenset[int]:
    """Return the replicas of a device that are leaving and have no file that we know of: mostly none."""
    known = exists().where(replica_message.c.replica_id == replica.c.id)
    query = select(replica.c.id).where(replica.c.device_id == device_id, replica.c.selection == LEAVING, ~known)
    return frozenset(conn.execute(query).scalars())


def mark_left(conn: Connection, replica_ids: Collection[int]) -> None:
    """Record that replicas without files have left; what they had no file of is agreed no more."""
    conn.execute(delete(base_message).where(is_one_of(base_message.c.replica_id, replica_ids)))
    left = update(replica).where(is_one_of(replica.c.id, replica_ids))
    conn.execute(left.values(selection=LEFT, keywords="", replica_cursor=replica.c.version))


def forget_files(conn: Connection, of: ReplicaRow) -> None:
    """Forget the files of a replica whose directory is gone, but for those that are on their way to the server."""
    mine = replica_message.c.replica_id == of.id
    messages = select(replica_message.c.message_id).where(mine, replica_message.c.message_id.is_not(None))
    message_ids = frozenset(conn.execute(messages).scalars())
    for scope in (HoldScope.BY_DEVICE, HoldScope.ON_DEVICE):
        take_out(conn, mailbox_id=of.mailbox_id, message_ids=message_ids, of=(scope, of.device_id))
    is_coming = exists().where(
        journal.c.replica_message_id == replica_message.c.id,
        journal.c.kind.in_(ON_ITS_WAY),
        replica_message.c.message_id.is_(None),
    )
    conn.execute(delete(replica_message).where(mine, ~is_coming))
    conn.execute(delete(base_message).where(base_message.c.replica_id == of.id))


def with_lost(conn: Connection, device_id: int) -> frozenset[int]:
    """Return the mailboxes of a device that are leaving and have files that are not there: nobody deletes them now."""
    return frozenset(conn.execute(_WITH_LOST, {"of_device": device_id}).scalars())


def outside(conn: Connection, device_id: int, selection: Selection) -> Mapping[int, frozenset[int]]:
    """Return by replica the messages of which a device has files, though they are outside of its selection."""
    message = server_message.c
    terms: list[ColumnElement[bool]] = [false()]
    if selection.not_before is not None:
        terms.append(message.internaldate < selection.not_before)
    if selection.max_size_bytes is not None:
        terms.append(message.size_bytes > selection.max_size_bytes)
    return _files_of(conn, replica.c.device_id == device_id, or_(*terms))


def aged(conn: Connection, device_id: int, *, since: int, before: int) -> Mapping[int, frozenset[int]]:
    """Return by replica the messages from this time of which a device has files: only they are read."""
    message = server_message.c
    # NOTE: without the sum SQLite begins with all files of the device instead of the dates.
    of_device = replica.c.device_id + 0 == device_id
    return _files_of(conn, of_device, and_(message.internaldate >= since, message.internaldate < before))


def drop_deletions(conn: Connection, device_id: int) -> None:
    """Forget what is held of a device's deletions: it may only read now, and gets its files back."""
    drop_holds(conn, [one.id for one in holds(conn, device_id=device_id, scope=HoldScope.BY_DEVICE)])


def _files_of(
    conn: Connection, of_device: ColumnElement[bool], where: ColumnElement[bool]
) -> Mapping[int, frozenset[int]]:
    file = replica_message.c
    query = (
        select(file.replica_id, file.message_id)
        .join(server_message, server_message.c.id == file.message_id)
        .join(replica, replica.c.id == file.replica_id)
        .where(of_device, where, server_message.c.gone_at.is_(None))
    )
    found: dict[int, set[int]] = {}
    for replica_id, message_id in conn.execute(query):
        found.setdefault(replica_id, set()).add(message_id)
    return {replica_id: frozenset(ids) for replica_id, ids in found.items()}


_LOST = select(replica_message.c.replica_id).where(
    is_unsettled(*NOT_THERE),
    (replica_message.c.message_id + 0).is_not(None),  # NOTE: without the sum it is the index of all files with messages
)
_WITH_LOST = select(replica.c.mailbox_id).where(
    replica.c.id.in_(_LOST),
    replica.c.device_id + 0 == bindparam("of_device"),  # NOTE: else SQLite begins with all replicas of the device
    replica.c.selection == LEAVING,
)
