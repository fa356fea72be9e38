"""Floor 3: the replica tree: files as confirmed or announced, with a version on what their device did."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache, partial
from typing import Any, NamedTuple, assert_never

from sqlalchemy import ColumnElement, Connection, Update, and_, bindparam, delete, select, update

from syncd.mail.flags import Flags, format_flags, parse_flags
from syncd.mail.tree import BodyForm, ReplicaMessage, ReplicaState
from syncd.reconcile.changes import Appeared, Change, Edited, Lost, Reflagged, Rewritten, Sighting, Vanished
from syncd.store.engine.queries import (
    PER_VERSION,
    AtOnce,
    groups,
    insert_at_once,
    is_listed,
    is_one_of,
    rows_in,
    update_at_once,
)
from syncd.store.tables.schema import body, journal, replica, replica_message, server_message
from syncd.store.trees.journal import UploadState
from syncd.store.trees.replica_news import raise_replica_version
from syncd.values import Value

FILE_COLUMNS = tuple(replica_message.c[name] for name in ReplicaMessage._fields)
"""What `replica_message_of` takes, in its order."""
_PLACE_COLUMNS = tuple(
    replica_message.c[name] for name in ("name", "subdir", "info", "flags", "size_bytes", "mtime", "state")
)
"""What `_place` takes, in its order."""
_OF_ITS_OWN = (ReplicaState.EDITED, ReplicaState.FOUND)


class MintedFile(NamedTuple):
    """A file that is about to be delivered; its name exists nowhere yet."""

    message_id: int
    name: str
    info: str | None
    subdir: str
    flags: Flags
    size_bytes: int
    mtime: int
    form: BodyForm


class FilePlace(Value):
    """Say where a row has its file and what it was then.

    is_settled: it is present, and nothing is announced of it or waits.
    """

    subdir: str
    filename: str
    flags: Flags
    size_bytes: int
    mtime: int
    is_settled: bool


def places(conn: Connection, replica_id: int, *, names: Collection[str] | None = None) -> Mapping[str, FilePlace]:
    """Return where the rows of a replica have their files, by name: enough to compare with a listing.

    names: of these files only, and of those that are not settled; None: of all.
    """
    of = {"of_replica": replica_id}
    if names is None:
        return dict(map(_place, conn.execute(_PLACES, of)))
    found = dict(map(_place, conn.execute(_UNSETTLED_PLACES, of)))
    for group in groups(names):
        found |= map(_place, conn.execute(_NAMED_PLACES, {**of, "names": group}))
    return found


def places_of(conn: Connection, replica_ids: Iterable[int]) -> Mapping[int, Mapping[str, FilePlace]]:
    """Return what `places` does of all rows of many small replicas, by replica; all rows are read at once."""
    found: dict[int, dict[str, FilePlace]] = {}
    for row in _all_places().rows(conn, replica_ids=replica_ids):
        name, place = _place(row[:-1])
        found.setdefault(row[-1], {})[name] = place
    return found


def _place(row: Iterable[Any]) -> tuple[str, FilePlace]:
    name, subdir, info, flags, size_bytes, mtime, state = row
    filename = name if info is None else f"{name}:2,{info}"
    return name, FilePlace(subdir, filename, parse_flags(flags), size_bytes, mtime, state == ReplicaState.PRESENT)


def unsettled_replicas(conn: Connection, device_id: int) -> frozenset[int]:
    """Return the replicas of a device with rows of files that are not present, or of which something waits."""
    return frozenset(conn.execute(_WITH_UNSETTLED, {"of_device": device_id}).scalars())


def files_by_name(conn: Connection, replica_id: int, names: Iterable[str]) -> Mapping[str, ReplicaMessage]:
    """Return the rows of a replica's files by name, of those that are named and exist."""
    query = select(*FILE_COLUMNS).where(replica_message.c.replica_id == replica_id)
    files = map(replica_message_of, rows_in(conn, query, replica_message.c.name, names))
    return {file.name: file for file in files}


