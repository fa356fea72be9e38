"""Floor 3: which messages without a body may be those that were moved away elsewhere, by what never changes of them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, and_, select

from syncd.store.queries import is_one_of
from syncd.store.schema import body, server_message


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message without a body, and the bodies that it may have, by the digest of their header."""

    message_id: int
    uid: int
    bodies: Mapping[bytes, frozenset[int]]


def arrivals(conn: Connection, *, mailbox_id: int, message_ids: Collection[int]) -> tuple[Arrival, ...]:
    """Return the messages of a mailbox that have no body, and size and date of one of these messages."""
    source, target = server_message.alias("source"), server_message.alias("target")
    query = (
        select(target.c.id, target.c.uid, body.c.id.label("body_id"), body.c.header_digest)
        .select_from(target)
        .join(
            source,
            and_(source.c.size_bytes == target.c.size_bytes, source.c.internaldate == target.c.internaldate),
        )
        .join(body, body.c.id == source.c.body_id)
        .where(
            target.c.mailbox_id == mailbox_id,
            target.c.body_id.is_(None),
            target.c.gone_at.is_(None),
            is_one_of(conn, source.c.id, message_ids),
        )
        .order_by(target.c.uid)
    )
    uids: dict[int, int] = {}
    found: dict[int, dict[bytes, frozenset[int]]] = {}
    for row in conn.execute(query):
        uids[row.id] = row.uid
        bodies = found.setdefault(row.id, {})
        bodies[row.header_digest] = bodies.get(row.header_digest, frozenset()) | {row.body_id}
    return tuple(Arrival(message_id, uids[message_id], bodies) for message_id, bodies in found.items())
