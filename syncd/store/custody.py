"""Floor 3: the custody of POP3 messages: which the store has, and which copies of the server are confirmed deleted."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, insert, select, update

from syncd.store.queries import is_one_of, rows_in
from syncd.store.schema import mailbox, server_message, uidl
from syncd.store.server_tree import raise_version

TRIES_MAX = 3
"""After so many failures in a row a message is left in its maildrop until somebody asks."""


@dataclass(frozen=True, slots=True)
class CustodyRow:
    """What the store remembers of one key of an account; digest is empty while nothing of it is in the store."""

    key: str
    state: str
    size_bytes: int | None
    digest: bytes
    tries: int


@dataclass(frozen=True, slots=True)
class Arrival:
    """A retrieved message to be committed: its row, and its body if it is a message that INBOX does not have.

    replaced: the message of this row was incomplete, and goes. takes_over: keys of rows that this one stands for now.
    """

    row: CustodyRow
    body_id: int | None
    size_bytes: int
    replaces: bool
    takes_over: tuple[str, ...]


def custody_rows(conn: Connection, *, account_id: int, keys: Iterable[str]) -> tuple[CustodyRow, ...]:
    """Return the rows that exist among `keys`."""
    query = select(uidl).where(uidl.c.account_id == account_id)
    return tuple(_row(row) for row in rows_in(conn, query, uidl.c.key, set(keys)))


def rows_of_digests(conn: Connection, *, account_id: int, digests: Iterable[bytes]) -> tuple[CustodyRow, ...]:
    """Return all rows of an account whose body has one of these digests."""
    query = select(uidl).where(uidl.c.account_id == account_id)
    return tuple(_row(row) for row in rows_in(conn, query, uidl.c.digest, set(digests)))


def record_arrivals(
    conn: Connection, *, account_id: int, mailbox_id: int, arrivals: Sequence[Arrival], now: float
) -> int:
    """Write messages, UIDs and custody in one; return how many messages are new in the mailbox."""
    new = [arrival for arrival in arrivals if arrival.body_id is not None]
    uids = _take_uids(conn, mailbox_id, len(new))
    version = raise_version(conn, mailbox_id) if new else 0
    message_ids = _insert_messages(conn, mailbox_id, new, uids, version=version, now=now)
    for arrival in arrivals:
        row = arrival.row
        named = _messages_of(conn, account_id, (row.key, *arrival.takes_over))
        if arrival.takes_over:
            gone = (uidl.c.account_id == account_id, uidl.c.key.in_(arrival.takes_over))
            conn.execute(delete(uidl).where(*gone))
        before = next((named[key] for key in (row.key, *arrival.takes_over) if key in named), None)
        if arrival.replaces and before is not None:
            conn.execute(
                update(server_message).where(server_message.c.id == before).values(gone_at=now, version=version)
            )
        _put(conn, account_id, row, message_id=message_ids.get(row.key, before), now=now)
    return len(new)


def record_deletions(
    conn: Connection, *, account_id: int, keys: Iterable[str], state: str, deleted_at: float | None
) -> None:
    """Record that the server was asked to delete its copies, or that it confirmed by its answer to QUIT that it did."""
    rows = [{"gone_key": key} for key in keys]
    if rows:
        conn.execute(
            update(uidl)
            .where(uidl.c.account_id == account_id, uidl.c.key == bindparam("gone_key"))
            .values(state=state, deleted_at=deleted_at, error=None),
            rows,
        )


def record_untaken(conn: Connection, *, account_id: int, row: CustodyRow, error: str, now: float) -> None:
    """Record that a message could not be taken, and why; what is stored of it already stays known."""
    _put(conn, account_id, row, message_id=None, now=now, error=error)


def troubled_keys(conn: Connection, *, account_id: int) -> frozenset[str]:
    """Return the keys of the messages that could not be taken, or not deleted."""
    query = select(uidl.c.key).where(uidl.c.account_id == account_id, uidl.c.error.is_not(None))
    return frozenset(conn.execute(query).scalars())


def forget_troubles(conn: Connection, *, account_id: int, keys: Iterable[str]) -> None:
    """Tell no more of messages that are not listed any more; what is known of them stays."""
    where = (uidl.c.account_id == account_id, uidl.c.key == bindparam("gone_key"))
    conn.execute(update(uidl).where(*where).values(error=None), [{"gone_key": key} for key in keys])


def hurry(conn: Connection, *, account_id: int) -> None:
    """Give what was given up new tries, each in a session of its own: somebody asks."""
    where = (uidl.c.account_id == account_id, uidl.c.error.is_not(None), uidl.c.tries > 1)
    conn.execute(update(uidl).where(*where).values(tries=1))


def _row(row: Row[Any]) -> CustodyRow:
    return CustodyRow(row.key, row.state, row.size_bytes, bytes(row.digest), row.tries)


def _take_uids(conn: Connection, mailbox_id: int, count: int) -> range:
    if not count:
        return range(0)
    taken = (
        update(mailbox)
        .where(mailbox.c.id == mailbox_id)
        .values(uidnext=mailbox.c.uidnext + count, exists_count=mailbox.c.exists_count + count)
        .returning(mailbox.c.uidnext)
    )
    uidnext = int(conn.execute(taken).scalar_one())
    return range(uidnext - count, uidnext)


def _insert_messages(
    conn: Connection, mailbox_id: int, new: Sequence[Arrival], uids: range, *, version: int, now: float
) -> Mapping[str, int]:
    if not new:
        return {}
    uidvalidity = conn.execute(select(mailbox.c.uidvalidity).where(mailbox.c.id == mailbox_id)).scalar_one()
    conn.execute(
        insert(server_message),
        [
            {
                "mailbox_id": mailbox_id,
                "uidvalidity": uidvalidity,
                "uid": uid,
                "size_bytes": arrival.size_bytes,
                "internaldate": int(now),
                "body_id": arrival.body_id,
                "version": version,
            }
            for arrival, uid in zip(new, uids, strict=True)
        ],
    )
    made = select(server_message.c.id, server_message.c.uid).where(
        server_message.c.mailbox_id == mailbox_id, server_message.c.uidvalidity == uidvalidity
    )
    ids = {row.uid: row.id for row in conn.execute(made.where(is_one_of(conn, server_message.c.uid, uids)))}
    return {arrival.row.key: ids[uid] for arrival, uid in zip(new, uids, strict=True)}


def _messages_of(conn: Connection, account_id: int, keys: Iterable[str]) -> dict[str, int]:
    query = select(uidl.c.key, uidl.c.message_id).where(uidl.c.account_id == account_id)
    found = rows_in(conn, query, uidl.c.key, keys)
    return {row.key: row.message_id for row in found if row.message_id is not None}


def _put(
    conn: Connection, account_id: int, row: CustodyRow, *, message_id: int | None, now: float, error: str | None = None
) -> None:
    values: dict[str, Any] = {
        "state": row.state,
        "size_bytes": row.size_bytes,
        "digest": row.digest,
        "tries": row.tries,
        "error": error,
        "seen_at": now,
    }
    if message_id is not None:
        values["message_id"] = message_id
    where = (uidl.c.account_id == account_id, uidl.c.key == row.key)
    if conn.execute(update(uidl).where(*where).values(**values)).rowcount == 0:
        conn.execute(insert(uidl).values(account_id=account_id, key=row.key, **values))
