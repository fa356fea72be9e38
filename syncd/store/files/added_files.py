"""Floor 3: files that a device added or rewrote: what of them is to be taken into the store, and that it was."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    select,
    update,
)

from syncd.mail.flags import Flags, format_flags, parse_flags
from syncd.mail.message import BodyFacts
from syncd.mail.tree import BodyForm, ReplicaState
from syncd.store.bodies.bodies import body_facts
from syncd.store.engine.queries import AtOnce, insert_at_once, is_listed, is_one_of, rows_in
from syncd.store.tables.schema import (
    base_message,
    body,
    device,
    journal,
    mailbox,
    replica,
    replica_message,
    server_message,
)
from syncd.store.trees.devices import ACTIVE
from syncd.store.trees.journal import ON_ITS_WAY, UploadState
from syncd.store.trees.replica_news import raise_replica_version
from syncd.store.trees.replica_tree import is_unsettled
from syncd.store.trees.server_tree import raise_version
from syncd.values import Value


class AddedFile(Value):
    """A file that a device added, or rewrote in place, and that is not taken in.

    message_id: of the message that it held before it was rewritten.
    """

    file_id: int
    replica_id: int
    message_id: int | None
    directory: str
    subdir: str
    name: str
    info: str | None
    flags: Flags
    size_bytes: int
    mtime: int


class Sibling(Value):
    """A file of another device, with the name and the path of that."""

    device: str
    path: str
    file: AddedFile


class EmptyFile(Value):
    """A file of a device that has no octets, and where it is."""

    device_id: int
    directory: str
    subdir: str
    name: str
    info: str | None


_UNKNOWING = (ReplicaState.PRESENT, ReplicaState.EDITED)
_OF_NO_MESSAGE = (ReplicaState.NEW, ReplicaState.FOUND, ReplicaState.EDITED)
_AS_READ = (ReplicaState.NEW, *_UNKNOWING)


class FileAsRead(Value):
    """What a file was when its octets were read. form: how these give those of the body. info: as its name has it."""

    size_bytes: int
    mtime: int
    form: BodyForm
    info: str | None


class Restored(Value):
    """Flags of a message that is put back: as its server had them, and as both had last agreed on."""

    flags: Flags
    base: Flags


class TakenIn(Value):
    """A file whose octets are a body of the store. restored: of one whose message the server deleted."""

    file: AddedFile
    seen: FileAsRead
    body_id: int
    restored: Restored | None = None


def file_columns() -> tuple[Column[Any], ...]:
    """Return what `added_file` takes, in its order."""
    file = replica_message.c
    return (
        file.id,
        file.replica_id,
        file.message_id,
        replica.c.directory,
        file.subdir,
        file.name,
        file.info,
        file.flags,
        file.size_bytes,
        file.mtime,
    )


def added_file(row: Iterable[Any]) -> AddedFile:
    """Return a row of `file_columns` as a value."""
    id_, replica_id, message_id, directory, subdir, name, info, flags, size_bytes, mtime = row
    return AddedFile(id_, replica_id, message_id, directory, subdir, name, info, parse_flags(flags), size_bytes, mtime)


def added_files(
    conn: Connection,
    device_id: int,
    *,
    account_id: int | None = None,
    limit: int | None = None,
    with_found: bool = False,
) -> tuple[AddedFile, ...]:
    """Return the files that a device added to its mailboxes, or to those of one account, the newest first.

    with_found: also those of which it is not known yet whether they are the device's own.
    """
    wanted = {"of_device": device_id, "of_account": account_id, "at_most": limit}
    given = {name: value for name, value in wanted.items() if value is not None}
    return tuple(map(added_file, conn.execute(_added(frozenset(given), with_found=with_found), given)))


def count_added(conn: Connection) -> Mapping[int, int]:
    """Count by replica the files that devices added or rewrote, and that are to be taken in."""
    return {row[0]: row[1] for row in conn.execute(_added_number())}


def empty_files(conn: Connection, *, limit: int) -> tuple[EmptyFile, ...]:
    """Return the empty files of all devices, the newest first."""
    file = replica_message.c
    query = (
        select(replica.c.device_id, replica.c.directory, file.subdir, file.name, file.info)
        .join(replica, replica.c.id == file.replica_id)
        .where(is_unsettled(), is_empty())
        .order_by(file.id.desc())
        .limit(limit)
    )
    return tuple(EmptyFile(*row) for row in conn.execute(query))


def is_empty() -> ColumnElement[bool]:
    """Say of a file that it is no message's and has no octets: then it is no message either, and nothing is to be sent.

    A program may be about to write it, and then it is heard of again.
    """
    file = replica_message.c
    return and_(file.state.in_(_OF_NO_MESSAGE), file.message_id.is_(None), file.size_bytes == 0)


def is_added() -> ColumnElement[bool]:
    """Say of a file that a device added or rewrote it, and that it is not taken in."""
    file = replica_message.c
    is_own = and_(file.state.in_((ReplicaState.NEW, ReplicaState.EDITED)), file.message_id.is_(None))
    is_rewritten = and_(file.state == ReplicaState.EDITED, file.message_id.is_not(None))
    is_known = exists().where(journal.c.replica_message_id == file.id, journal.c.kind.in_(ON_ITS_WAY))
    return (is_own & ~is_known) | is_rewritten


def known_message_ids(conn: Connection, header_message_ids: Iterable[str]) -> frozenset[str]:
    """Return those of these Message-IDs that any body has: mostly none, of new mail."""
    query = select(body.c.message_id).distinct()
    return frozenset(row[0] for row in rows_in(conn, query, body.c.message_id, set(header_message_ids)))


def bodies_of_messages(conn: Connection, body_ids: Collection[int]) -> frozenset[int]:
    """Return which of these bodies are those of messages, wherever these are."""
    if not body_ids:
        return frozenset()
    query = select(server_message.c.body_id).where(is_one_of(server_message.c.body_id, body_ids)).distinct()
    return frozenset(conn.execute(query).scalars())


def alike(conn: Connection, replica_id: int, header_message_id: str) -> tuple[int, ...]:
    """Return the bodies with this Message-ID of messages of the account that a replica is of: a few, the newest."""
    account_id = (
        select(mailbox.c.account_id)
        .join(replica, replica.c.mailbox_id == mailbox.c.id)
        .where(replica.c.id == replica_id)
        .scalar_subquery()
    )
    query = (
        select(body.c.id)
        .join(server_message, server_message.c.body_id == body.c.id)
        .join(mailbox, mailbox.c.id == server_message.c.mailbox_id)
        .where(body.c.message_id == header_message_id, mailbox.c.account_id == account_id)
        .distinct()
        .order_by(body.c.id.desc())
        .limit(8)
    )
    return tuple(conn.execute(query).scalars())


def siblings(conn: Connection, file: AddedFile) -> tuple[Sibling, ...]:
    """Return the files that other devices have of the message of a rewritten file.

    Written through one link, a file is another one on all of them.
    """
    columns = replica_message.c
    query = (
        select(device.c.name, device.c.path, *file_columns())
        .select_from(replica_message)
        .join(replica, replica.c.id == columns.replica_id)
        .join(device, device.c.id == replica.c.device_id)
        .where(
            columns.message_id == file.message_id,
            columns.id != file.file_id,
            columns.state.in_(_UNKNOWING),
            device.c.state == ACTIVE,
        )
    )
    return tuple(Sibling(name, path, added_file(row)) for name, path, *row in conn.execute(query))


def body_of(conn: Connection, message_id: int) -> int | None:
    """Return the body of a message."""
    return conn.execute(select(server_message.c.body_id).where(server_message.c.id == message_id)).scalar_one_or_none()


def take_in(conn: Connection, taken: Sequence[TakenIn], *, now: float) -> frozenset[int]:
    """Record that the octets of files are bodies of the store; return the files whose rows have not changed meanwhile.

    At most as many as one version may have.
    """
    ids = [one.file.file_id for one in taken]
    columns = replica_message.c
    rows = {id_: row for id_, *row in _as_recorded().rows(conn, ids=ids)}
    still = [one for one in taken if _is_still_as_read(one.file, rows.get(one.file.file_id))]
    if not still:
        return frozenset()
    of = {one.file.replica_id for one in still}
    versions = {replica_id: raise_replica_version(conn, replica_id) for replica_id in of}
    values = {"state": ReplicaState.NEW, "version": bindparam("at_version"), **_FACTS_OF_MANY}
    conn.execute(
        update(replica_message).where(columns.id == bindparam("file_id")).values(values),
        [
            {"file_id": one.file.file_id, "at_version": versions[one.file.replica_id]}
            | {f"new_{name}": value for name, value in _facts(one.seen).items()}
            for one in still
        ],
    )
    conn.execute(delete(journal).where(is_one_of(journal.c.replica_message_id, [one.file.file_id for one in still])))
    facts = body_facts(conn, {one.body_id for one in still})
    mailboxes = select(replica.c.id, mailbox.c.account_id, mailbox.c.id).join(mailbox)
    places = {id_: place for id_, *place in conn.execute(mailboxes.where(is_one_of(replica.c.id, of)))}
    insert_at_once(
        conn, journal, [_taken_in(one, places[one.file.replica_id], facts[one.body_id], now) for one in still]
    )
    return frozenset(one.file.file_id for one in still)


def accept(conn: Connection, file: AddedFile, *, seen: FileAsRead) -> None:
    """Record that a rewritten file has the octets of its message after all: it was only touched."""
    version = raise_replica_version(conn, file.replica_id)
    values = {"state": ReplicaState.PRESENT, "version": version, **_facts(seen)}
    conn.execute(update(replica_message).where(_is_as_read(file)).values(values))


def record_empty(conn: Connection, file: AddedFile, *, mtime: int) -> None:
    """Record that one of the device's own files has no octets: it is read again once it is seen to have any."""
    version = raise_replica_version(conn, file.replica_id)
    values = {"state": ReplicaState.NEW, "version": version, "size_bytes": 0, "mtime": mtime}
    where = _is_as_read(file), replica_message.c.message_id.is_(None)
    conn.execute(update(replica_message).where(*where).values(values))