def record_changes(conn: Connection, replica_id: int, changes: Sequence[Change], *, now: float) -> None:
    """Write what the device did to its files, a round's worth under each new version of the replica."""
    for group in groups(changes, PER_VERSION):
        _record_changes(conn, replica_id, group, now=now)


def _record_changes(conn: Connection, replica_id: int, changes: Sequence[Change], *, now: float) -> None:
    version = raise_replica_version(conn, replica_id)
    # NOTE: of these there are often hundreds.
    _add(conn, replica_id, [change.seen for change in changes if isinstance(change, Appeared)], version=version)
    _reflag(conn, {one.file_id: one.seen for one in changes if isinstance(one, Reflagged)}, version=version)
    _miss(
        conn, [one.file_id for one in changes if isinstance(one, Vanished) and not one.is_own], version=version, now=now
    )
    for change in changes:
        match change:
            case Appeared() | Reflagged() | Vanished(_, False):
                continue
            case Edited(file_id, seen):
                _update(conn, file_id, version=version, state=ReplicaState.EDITED, **_seen_columns(seen))
            case Rewritten(file_id, seen):
                # NOTE: what is on its way arrives; then this is a message that its device rewrote.
                # So is what has arrived since the look began, whose size and time stay those of the message.
                is_message = _is_message(conn, file_id)
                state = ReplicaState.EDITED if is_message or _is_begun(conn, file_id) else ReplicaState.NEW
                facts = {} if is_message else {"size_bytes": seen.size_bytes, "mtime": seen.mtime}
                _update(conn, file_id, version=version, state=state, missing_since=None, **_seen_columns(seen), **facts)
                if state is ReplicaState.NEW:
                    _drop_upload(conn, file_id, now=now)
            case Vanished(file_id):
                # NOTE: what was on its way when the look began may have arrived since.
                if _is_message(conn, file_id) or _is_begun(conn, file_id):
                    _miss(conn, [file_id], version=version, now=now)
                else:
                    forget_added(conn, file_id, now=now)
            case Lost(file_id):
                _update(conn, file_id, version=version, state=ReplicaState.DELIVERING)
            case _:
                assert_never(change)


def is_unsettled(*states: ReplicaState) -> ColumnElement[bool]:
    """Say of a file that it is not merely present, but in one of these states if any are named."""
    state = replica_message.c.state
    # NOTE: the first term is that of a partial index, so that what is settled costs nothing.
    return and_(state != ReplicaState.PRESENT, *((state.in_(states),) if states else ()))


def announce_deliveries(
    conn: Connection, replica_id: int, minted: Sequence[MintedFile]
) -> Mapping[int, ReplicaMessage]:
    """Commit the names of files before they are written, so that none is ever delivered under two.

    Returns the rows by message, without those that have a file by now: one that the device added was bound meanwhile.
    """
    if not minted:
        return {}
    ask = partial(_ids().rows, conn, of_id=replica_id, message_ids=[file.message_id for file in minted])
    bound = {message_id for message_id, _ in ask()}
    minted = [file for file in minted if file.message_id not in bound]
    insert_at_once(
        conn,
        replica_message,
        [
            {
                "message_id": file.message_id,
                "name": file.name,
                "info": file.info,
                "subdir": file.subdir,
                "flags": format_flags(file.flags),
                "size_bytes": file.size_bytes,
                "mtime": file.mtime,
                "form": file.form,
            }
            for file in minted
        ],
        replica_id=replica_id,
        state=ReplicaState.DELIVERING,
        version=0,  # our own doing: the account need not look
    )
    ids = {int(message_id): int(file_id) for message_id, file_id in ask()}
    return {
        file.message_id: ReplicaMessage(
            id=ids[file.message_id],
            message_id=file.message_id,
            name=file.name,
            info=file.info,
            subdir=file.subdir,
            flags=file.flags,
            state=ReplicaState.DELIVERING,
            size_bytes=file.size_bytes,
            mtime=file.mtime,
            form=file.form,
            version=0,
        )
        for file in minted
    }


