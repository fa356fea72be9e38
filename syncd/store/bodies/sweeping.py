"""Floor 3: bodies that nobody needs any more, swept, and the space that they took given back.

Theory. A body is needed by a message that is there, or went less than the retention ago; by a file or a base of a
device, which may still want its message back; and by what is on its way, or was found and not told yet. What nobody
needs loses its name first: the rows of messages that are gone let go of it, so that nobody finds it by them. Only the
sweep after that removes it, unless it got a name again, so that who had found it before, and asked a server meanwhile,
may bind it still. Both are decided anew in the transaction that does it.

Rows of messages and tombstones stay: by them a file that comes back from a backup, or with a device that was away for
years, is known as one that was deleted.
"""

import sqlite3
from collections.abc import Iterable

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, func, or_, select, update

from syncd.errors import SyncdError
from syncd.store.engine.queries import is_one_of
from syncd.store.tables.own_tables import store
from syncd.store.tables.schema import base_message, body, journal, replica_message, server_message
from syncd.store.trees.journal import UploadState
from syncd.values import Value


class Unneeded(Value):
    """A body that nobody needs, and how large it is."""

    body_id: int
    size_bytes: int


class Page(Value):
    """What of some bodies, in the order of their ids, nobody needs. upto: the last id; None: there are no more."""

    unneeded: tuple[Unneeded, ...]
    upto: int | None


class Swept(Value):
    """Count the bodies that were removed, and their bytes as they were before they were encoded."""

    bodies: int = 0
    size_bytes: int = 0

    def __add__(self, other: "Swept") -> "Swept":
        return Swept(self.bodies + other.bodies, self.size_bytes + other.size_bytes)


def swept_at(conn: Connection) -> float | None:
    """Return when the last sweep came to its end, or the store was made; None while no device has mail of it."""
    at = conn.execute(select(store.c.swept_at)).scalar_one_or_none()
    return None if at is None else float(at)


def record_sweep(conn: Connection, *, began_at: float | None, now: float) -> None:
    """Record that a sweep came to its end, unless another one was asked for since; began_at: `swept_at` before it."""
    conn.execute(update(store).where(store.c.swept_at == began_at).values(swept_at=now))


def unneeded_page(conn: Connection, *, after: int, before: float, count: int) -> Page:
    """Return what nobody needs of about `count` bodies after this id; before: nobody since then, and none is newer."""
    ids = select(body.c.id).where(body.c.id > after).order_by(body.c.id).limit(count)
    upto = conn.execute(select(func.max(ids.subquery().c.id))).scalar_one_or_none()
    if upto is None:
        return Page((), None)
    query = select(body.c.id, body.c.size_bytes).where(body.c.id > after, body.c.id <= upto, _is_unneeded(before))
    return Page(tuple(Unneeded(*row) for row in conn.execute(query.order_by(body.c.id))), int(upto))


def sweep(conn: Connection, body_ids: Iterable[int], *, before: float) -> Swept:
    """Remove those of these bodies that nobody needs and that have no name any more; the others lose theirs."""
    query = select(body.c.id, body.c.size_bytes, _is_named()).where(
        is_one_of(body.c.id, body_ids), _is_unneeded(before)
    )
    rows = [tuple(row) for row in conn.execute(query)]
    named = [body_id for body_id, _, is_named in rows if is_named]
    over = {body_id: size_bytes for body_id, size_bytes, is_named in rows if not is_named}
    message = server_message.c
    conn.execute(update(server_message).where(is_one_of(message.body_id, named)).values(body_id=None))
    conn.execute(delete(body).where(is_one_of(body.c.id, over)))
    return Swept(len(over), sum(over.values()))


def give_back(conn: Connection, *, pages: int) -> bool:
    """Give some free pages of a SQLite file back, and tell whether more can be; elsewhere nothing is to be done."""
    driver = conn.connection.driver_connection if conn.dialect.name == "sqlite" else None
    if driver is None:
        return False
    before = _free_pages(conn)
    try:
        for _ in range(min(pages, before)):
            # NOTE: a statement gives back one page each time that it is stepped, and the driver steps it once.
            driver.execute("PRAGMA incremental_vacuum(1)").fetchall()
    except sqlite3.Error as error:
        raise SyncdError("the space of what was swept cannot be given back") from error
    return 0 < _free_pages(conn) < before  # a file that was made anew by other means keeps all its pages


def _free_pages(conn: Connection) -> int:
    return int(conn.exec_driver_sql("PRAGMA freelist_count").scalar_one())


def _is_named() -> ColumnElement[bool]:
    return exists(select(server_message.c.id).where(server_message.c.body_id == body.c.id))


def _is_unneeded(before: float) -> ColumnElement[bool]:
    message, file, base = server_message.c, replica_message.c, base_message.c
    is_there_or_young = or_(message.gone_at.is_(None), message.gone_at >= before)
    has_file = exists(select(file.id).where(file.message_id == message.id).correlate(server_message))
    has_base = exists(select(base.message_id).where(base.message_id == message.id).correlate(server_message))
    is_needed = exists(
        select(message.id)
        .where(message.body_id == body.c.id, or_(is_there_or_young, has_file, has_base))
        .correlate(body)
    )
    # NOTE: what is filed needs no body: its message has it, or is gone.
    is_underway = exists(
        select(journal.c.id)
        .where(journal.c.digest == body.c.digest, journal.c.kind != UploadState.FILED.value)
        .correlate(body)
    )
    return and_(body.c.stored_at < before, ~is_needed, ~is_underway)
