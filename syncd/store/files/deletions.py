"""Floor 3: deletions by devices: files missing at one look, concluded at a second, and settled once the server did it.

Theory. A row goes from missing to deleted with a version of its own, so that its account plans it; what is deleted and
not settled yet is read again in every round of its mailbox, whatever the cursors say.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, delete, exists, func, or_, select, update

from syncd.mail.tree import NOT_THERE, ReplicaMessage, ReplicaState
from syncd.store.engine.queries import PER_VERSION, AtOnce, groups, is_listed, is_one_of
from syncd.store.files.successors import has_successor
from syncd.store.tables.schema import base_message, body, mailbox, replica, replica_message, server_message
from syncd.store.trees.devices import LEAVING, READ_ONLY, ReplicaRow
from syncd.store.trees.journal import drop_copies
from syncd.store.trees.replica_news import raise_replica_version
from syncd.store.trees.replica_tree import FILE_COLUMNS, is_unsettled, replica_message_of
from syncd.store.trees.server_tree import raise_version
from syncd.values import Value


class MissingFile(Value):
    """A file that one look did not find; since: when that was recorded."""

    mailbox_id: int
    file_id: int
    since: float


def missing_files(conn: Connection, device_id: int) -> tuple[MissingFile, ...]:
    """Return the files of a device that are missing, none of them concluded as deleted."""
    return tuple(MissingFile(*row) for row in conn.execute(_missing(), {"of_device": device_id}))


def count_missing(conn: Connection) -> Mapping[int, int]:
    """Count by replica the files that are missing, none of them concluded as deleted."""
    columns = replica_message.c
    query = select(columns.replica_id, func.count()).where(is_unsettled(ReplicaState.MISSING))
    return {row[0]: row[1] for row in conn.execute(query.group_by(columns.replica_id))}


def missing_uids(conn: Connection, *, mailbox_id: int, limit: int) -> tuple[int, ...]:
    """Return the UIDs of some messages of a mailbox of which a device has no file any more, and the server has them."""
    return tuple(conn.execute(_missing_uids(), {"of_mailbox": mailbox_id, "at_most": limit}).scalars())


def missing_rows(conn: Connection, of: ReplicaRow, file_ids: Iterable[int]) -> Mapping[str, ReplicaMessage]:
    """Return the rows of those of these files that are missing, by name."""
    files = map(replica_message_of, _missing_of().rows(conn, of_replica=of.id, ids=file_ids))
    return {file.name: file for file in files}


def message_ids(conn: Connection, ids: Iterable[int]) -> Mapping[int, str]:
    """Return the Message-ID of each of these messages, by row id, that has a body with one."""
    return {int(id_): str(message_id) for id_, message_id in _message_ids().rows(conn, ids=ids)}


def conclude(conn: Connection, of: ReplicaRow, file_ids: Iterable[int], *, listed_at: float) -> int:
    """Record that files were missing at a second complete listing, which began then; return how many are deleted now.

    Whoever asks has the proof (law 2). Files that have another state by now keep it.
    """
    conn.execute(update(replica).where(replica.c.id == of.id).values(listed_at=listed_at))
    columns, count = replica_message.c, 0
    for group in groups(file_ids, PER_VERSION):
        of_replica = columns.replica_id + 0 == of.id  # the sum: see `_missing_of`
        here = (of_replica, columns.state == ReplicaState.MISSING, is_one_of(columns.id, group))
        version = raise_replica_version(conn, of.id)
        deleted = update(replica_message).where(*here).values(state=ReplicaState.DELETED, version=version)
        count += conn.execute(deleted).rowcount
    return count


def deleted_messages(conn: Connection, of: ReplicaRow) -> tuple[int, ...]:
    """Return the messages whose files a device deleted, and of which that is not settled."""
    return tuple(conn.execute(_deleted(), {"of_replica": of.id}).scalars())


def lost_messages(conn: Connection, of: ReplicaRow) -> tuple[int, ...]:
    """Return the messages whose files a device does not have any more, whether it deleted them or not."""
    columns = replica_message.c
    query = select(columns.message_id).where(
        columns.replica_id == of.id, is_unsettled(*NOT_THERE), columns.message_id.is_not(None)
    )
    return tuple(conn.execute(query).scalars())


def not_there(
    conn: Connection, *, device_id: int, account_id: int, since: float, without: Iterable[int] = ()
) -> Mapping[int, int]:
    """Count by mailbox what a device no longer has, but for some messages; settled ones are over.

    All that is to be deleted from this account's server, and anything else that the device misses since then; but not
    what it put elsewhere.
    """
    of = {"of_device": device_id, "of_account": account_id, "since": since, "without": without}
    return {row.mailbox_id: row.number for row in conn.execute(_not_there(), of)}


def deleted_of_account(conn: Connection, *, account_id: int, without: Iterable[int] = ()) -> Mapping[int, int]:
    """Count by mailbox the messages that devices of an account deleted and put nowhere else, but for some.

    Not of devices of whose deletions no server hears.
    """
    of = {"of_account": account_id, "without": without}
    return {row.mailbox_id: row.number for row in conn.execute(_deleted_of_account(), of)}


def settle(conn: Connection, mailbox_id: int, message_ids: Iterable[int]) -> None:
    """Forget the files of messages that are gone from their server by a device's wish, on all devices without them.

    No tombstone: nothing of ours can come back. Call it after `server_tree.record_vanished`.
    """
    ids = tuple(message_ids)
    drop_copies(conn, ids)
    columns, base = replica_message.c, base_message.c
    here = (is_one_of(columns.message_id, ids), columns.state.in_(NOT_THERE))
    of_base = exists().where(columns.replica_id == base.replica_id, columns.message_id == base.message_id, *here)
    conn.execute(delete(base_message).where(is_one_of(base.message_id, ids), of_base))
    conn.execute(delete(replica_message).where(*here))
    lower_count(conn, mailbox_id, ids)


def touch(conn: Connection, mailbox_id: int, message_ids: Iterable[int]) -> None:
    """Let every device plan these messages once more."""
    ids = tuple(message_ids)
    if ids:
        version = raise_version(conn, mailbox_id)
        conn.execute(update(server_message).where(is_one_of(server_message.c.id, ids)).values(version=version))


def lower_count(conn: Connection, mailbox_id: int, message_ids: Iterable[int]) -> None:
    """Keep the cursor's count of known messages true, or the next look would list the whole mailbox.

    Only of what it counts: messages under its UIDNEXT.
    """
    columns = server_message.c
    counted = (
        select(func.count())
        .select_from(server_message)
        .join(mailbox, mailbox.c.id == columns.mailbox_id)
        .where(is_one_of(columns.id, message_ids), columns.uid < mailbox.c.uidnext)
        .scalar_subquery()
    )
    conn.execute(
        update(mailbox).where(mailbox.c.id == mailbox_id).values(exists_count=mailbox.c.exists_count - counted)
    )


@cache
def _deleted() -> Select[Any]:
    columns = replica_message.c
    is_mine = columns.replica_id == bindparam("of_replica")
    return (
        select(columns.message_id)
        .where(is_mine, is_unsettled(ReplicaState.DELETED), columns.message_id.is_not(None))
        .order_by(columns.message_id)
    )


@cache
def _not_there() -> Select[Any]:
    columns = replica_message.c
    is_to_go = and_(mailbox.c.account_id == bindparam("of_account"), columns.state == ReplicaState.DELETED)
    return _counted(func.count(), NOT_THERE).where(
        replica.c.device_id == bindparam("of_device"),
        or_(is_to_go, columns.missing_since >= bindparam("since")),
    )


@cache
def _deleted_of_account() -> Select[Any]:
    return _counted(func.count(replica_message.c.message_id.distinct()), (ReplicaState.DELETED,)).where(
        mailbox.c.account_id == bindparam("of_account"),
        ~replica.c.selection.endswith(READ_ONLY, autoescape=True),
    )


def _counted(number: ColumnElement[int], states: Iterable[ReplicaState]) -> Select[Any]:
    """Select by mailbox a number of what devices have no more, but for what they gave up, or put elsewhere."""
    columns = replica_message.c
    return (
        select(replica.c.mailbox_id, number.label("number"))
        .join(replica, replica.c.id == columns.replica_id)
        .join(mailbox, mailbox.c.id == replica.c.mailbox_id)
        .where(
            replica.c.selection != LEAVING,
            is_unsettled(*states),
            columns.message_id.is_not(None),
            ~is_listed(columns.message_id, "without"),
            ~has_successor(),
        )
        .group_by(replica.c.mailbox_id)
    )


@cache
def _missing() -> Select[Any]:
    columns = replica_message.c
    return (
        select(replica.c.mailbox_id, columns.id, columns.missing_since)
        .join(replica, replica.c.id == columns.replica_id)
        .where(
            replica.c.device_id == bindparam("of_device"),
            is_unsettled(ReplicaState.MISSING),
            columns.message_id.is_not(None),  # else it is on its way, and will be missing when it is there
        )
    )


@cache
def _missing_uids() -> Select[Any]:
    message = server_message.c
    return (
        select(message.uid)
        .join(replica_message, replica_message.c.message_id == message.id)
        .where(is_unsettled(*NOT_THERE), message.mailbox_id + 0 == bindparam("of_mailbox"), message.gone_at.is_(None))
        .distinct()
        .limit(bindparam("at_most"))
    )


@cache
def _missing_of() -> AtOnce:
    columns = replica_message.c
    # NOTE: without the sum SQLite begins with all files of the replica instead of the ids.
    is_mine = columns.replica_id + 0 == bindparam("of_replica")
    return AtOnce(
        select(*FILE_COLUMNS).where(is_mine, columns.state == ReplicaState.MISSING, is_listed(columns.id, "ids"))
    )


@cache
def _message_ids() -> AtOnce:
    return AtOnce(
        select(server_message.c.id, body.c.message_id)
        .join(body, body.c.id == server_message.c.body_id)
        .where(is_listed(server_message.c.id, "ids"), body.c.message_id.is_not(None))
    )
