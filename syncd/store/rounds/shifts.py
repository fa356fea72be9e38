"""Floor 3: shifts: files that become those of a message's successor in another mailbox: found, announced, settled.

Theory. A shift is announced as what it would be otherwise: the file in its old mailbox is withdrawn, and one of the
same name is being delivered in the new one. Interrupted, the two are found again by that, and whoever plans them
without knowing of shifts does what is right. Only a file that is just as it would be delivered is shifted.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, case, delete, exists, select, union_all, update

from syncd.mail.flags import Flags, format_flags, parse_flags
from syncd.mail.tree import ReplicaMessage, ReplicaState, ServerMessage
from syncd.reconcile.planner import Selection
from syncd.reconcile.shifts import Arriving, Leaving, match
from syncd.store.engine.queries import (
    AtOnce,
    insert_at_once,
    is_listed,
    is_one_of,
    rows_in,
    shared_alias,
)
from syncd.store.rounds import pairs
from syncd.store.rounds.holds import HoldScope, take_out
from syncd.store.rounds.pairs import Settled, Settlement
from syncd.store.tables.schema import base_message, body, mailbox, replica, replica_message, server_message
from syncd.store.trees.devices import ReplicaRow
from syncd.store.trees.replica_tree import (
    FILE_COLUMNS,
    MintedFile,
    announce_deliveries,
    is_unsettled,
    replica_message_of,
)
from syncd.values import Value

_AT_ONCE = 5000
_file, _other = replica_message, shared_alias(replica_message, "other")
_old, _new, _held = (shared_alias(server_message, name) for name in ("old", "new", "held"))
_old_mailbox, _new_mailbox = (shared_alias(mailbox, name) for name in ("old_mailbox", "new_mailbox"))
_of_new = shared_alias(replica, "of_new")


class Shiftable(Value):
    """A file in `source`, with the flags last agreed on there, and the message in `target` that it becomes.

    announced: its row there, of an attempt that was interrupted.
    """

    source: ReplicaRow
    target: ReplicaRow
    file: ReplicaMessage
    base: Flags
    successor: ServerMessage
    announced: ReplicaMessage | None = None


class ShiftedFile(Value):
    """A file that is in its new mailbox.

    settled: what it is there, for the successor. is_changed: it says what its server has not heard of.
    """

    gone_id: int
    settled: Settled
    is_changed: bool


def find(
    conn: Connection, of: Sequence[ReplicaRow], *, selection: Selection, held: Iterable[int] = ()
) -> tuple[Shiftable, ...]:
    """Return what can be shifted between these replicas of one device, a few thousand files at most.

    That is between what is to be removed, or put back unless it is elsewhere, and what is to be delivered. held:
    messages whose removal waits, though it is planned.
    """
    by_id, held = {row.id: row for row in of}, tuple(held)
    if not held and not _has_leaving(conn, by_id):
        return ()
    leaving: dict[int, tuple[Leaving, ReplicaMessage, Flags]] = {}
    for row in _leaving().rows(conn, ids=by_id, held=held):
        replica_id, account_id, uid, body_id, internaldate, base, *file_row = row
        file = replica_message_of(file_row)
        content = (account_id, body_id, internaldate)
        leaving[file.id] = (Leaving(replica_id, uid, file.id, file.name, content), file, parse_flags(base))
    if not leaving:
        return ()
    arriving: dict[tuple[int, int], tuple[Arriving, ServerMessage]] = {}
    for row in _arriving().rows(conn, ids=by_id, bodies={one.content[1] for one, _, _ in leaving.values()}):
        replica_id, account_id, *message_row = row
        message = _message_of(message_row)
        if message.body_id is not None and selection.takes(message):
            content = (account_id, message.body_id, message.internaldate)
            arriving[replica_id, message.id] = (Arriving(replica_id, message.uid, message.id, content), message)
    taken = _names_taken(conn, by_id, {file.name for _, file, _ in leaving.values()})
    pairs_found = match((one for one, _, _ in leaving.values()), (one for one, _ in arriving.values()), taken=taken)
    return tuple(
        Shiftable(
            source=by_id[here.replica_id],
            target=by_id[there.replica_id],
            file=leaving[here.file_id][1],
            base=leaving[here.file_id][2],
            successor=arriving[there.replica_id, there.message_id][1],
        )
        for here, there in pairs_found
    )


def begun(conn: Connection, of: Sequence[ReplicaRow]) -> tuple[Shiftable, ...]:
    """Return the shifts between these replicas of one device that were announced and are not settled."""
    by_id = {row.id: row for row in of}
    width = len(FILE_COLUMNS)
    return tuple(
        Shiftable(
            source=by_id[source_id],
            target=by_id[target_id],
            file=replica_message_of(rest[:width]),
            base=parse_flags(base),
            successor=_message_of(rest[2 * width :]),
            announced=replica_message_of(rest[width : 2 * width]),
        )
        for source_id, target_id, base, *rest in _begun().rows(conn, ids=by_id)
    )


def announce(
    conn: Connection, target: ReplicaRow, files: Mapping[int, MintedFile], *, bases: Mapping[int, Flags]
) -> Mapping[int, ReplicaMessage]:
    """Commit that files, by row id, are about to be in another mailbox; return their new rows by the old ones' ids.

    Those of which another file has the name there by now, or that are not as they were, are left out. bases: the flags
    of each successor as the replica can hold them, so that whoever ends this knows what the device changed.
    """
    columns = _file.c
    names = {file.name for file in files.values()}
    taken = {name for _, name in _names_taken(conn, {target.id: target}, names)}
    free = [file_id for file_id, file in files.items() if file.name not in taken]
    here = (
        is_one_of(columns.id, free),
        columns.state == ReplicaState.PRESENT,
        columns.message_id.is_not(None),
    )
    withdrawn = conn.execute(update(_file).where(*here).values(state=ReplicaState.WITHDRAWN).returning(columns.id))
    ours = tuple(withdrawn.scalars())
    made = announce_deliveries(conn, target.id, [files[file_id] for file_id in ours])
    # NOTE: what has got another file there meanwhile stays, with what the device changed of it.
    stays = [file_id for file_id in ours if files[file_id].message_id not in made]
    if stays:
        conn.execute(update(_file).where(is_one_of(columns.id, stays)).values(state=ReplicaState.PRESENT))
    agreed = {file.message_id: bases[file_id] for file_id, file in files.items() if file.message_id in made}
    base = [{"replica_id": target.id, "message_id": id_, "flags": format_flags(one)} for id_, one in agreed.items()]
    insert_at_once(conn, base_message, base)
    return {file_id: made[file.message_id] for file_id, file in files.items() if file.message_id in made}


def retract(conn: Connection, file_ids: Mapping[int, int]) -> None:
    """Take back shifts that were not performed, by the row id of the announced file and that of the file that stays."""
    columns, base = _file.c, base_message.c
    announced = (is_one_of(columns.id, file_ids.keys()), columns.state == ReplicaState.DELIVERING)
    of_base = exists().where(columns.replica_id == base.replica_id, columns.message_id == base.message_id, *announced)
    conn.execute(delete(base_message).where(of_base))
    conn.execute(delete(_file).where(*announced))
    stays = (is_one_of(columns.id, file_ids.values()), columns.state == ReplicaState.WITHDRAWN)
    conn.execute(update(_file).where(*stays).values(state=ReplicaState.PRESENT))


def settle(
    conn: Connection, source: ReplicaRow, target: ReplicaRow, files: Sequence[ShiftedFile], *, now: float
) -> None:
    """Record files where they are now, and what they have in common with their messages' successors there.

    What the device changed and nobody has heard of is news of its new replica.
    """
    if not files:
        return
    pairs.settle(conn, target, Settlement(delivered=tuple(one.settled for one in files)), now=now)
    changed = [one.settled.file_id for one in files if one.is_changed]
    if changed:
        raised = update(replica).where(replica.c.id == target.id).values(version=replica.c.version + 1)
        version = conn.execute(raised.returning(replica.c.version)).scalar_one()
        conn.execute(update(_file).where(is_one_of(_file.c.id, changed)).values(version=version))
    gone = tuple(one.gone_id for one in files)
    pairs.settle(conn, source, Settlement(removed=gone), now=now)
    take_out(
        conn,
        mailbox_id=source.mailbox_id,
        message_ids=frozenset(gone),
        of=(HoldScope.ON_DEVICE, source.device_id),
    )


def _has_leaving(conn: Connection, of: Iterable[int]) -> bool:
    """Tell whether anything went from these mailboxes that is not settled, which is what is mostly asked."""
    return any(conn.execute(query, {"ids": of}).first() is not None for query in _any_news())


@cache
def _leaving() -> AtOnce:
    """Select files that are to be removed, of messages for which there may be successors on the device."""
    form_bytes = case((body.c.is_crlf, body.c.lf_size_bytes), else_=body.c.size_bytes)
    successor = (
        select(_new.c.id)
        .join(_of_new, _of_new.c.mailbox_id == _new.c.mailbox_id)
        .join(_new_mailbox, _new_mailbox.c.id == _new.c.mailbox_id)
        .where(
            _is_content_of(_old, _new),
            _new_mailbox.c.account_id == _old_mailbox.c.account_id,
            _of_new.c.id != replica.c.id,
            *_is_to_be_delivered(),
        )
    )
    held = select(_held.c.id).where(is_listed(_held.c.id, "held"))
    return AtOnce(
        select(replica.c.id, _old_mailbox.c.account_id, _old.c.uid, _old.c.body_id, _old.c.internaldate)
        .add_columns(base_message.c.flags.label("base_flags"), *(one.label(f"file_{one.name}") for one in FILE_COLUMNS))
        .join(_old_mailbox, _old_mailbox.c.id == replica.c.mailbox_id)
        .join(_old, _old.c.mailbox_id == replica.c.mailbox_id)
        # NOTE: without the sum SQLite goes through all files of the replicas instead of those of what is new.
        .join(_file, and_(_file.c.message_id == _old.c.id, _file.c.replica_id + 0 == replica.c.id))
        .join(base_message, _is_base_of(_file))
        .join(body, body.c.id == _old.c.body_id)
        .where(
            is_listed(replica.c.id, "ids"),
            _old.c.id.in_(union_all(*(query.correlate(None) for query in _news()), held)),
            _old.c.gone_at.is_not(None),
            _file.c.state == ReplicaState.PRESENT,
            _file.c.mtime == _old.c.internaldate,
            _file.c.size_bytes == form_bytes,
            exists(successor),
        )
        .limit(_AT_ONCE)
    )


@cache
def _arriving() -> AtOnce:
    """Select messages with these bodies that the device does not have and may be about to get."""
    return AtOnce(
        select(_of_new.c.id, _new_mailbox.c.account_id, *_message_columns())
        .join(_new, _new.c.mailbox_id == _of_new.c.mailbox_id)
        .join(_new_mailbox, _new_mailbox.c.id == _new.c.mailbox_id)
        .where(is_listed(_new.c.body_id, "bodies"), *_is_to_be_delivered())
    )


def _is_to_be_delivered() -> tuple[ColumnElement[bool], ...]:
    there = select(_other.c.id).where(_other.c.replica_id == _of_new.c.id, _other.c.message_id == _new.c.id)
    # NOTE: without the sum SQLite begins with all messages of the replicas instead of those of the bodies.
    return (
        is_listed(_of_new.c.id + 0, "ids"),
        _new.c.gone_at.is_(None),
        _new.c.version > _of_new.c.server_cursor,
        ~exists(there),
    )


def _is_content_of(old: Any, new: Any) -> ColumnElement[bool]:
    return and_(new.c.body_id == old.c.body_id, new.c.internaldate == old.c.internaldate)


def _is_base_of(file: Any) -> ColumnElement[bool]:
    return and_(base_message.c.replica_id == file.c.replica_id, base_message.c.message_id == file.c.message_id)


def _names_taken(conn: Connection, of: Mapping[int, ReplicaRow], names: Iterable[str]) -> frozenset[tuple[int, str]]:
    query = select(_file.c.replica_id, _file.c.name).where(is_one_of(_file.c.replica_id, of))
    return frozenset((row.replica_id, row.name) for row in rows_in(conn, query, _file.c.name, names))


def _message_columns() -> tuple[ColumnElement[Any], ...]:
    columns = _new.c
    wanted = (columns.id, columns.uid, columns.flags, columns.size_bytes, columns.internaldate, columns.body_id)
    return tuple(column.label(f"new_{column.name}") for column in (*wanted, columns.version))


def _message_of(row: Sequence[Any]) -> ServerMessage:
    id_, uid, flags, size_bytes, internaldate, body_id, version = row
    return ServerMessage(id_, uid, parse_flags(flags), size_bytes, internaldate, body_id, version)


@cache
def _begun() -> AtOnce:
    there = [column.label(f"there_{column.name}") for column in (_other.c[one.name] for one in FILE_COLUMNS)]
    return AtOnce(
        select(_file.c.replica_id, _other.c.replica_id.label("to_id"), base_message.c.flags.label("base_flags"))
        .add_columns(*FILE_COLUMNS, *there, *_message_columns())
        .join(_old, _old.c.id == _file.c.message_id)
        .join(base_message, _is_base_of(_file))
        .join(_other, and_(_other.c.name == _file.c.name, _other.c.replica_id != _file.c.replica_id))
        .join(_new, _new.c.id == _other.c.message_id)
        .where(
            is_listed(_file.c.replica_id, "ids"),
            is_listed(_other.c.replica_id, "ids"),
            is_unsettled(ReplicaState.WITHDRAWN),
            _other.c.state == ReplicaState.DELIVERING,
            _old.c.gone_at.is_not(None),
            _new.c.gone_at.is_(None),
            _is_content_of(_old, _new),
        )
    )


@cache
def _any_news() -> tuple[Select[Any], ...]:
    return tuple(query.limit(1) for query in _news())


@cache
def _news() -> tuple[Select[Any], Select[Any]]:
    """Select the messages that are to go from the replicas in the parameter, and those that are to be put back."""
    to_go = (
        select(_old.c.id)
        .join(replica, replica.c.mailbox_id == _old.c.mailbox_id)
        .where(
            is_listed(replica.c.id, "ids"),
            _old.c.version > replica.c.server_cursor,
            _old.c.gone_at.is_not(None),
        )
    )
    to_put_back = (
        select(_old.c.id)
        .join(_file, _file.c.message_id == _old.c.id)
        .join(replica, replica.c.id == _file.c.replica_id)
        .where(
            is_listed(replica.c.id, "ids"),
            _file.c.version > replica.c.replica_cursor,
            _old.c.gone_at.is_not(None),
        )
    )
    return to_go, to_put_back
