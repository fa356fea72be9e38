"""Floor 3: files that devices added and that are messages now: settled, and remembered for a while.

Theory. The row of the journal stays: by it a file that the device removes afterwards is known as the second half of a
move, or as the old version of a draft.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, and_, delete, exists, select, update

from syncd.mail.flags import Flags, format_flags, parse_flags, with_same_letters
from syncd.mail.tree import NOT_THERE, BodyForm, ReplicaState
from syncd.store.engine.queries import AtOnce, groups, insert_at_once, is_listed, is_one_of, update_at_once
from syncd.store.files.uploads import Upload, begin_again
from syncd.store.tables.schema import base_message, journal, replica, replica_message, server_message
from syncd.store.trees.journal import UploadState
from syncd.store.trees.replica_news import raise_replica_version
from syncd.store.trees.replica_tree import is_unsettled
from syncd.values import Value

_FILED_S = 7 * 86400.0


class Settled(Value):
    """An upload that is a message now. is_rewritten: with other octets.

    source_id: of which it is a move or copy, or would be if that were there still.
    """

    upload: Upload
    message_id: int
    source_id: int | None = None
    is_rewritten: bool = False


def settle(conn: Connection, settled: Iterable[Settled], *, now: float) -> frozenset[int]:
    """Make files those of messages that the server tree has; whoever asks has seen them there.

    A file that the device removed or rewrote meanwhile keeps that: it is then a change of the message. What becomes of
    a file whose device has another one of the message by now is decided anew. Returns the uploads of which the file is
    that of its message now.
    """
    settled = tuple(settled)
    wanted = [one for one in settled if one.upload.wanted_id is not None]
    done = [one.upload for one in wanted if _settle_wanted(conn, one)]
    for group in groups(one for one in settled if one.upload.wanted_id is None):
        done += _settle_files(conn, group, now=now)
    for device_id in {upload.device_id for upload in done if upload.device_id is not None}:
        _wake_sources(conn, device_id)
    return frozenset(upload.id for upload in done)


def forget_filed(conn: Connection, *, account_id: int, now: float) -> None:
    """Forget what was settled so long ago that a file removed now is removed for itself."""
    is_old = journal.c.begun_at < now - _FILED_S
    conn.execute(
        delete(journal).where(journal.c.kind == UploadState.FILED.value, journal.c.account_id == account_id, is_old)
    )
    # NOTE: + 0, for the few that have no file are to be found by that, and not among all of the account.
    conn.execute(
        delete(journal).where(
            journal.c.replica_message_id.is_(None),
            journal.c.message_id.is_(None),
            journal.c.kind.in_([state.value for state in UploadState]),
            journal.c.account_id + 0 == account_id,
        )
    )


class _File(Value):
    """A file that is to become that of a message, with what both sides had agreed on if the message was put back."""

    id: int
    replica_id: int
    flags: Flags
    info: str | None
    state: ReplicaState
    upload_id: int
    base_flags: str | None


def _settle_files(conn: Connection, settled: Sequence[Settled], *, now: float) -> list[Upload]:
    """Settle uploads of files, all in a few statements: often there are hundreds."""
    # NOTE: what was not begun may have been rewritten since it was planned; then its row of the journal is another.
    files = {file.upload_id: file for file in _files(conn, [one.upload.file_id for one in settled])}
    others = _files_of(conn, [one.message_id for one in settled])
    taken: list[tuple[Settled, _File]] = []
    replaced: list[int] = []
    forestalled: list[Upload] = []
    for one in settled:
        file = files.get(one.upload.id)
        if file is None or file.id != one.upload.file_id:
            continue
        old_id, old_state = others.get((file.replica_id, one.message_id), (None, ReplicaState.DELETED))
        if old_state not in NOT_THERE:
            forestalled.append(one.upload)
            continue
        replaced += [] if old_id is None else [old_id]
        others[file.replica_id, one.message_id] = file.id, ReplicaState.PRESENT
        taken.append((one, file))
    if taken:
        conn.execute(delete(replica_message).where(is_one_of(replica_message.c.id, replaced)))
        _become(conn, taken)
        _agree(conn, taken)
        of_taken = is_one_of(journal.c.id, [file.upload_id for _, file in taken])
        filed = {"kind": UploadState.FILED.value, "error": None, "begun_at": now}
        conn.execute(update(journal).where(of_taken).values(filed))
    # NOTE: what stays begun would be looked for again at once, and be found each time.
    begin_again(conn, [one for one in forestalled if one.state is UploadState.BEGUN], now=now)
    return [one.upload for one, _ in taken]


def _files(conn: Connection, file_ids: Iterable[int | None]) -> Iterator[_File]:
    rows = _uploaded().rows(conn, ids=[id_ for id_ in file_ids if id_ is not None])
    for id_, replica_id, flags, info, state, upload_id, base_flags in rows:
        yield _File(id_, replica_id, parse_flags(flags), info, ReplicaState(state), upload_id, base_flags)


def _files_of(conn: Connection, message_ids: Iterable[int]) -> dict[tuple[int, int], tuple[int | None, ReplicaState]]:
    """Return the files of messages, and how they are, by replica and message."""
    rows = _of_messages().rows(conn, ids=message_ids)
    return {(replica_id, message_id): (id_, ReplicaState(state)) for replica_id, message_id, id_, state in rows}


def _become(conn: Connection, taken: Iterable[tuple[Settled, _File]]) -> None:
    """Let files be those of their messages, under one new version of each replica."""
    alike: dict[tuple[int, bool, bool, bool], dict[int, dict[str, int]]] = defaultdict(dict)
    for one, file in taken:
        is_new, is_edited = file.state is ReplicaState.NEW, file.state is ReplicaState.EDITED
        alike[file.replica_id, is_new, is_edited, one.is_rewritten][file.id] = {"message_id": one.message_id}
    versions = {replica_id: raise_replica_version(conn, replica_id) for replica_id in {of for of, *_ in alike}}
    for (replica_id, is_new, is_edited, is_rewritten), message_ids in alike.items():
        others: dict[str, Any] = {"version": versions[replica_id]}
        if is_new:
            others["state"] = ReplicaState.PRESENT
        if is_rewritten:
            others["form"] = BodyForm.OWN
        if is_edited:
            others["size_bytes"] = -1  # its octets are not those of the message, whatever size they have
        update_at_once(conn, replica_message, message_ids, **others)


def _settle_wanted(conn: Connection, one: Settled) -> bool:
    """Settle what a person wanted back: there is no file of it, and so nothing to remember it by."""
    row = journal.c
    of = conn.execute(
        delete(journal).where(row.id == one.upload.id).returning(row.mailbox_id, row.digest)
    ).one_or_none()
    if of is None:
        return False
    uid = conn.execute(select(server_message.c.uid).where(server_message.c.id == one.message_id)).scalar_one()
    # NOTE: under this UID no other one came that has the same octets.
    others = and_(row.mailbox_id == of.mailbox_id, row.digest == of.digest, row.message_id.is_not(None))
    is_begun = and_(row.kind == UploadState.BEGUN.value, row.uidnext <= uid)
    conn.execute(update(journal).where(others, is_begun).values(uidnext=uid + 1))
    return True


def _agree(conn: Connection, taken: Sequence[tuple[Settled, _File]]) -> None:
    """Make bases: of what was put back what both sides had agreed on before, else what there is to agree on."""
    columns = base_message.c
    ids = {one.message_id for one, _ in taken}
    source_ids = {one.source_id for one, _ in taken if one.source_id is not None}
    bases = _bases().rows(conn, ids=ids | source_ids)
    agreed_by = {(replica_id, message_id) for replica_id, _, message_id, _ in bases}
    of_device = {(device_id, message_id): parse_flags(flags) for _, device_id, message_id, flags in bases}
    on_server = {id_: parse_flags(flags) for id_, flags in _flags_on_server().rows(conn, ids=ids)}
    made: list[dict[str, Any]] = []
    for one, file in taken:
        place = {"replica_id": file.replica_id, "message_id": one.message_id}
        if file.base_flags is not None:
            mine = and_(columns.replica_id == file.replica_id, columns.message_id == one.message_id)
            conn.execute(delete(base_message).where(mine))
            made.append({**place, "flags": file.base_flags})
        elif (file.replica_id, one.message_id) not in agreed_by:
            known = of_device.get((one.upload.device_id, one.source_id))
            # NOTE: what was sent, not what the file says by now: the device may have changed that since.
            sent = file.flags if one.source_id is not None else one.upload.flags
            agreed = _agreed(file, sent, on_server[one.message_id], known, is_copy=one.source_id is not None)
            made.append({**place, "flags": format_flags(agreed)})
    insert_at_once(conn, base_message, made)


def _agreed(file: _File, sent: Flags, on_server: Flags, known: Flags | None, *, is_copy: bool) -> Flags:
    """Return what the device had of the source, and without one what both sides say, so that nothing goes.

    Programs that move or copy a file do not know what its keyword letters mean there, and some drop all flags: what
    they cannot have meant is agreed on as the file has it, so that it becomes what the server has.
    """
    if is_copy and file.info is None:
        return file.flags
    if known is not None:
        return with_same_letters(known) | (file.flags - with_same_letters(file.flags))
    folded = {flag.lower() for flag in on_server}
    agreed = frozenset(flag for flag in sent if flag.lower() in folded)
    return agreed | (file.flags - with_same_letters(file.flags)) if is_copy else agreed


def _wake_sources(conn: Connection, device_id: int) -> None:
    """Let what a device deleted be planned once more: it may be what a file of it has taken the place of."""
    deleted = exists().where(replica_message.c.replica_id == replica.c.id, is_unsettled(ReplicaState.DELETED))
    conn.execute(update(replica).where(replica.c.device_id == device_id, deleted).values(version=replica.c.version + 1))


@cache
def _uploaded() -> AtOnce:
    file = replica_message.c
    columns = (file.id, file.replica_id, file.flags, file.info, file.state, journal.c.id, journal.c.base_flags)
    return AtOnce(
        select(*columns)
        .join(journal, journal.c.replica_message_id == file.id)
        .where(is_listed(file.id, "ids"), file.message_id.is_(None))
    )


@cache
def _of_messages() -> AtOnce:
    file = replica_message.c
    query = select(file.replica_id, file.message_id, file.id, file.state)
    return AtOnce(query.where(is_listed(file.message_id, "ids")))


@cache
def _bases() -> AtOnce:
    base = base_message.c
    return AtOnce(
        select(base.replica_id, replica.c.device_id, base.message_id, base.flags)
        .join(replica, replica.c.id == base.replica_id)
        .where(is_listed(base.message_id, "ids"))
    )


@cache
def _flags_on_server() -> AtOnce:
    message = server_message.c
    return AtOnce(select(message.id, message.flags).where(is_listed(message.id, "ids")))
