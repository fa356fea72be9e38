"""Floor 3: the custody of POP3 messages: which the store has, and which copies of the server are confirmed deleted."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Update,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from syncd.mail.flags import NONE, SEEN, Flags, parse_flags
from syncd.store.engine.queries import AtOnce, has_key, insert_at_once, is_one_of, rows_in
from syncd.store.mailboxes.served_mailboxes import NewMessage, put_messages, take_out
from syncd.store.tables.schema import mailbox, server_message, uidl
from syncd.store.trees import history
from syncd.store.trees.history import Happening, Verb
from syncd.values import Value

COMMITTED = "committed"
"""As `pop3.custody.CustodyState` has it: the server has the message as well."""
TRIES_MAX = 3
"""After so many failures in a row a message is left in its maildrop until somebody asks."""


class CustodyRow(Value):
    """What the store remembers of one key of an account; digest is empty while nothing of it is in the store.

    since: when its message came, or what it says was noted first. is_troubled: it has an error.
    """

    key: str
    state: str
    size_bytes: int | None
    digest: bytes
    tries: int
    since: float | None = None
    is_troubled: bool = False


class Arrival(Value):
    """A retrieved message to be committed: its row, and its body if it is a message that INBOX does not have.

    replaces: the message of this row was incomplete, and goes. takes_over: keys of rows that this one stands for now.
    """

    row: CustodyRow
    body_id: int | None
    size_bytes: int
    replaces: bool
    takes_over: tuple[str, ...]


def custody_rows(conn: Connection, *, account_id: int, keys: Iterable[str]) -> tuple[CustodyRow, ...]:
    """Return the rows that exist among `keys`."""
    return tuple(_row(row) for row in rows_in(conn, _rows(account_id), uidl.c.key, set(keys)))


def rows_of_digests(conn: Connection, *, account_id: int, digests: Iterable[bytes]) -> tuple[CustodyRow, ...]:
    """Return all rows of an account whose body has one of these digests."""
    return tuple(_row(row) for row in rows_in(conn, _rows(account_id), uidl.c.digest, set(digests)))


def standing_rows(conn: Connection, *, account_id: int) -> tuple[CustodyRow, ...]:
    """Return the rows of what the server has by all that is known, and of what could not be taken, or not deleted."""
    # NOTE: in one statement, as of many that are kept all are asked for at each poll.
    is_standing = or_(uidl.c.state == COMMITTED, uidl.c.error.is_not(None))
    return tuple(_row(row) for row in conn.execute(_rows(account_id).where(is_standing)))


def kept_by_account(conn: Connection) -> Mapping[int, tuple[int, float]]:
    """Return how many messages the server of each account has as well, if any, and when the oldest of them came.

    Those that it would not delete are told of elsewhere.
    """
    query = (
        select(uidl.c.account_id, func.count().label("number"), func.min(_since()).label("since"))
        .outerjoin(server_message, server_message.c.id == uidl.c.message_id)
        .where(uidl.c.state == COMMITTED, uidl.c.error.is_(None))
        .group_by(uidl.c.account_id)
    )
    return {row.account_id: (row.number, row.since) for row in conn.execute(query)}


def record_arrivals(
    conn: Connection, *, account_id: int, mailbox_id: int, arrivals: Sequence[Arrival], now: float
) -> int:
    """Write messages, UIDs and custody in one; return how many messages came."""
    message_ids = _had_before(conn, account_id, arrivals)
    new = [one for one in arrivals if one.body_id is not None and not one.replaces and one.row.key not in message_ids]
    made = put_messages(conn, mailbox_id, [_message(arrival, now=now) for arrival in new], now=now)
    count = len(new) + sum(arrival.replaces for arrival in arrivals)
    message_ids |= dict(zip((arrival.row.key for arrival in new), made, strict=True))
    told = [Happening(Verb.APPEAR, message_id) for message_id in made]
    history.tell(conn, told, now=now, origin=history.SERVER, mailbox_id=mailbox_id)
    # NOTE: nearly all are new, and what is asked or written for each of them costs more than all else of it. No two
    # of them have a key in common, so that they can be looked up, and those that are new written, together.
    found = _messages_of(
        conn, account_id, {key for arrival in arrivals for key in (arrival.row.key, *arrival.takes_over)}
    )
    added: list[dict[str, Any]] = []
    for arrival in arrivals:
        row = arrival.row
        if arrival.takes_over:
            gone = (uidl.c.account_id == account_id, uidl.c.key.in_(arrival.takes_over))
            conn.execute(delete(uidl).where(*gone))
        before = (found.get(key) for key in (row.key, *arrival.takes_over))
        message_id = next((one for one in before if one is not None), None)
        if arrival.replaces:
            message_id = _replace(conn, account_id, mailbox_id, arrival, message_id, now=now)
        message_id = message_ids.get(row.key, message_id)
        if row.key in found:
            _put(conn, account_id, row, message_id=message_id, now=now)
        else:
            added.append({"account_id": account_id, "key": row.key, "message_id": message_id, **_values(row, now=now)})
    insert_at_once(conn, uidl, added)
    return count


def record_deletions(
    conn: Connection, *, account_id: int, keys: Iterable[str], state: str, deleted_at: float | None
) -> None:
    """Record that the server was asked to delete its copies, that it confirmed by its answer to QUIT that it did, or
    that it does not list them.
    """
    told = tuple(keys)
    if told:
        values = {"new_state": state, "new_deleted_at": deleted_at}
        conn.execute(_deletion(), {"of_account": account_id, "keys": told, **values})
    if told and deleted_at is not None:
        _tell_of_taken(conn, account_id, told, now=deleted_at)


def record_untaken(conn: Connection, *, account_id: int, row: CustodyRow, error: str, now: float) -> None:
    """Record that a message could not be taken, and why; what is stored of it already stays known."""
    _put(conn, account_id, row, message_id=None, now=now, error=error)


def troubled_keys(conn: Connection, *, account_id: int) -> frozenset[str]:
    """Return the keys of the messages that could not be taken, or not deleted."""
    query = select(uidl.c.key).where(uidl.c.account_id == account_id, uidl.c.error.is_not(None))
    return frozenset(conn.execute(query).scalars())


def forget_troubles(conn: Connection, *, account_id: int, keys: Iterable[str]) -> None:
    """Tell no more of these messages; what is known of them stays, and whatever is left of their tries is new."""
    # NOTE: with its tries used up it would be set aside when it is listed again, and nobody would be told.
    where = (uidl.c.account_id == account_id, uidl.c.key == bindparam("gone_key"))
    values = {"error": None, "tries": case((uidl.c.tries > 1, 1), else_=uidl.c.tries)}
    conn.execute(update(uidl).where(*where).values(values), [{"gone_key": key} for key in keys])


def hurry(conn: Connection, *, account_id: int) -> None:
    """Give what was given up new tries, each in a session of its own: somebody asks."""
    where = (uidl.c.account_id == account_id, uidl.c.error.is_not(None), uidl.c.tries > 1)
    conn.execute(update(uidl).where(*where).values(tries=1))


def _since() -> ColumnElement[float]:
    return func.coalesce(server_message.c.came_at, uidl.c.seen_at)


def _rows(account_id: int) -> Select[Any]:
    """Return the query of an account's rows with what is known of their messages.

    NOTE: a message came but once, however often its row is written: its server may deny its UIDL, or refuse DELE.
    """
    columns = uidl.c
    query = select(
        columns.key,
        columns.state,
        columns.size_bytes,
        columns.digest,
        columns.tries,
        columns.error,
        _since().label("since"),
    ).outerjoin(server_message, server_message.c.id == columns.message_id)
    return query.where(columns.account_id == account_id)


def _row(row: Row[Any]) -> CustodyRow:
    return CustodyRow(
        row.key,
        row.state,
        row.size_bytes,
        bytes(row.digest),
        row.tries,
        since=row.since,
        is_troubled=row.error is not None,
    )


def _message(arrival: Arrival, *, now: float, flags: Flags = NONE) -> NewMessage:
    if arrival.body_id is None:
        raise ValueError("an arrival without a body is no message")
    return NewMessage(arrival.body_id, arrival.size_bytes, int(now), flags)


def _replace(
    conn: Connection, account_id: int, mailbox_id: int, arrival: Arrival, half_id: int | None, *, now: float
) -> int:
    """Put a whole message where the half one is by now, and return its row; one that was deleted stays so.

    Then only its octets are kept, as those of all that was deleted. What a person marked is marked still, but not read.
    """
    if half_id is None:
        return put_messages(conn, mailbox_id, [_message(arrival, now=now)], now=now)[0]
    there = _where_now(conn, account_id, half_id)
    if there is None:
        (message_id,) = put_messages(conn, mailbox_id, [_message(arrival, now=now)], now=now)
        take_out(conn, [message_id], now=now)
        return message_id
    whole = _message(arrival, now=now, flags=parse_flags(there.flags) - {SEEN})
    (message_id,) = put_messages(conn, there.mailbox_id, [whole], now=now)
    take_out(conn, [there.id], now=now)
    return message_id


def _where_now(conn: Connection, account_id: int, message_id: int) -> Row[Any] | None:
    """Return the message of the account that this one is now: itself, or what it became when a device moved it.

    That is the last with its octets that was not retrieved itself. None: it was deleted.
    """
    message = server_message.c
    of_row: Select[Any] = select(message.id, message.mailbox_id, message.flags, message.body_id, message.gone_at)
    row = conn.execute(of_row.where(message.id == message_id)).one()
    if row.gone_at is None or row.body_id is None:
        return row if row.gone_at is None else None
    retrieved = exists().where(uidl.c.account_id == account_id, uidl.c.message_id == message.id)
    moved = (
        of_row.join(mailbox, mailbox.c.id == message.mailbox_id)
        .where(
            message.body_id == row.body_id, message.gone_at.is_(None), mailbox.c.account_id == account_id, ~retrieved
        )
        .order_by(message.id.desc())
        .limit(1)
    )
    return conn.execute(moved).one_or_none()


def _had_before(conn: Connection, account_id: int, arrivals: Sequence[Arrival]) -> dict[str, int]:
    """Return by key the messages that an account had before its server gave their octets for the first time.

    Those came from devices: the store was lost, or another program had retrieved them, and the server keeps them. Each
    is one message of the maildrop, so that of equal ones as many are had as there are.
    """
    of_body: dict[int, list[CustodyRow]] = {}
    for one in arrivals:
        if one.body_id is not None and not one.replaces:
            of_body.setdefault(one.body_id, []).append(one.row)
    message = server_message.c
    # NOTE: the last first, see below.
    found = conn.execute(
        select(message.id, message.body_id)
        .join(mailbox, mailbox.c.id == message.mailbox_id)
        .where(
            is_one_of(message.body_id, of_body),
            mailbox.c.account_id + 0 == account_id,
            ~exists().where(uidl.c.message_id == message.id),
        )
        .order_by(message.gone_at.is_not(None), message.id.desc())
    ).all()
    if not found:
        return {}
    first = _first_messages(conn, account_id, {of_body[row.body_id][0].digest for row in found})
    had: dict[str, int] = {}
    for row in found:
        of = of_body[row.body_id]
        # NOTE: what came after a message of the maildrop may be what became of it when a device moved or copied it, and
        # an equal message is another one; what was there before is not. Those paired last to first stay apart from it.
        if of and row.id < first.get(of[0].digest, row.id + 1):
            had[of.pop(0).key] = row.id
    return had


def _first_messages(conn: Connection, account_id: int, digests: Iterable[bytes]) -> dict[bytes, int]:
    """Return by digest the first message that an account has a row of; 0 where that may be forgotten by now."""
    first = func.min(func.coalesce(uidl.c.message_id, 0)).label("first")
    query = select(uidl.c.digest, first).where(uidl.c.account_id == account_id).group_by(uidl.c.digest)
    return {bytes(row.digest): row.first for row in rows_in(conn, query, uidl.c.digest, digests)}


def _tell_of_taken(conn: Connection, account_id: int, keys: Iterable[str], *, now: float) -> None:
    """Tell the history which messages have no copy in their maildrop any more."""
    taken: dict[int, list[Happening]] = {}
    for message_id, in_mailbox in _taken().rows(conn, of_account=account_id, keys=keys):
        taken.setdefault(in_mailbox, []).append(Happening(Verb.DELE, message_id))
    for mailbox_id, told in taken.items():
        history.tell(conn, told, now=now, origin=history.SYNCD, mailbox_id=mailbox_id)


def _messages_of(conn: Connection, account_id: int, keys: Iterable[str]) -> dict[str, int | None]:
    """Return the messages of those of these keys that have a row; None: of none."""
    rows = _messages().rows(conn, of_account=account_id, keys=keys)
    return {key: message_id for key, message_id in rows}  # noqa: C416 - a row need not be a pair to a type checker


@cache
def _messages() -> AtOnce:
    return AtOnce(select(uidl.c.key, uidl.c.message_id).where(*_with_keys()))


@cache
def _taken() -> AtOnce:
    query = select(uidl.c.message_id, server_message.c.mailbox_id)
    return AtOnce(query.join(server_message, server_message.c.id == uidl.c.message_id).where(*_with_keys()))


@cache
def _deletion() -> Update:
    values: dict[str, Any] = {"state": bindparam("new_state"), "deleted_at": bindparam("new_deleted_at"), "error": None}
    return update(uidl).where(*_with_keys()).values(values)


def _with_keys() -> tuple[ColumnElement[bool], ...]:
    return uidl.c.account_id == bindparam("of_account"), has_key(uidl.c.key, "keys")


def _put(
    conn: Connection, account_id: int, row: CustodyRow, *, message_id: int | None, now: float, error: str | None = None
) -> None:
    values = _values(row, now=now, error=error)
    if message_id is not None:
        values["message_id"] = message_id
    where = (uidl.c.account_id == account_id, uidl.c.key == row.key)
    if conn.execute(update(uidl).where(*where).values(**values)).rowcount == 0:
        conn.execute(insert(uidl).values(account_id=account_id, key=row.key, **values))


def _values(row: CustodyRow, *, now: float, error: str | None = None) -> dict[str, Any]:
    return {
        "state": row.state,
        "size_bytes": row.size_bytes,
        "digest": row.digest,
        "tries": row.tries,
        "error": error,
        "seen_at": now,
    }