def detach(conn: Connection, file: AddedFile, *, twin: str | None, now: float) -> None:
    """Make a rewritten file one of the device's own; its message stays, and the device gets it again.

    twin: the name under which a draft is deleted instead, as if its newer version were in another file.
    """
    columns = replica_message.c
    row = conn.execute(select(replica_message).where(_is_as_read(file))).one_or_none()
    if row is None or row.message_id is None:
        return
    conn.execute(update(replica_message).where(columns.id == file.file_id).values(message_id=None))
    mine = and_(base_message.c.replica_id == row.replica_id, base_message.c.message_id == row.message_id)
    flags = conn.execute(select(base_message.c.flags).where(mine)).scalar_one_or_none()
    if twin is not None and flags is not None:
        version = raise_replica_version(conn, row.replica_id)
        values = {"name": twin, "state": ReplicaState.DELETED, "version": version, "missing_since": now, "flags": flags}
        columns_of_old = {key: row._mapping[key] for key in ("replica_id", "message_id", "subdir", "form")}
        sizes = {"size_bytes": row.size_bytes, "mtime": row.mtime}
        conn.execute(insert(replica_message).values(**columns_of_old, **sizes, **values))
        return
    conn.execute(delete(base_message).where(mine))
    mailbox_id = conn.execute(select(replica.c.mailbox_id).where(replica.c.id == row.replica_id)).scalar_one()
    version = raise_version(conn, mailbox_id)
    conn.execute(update(server_message).where(server_message.c.id == row.message_id).values(version=version))


