"""Floor 3: devices adopted: what is in their directories counts, and nothing is concluded from what is not.

Theory. Of a replica that nobody has looked at (`listed_at`), a file missing is not deleted and a flag missing is not
removed: rows without files go, base and files keep only the flags that both have, and the rest is planned anew. Files
without a row are of `found_files`, but for those that a tombstone knows: we have removed them, and do so again.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from typing import NamedTuple

from sqlalchemy import Connection, and_, bindparam, delete, insert, or_, select, update

from syncd.mail.flags import NONE, Flags, format_flags, parse_flags
from syncd.mail.tree import UNDERWAY, BodyForm, ReplicaMessage, ReplicaState
from syncd.reconcile.changes import Sighting
from syncd.store.engine.queries import PER_VERSION, AtOnce, is_one_of, rows_in
from syncd.store.files.deletions import touch
from syncd.store.files.found_files import begin_base, pair, values_of
from syncd.store.rounds.holds import HoldScope, take_out
from syncd.store.tables.schema import (
    base_message,
    body,
    device,
    replica,
    replica_message,
    server_message,
    tombstone,
)
from syncd.store.trees.devices import ReplicaRow
from syncd.store.trees.replica_news import raise_replica_version
from syncd.store.trees.replica_tree import FILE_COLUMNS, replica_message_of
from syncd.values import Value


class KnownFile(Value):
    """A file that its row knows, as it is now; form: in which its octets are the message's."""

    row: ReplicaMessage
    seen: Sighting
    form: BodyForm


class Returned(Value):
    """What is known of a file that we removed: the body that it had, and the row of its message.

    is_swept: the store does not have that body any more.
    """

    digest: bytes
    message_id: int
    is_swept: bool = False


class ReturnedFile(NamedTuple):
    """A file that we removed and that is there again, with the row of its message; form: in which it has its octets."""

    seen: Sighting
    message_id: int
    form: BodyForm


class Looked(Value):
    """What a complete listing of a replica says: files with a row, files that we once removed, and rows without."""

    there: Sequence[KnownFile]
    returned: Sequence[ReturnedFile]
    not_there: Sequence[ReplicaMessage]
    listed_at: float


def begin(
    conn: Connection, device_id: int, *, path: str, layout: str, generation: int, knows_what_was_agreed: bool
) -> None:
    """Let nothing be concluded from a device's files until they are looked at; commit it before the marker is written.

    knows_what_was_agreed: the store is at least as new as the files, so that what the server changed since is known.
    """
    doubt(conn, device_id)
    if not knows_what_was_agreed:
        mine = select(replica.c.id).where(replica.c.device_id == device_id)
        agreed = update(base_message).where(base_message.c.replica_id.in_(mine))
        conn.execute(agreed.values(flags=format_flags(NONE)))
    here = {"path": path, "layout": layout, "generation_next": generation}
    conn.execute(update(device).where(device.c.id == device_id).values(**here))


def doubt(conn: Connection, device_id: int) -> None:
    """Let each replica of a device be looked at as for the first time; what it deleted, if not settled, is missing."""
    ids = conn.execute(select(replica.c.id).where(replica.c.device_id == device_id)).scalars()
    doubt_replicas(conn, ids.all())


def doubt_replicas(conn: Connection, replica_ids: Collection[int]) -> None:
    """Do what `doubt` does for some replicas."""
    files = replica_message.c
    where = is_one_of(files.replica_id, replica_ids), files.state == ReplicaState.DELETED
    conn.execute(update(replica_message).where(*where).values(state=ReplicaState.MISSING))
    conn.execute(update(replica).where(is_one_of(replica.c.id, replica_ids)).values(listed_at=None))


def all_files(conn: Connection, replica_id: int) -> Mapping[str, ReplicaMessage]:
    """Return all rows of a replica by name."""
    files = map(replica_message_of, _all_files().rows(conn, of_replica=replica_id))
    return {file.name: file for file in files}


def digests_of(conn: Connection, message_ids: Iterable[int]) -> Mapping[int, bytes]:
    """Return the digest of the body of each of these messages that has one."""
    query = (
        select(server_message.c.id, body.c.digest)
        .join(body, body.c.id == server_message.c.body_id)
        .where(is_one_of(server_message.c.id, message_ids))
    )
    return {row.id: row.digest for row in conn.execute(query)}


def removed_by_us(
    conn: Connection, of: ReplicaRow, names: Iterable[str], *, is_first: bool = True
) -> Mapping[str, Returned]:
    """Return those of these names that a tombstone has, if its message is as it was then: that was deleted.

    is_first: nobody has looked at the files before, so they may be a copy of another device's. Else a name that
    another mailbox of the device has is left out: that is a file that was moved, perhaps back again.
    """
    message, places = server_message.c, replica.alias()
    query = (
        select(tombstone.c.name, tombstone.c.digest, message.id, message.body_id)
        .join(
            server_message,
            and_(
                message.mailbox_id == of.mailbox_id,
                message.uidvalidity == tombstone.c.uidvalidity,
                message.uid == tombstone.c.uid,
                message.gone_at.is_not(None),
            ),
        )
        .outerjoin(body, body.c.id == message.body_id)
        .where(
            tombstone.c.digest.is_not(None),
            or_(message.body_id.is_(None), body.c.digest == tombstone.c.digest),
        )
    )
    if is_first:
        everywhere = select(places.c.id).where(places.c.mailbox_id == of.mailbox_id)
        query = query.where(tombstone.c.replica_id.in_(everywhere))
    else:
        query = query.where(tombstone.c.replica_id == of.id)
    rows = rows_in(conn, query, tombstone.c.name, names)
    found = {row.name: Returned(row.digest, row.id, is_swept=row.body_id is None) for row in rows}
    if found and not is_first:
        mine = select(places.c.id).where(places.c.device_id == of.device_id)
        query = select(replica_message.c.name).where(replica_message.c.replica_id.in_(mine))
        for row in rows_in(conn, query.distinct(), replica_message.c.name, list(found)):
            del found[row.name]
    return found


