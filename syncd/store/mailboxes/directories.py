"""Floor 3: the directories of replicas: moved to the names that their mailboxes have, and forgotten when removed.

Theory. The intention to rename is that a mailbox has another name than the directory of its replica, which is committed
before anything is done. While a directory is on its way its replicas count as not looked at: killed in between, nothing
is concluded from what is missing, wherever the directory is found. One that a program of the device has renamed, as is
on record, is no other than it was: what its programs take out of it meanwhile is missing as it is anywhere.
"""

from collections.abc import Collection, Mapping
from functools import cache
from pathlib import PurePosixPath
from typing import Any

from sqlalchemy import Connection, Select, bindparam, delete, select, update

from syncd.mail.mailbox import MailboxName
from syncd.mail.paths import path_of
from syncd.store.engine.queries import is_listed, is_one_of
from syncd.store.tables.schema import account, base_message, mailbox, replica, replica_message
from syncd.store.trees.devices import REPLICAS, ReplicaRow, replica_row
from syncd.values import Value


class Place(Value):
    """Where a replica is, and the mailbox that it is of. has_left: it has no directory there that is ours."""

    replica_id: int
    mailbox_id: int
    account: str
    name: MailboxName
    directory: PurePosixPath
    has_left: bool


def placed_replicas(
    conn: Connection, *, device_id: int, only: Collection[int] | None = None
) -> tuple[tuple[ReplicaRow, Place], ...]:
    """Return the replicas of a device with their places, all or only those with these ids."""
    if only is not None and not only:
        return ()
    wanted: dict[str, Any] = {"of_device": device_id, **({} if only is None else {"ids": only})}
    placed: list[tuple[ReplicaRow, Place]] = []
    for *row, owner, name in conn.execute(_placed(is_whole=only is None), wanted):
        of = replica_row(row)
        place = Place(of.id, of.mailbox_id, owner, MailboxName.parse(name), path_of(of.directory), of.has_left)
        placed.append((of, place))
    return tuple(placed)


def begin_move(conn: Connection, *, device_id: int, source: PurePosixPath) -> Mapping[int, float | None]:
    """Let nothing be concluded from a directory and what is inside; return since when it was looked at, by replica."""
    query = select(replica.c.id, replica.c.listed_at, replica.c.directory).where(replica.c.device_id == device_id)
    inside = {
        row.id: row.listed_at for row in conn.execute(query) if PurePosixPath(row.directory).is_relative_to(source)
    }
    conn.execute(update(replica).where(is_one_of(replica.c.id, inside)).values(listed_at=None))
    return inside


def settle_move(
    conn: Connection, source: PurePosixPath, target: PurePosixPath, *, listed_at: Mapping[int, float | None]
) -> None:
    """Record where replicas are now; listed_at: by replica, None for those to be looked at as for the first time."""
    for replica_id, since in listed_at.items():
        where = replica.c.id == replica_id
        old = PurePosixPath(conn.execute(select(replica.c.directory).where(where)).scalar_one())
        new = target / old.relative_to(source)
        conn.execute(update(replica).where(where).values(directory=str(new), listed_at=since))


def record_found(
    conn: Connection, *, device_id: int, source: PurePosixPath, target: PurePosixPath, same: Collection[int]
) -> None:
    """Record that a directory has another name by now; same: the replicas of which it is known that no other has it.

    Others are to be looked at as for the first time.
    """
    inside = begin_move(conn, device_id=device_id, source=source)
    listed_at = {id_: since if id_ in same else None for id_, since in inside.items()}
    settle_move(conn, source, target, listed_at=listed_at)


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


@cache
def _placed(*, is_whole: bool) -> Select[Any]:
    if is_whole:
        return _PLACED.where(replica.c.device_id == bindparam("of_device"))
    # NOTE: without the sum SQLite begins with all replicas of the device instead of the ids.
    return _PLACED.where(is_listed(replica.c.id, "ids"), replica.c.device_id + 0 == bindparam("of_device"))


_PLACED = REPLICAS.join(account, account.c.id == mailbox.c.account_id).add_columns(
    account.c.name.label("owner"), mailbox.c.name.label("mailbox_name")
)