def _is_as_read(file: AddedFile) -> ColumnElement[bool]:
    columns = replica_message.c
    return and_(
        columns.id == file.file_id,
        columns.state.in_(_AS_READ),
        columns.size_bytes == file.size_bytes,
        columns.mtime == file.mtime,
    )


def _is_still_as_read(file: AddedFile, row: Sequence[Any] | None) -> bool:
    return row is not None and row[0] in _AS_READ and (row[1], row[2]) == (file.size_bytes, file.mtime)


def _taken_in(one: TakenIn, place: Sequence[int], facts: BodyFacts, now: float) -> dict[str, Any]:
    """Return the row of the journal for a file in a mailbox of an account."""
    account_id, mailbox_id = place
    restored = one.restored
    return {
        "account_id": account_id,
        "mailbox_id": mailbox_id,
        "replica_message_id": one.file.file_id,
        "kind": UploadState.TAKEN_IN.value,
        "digest": facts.digest,
        "header_digest": facts.header_digest,
        "size_bytes": facts.size_bytes,
        "uidvalidity": 0,
        "uidnext": 0,
        "begun_at": now,
        "restored_flags": None if restored is None else format_flags(restored.flags),
        "base_flags": None if restored is None else format_flags(restored.base),
    }


def _facts(seen: FileAsRead) -> dict[str, Any]:
    return {"size_bytes": seen.size_bytes, "mtime": seen.mtime, "form": seen.form, "info": seen.info}


_FACTS_OF_MANY: dict[str, Any] = {name: bindparam(f"new_{name}") for name in ("size_bytes", "mtime", "form", "info")}


@cache
def _as_recorded() -> AtOnce:
    columns = replica_message.c
    query = select(columns.id, columns.state, columns.size_bytes, columns.mtime)
    return AtOnce(query.where(is_listed(columns.id, "ids"), columns.message_id.is_(None)))


@cache
def _added(given: frozenset[str], *, with_found: bool) -> Select[Any]:
    """Select what parameters of these names say."""
    file = replica_message.c
    query = (
        select(*file_columns())
        .select_from(replica_message)
        .join(replica, replica.c.id == file.replica_id)
        .join(mailbox, mailbox.c.id == replica.c.mailbox_id)
        .where(
            replica.c.device_id == bindparam("of_device"),
            is_unsettled(),
            is_added() | (file.state == ReplicaState.FOUND) if with_found else is_added(),
        )
        .order_by(file.id.desc())
    )
    if "of_account" in given:
        query = query.where(mailbox.c.account_id == bindparam("of_account"))
    return query.limit(bindparam("at_most")) if "at_most" in given else query


@cache
def _added_number() -> Select[Any]:
    file = replica_message.c
    where = is_unsettled(), ~is_empty(), is_added()
    return select(file.replica_id, func.count()).where(*where).group_by(file.replica_id)
