"""Floor 3: what a delivery needs to know: the body's facts, and a file that holds the same octets already."""

from collections.abc import Collection, Iterable, Mapping
from functools import cache

from sqlalchemy import Connection, and_, exists, func, select, update

from syncd.mail.tree import BodyForm, ReplicaMessage, ReplicaState
from syncd.reconcile.changes import Vanished
from syncd.store.engine.queries import AtOnce, is_listed, is_one_of
from syncd.store.rounds import pairs
from syncd.store.tables.schema import body, device, replica, replica_message, server_message
from syncd.store.trees import replica_tree
from syncd.store.trees.devices import ACTIVE
from syncd.store.trees.replica_tree import FILE_COLUMNS, is_unsettled, replica_message_of
from syncd.values import Value


class Origin(Value):
    """Name the directory of a replica whose files can be linked."""

    device_path: str
    directory: str


class LinkSource(Value):
    """Name a confirmed file of another replica, or of another mailbox, to link from."""

    origin: Origin
    subdir: str
    name: str
    info: str | None


class Deliverable(Value):
    """Describe the file that a message becomes. size_bytes: of the body; lf_size_bytes: of the file in LF form."""

    message_id: int
    body_id: int
    internaldate: int
    size_bytes: int
    lf_size_bytes: int
    form: BodyForm

    @property
    def file_size_bytes(self) -> int:
        return self.lf_size_bytes if self.form is BodyForm.LF else self.size_bytes

    def file_as_delivered(self, file: ReplicaMessage) -> ReplicaMessage:
        """Return a row of the message as it is when its file has the octets of the body."""
        return file._replace(size_bytes=self.file_size_bytes, mtime=self.internaldate, form=self.form)

    @property
    def content(self) -> tuple[int, int]:
        """Return what two files must have in common to be links to one; the form follows from the body."""
        return self.body_id, self.internaldate


class Unsettled(Value):
    """Name a file that was announced, and may be there or not.

    digest: of the body of its message. is_only: no other message has that body, or ever had.
    """

    replica_id: int
    directory: str
    digest: bytes
    is_only: bool
    file: ReplicaMessage


def deliverables(conn: Connection, message_ids: Iterable[int]) -> Mapping[int, Deliverable]:
    """Return the facts of the messages, by row id, whose body is in the store."""
    return {
        id_: Deliverable(id_, body_id, date, size, lf_size, BodyForm.LF if is_crlf else BodyForm.RAW)
        for id_, body_id, date, size, lf_size, is_crlf in _deliverables().rows(conn, ids=message_ids)
    }


def link_sources(
    conn: Connection, wanted: Iterable[Deliverable], *, device_paths: Collection[str]
) -> Mapping[tuple[int, int], LinkSource]:
    """Return files of these devices that can be linked, by the content that is wanted."""
    origins = {
        replica_id: Origin(path, directory)
        for replica_id, path, directory in conn.execute(_ORIGINS)
        if path in device_paths
    }
    if not origins:
        return {}
    rows = _sources().rows(conn, body_ids={one.body_id for one in wanted}, replica_ids=origins)
    return {
        (body_id, internaldate): LinkSource(origins[replica_id], subdir, name, info)
        for body_id, internaldate, replica_id, subdir, name, info in rows
    }


def unsettled_deliveries(conn: Connection, device_id: int) -> tuple[Unsettled, ...]:
    """Return the deliveries to a device that were announced and are not settled."""
    file, other = replica_message.c, server_message.alias("other").c
    has_other = exists().where(other.body_id == body.c.id, other.id != server_message.c.id)
    query = (
        select(replica.c.id, replica.c.directory, body.c.digest, ~has_other, *FILE_COLUMNS)
        .join_from(replica, replica_message, file.replica_id == replica.c.id)
        .join(server_message, server_message.c.id == file.message_id)
        .join(body, body.c.id == server_message.c.body_id)
        .where(replica.c.device_id == device_id, is_unsettled(ReplicaState.DELIVERING))
    )
    return tuple(
        Unsettled(replica_id, directory, bytes(digest), bool(is_only), replica_message_of(row))
        for replica_id, directory, digest, is_only, *row in conn.execute(query)
    )


def rename_unsettled(conn: Connection, names: Mapping[int, str]) -> None:
    """Record under which names such files turn out to be, by row id."""
    for file_id, name in names.items():
        here = (replica_message.c.id == file_id, replica_message.c.state == ReplicaState.DELIVERING)
        conn.execute(update(replica_message).where(*here).values(name=name))


def settle_as_missing(conn: Connection, file_ids: Iterable[int], *, now: float) -> None:
    """Settle such deliveries, by row id, of which the files were there, and record that they are missing since."""
    file = replica_message.c
    query = select(file.id, file.replica_id).where(is_one_of(file.id, file_ids), file.state == ReplicaState.DELIVERING)
    found = conn.execute(query).all()
    pairs.agree_on_new(conn, [file_id for file_id, _ in found])
    for replica_id in {replica_id for _, replica_id in found}:
        missing = [Vanished(file_id, is_own=False) for file_id, of_id in found if of_id == replica_id]
        replica_tree.record_changes(conn, replica_id, missing, now=now)


_ORIGINS = select(replica.c.id, device.c.path, replica.c.directory).join(
    device, and_(device.c.id == replica.c.device_id, device.c.state == ACTIVE)
)


@cache
def _deliverables() -> AtOnce:
    message = server_message.c
    return AtOnce(
        select(
            message.id, message.body_id, message.internaldate, body.c.size_bytes, body.c.lf_size_bytes, body.c.is_crlf
        )
        .join(body, body.c.id == message.body_id)
        .where(is_listed(message.id, "ids"))
    )


@cache
def _sources() -> AtOnce:
    file, message = replica_message.c, server_message.c
    first = (
        select(message.body_id, message.internaldate, func.min(file.id).label("file_id"))
        .join(
            replica_message,
            and_(file.message_id == message.id, file.state == ReplicaState.PRESENT, file.form != BodyForm.OWN),
        )
        # NOTE: without the sum SQLite reads all files of these replicas instead of those of the bodies.
        .where(
            is_listed(message.body_id, "body_ids"),
            is_listed(file.replica_id + 0, "replica_ids"),
        )
        .group_by(message.body_id, message.internaldate)
        .subquery()
    )
    columns = (first.c.body_id, first.c.internaldate, file.replica_id, file.subdir, file.name, file.info)
    return AtOnce(select(*columns).join_from(first, replica_message, file.id == first.c.file_id))
