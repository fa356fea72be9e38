"""Floor 3: the journal: what was begun on a server, by which what was made is found and made only once.

This part is of copies into Trash where a server has no MOVE; files that devices added are in `uploads`.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum

from sqlalchemy import Connection, delete, select, update

from syncd.mail.tree import ReplicaState
from syncd.store.engine.queries import insert_at_once, is_one_of
from syncd.store.tables.schema import body, journal, replica_message, server_message
from syncd.values import Value

FOUND = "found"
"""The kind of rows that say which body a file may be that was there before we were (`found_files`)."""


class CopyState(StrEnum):
    """Say whether a copy was asked for, and may be there or not, or is there by the server's word."""

    BEGUN = "copy"
    MADE = "copied"


class UploadState(StrEnum):
    """Say how far an added file is: in the store, sent to its mailbox and perhaps there, or a message of it."""

    TAKEN_IN = "taken_in"
    BEGUN = "begun"
    FILED = "filed"


ON_ITS_WAY = (UploadState.TAKEN_IN.value, UploadState.BEGUN.value)
_COPIES = tuple(state.value for state in CopyState)


class CopyRow(Value):
    """A copy of a message into another mailbox of its server.

    uidvalidity, uidnext: of the target before the command; 0 and 1 where the server did not say.
    """

    message_id: int
    target_id: int
    state: CopyState
    size_bytes: int
    internaldate: int
    header_digest: bytes
    uidvalidity: int
    uidnext: int


def copies(conn: Connection, message_ids: Iterable[int]) -> Mapping[int, CopyRow]:
    """Return the copies that were begun of these messages, and whose source is not known to be gone."""
    query = (
        select(
            replica_message.c.message_id,
            journal.c.mailbox_id,
            journal.c.kind,
            server_message.c.size_bytes,
            server_message.c.internaldate,
            journal.c.header_digest,
            journal.c.uidvalidity,
            journal.c.uidnext,
        )
        .join(replica_message, replica_message.c.id == journal.c.replica_message_id)
        .join(server_message, server_message.c.id == replica_message.c.message_id)
        .where(is_one_of(replica_message.c.message_id, message_ids), journal.c.kind.in_(_COPIES))
    )
    return {
        message_id: CopyRow(message_id, target_id, CopyState(kind), *facts)
        for message_id, target_id, kind, *facts in conn.execute(query)
    }


def begin_copies(
    conn: Connection,
    message_ids: Iterable[int],
    *,
    account_id: int,
    target_id: int,
    uidvalidity: int,
    uidnext: int,
    now: float,
) -> None:
    """Commit that deleted messages are about to be copied, before the command is sent (law 3)."""
    ids = tuple(message_ids)
    drop_copies(conn, ids)
    went_otherwise = (journal.c.kind.in_(_COPIES), journal.c.replica_message_id.is_(None))
    conn.execute(delete(journal).where(*went_otherwise))
    query = (
        select(
            replica_message.c.message_id, replica_message.c.id, body.c.digest, body.c.header_digest, body.c.size_bytes
        )
        .join(server_message, server_message.c.id == replica_message.c.message_id)
        .join(body, body.c.id == server_message.c.body_id)
        .where(is_one_of(replica_message.c.message_id, ids), replica_message.c.state == ReplicaState.DELETED)
        .order_by(replica_message.c.id.desc())
    )
    rows = {row.message_id: row for row in conn.execute(query)}
    shared = {
        "account_id": account_id,
        "mailbox_id": target_id,
        "kind": CopyState.BEGUN.value,
        "uidvalidity": uidvalidity,
        "uidnext": uidnext,
        "begun_at": now,
    }
    facts = [
        {
            "replica_message_id": row.id,
            "digest": row.digest,
            "header_digest": row.header_digest,
            "size_bytes": row.size_bytes,
        }
        for row in rows.values()
    ]
    insert_at_once(conn, journal, facts, **shared)


def copies_made(conn: Connection, message_ids: Iterable[int]) -> None:
    """Record that copies are there by the server's word."""
    mine = is_one_of(replica_message.c.message_id, message_ids)
    files = select(replica_message.c.id).where(mine)
    ours = (journal.c.replica_message_id.in_(files), journal.c.kind.in_(_COPIES))
    conn.execute(update(journal).where(*ours).values(kind=CopyState.MADE.value))


def drop_copies(conn: Connection, message_ids: Iterable[int]) -> None:
    """Forget copies that the server refused, or whose source is gone; call it before the rows of the files go."""
    files = select(replica_message.c.id).where(is_one_of(replica_message.c.message_id, message_ids))
    conn.execute(delete(journal).where(journal.c.replica_message_id.in_(files), journal.c.kind.in_(_COPIES)))