def bind_again(conn: Connection, bodies: Mapping[int, int]) -> None:
    """Give messages that are gone the bodies that they had before these were swept, by row id."""
    for message_id, body_id in bodies.items():
        swept = (server_message.c.id == message_id, server_message.c.body_id.is_(None))
        conn.execute(update(server_message).where(*swept).values(body_id=body_id))


def record_returned(conn: Connection, of: ReplicaRow, returned: Sequence[ReturnedFile]) -> frozenset[str]:
    """Record files of messages that are gone: the next round plans what is planned of such a one.

    Returns their names, but for messages that have a file already.
    """
    columns, names = replica_message.c, set[str]()
    for seen, message_id, form in returned:
        mine = (columns.replica_id == of.id, columns.message_id == message_id)
        if conn.execute(select(columns.id).where(*mine)).first() is not None:
            continue
        row = {"replica_id": of.id, "message_id": message_id, "name": seen.name, "version": 0, **values_of(seen)}
        conn.execute(insert(replica_message).values(state=ReplicaState.PRESENT, form=form, **row))
        begin_base(conn, of, {message_id: seen.flags})
        names.add(seen.name)
    touch(conn, of.mailbox_id, [one.message_id for one in returned if one.seen.name in names])
    return frozenset(names)


def unite(conn: Connection, of: ReplicaRow, looked: Looked) -> int:
    """Record a first look, concluding no deletion and no removal of a flag; return how many files it concerned."""
    changed = [file for file in looked.there if _differs(file)]
    columns = replica_message.c
    version = raise_replica_version(conn, of.id)
    for number, file in enumerate(changed, start=1):
        if number % PER_VERSION == 0:
            version = raise_replica_version(conn, of.id)
        here = update(replica_message).where(columns.id == file.row.id)
        state = ReplicaState.PRESENT if file.row.message_id is not None else file.row.state
        conn.execute(
            here.values(state=state, version=version, missing_since=None, form=file.form, **values_of(file.seen))
        )
    _keep_common(conn, of, {file.row.message_id: file.seen.flags for file in looked.there if file.row.message_id})
    over = [row for row in looked.not_there if row.state not in UNDERWAY]
    lost = [row.message_id for row in over if row.message_id is not None]
    take_out(conn, mailbox_id=of.mailbox_id, message_ids=frozenset(lost), of=(HoldScope.BY_DEVICE, of.device_id))
    conn.execute(
        delete(base_message).where(base_message.c.replica_id == of.id, is_one_of(base_message.c.message_id, lost))
    )
    conn.execute(delete(replica_message).where(is_one_of(columns.id, [row.id for row in over])))
    record_returned(conn, of, looked.returned)
    conn.execute(update(replica).where(replica.c.id == of.id).values(listed_at=looked.listed_at, server_cursor=0))
    return len(changed) + len(over) + len(looked.returned) + pair(conn, of)


def _differs(file: KnownFile) -> bool:
    row, seen = file.row, file.seen
    if row.state not in {ReplicaState.PRESENT, ReplicaState.NEW, ReplicaState.FOUND}:
        return True
    was = (row.flags, row.info, row.subdir, row.size_bytes, row.mtime)
    return was != (seen.flags, seen.info, seen.subdir, seen.size_bytes, seen.mtime)


def _keep_common(conn: Connection, of: ReplicaRow, seen: Mapping[int, Flags]) -> None:
    """Let the base say no more than the files do: what a file does not say, nobody has removed from it.

    A file without a base gets one that says nothing, so that both sides get what either has.
    """
    query = select(base_message.c.message_id, base_message.c.flags).where(base_message.c.replica_id == of.id)
    agreed = {message_id: parse_flags(flags) for message_id, flags in conn.execute(query)}
    begin_base(conn, of, dict.fromkeys(seen.keys() - agreed.keys(), NONE))
    for message_id in seen.keys() & agreed.keys():
        flags = seen[message_id]
        said = {flag.lower() for flag in flags}
        common = frozenset(flag for flag in agreed[message_id] if flag.lower() in said)
        if common != agreed[message_id]:
            mine = (base_message.c.replica_id == of.id, base_message.c.message_id == message_id)
            conn.execute(update(base_message).where(*mine).values(flags=format_flags(common)))


@cache
def _all_files() -> AtOnce:
    return AtOnce(select(*FILE_COLUMNS).where(replica_message.c.replica_id == bindparam("of_replica")))
