"""Floor 3: the directories of replicas: moved to the names that their mailboxes have, and forgotten when removed.

Theory (law 3). The intention to rename is that a mailbox has another name than the directory of its replica. Which step
is next towards it, maybe one aside, is committed before it is done, by replica: whatever is killed in between, the next
start knows by whose doing a directory has the other name, and its rows are what they were. One that a program of the
device has renamed, as is on record, is no other than it was, either: what its programs take out of it meanwhile is
missing as it is anywhere.
"""

from collections.abc import Collection, Mapping
from functools import cache
from pathlib import PurePosixPath
from typing import Any

from sqlalchemy import Connection, Select, bindparam, delete, select, update

from syncd.mail.mailbox import MailboxName
from syncd.mail.paths import path_of
from syncd.store.engine.queries import is_listed
from syncd.store.tables.schema import account, base_message, mailbox, replica, replica_message
from syncd.store.trees.devices import REPLICAS, ReplicaRow, replica_row
from syncd.values import Value


class Place(Value):
    """Where a replica is, and the mailbox that it is of.

    has_left: it has no directory there that is ours. moving_to: where it may be by now, for we were about to rename it.
    """

    replica_id: int
    mailbox_id: int
    account: str
    name: MailboxName
    directory: PurePosixPath
    has_left: bool
    moving_to: PurePosixPath | None


def placed_replicas(
    conn: Connection, *, device_id: int, only: Collection[int] | None = None
) -> tuple[tuple[ReplicaRow, Place], ...]:
    """Return the replicas of a device with their places, all or only those with these ids."""
    if only is not None and not only:
        return ()
    wanted: dict[str, Any] = {"of_device": device_id, **({} if only is None else {"ids": only})}
    placed: list[tuple[ReplicaRow, Place]] = []
    for *row, owner, name, moving_to in conn.execute(_placed(is_whole=only is None), wanted):
        of = replica_row(row)
        target = None if moving_to is None else path_of(moving_to)
        place = Place(of.id, of.mailbox_id, owner, MailboxName.parse(name), path_of(of.directory), of.has_left, target)
        placed.append((of, place))
    return tuple(placed)


def announce_move(conn: Connection, *, device_id: int, source: PurePosixPath, target: PurePosixPath) -> None:
    """Record where a directory, with what is inside, is about to be; commit it before it is renamed."""
    for replica_id, inside in _inside(conn, device_id, source).items():
        _update(conn, replica_id, moving_to=str(target / inside))


def settle_move(
    conn: Connection,
    *,
    device_id: int,
    source: PurePosixPath,
    target: PurePosixPath,
    same: Collection[int] | None = None,
) -> None:
    """Record where a directory is now, with what is inside, whether that was announced or not; where it was, too.

    same: the replicas of which it is known that no other directory has the name; None: all. The others are to be looked
    at as for the first time.
    """
    for replica_id, inside in _inside(conn, device_id, source).items():
        doubt = {} if same is None or replica_id in same else {"listed_at": None}
        _update(conn, replica_id, directory=str(target / inside), moving_to=None, **doubt)


def move_left(conn: Connection, *, replica_id: int, target: PurePosixPath) -> None:
    """Record where the directory of a replica that has left would be."""
    conn.execute(update(replica).where(replica.c.id == replica_id).values(directory=str(target)))


def is_without_messages(conn: Connection, *, replica_id: int) -> bool:
    """Tell whether nothing is known of any file of a replica."""
    of_file = select(replica_message.c.id).where(replica_message.c.replica_id == replica_id)
    of_base = select(base_message.c.message_id).where(base_message.c.replica_id == replica_id)
    return all(conn.execute(query.limit(1)).first() is None for query in (of_file, of_base))


def forget(conn: Connection, *, replica_id: int) -> None:
    """Forget a replica whose directory is gone, with its mailbox."""
    conn.execute(delete(replica).where(replica.c.id == replica_id))


def _inside(conn: Connection, device_id: int, source: PurePosixPath) -> Mapping[int, PurePosixPath]:
    """Return the replicas that have a directory or are inside, with where in it they are."""
    query = select(replica.c.id, replica.c.directory).where(replica.c.device_id == device_id)
    directories = {row.id: path_of(row.directory) for row in conn.execute(query)}
    return {id_: one.relative_to(source) for id_, one in directories.items() if one.is_relative_to(source)}


def _update(conn: Connection, replica_id: int, **values: Any) -> None:
    conn.execute(update(replica).where(replica.c.id == replica_id).values(**values))


@cache
def _placed(*, is_whole: bool) -> Select[Any]:
    if is_whole:
        return _PLACED.where(replica.c.device_id == bindparam("of_device"))
    # NOTE: without the sum SQLite begins with all replicas of the device instead of the ids.
    return _PLACED.where(is_listed(replica.c.id, "ids"), replica.c.device_id + 0 == bindparam("of_device"))


_PLACED = REPLICAS.join(account, account.c.id == mailbox.c.account_id).add_columns(
    account.c.name.label("owner"), mailbox.c.name.label("mailbox_name"), replica.c.moving_to
)
