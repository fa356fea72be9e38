"""Floor 3: the server tree: what each mailbox holds on its server, as observed, with a version on every change."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    Connection,
    Update,
    and_,
    bindparam,
    func,
    or_,
    select,
    update,
)

from syncd.mail.flags import Flags, format_flags, parse_flags, with_delta
from syncd.mail.uidset import UidSet
from syncd.store.engine.queries import AtOnce, insert_at_once, is_listed, is_one_of, update_at_once
from syncd.store.tables.schema import body, mailbox, server_message
from syncd.store.trees import history, troubles
from syncd.values import Value

_FEW = 1000
"""Of so many UIDs rows are read one by one, else those of the whole mailbox."""


class ObservedMessage(Value):
    """A message as its server just described it; size and date are None when only flags were asked for."""

    uid: int
    flags: Flags
    modseq: int
    size_bytes: int | None = None
    internaldate: int | None = None
    email_id: str | None = None


class Unlike(Value):
    """A UID whose message has another size or date than before; header_digest: of the body in the store, if any."""

    uid: int
    header_digest: bytes | None
    is_same_date: bool


class FlagDelta(Value):
    """A change of some flags of one message."""

    message_id: int
    add: Flags
    remove: Flags


class _Known(NamedTuple):
    """A row of the tree."""

    id: int
    uid: int
    flags: str
    modseq: int
    is_gone: bool


def raise_version(conn: Connection, mailbox_id: int) -> int:
    """Return the version for the rows of `mailbox_id` that this transaction changes.

    On PostgreSQL the row lock that this takes makes versions become visible in their order.
    """
    return int(conn.execute(_RAISE, {"of_mailbox": mailbox_id}).scalar_one())


def record_messages(
    conn: Connection,
    mailbox_id: int,
    uidvalidity: int,
    observed: Sequence[ObservedMessage],
    *,
    now: float,
    is_told: bool = False,
) -> UidSet:
    """Write observed messages; return the UIDs that are not in the tree and came without size and date.

    Rows that are as they were keep their version, so that no replica looks at them again. A UID that was thought gone
    and is listed again is there again. is_told: this is news that nobody else tells the history.
    """
    known = _rows_by_uid(conn, mailbox_id, uidvalidity, [message.uid for message in observed])
    added: list[dict[str, Any]] = []
    changed: dict[int, dict[str, Any]] = {}
    silent: dict[int, dict[str, Any]] = {}
    unknown: list[int] = []
    for message in observed:
        row = known.get(message.uid)
        flags = format_flags(message.flags)
        if row is None:
            if message.size_bytes is None or message.internaldate is None:
                unknown.append(message.uid)
                continue
            added.append(
                {
                    "uid": message.uid,
                    "flags": flags,
                    "modseq": message.modseq,
                    "size_bytes": message.size_bytes,
                    "internaldate": message.internaldate,
                    "email_id": message.email_id,
                }
            )
        elif row.flags != flags or row.is_gone:
            modseq = max(message.modseq, row.modseq)
            changed[row.id] = {"flags": flags, "modseq": modseq}
        elif message.modseq > row.modseq:
            silent[row.id] = {"modseq": message.modseq}
    if added or changed:
        version = raise_version(conn, mailbox_id)
        if added:
            of = {"mailbox_id": mailbox_id, "uidvalidity": uidvalidity, "version": version}
            came_at = _came_at(conn, mailbox_id, uidvalidity, now=now)
            insert_at_once(conn, server_message, added, **of, came_at=came_at)
        update_at_once(conn, server_message, changed, version=version, gone_at=None)
    update_at_once(conn, server_message, silent)
    if is_told and (added or changed):
        news = [*_appeared(conn, mailbox_id, uidvalidity, [row["uid"] for row in added]), *_altered(changed, known)]
        history.tell(conn, news, now=now, origin=history.SERVER, mailbox_id=mailbox_id)
    return UidSet.of(unknown)


def record_vanished(
    conn: Connection, mailbox_id: int, uidvalidity: int, uids: UidSet, *, now: float, is_told: bool = False
) -> int:
    """Mark messages as expunged by the server; return how many were there. The caller has proof (law 2).

    is_told: this is news that nobody else tells the history.
    """
    alive = [row.id for row in _rows_by_uid(conn, mailbox_id, uidvalidity, uids).values() if not row.is_gone]
    if alive:
        version = raise_version(conn, mailbox_id)
        conn.execute(_gone(), {"ids": alive, "now": now, "at_version": version})
        troubles.forget(conn, alive)
        if is_told:
            news = [history.Happening(history.Verb.VANISH, row_id) for row_id in alive]
            history.tell(conn, news, now=now, origin=history.SERVER, mailbox_id=mailbox_id)
    return len(alive)


def has_from(conn: Connection, *, mailbox_id: int, uidvalidity: int, uid: int) -> bool:
    """Tell whether a message of a mailbox is known that has this UID or a higher one."""
    columns = server_message.c
    here = and_(columns.mailbox_id == mailbox_id, columns.uidvalidity == uidvalidity, columns.uid >= uid)
    return conn.execute(select(columns.id).where(here).limit(1)).first() is not None


def has_vanished(conn: Connection, *, mailbox_id: int, since: int) -> bool:
    """Tell whether a message of a mailbox was recorded as gone after this version."""
    return conn.execute(_VANISHED, {"of_mailbox": mailbox_id, "since": since}).first() is not None


def has_told(conn: Connection, *, mailbox_id: int, since: int) -> bool:
    """Tell whether anything is to be told to devices after this version; of a message without a body nothing is."""
    return conn.execute(_TOLD, {"of_mailbox": mailbox_id, "since": since}).first() is not None


def apply_flag_deltas(conn: Connection, mailbox_id: int, deltas: Iterable[FlagDelta]) -> None:
    """Change single flags of current rows, whatever else changed since they were planned (law 7)."""
    wanted = {delta.message_id: delta for delta in deltas}
    if not wanted:
        return
    changed: dict[int, dict[str, str]] = {}
    for id_, before in _flags_by_id().rows(conn, ids=wanted):
        delta = wanted[id_]
        flags = format_flags(with_delta(parse_flags(before), add=delta.add, remove=delta.remove))
        if flags != before:
            changed[id_] = {"flags": flags}
    if changed:
        update_at_once(conn, server_message, changed, version=raise_version(conn, mailbox_id))


def bind_bodies(conn: Connection, mailbox_id: int, bodies: Mapping[int, int]) -> None:
    """Record which body each message (by row id) has; from then on replicas can have it."""
    if not bodies:
        return
    version = raise_version(conn, mailbox_id)
    bound = {message_id: {"body_id": body_id} for message_id, body_id in bodies.items()}
    update_at_once(conn, server_message, bound, version=version)


def count_messages(conn: Connection, *, mailbox_id: int, uidvalidity: int) -> int:
    """Return how many messages the tree has and the server has not been seen to expunge."""
    columns = server_message.c
    alive = and_(columns.mailbox_id == mailbox_id, columns.uidvalidity == uidvalidity, columns.gone_at.is_(None))
    return int(conn.execute(select(func.count()).select_from(server_message).where(alive)).scalar_one())


def highest_modseq(conn: Connection, *, mailbox_id: int, uidvalidity: int, uids: Iterable[int]) -> int:
    """Return the highest MODSEQ recorded of some messages, 0 without any."""
    rows = _rows_by_uid(conn, mailbox_id, uidvalidity, uids).values()
    return max((row.modseq for row in rows), default=0)


def flags_of(conn: Connection, *, mailbox_id: int, uidvalidity: int, uids: Iterable[int]) -> Mapping[int, Flags]:
    """Return the flags recorded of messages by UID, of those that are in the tree."""
    return {uid: parse_flags(row.flags) for uid, row in _rows_by_uid(conn, mailbox_id, uidvalidity, uids).items()}


def unlike_messages(
    conn: Connection, *, mailbox_id: int, uidvalidity: int, observed: Sequence[ObservedMessage]
) -> tuple[Unlike, ...]:
    """Return which of these have another size or date than the tree has, or had, under their UIDs."""
    columns = server_message.c
    told = {one.uid: (one.size_bytes, one.internaldate) for one in observed if one.size_bytes is not None}
    query = (
        select(columns.uid, columns.size_bytes, columns.internaldate, body.c.header_digest)
        .outerjoin(body, body.c.id == columns.body_id)
        .where(columns.mailbox_id == mailbox_id, columns.uidvalidity == uidvalidity)
        .where(is_one_of(columns.uid, told))
    )
    return tuple(
        Unlike(row.uid, row.header_digest, is_same_date=row.internaldate == told[row.uid][1])
        for row in conn.execute(query)
        if (row.size_bytes, row.internaldate) != told[row.uid]
    )


def record_facts(conn: Connection, *, mailbox_id: int, uidvalidity: int, observed: Sequence[ObservedMessage]) -> None:
    """Record the size and date that the server tells of known messages now; to devices that is no change."""
    known = _rows_by_uid(conn, mailbox_id, uidvalidity, [one.uid for one in observed])
    facts = {
        known[one.uid].id: {"size_bytes": one.size_bytes, "internaldate": one.internaldate}
        for one in observed
        if one.uid in known
    }
    update_at_once(conn, server_message, facts)


def count_moved(conn: Connection, *, mailbox_id: int, uidvalidity: int, uids: Iterable[int]) -> int:
    """Count how many of these messages have just come into other mailboxes of the account.

    By size and date, each arrival standing for one; what has a body there has been there before.
    """
    columns, other = server_message.c, server_message.alias("other")
    wanted = select(columns.size_bytes, columns.internaldate).where(
        columns.mailbox_id == mailbox_id, columns.uidvalidity == uidvalidity, is_one_of(columns.uid, uids)
    )
    account = select(mailbox.c.account_id).where(mailbox.c.id == mailbox_id).scalar_subquery()
    came = (
        select(other.c.size_bytes, other.c.internaldate)
        .join(mailbox, mailbox.c.id == other.c.mailbox_id)
        .where(
            mailbox.c.account_id == account,
            other.c.mailbox_id != mailbox_id,
            other.c.body_id.is_(None),
            other.c.gone_at.is_(None),
        )
    )
    gone, arrived = (Counter(map(tuple, conn.execute(query))) for query in (wanted, came))
    return (gone & arrived).total()


def sizes_of(conn: Connection, message_ids: Iterable[int]) -> Mapping[int, int]:
    """Return the size of each of these messages, by row id."""
    columns = server_message.c
    query = select(columns.id, columns.size_bytes).where(is_one_of(columns.id, message_ids))
    return {row.id: row.size_bytes for row in conn.execute(query)}


def message_ids_of(conn: Connection, *, mailbox_id: int, uidvalidity: int, uids: Iterable[int]) -> Mapping[int, int]:
    """Return the row ids of messages by UID, of those that are in the tree."""
    return {uid: row.id for uid, row in _rows_by_uid(conn, mailbox_id, uidvalidity, uids).items()}


def known_uids(conn: Connection, *, mailbox_id: int, uidvalidity: int, among: UidSet | None = None) -> UidSet:
    """Return the UIDs that the tree has and the server has not been seen to expunge; among: of these only."""
    if among is not None and len(among) <= _FEW:
        rows = _rows_by_uid(conn, mailbox_id, uidvalidity, among)
        return UidSet.of(uid for uid, row in rows.items() if not row.is_gone)
    query = (
        select(server_message.c.uid)
        .where(
            server_message.c.mailbox_id == mailbox_id,
            server_message.c.uidvalidity == uidvalidity,
            server_message.c.gone_at.is_(None),
        )
        .order_by(server_message.c.uid)
    )
    if among:
        query = query.where(server_message.c.uid.between(among.lowest, among.highest))
    known = UidSet.of(conn.execute(query).scalars())
    return known if among is None else known & among


_VANISHED = (
    select(server_message.c.id)
    .where(
        server_message.c.mailbox_id == bindparam("of_mailbox"),
        server_message.c.version > bindparam("since"),
        server_message.c.gone_at.is_not(None),
    )
    .limit(1)
)
_TOLD = (
    select(server_message.c.id)
    .where(
        server_message.c.mailbox_id == bindparam("of_mailbox"),
        server_message.c.version > bindparam("since"),
        or_(server_message.c.gone_at.is_not(None), server_message.c.body_id.is_not(None)),
    )
    .limit(1)
)
_RAISE = (
    update(mailbox)
    .where(mailbox.c.id == bindparam("of_mailbox"))
    .values(version=mailbox.c.version + 1)
    .returning(mailbox.c.version)
)
_LISTED = select(mailbox.c.is_listed, mailbox.c.uidvalidity, mailbox.c.came_at).where(
    mailbox.c.id == bindparam("of_mailbox")
)


def _came_at(conn: Connection, mailbox_id: int, uidvalidity: int, *, now: float) -> float | None:
    """Return when messages came that are new in the tree: if all others are listed, now, else with their mailbox."""
    of = conn.execute(_LISTED, {"of_mailbox": mailbox_id}).one()
    return now if of.is_listed and of.uidvalidity == uidvalidity else of.came_at


def _appeared(conn: Connection, mailbox_id: int, uidvalidity: int, uids: Sequence[int]) -> Sequence[history.Happening]:
    if len(uids) > history.EACH_MAX:
        return [history.Happening(history.Verb.APPEAR, messages=len(uids))]
    rows = _rows_by_uid(conn, mailbox_id, uidvalidity, uids) if uids else {}
    return [history.Happening(history.Verb.APPEAR, rows[uid].id) for uid in uids]


def _altered(changed: Mapping[int, Mapping[str, Any]], known: Mapping[int, _Known]) -> Sequence[history.Happening]:
    """Return what became of rows that were there: other flags, or a message that is there again."""
    return [
        history.Happening(history.Verb.APPEAR, row.id)
        if row.is_gone
        else history.flags_changed(row.id, before=parse_flags(row.flags), after=parse_flags(changed[row.id]["flags"]))
        for row in known.values()
        if row.id in changed
    ]


def _rows_by_uid(conn: Connection, mailbox_id: int, uidvalidity: int, uids: Iterable[int]) -> dict[int, _Known]:
    wanted = list(uids)
    if not wanted:
        return {}
    rows = _by_uid().rows(conn, of_mailbox=mailbox_id, of_uidvalidity=uidvalidity, uids=wanted)
    return {row.uid: row for row in map(_Known._make, rows)}


@cache
def _flags_by_id() -> AtOnce:
    return AtOnce(select(server_message.c.id, server_message.c.flags).where(is_listed(server_message.c.id, "ids")))


@cache
def _by_uid() -> AtOnce:
    columns = server_message.c
    query = select(
        columns.id, columns.uid, columns.flags, columns.modseq, columns.gone_at.is_not(None).label("is_gone")
    )
    return AtOnce(
        query.where(
            columns.mailbox_id == bindparam("of_mailbox"),
            columns.uidvalidity == bindparam("of_uidvalidity"),
            is_listed(columns.uid, "uids"),
        )
    )


@cache
def _gone() -> Update:
    here = is_listed(server_message.c.id, "ids")
    return update(server_message).where(here).values(gone_at=bindparam("now"), version=bindparam("at_version"))