def forget_added(conn: Connection, file_id: int, *, now: float) -> None:
    """Forget a file that its device added and removed again, before it was a message."""
    _drop_upload(conn, file_id, now=now)
    conn.execute(delete(replica_message).where(replica_message.c.id == file_id))


def announce_returns(conn: Connection, file_ids: Iterable[int]) -> frozenset[int]:
    """Commit that deleted files are about to be delivered again under their old names; return which still can be.

    A row that is no longer deleted was settled otherwise meanwhile: its account was faster.
    """
    columns = replica_message.c
    here = (is_one_of(columns.id, file_ids), columns.state == ReplicaState.DELETED)
    returned = update(replica_message).where(*here).values(state=ReplicaState.DELIVERING, missing_since=None)
    return frozenset(conn.execute(returned.returning(columns.id)).scalars())


def announce_body(conn: Connection, file: ReplicaMessage) -> None:
    """Commit that a file is about to have the octets of its body, in place of its own."""
    facts = {"size_bytes": file.size_bytes, "mtime": file.mtime, "form": file.form}
    conn.execute(update(replica_message).where(replica_message.c.id == file.id).values(facts))


def still_of_messages(conn: Connection, file_ids: Iterable[int]) -> frozenset[int]:
    """Return those of these files that are of messages; others were put back since they were planned (`restores`)."""
    return frozenset(id_ for id_, message_id, _ in _states().rows(conn, ids=file_ids) if message_id is not None)


def announce_moves(conn: Connection, file_ids: Iterable[int]) -> None:
    """Commit that files are about to be renamed: missing from now on, they may be missing by our own doing."""
    _announce(conn, file_ids, ReplicaState.MOVING)


def announce_withdrawals(conn: Connection, file_ids: Iterable[int]) -> None:
    """Commit that files are about to be removed: missing from now on, they are missing by our own doing."""
    _announce(conn, file_ids, ReplicaState.WITHDRAWN)


def retract_announcements(conn: Connection, file_ids: Iterable[int]) -> None:
    """Take back moves and withdrawals that were not performed; the next look at the files says what is."""
    _announce(conn, file_ids, ReplicaState.PRESENT)


def replica_message_of(row: Iterable[Any]) -> ReplicaMessage:
    """Return a row of `FILE_COLUMNS` as a value."""
    id_, message_id, name, info, subdir, flags, state, size_bytes, mtime, form, version = row
    return ReplicaMessage(
        id=id_,
        message_id=message_id,
        name=name,
        info=info,
        subdir=subdir,
        flags=parse_flags(flags),
        state=ReplicaState(state),
        size_bytes=size_bytes,
        mtime=mtime,
        form=BodyForm(form),
        version=version,
    )


_PLACES = select(*_PLACE_COLUMNS).where(replica_message.c.replica_id == bindparam("of_replica"))
_UNSETTLED_PLACES = _PLACES.where(is_unsettled())
_NAMED_PLACES = _PLACES.where(
    replica_message.c.name.in_(bindparam("names", type_=replica_message.c.name.type, expanding=True))
)


@cache
def _all_places() -> AtOnce:
    columns = (*_PLACE_COLUMNS, replica_message.c.replica_id)
    return AtOnce(select(*columns).where(is_listed(replica_message.c.replica_id, "replica_ids")))


@cache
def _ids() -> AtOnce:
    columns = replica_message.c
    here = (columns.replica_id == bindparam("of_id"), is_listed(columns.message_id, "message_ids"))
    return AtOnce(select(columns.message_id, columns.id).where(*here))


@cache
def _states() -> AtOnce:
    columns = replica_message.c
    return AtOnce(select(columns.id, columns.message_id, columns.state).where(is_listed(columns.id, "ids")))


def _announce(conn: Connection, file_ids: Iterable[int], state: ReplicaState) -> None:
    if ids := list(file_ids):
        conn.execute(_announcement(), {"ids": ids, "new_state": state})


@cache
def _announcement() -> Update:
    return update(replica_message).where(is_listed(replica_message.c.id, "ids")).values(state=bindparam("new_state"))


