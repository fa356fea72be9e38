"""Floor 3: pairs: each message as the three trees have it, read by version, and the base moved when both agree."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Delete,
    Double,
    Insert,
    Select,
    Table,
    Update,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from syncd.mail.flags import NONE, Flags, format_flags, parse_flags, with_delta
from syncd.mail.tree import BaseMessage, Pair, ReplicaState, ServerMessage
from syncd.store.engine.queries import AtOnce, is_listed, is_one_of, update_at_once
from syncd.store.rounds.holds import HoldScope, holds, take_out
from syncd.store.tables.columns import Id
from syncd.store.tables.schema import base_message, body, mailbox, replica, replica_message, server_message, tombstone
from syncd.store.trees.devices import ReplicaRow, move_server_cursor
from syncd.store.trees.replica_tree import FILE_COLUMNS, replica_message_of
from syncd.store.trees.server_tree import FlagDelta
from syncd.values import Value


class News(Value):
    """Hold the pairs that changed on one side since its cursor, all those up to and with version `upto`."""

    pairs: tuple[Pair, ...]
    upto: int


class Settled(Value):
    """Say that a file stands in the replica as described, and that these flags of its message are agreed."""

    file_id: int
    message_id: int
    info: str | None
    subdir: str
    flags: Flags
    base_add: Flags = NONE
    base_remove: Flags = NONE


class Settlement(Value):
    """Hold what one round did to a replica.

    as_announced: files, by row id, that stand in the replica under the name and flags that their rows have already.
    removed, forgotten: messages, by row id. upto: the server version that is thereby settled; None moves no cursor.
    """

    as_announced: tuple[int, ...] = ()
    delivered: tuple[Settled, ...] = ()
    renamed: tuple[Settled, ...] = ()
    removed: tuple[int, ...] = ()
    forgotten: tuple[int, ...] = ()
    agreed: tuple[FlagDelta, ...] = ()
    upto: int | None = None


class _Side(Value):
    """Whose rows count the changes of one side, and by which version."""

    owner: Column[int]
    version: Column[int]


def server_news(conn: Connection, of: ReplicaRow, *, limit: int) -> News:
    """Return about `limit` pairs that the server tree changed and this replica has not been planned for, oldest first.

    All rows of one version come together, so that the cursor can move past it. Those that are only listed so far, and
    of which the replica has nothing, are left out: they get another version with their bodies.
    """
    where = {"of_id": of.mailbox_id, "cursor": of.server_cursor}
    last = conn.execute(_version_after(_SERVER_SIDE), {**where, "more": limit}).scalar_one_or_none()
    upto = of.mailbox_version if last is None else last
    found = map(_pair, _news(_SERVER_SIDE).rows(conn, replica_id=of.id, upto=upto, **where))
    return News(tuple(sorted(found, key=_newest_first)), upto)


def replica_news(conn: Connection, of: ReplicaRow, *, limit: int) -> News:
    """Return what the device changed that its server has not been planned for."""
    if not of.has_replica_news:
        return News((), of.version)
    where = {"of_id": of.id, "cursor": of.replica_cursor}
    last = conn.execute(_version_after(_REPLICA_SIDE), {**where, "more": limit}).scalar_one_or_none()
    upto = of.version if last is None else last
    found = map(_pair, _news(_REPLICA_SIDE).rows(conn, replica_id=of.id, upto=upto, **where))
    return News(tuple(sorted(found, key=_in_order)), upto)


def count_server_news(conn: Connection, replica_ids: Collection[int]) -> int:
    """Count the messages that servers changed and these replicas have not been planned for."""
    return int(conn.execute(_server_news_number(), {"ids": replica_ids}).scalar_one())


@cache
def _server_news_number() -> Select[Any]:
    return (
        select(func.count())
        .select_from(replica)
        .join(mailbox, and_(mailbox.c.id == replica.c.mailbox_id, mailbox.c.version > replica.c.server_cursor))
        .join(
            server_message,
            and_(server_message.c.mailbox_id == mailbox.c.id, server_message.c.version > replica.c.server_cursor),
        )
        .where(is_listed(replica.c.id, "ids"), mailbox.c.gone_at.is_(None))
    )


def count_replica_news(conn: Connection, *, account_id: int) -> int:
    """Count the files that devices changed and the account has not been planned for."""
    return int(conn.execute(_REPLICA_NEWS_NUMBER, {"of_account": account_id}).scalar_one())


def are_any_replica_news(conn: Connection, *, account_id: int) -> bool:
    """Tell whether devices changed, or want to be planned once more, what the account has not been planned for."""
    return conn.execute(_ANY_REPLICA_NEWS, {"of_account": account_id}).first() is not None


def pairs_of(conn: Connection, of: ReplicaRow, message_ids: Collection[int]) -> tuple[Pair, ...]:
    """Return the pairs of some messages, whatever the cursors say."""
    if not message_ids:
        return ()
    return tuple(map(_pair, _pairs_by_id().rows(conn, replica_id=of.id, ids=message_ids)))


def settle(conn: Connection, of: ReplicaRow, done: Settlement, *, now: float) -> None:
    """Move the base, the replica rows and the cursor for effects that are on disk."""
    _stand(conn, (*done.delivered, *done.renamed))
    agree_on_new(conn, (*done.as_announced, *(file.file_id for file in done.delivered)))
    deltas = [FlagDelta(file.message_id, file.base_add, file.base_remove) for file in done.renamed]
    agree(conn, of.id, (*deltas, *done.agreed))
    _bury(conn, of, done.removed, now=now)
    _forget(conn, of, done.forgotten)
    if done.upto is not None:
        move_server_cursor(conn, of.id, done.upto, since=of.server_cursor)


def agree(conn: Connection, replica_id: int, deltas: Sequence[FlagDelta]) -> None:
    """Change single flags of the base, whatever else changed since they were planned (law 7)."""
    if not deltas:
        return
    rows = _agreed().rows(conn, of_replica=replica_id, ids={delta.message_id for delta in deltas})
    before: dict[int, str] = dict(map(tuple, rows))
    flags = {message_id: parse_flags(text) for message_id, text in before.items()}
    for delta in deltas:
        if delta.message_id in flags:
            flags[delta.message_id] = with_delta(flags[delta.message_id], add=delta.add, remove=delta.remove)
    changed: defaultdict[str, list[int]] = defaultdict(list)
    for message_id, now in flags.items():
        if (text := format_flags(now)) != before[message_id]:
            changed[text].append(message_id)
    for text, ids in changed.items():
        conn.execute(_agree(), {"of_replica": replica_id, "ids": ids, "new_flags": text})


def agree_on_new(conn: Connection, file_ids: Sequence[int]) -> None:
    """Agree on what delivered files say; one that was lost and is put back has its base, from which it may differ."""
    if file_ids:
        for statement in _agreement():
            conn.execute(statement, {"ids": file_ids})


@cache
def _agreed() -> AtOnce:
    return AtOnce(select(base_message.c.message_id, base_message.c.flags).where(*_of_messages(base_message)))


@cache
def _agree() -> Update:
    return update(base_message).where(*_of_messages(base_message)).values(flags=bindparam("new_flags"))


def _of_messages(table: Table) -> tuple[ColumnElement[bool], ...]:
    return table.c.replica_id == bindparam("of_replica"), is_listed(table.c.message_id, "ids")


@cache
def _agreement() -> tuple[Update, Insert]:
    columns = replica_message.c
    here = is_listed(columns.id, "ids")
    is_known = exists().where(
        base_message.c.replica_id == columns.replica_id, base_message.c.message_id == columns.message_id
    )
    new = select(columns.replica_id, columns.message_id, columns.flags).where(here, ~is_known)
    return (
        update(replica_message).where(here).values(state=ReplicaState.PRESENT),
        insert(base_message).from_select(["replica_id", "message_id", "flags"], new),
    )


def _stand(conn: Connection, files: Sequence[Settled]) -> None:
    rows = {
        file.file_id: {"info": file.info, "subdir": file.subdir, "flags": format_flags(file.flags)} for file in files
    }
    update_at_once(conn, replica_message, rows, state=ReplicaState.PRESENT)


def _bury(conn: Connection, of: ReplicaRow, message_ids: Sequence[int], *, now: float) -> None:
    """Leave a tombstone for each file that we removed, so that it cannot come back as new, and drop its rows."""
    if message_ids:
        conn.execute(_burial(), {"of_replica": of.id, "ids": message_ids, "now": now})
        _forget(conn, of, message_ids)


@cache
def _burial() -> Insert:
    now: ColumnElement[float] = bindparam("now", type_=Double())
    query = (
        select(
            replica_message.c.replica_id,
            replica_message.c.name,
            server_message.c.uidvalidity,
            server_message.c.uid,
            func.coalesce(server_message.c.gone_at, now),
            body.c.digest,
            now,
        )
        .join(server_message, server_message.c.id == replica_message.c.message_id)
        .outerjoin(body, body.c.id == server_message.c.body_id)
        .where(*_of_messages(replica_message))
    )
    columns = ("replica_id", "name", "uidvalidity", "uid", "gone_at", "digest", "settled_at")
    return insert(tombstone).from_select(columns, query)


def _forget(conn: Connection, of: ReplicaRow, message_ids: Sequence[int]) -> None:
    if not message_ids:
        return
    _leave_holds(conn, of, frozenset(message_ids))
    for statement in _forgetting():
        conn.execute(statement, {"of_replica": of.id, "ids": message_ids})


@cache
def _forgetting() -> tuple[Delete, ...]:
    return tuple(delete(table).where(*_of_messages(table)) for table in (replica_message, base_message))


def _leave_holds(conn: Connection, of: ReplicaRow, message_ids: frozenset[int]) -> None:
    """Take messages out of the holds of deletions by this device, and those that are gone out of everybody's.

    What another device deleted, and what waits there for a person, is no matter of this one.
    """
    if not holds(conn, mailbox_id=of.mailbox_id):
        return  # as nearly always
    take_out(conn, mailbox_id=of.mailbox_id, message_ids=message_ids, of=(HoldScope.BY_DEVICE, of.device_id))
    gone = select(server_message.c.id).where(server_message.c.gone_at.is_not(None))
    gone = gone.where(is_one_of(server_message.c.id, message_ids))
    take_out(conn, mailbox_id=of.mailbox_id, message_ids=frozenset(conn.execute(gone).scalars()))


_ANY_REPLICA_NEWS = (
    select(replica.c.id)
    .join(mailbox, mailbox.c.id == replica.c.mailbox_id)
    .where(mailbox.c.account_id == bindparam("of_account"), replica.c.version > replica.c.replica_cursor)
    .limit(1)
)
_REPLICA_NEWS_NUMBER = (
    select(func.count())
    .select_from(replica)
    .join(mailbox, mailbox.c.id == replica.c.mailbox_id)
    .join(
        replica_message,
        and_(replica_message.c.replica_id == replica.c.id, replica_message.c.version > replica.c.replica_cursor),
    )
    .where(mailbox.c.account_id == bindparam("of_account"), replica.c.version > replica.c.replica_cursor)
)
_SERVER_SIDE = _Side(server_message.c.mailbox_id, server_message.c.version)
_REPLICA_SIDE = _Side(replica_message.c.replica_id, replica_message.c.version)


def _is_newer(side: _Side) -> ColumnElement[bool]:
    return and_(side.owner == bindparam("of_id"), side.version > bindparam("cursor"))


@cache
def _version_after(side: _Side) -> Select[Any]:
    """Select the version of the row that comes when as many as `more` have come."""
    return select(side.version).where(_is_newer(side)).order_by(side.version).offset(bindparam("more")).limit(1)


@cache
def _news(side: _Side) -> AtOnce:
    query = _pairs().where(_is_newer(side), side.version <= bindparam("upto"))
    if side is _SERVER_SIDE:
        # NOTE: a first sync lists all rows before it has their bodies.
        server = server_message.c
        parts = (server.body_id, server.gone_at, base_message.c.message_id, replica_message.c.id)
        query = query.where(or_(*(part.is_not(None) for part in parts)))
    return AtOnce(query)


@cache
def _pairs_by_id() -> AtOnce:
    return AtOnce(_pairs().where(is_listed(server_message.c.id, "ids")))


def _pairs() -> Select[Any]:
    """Select pairs of one replica; a file of the device's own has no server row, so the caller's filter decides."""
    of_id = bindparam("replica_id", type_=Id)
    in_base = and_(base_message.c.replica_id == of_id, base_message.c.message_id == server_message.c.id)
    in_replica = and_(replica_message.c.replica_id == of_id, replica_message.c.message_id == server_message.c.id)
    return (
        select(
            server_message.c.id,
            server_message.c.uid,
            server_message.c.flags,
            server_message.c.size_bytes,
            server_message.c.internaldate,
            server_message.c.body_id,
            server_message.c.version,
            server_message.c.gone_at,
            base_message.c.flags.label("base_flags"),
            *FILE_COLUMNS,
        )
        .select_from(server_message)
        .outerjoin(base_message, in_base)
        .outerjoin(replica_message, in_replica)
    )


def _newest_first(pair: Pair) -> tuple[int, int]:
    return (pair.server.version, -pair.server.uid) if pair.server is not None else (0, 0)


def _in_order(pair: Pair) -> tuple[int, int]:
    return (pair.replica.version, pair.replica.id) if pair.replica is not None else (0, 0)


def _pair(row: Iterable[Any]) -> Pair:
    # NOTE: by position, as `_pairs` selects: a name costs a look-up, and a first sync reads millions of columns.
    (id_, uid, flags, size_bytes, internaldate, body_id, version, gone_at, base_flags, file_id, *file) = row
    server = ServerMessage(
        id=id_,
        uid=uid,
        flags=parse_flags(flags),
        size_bytes=size_bytes,
        internaldate=internaldate,
        body_id=body_id,
        version=version,
        is_gone=gone_at is not None,
    )
    base = None if base_flags is None else BaseMessage(parse_flags(base_flags))
    return Pair(server, base, None if file_id is None else replica_message_of((file_id, *file)))
