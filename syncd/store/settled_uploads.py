"""Floor 3: files that devices added and that are messages now: settled, and remembered for a while.

Theory. The row of the journal stays: by it a file that the device removes afterwards is known as the second half of a
move, or as the old version of a draft.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, delete, exists, insert, select, update

from syncd.mail.flags import Flags, format_flags, parse_flags, with_same_letters
from syncd.mail.tree import BodyForm, ReplicaState
from syncd.store.journal import UploadState
from syncd.store.replica_tree import raise_replica_version
from syncd.store.schema import base_message, journal, replica, replica_message, server_message
from syncd.store.uploads import Upload

_FILED_S = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class Settled:
    """An upload that is a message now. is_rewritten: with other octets.

    source_id: of which it is a move or copy, or would be if that were there still.
    """

    upload: Upload
    message_id: int
    source_id: int | None = None
    is_rewritten: bool = False


def settle(conn: Connection, settled: Iterable[Settled], *, now: float) -> frozenset[int]:
    """Make files those of messages that the server tree has; whoever asks has seen them there.

    A file that the device removed or rewrote meanwhile keeps that: it is then a change of the message. Returns the
    uploads of which the file is that of its message now.
    """
    versions: dict[int, int] = {}
    done = [one.upload for one in settled if _settle(conn, one, versions, now=now)]
    for device_id in {upload.device_id for upload in done if upload.device_id is not None}:
        _wake_sources(conn, device_id)
    return frozenset(upload.id for upload in done)


def forget_filed(conn: Connection, *, account_id: int, now: float) -> None:
    """Forget what was settled so long ago that a file removed now is removed for itself."""
    old = and_(journal.c.kind == UploadState.FILED.value, journal.c.begun_at < now - _FILED_S)
    is_of_nobody = and_(journal.c.replica_message_id.is_(None), journal.c.message_id.is_(None))
    lost = and_(journal.c.kind.in_(list(UploadState)), is_of_nobody)
    conn.execute(delete(journal).where(journal.c.account_id == account_id, old | lost))


def _settle(conn: Connection, one: Settled, versions: dict[int, int], *, now: float) -> bool:
    """Settle one upload; versions: those that replicas have in this transaction."""
    upload, file = one.upload, replica_message.c
    if upload.wanted_id is not None:
        return _settle_wanted(conn, one)
    # NOTE: what was not begun may have been rewritten since it was planned; then its row of the journal is another.
    row = conn.execute(
        select(file.replica_id, file.flags, file.info, file.state, journal.c.base_flags)
        .join(journal, journal.c.replica_message_id == file.id)
        .where(file.id == upload.file_id, file.message_id.is_(None), journal.c.id == upload.id)
    ).one_or_none()
    if row is None:
        return False
    here = and_(file.replica_id == row.replica_id, file.message_id == one.message_id)
    old = conn.execute(select(file.id, file.state).where(here)).one_or_none()
    if old is not None and old.state not in {ReplicaState.DELETED, ReplicaState.MISSING}:
        return False  # the device has another file of it by now: decide anew
    if old is not None:
        conn.execute(delete(replica_message).where(file.id == old.id))
    if row.replica_id not in versions:
        versions[row.replica_id] = raise_replica_version(conn, row.replica_id)
    version = versions[row.replica_id]
    values: dict[str, Any] = {"message_id": one.message_id, "version": version}
    if row.state == ReplicaState.NEW:
        values["state"] = ReplicaState.PRESENT
    if one.is_rewritten:
        values["form"] = BodyForm.OWN
    if row.state == ReplicaState.EDITED:
        values["size_bytes"] = -1  # its octets are not those of the message, whatever size they have
    conn.execute(update(replica_message).where(file.id == upload.file_id).values(values))
    if row.base_flags is None:
        _agree(conn, one, row.replica_id, parse_flags(row.flags), has_flags=row.info is not None)
    else:
        _agree_as_before(conn, row.replica_id, one.message_id, row.base_flags)
    conn.execute(
        update(journal).where(journal.c.id == upload.id).values(kind=UploadState.FILED.value, error=None, begun_at=now)
    )
    return True


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


def _agree(conn: Connection, one: Settled, replica_id: int, flags: Flags, *, has_flags: bool) -> None:
    """Make a base: what the device had of the source, and without one what both sides say, so that nothing goes.

    Programs that move or copy a file do not know what its keyword letters mean there, and some drop all flags: what
    they cannot have meant is agreed on as the file has it, so that it becomes what the server has.
    """
    base = base_message.c
    mine = and_(base.replica_id == replica_id, base.message_id == one.message_id)
    if conn.execute(select(base.flags).where(mine)).one_or_none() is not None:
        return
    of_source = (
        select(base.flags)
        .join(replica, replica.c.id == base.replica_id)
        .where(base.message_id == one.source_id, replica.c.device_id == one.upload.device_id)
    )
    known = conn.execute(of_source).scalar_one_or_none() if one.source_id is not None else None
    if one.source_id is not None and not has_flags:
        agreed = flags
    elif known is not None:
        agreed = with_same_letters(parse_flags(known)) | (flags - with_same_letters(flags))
    else:
        there = conn.execute(select(server_message.c.flags).where(server_message.c.id == one.message_id)).scalar_one()
        folded = {flag.lower() for flag in parse_flags(there)}
        agreed = frozenset(flag for flag in flags if flag.lower() in folded)
        if one.source_id is not None:
            agreed |= flags - with_same_letters(flags)
    values = {"replica_id": replica_id, "message_id": one.message_id, "flags": format_flags(agreed)}
    conn.execute(insert(base_message).values(values))


def _agree_as_before(conn: Connection, replica_id: int, message_id: int, flags: str) -> None:
    """Make a base of what both sides had agreed on before the message went and was put back."""
    base = base_message.c
    conn.execute(delete(base_message).where(base.replica_id == replica_id, base.message_id == message_id))
    conn.execute(insert(base_message).values(replica_id=replica_id, message_id=message_id, flags=flags))


def _wake_sources(conn: Connection, device_id: int) -> None:
    """Let what a device deleted be planned once more: it may be what a file of it has taken the place of."""
    deleted = exists().where(
        replica_message.c.replica_id == replica.c.id,
        replica_message.c.state != ReplicaState.PRESENT,
        replica_message.c.state == ReplicaState.DELETED,
    )
    conn.execute(update(replica).where(replica.c.device_id == device_id, deleted).values(version=replica.c.version + 1))
