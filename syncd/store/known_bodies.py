"""Floor 3: bodies that the store may have already: of messages that a server moved or copied, or that come twice."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, and_, or_, select

from syncd.store.queries import hexadecimal, is_one_of, rows_at_once
from syncd.store.schema import body, mailbox, server_message


@dataclass(frozen=True, slots=True)
class KnownBody:
    """A body that a message without one may have.

    is_certain: the server gave both messages one EMAILID (RFC 8474 §5.1), which says that their octets are the same.
    Else size and INTERNALDATE are equal, and the header must be as well.
    """

    body_id: int
    header_digest: bytes
    is_certain: bool


def known_bodies(
    conn: Connection, *, account_id: int, message_ids: Iterable[int]
) -> Mapping[int, tuple[KnownBody, ...]]:
    """Return what each of these messages, by row id, may have for a body: those of the account's other mailboxes.

    NOTE: of its own mailbox none is one, for two versions of a draft can be alike but for their octets.
    """
    wanted, other = server_message.alias("wanted"), server_message.alias("other")
    is_alike = and_(other.c.internaldate == wanted.c.internaldate, other.c.size_bytes == wanted.c.size_bytes)
    is_same = other.c.email_id == wanted.c.email_id
    query = (
        select(
            wanted.c.id,
            other.c.body_id,
            hexadecimal(conn, body.c.header_digest),
            wanted.c.email_id,
            other.c.email_id.label("other_email_id"),
            other.c.mailbox_id,
        )
        .distinct()
        .select_from(wanted)
        .join(other, and_(or_(is_alike, is_same), other.c.mailbox_id != wanted.c.mailbox_id))
        .join(body, body.c.id == other.c.body_id)
        .where(is_one_of(conn, wanted.c.id, message_ids))
    )
    # NOTE: joined, SQLite would begin with all messages of the account.
    of_account = set(conn.execute(select(mailbox.c.id).where(mailbox.c.account_id == account_id)).scalars())
    found: dict[int, list[KnownBody]] = {}
    for id_, body_id, header_digest, email_id, other_email_id, mailbox_id in rows_at_once(conn, query):
        if mailbox_id not in of_account:
            continue
        is_certain = email_id is not None and email_id == other_email_id
        found.setdefault(id_, []).append(KnownBody(body_id, bytes.fromhex(header_digest), is_certain))
    return {id_: tuple(sorted(bodies, key=lambda one: one.body_id)) for id_, bodies in found.items()}
