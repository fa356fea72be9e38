"""Floor 3: what a delivery needs to know: the body's facts, and a file elsewhere that holds the same octets."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, and_, select

from syncd.mail.tree import BodyForm, ReplicaState
from syncd.store.queries import rows_in
from syncd.store.schema import body, device, replica, replica_message, server_message


@dataclass(frozen=True, slots=True)
class Deliverable:
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


@dataclass(frozen=True, slots=True)
class LinkSource:
    """Name a confirmed file of another replica, or of another mailbox, to link from."""

    device_path: str
    directory: str
    subdir: str
    name: str
    info: str | None


def deliverables(conn: Connection, message_ids: Iterable[int]) -> Mapping[int, Deliverable]:
    """Return the facts of the messages, by row id, whose body is in the store."""
    query = select(
        server_message.c.id,
        server_message.c.body_id,
        server_message.c.internaldate,
        body.c.size_bytes,
        body.c.lf_size_bytes,
        body.c.is_crlf,
    ).join(body, body.c.id == server_message.c.body_id)
    return {
        row.id: Deliverable(
            message_id=row.id,
            body_id=row.body_id,
            internaldate=row.internaldate,
            size_bytes=row.size_bytes,
            lf_size_bytes=row.lf_size_bytes,
            form=BodyForm.LF if row.is_crlf else BodyForm.RAW,
        )
        for row in rows_in(conn, query, server_message.c.id, message_ids)
    }


def link_sources(conn: Connection, wanted: Iterable[Deliverable]) -> Mapping[tuple[int, int], LinkSource]:
    """Return files to link from, by body id and INTERNALDATE; form follows from the body, so it is equal."""
    bodies = {one.body_id for one in wanted}
    query = (
        select(
            server_message.c.body_id,
            server_message.c.internaldate,
            device.c.path,
            replica.c.directory,
            replica_message.c.subdir,
            replica_message.c.name,
            replica_message.c.info,
        )
        .join(
            replica_message,
            and_(
                replica_message.c.message_id == server_message.c.id,
                replica_message.c.state == ReplicaState.PRESENT,
            ),
        )
        .join(replica, replica.c.id == replica_message.c.replica_id)
        .join(device, and_(device.c.id == replica.c.device_id, device.c.state == "active"))
    )
    return {
        (row.body_id, row.internaldate): LinkSource(row.path, row.directory, row.subdir, row.name, row.info)
        for row in rows_in(conn, query, server_message.c.body_id, bodies)
    }