def _seen_columns(seen: Sighting) -> dict[str, Any]:
    return {"info": seen.info, "subdir": seen.subdir, "flags": format_flags(seen.flags)}


def _add(conn: Connection, replica_id: int, seen: Iterable[Sighting], *, version: int) -> None:
    """Make a row for each file that no row knew."""
    rows = [
        {"name": one.name, "size_bytes": one.size_bytes or 0, "mtime": one.mtime or 0, **_seen_columns(one)}
        for one in seen
    ]
    of = {"replica_id": replica_id, "version": version, "state": ReplicaState.NEW, "form": BodyForm.RAW}
    insert_at_once(conn, replica_message, rows, **of)


def _reflag(conn: Connection, seen: Mapping[int, Sighting], *, version: int) -> None:
    """Let the rows of files that are there say what is seen of them; one of the device's own stays as it is."""
    if not seen:
        return
    rows = {
        file_id: {"state": _state_of(message_id, state), **_seen_columns(seen[file_id])}
        for file_id, message_id, state in _states().rows(conn, ids=seen)
    }
    update_at_once(conn, replica_message, rows, version=version, missing_since=None)


def _state_of(message_id: int | None, state: str) -> ReplicaState:
    """Return the state of a file that is there."""
    if message_id is not None:
        return ReplicaState.PRESENT
    return ReplicaState(state) if state in _OF_ITS_OWN else ReplicaState.NEW


def _is_message(conn: Connection, file_id: int) -> bool:
    query = select(replica_message.c.message_id).where(replica_message.c.id == file_id)
    return conn.execute(query).scalar_one_or_none() is not None


def _is_begun(conn: Connection, file_id: int) -> bool:
    query = select(journal.c.id).where(
        journal.c.replica_message_id == file_id, journal.c.kind == UploadState.BEGUN.value
    )
    return conn.execute(query).first() is not None


def _drop_upload(conn: Connection, file_id: int, *, now: float) -> None:
    """Forget what was taken in of a file; what it took the place of is only missing then, and looked for anew.

    NOTE: not deleted still, for the account that waits with that deletion hears of nothing, and another file of the
    same message may be there that nobody has taken in.
    """
    replaced = tuple(conn.execute(_REPLACED, {"by_file": file_id}).scalars())
    if replaced:
        missing = {"state": ReplicaState.MISSING, "missing_since": now}
        conn.execute(update(replica_message).where(is_one_of(replica_message.c.id, replaced)).values(missing))
    conn.execute(
        delete(journal).where(journal.c.replica_message_id == file_id, journal.c.kind != UploadState.BEGUN.value)
    )


def _miss(conn: Connection, file_ids: Sequence[int], *, version: int, now: float) -> None:
    if file_ids:
        here = is_one_of(replica_message.c.id, file_ids)
        missing = {"state": ReplicaState.MISSING, "version": version, "missing_since": now}
        conn.execute(update(replica_message).where(here).values(missing))


def _update(conn: Connection, file_id: int, **values: Any) -> None:
    conn.execute(update(replica_message).where(replica_message.c.id == file_id).values(**values))


_OWN, _OF_OWN = replica_message.alias("own"), replica.alias("of_own")
_REPLACED = (
    select(replica_message.c.id)
    .join(replica, replica.c.id == replica_message.c.replica_id)
    .join(server_message, server_message.c.id == replica_message.c.message_id)
    .join(body, body.c.id == server_message.c.body_id)
    .join(journal, journal.c.digest == body.c.digest)
    .join(_OWN, _OWN.c.id == journal.c.replica_message_id)
    .join(_OF_OWN, and_(_OF_OWN.c.id == _OWN.c.replica_id, _OF_OWN.c.device_id == replica.c.device_id))
    .where(_OWN.c.id == bindparam("by_file"), is_unsettled(ReplicaState.DELETED))
)
_WITH_UNSETTLED = (
    select(replica_message.c.replica_id)
    .join(replica, replica.c.id == replica_message.c.replica_id)
    .where(replica.c.device_id == bindparam("of_device"), is_unsettled())
    .distinct()
)
