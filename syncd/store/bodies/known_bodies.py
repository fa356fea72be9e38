"""Floor 3: bodies that the store may have already: of messages that a server moved or copied, or that come twice."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache

from sqlalchemy import ColumnElement, Connection, FromClause, and_, exists, or_, select

from syncd.mail.flags import DRAFT
from syncd.mail.mailbox import SpecialUse
from syncd.mail.tree import ReplicaState
from syncd.store.engine.queries import AtOnce, hexadecimal, is_listed, is_one_of
from syncd.store.tables.schema import body, journal, mailbox, replica_message, server_message
from syncd.store.trees.journal import FOUND
from syncd.values import Value

_DRAFTS = SpecialUse.DRAFTS.value
_LIKES_MAX = 16
"""More messages of one size and date are none that only their headers tell apart, but an import of thousands."""


class KnownBody(Value):
    """A body that a message without one has, or may have.

    is_certain: the server gave both messages one EMAILID (RFC 8474 §5.1), which says that their octets are the same.
    Else both have this size and INTERNALDATE, and a Message-ID, and the header must be equal as well.
    """

    body_id: int
    header_digest: bytes
    is_certain: bool


def known_bodies(
    conn: Connection, *, account_id: int, message_ids: Sequence[int], is_renumbered: bool = False
) -> Mapping[int, tuple[KnownBody, ...]]:
    """Return what these messages, by row id, have or may have for a body: those of the account's other mailboxes.

    And those of files that were found in the same mailbox of a device, but for drafts.
    NOTE: of its own mailbox none is one, for two versions of a draft can be alike but for their octets; where the
    mailbox is_renumbered, those under its other UIDVALIDITYs are, but not for drafts.
    """
    mailbox_ids = conn.execute(select(mailbox.c.id).where(mailbox.c.account_id == account_id)).scalars().all()
    found: dict[int, tuple[KnownBody, ...]] = {}
    for id_, body_id, digest, message_id in _bodies_of_likes(conn, message_ids, mailbox_ids, _has_date, is_renumbered):
        if message_id is not None:
            found[id_] = (*found.get(id_, ()), KnownBody(body_id, digest, is_certain=False))
    for id_, body_id, digest, _ in _bodies_of_likes(conn, message_ids, mailbox_ids, _has_email_id, is_renumbered):
        found[id_] = (*found.get(id_, ()), KnownBody(body_id, digest, is_certain=True))
    for id_, bodies in _bodies_found(conn, message_ids).items():
        found[id_] = (*found.get(id_, ()), *bodies)
    return found


def may_be_any(conn: Connection, facts: Collection[tuple[int, int]], *, under_way: frozenset[int]) -> bool:
    """Tell whether the store may have a body of one of these dates and sizes already, or of any that a device had.

    under_way: messages that are about to have one. A message of the same EMAILID mostly has the same date as well.
    """
    if _are_files_found(conn):
        return True
    message = server_message.c
    found = select(message.internaldate, message.size_bytes).where(
        is_one_of(message.internaldate, {date for date, _ in facts}),
        or_(message.body_id.is_not(None), is_one_of(message.id, under_way)),
    )
    return not frozenset(facts).isdisjoint((date, size_bytes) for date, size_bytes in conn.execute(found))


Likeness = Callable[[FromClause, FromClause], ColumnElement[bool]]


def _has_date(wanted: FromClause, other: FromClause) -> ColumnElement[bool]:
    return wanted.c.internaldate == other.c.internaldate


def _has_email_id(wanted: FromClause, other: FromClause) -> ColumnElement[bool]:
    return wanted.c.email_id == other.c.email_id


def _bodies_of_likes(
    conn: Connection,
    message_ids: Iterable[int],
    mailbox_ids: Iterable[int],
    is_like: Likeness,
    is_renumbered: bool,
) -> list[tuple[int, int, bytes, str | None]]:
    """Return id, body id, header digest and Message-ID for each message and each body of its few likes."""
    rows = _likes(is_like, is_renumbered).rows(conn, message_ids=message_ids, mailbox_ids=mailbox_ids)
    return [(id_, body_id, bytes.fromhex(digest), message_id) for id_, body_id, digest, message_id in rows]


@cache
def _likes(is_like: Likeness, is_renumbered: bool) -> AtOnce:
    def likes(wanted: FromClause, other: FromClause) -> ColumnElement[bool]:
        is_elsewhere = other.c.mailbox_id != wanted.c.mailbox_id
        if is_renumbered:
            is_draft = wanted.c.flags.contains(DRAFT, autoescape=True)
            is_elsewhere |= and_(other.c.uidvalidity != wanted.c.uidvalidity, ~is_draft)
        return and_(
            is_like(wanted, other),
            other.c.size_bytes == wanted.c.size_bytes,
            is_elsewhere,
            # NOTE: without the sum SQLite begins with all messages of the mailboxes.
            is_listed(other.c.mailbox_id + 0, "mailbox_ids"),
            other.c.body_id.is_not(None),
        )

    wanted, other, further = (server_message.alias(name) for name in ("wanted", "other", "further"))
    has_too_many = exists(select(further.c.id).where(likes(wanted, further)).limit(1).offset(_LIKES_MAX))
    return AtOnce(
        select(wanted.c.id, other.c.body_id, hexadecimal(body.c.header_digest), body.c.message_id)
        .distinct()
        .select_from(wanted)
        .join(other, likes(wanted, other))
        .join(body, body.c.id == other.c.body_id)
        .where(is_listed(wanted.c.id, "message_ids"), ~has_too_many)
    )


def _bodies_found(conn: Connection, message_ids: Iterable[int]) -> Mapping[int, tuple[KnownBody, ...]]:
    """Return for each message the bodies of found files that may be its, all those of one size and date."""
    if not _are_files_found(conn):
        return {}
    message, file = server_message.c, replica_message.c
    wanted = (
        select(message.id, message.mailbox_id, message.size_bytes, message.internaldate)
        .join(mailbox, mailbox.c.id == message.mailbox_id)
        .where(is_one_of(message.id, message_ids), mailbox.c.special_use.is_distinct_from(_DRAFTS))
    )
    places = {row.id: (row.mailbox_id, row.size_bytes, row.internaldate) for row in conn.execute(wanted)}
    found = (
        select(journal.c.mailbox_id, journal.c.size_bytes, file.mtime, body.c.id, body.c.header_digest)
        .distinct()
        .join(replica_message, file.id == journal.c.replica_message_id)
        .join(body, and_(body.c.digest == journal.c.digest, body.c.message_id.is_not(None)))
        .where(
            journal.c.kind == FOUND,
            file.state == ReplicaState.FOUND,
            is_one_of(journal.c.size_bytes, {size_bytes for _, size_bytes, _ in places.values()}),
            is_one_of(file.mtime, {date for _, _, date in places.values()}),
        )
    )
    bodies: dict[tuple[int, int, int], tuple[KnownBody, ...]] = {}
    for mailbox_id, size_bytes, mtime, body_id, header_digest in conn.execute(found):
        place = (mailbox_id, size_bytes, mtime)
        bodies[place] = (*bodies.get(place, ()), KnownBody(body_id, header_digest, is_certain=False))
    return {id_: bodies[place] for id_, place in places.items() if place in bodies}


def _are_files_found(conn: Connection) -> bool:
    return conn.execute(select(journal.c.id).where(journal.c.kind == FOUND).limit(1)).first() is not None
