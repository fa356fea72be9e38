"""Floor 3: troubles: messages set aside one by one, with what went wrong and when they are tried again."""

from collections.abc import Collection, Iterable, Mapping
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Delete,
    Double,
    Select,
    and_,
    bindparam,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)

from syncd.errors import SyncdError, Temper
from syncd.store.engine.queries import is_listed, is_one_of
from syncd.store.tables.schema import mailbox, server_message, trouble

_RETRY_S = 60.0
_RETRY_MAX_S = 6 * 3600.0
_DUE_MAX = 1000
NEVER = 10.0**12
"""When that is tried again which waiting does not help: not by itself."""


def due_at(failed_at: float, attempts: int) -> float:
    """Return when what failed is to be tried again: each time after twice as long."""
    # NOTE: what fails for months has more attempts than a float has powers of two.
    return failed_at + min(_RETRY_S * 2.0 ** min(attempts - 1, 12), _RETRY_MAX_S)


def is_due(now: float | ColumnElement[float]) -> ColumnElement[bool]:
    """Say of a trouble that its time has come; also if it is farther away than any wait, for the clock was set back."""
    at = trouble.c.retry_at
    return or_(at <= now, and_(at > now + _RETRY_MAX_S, at < NEVER))


def set_aside(
    conn: Connection,
    *,
    mailbox_id: int,
    message_id: int,
    device_id: int | None,
    error: str,
    temper: Temper,
    now: float,
) -> bool:
    """Set a message aside, or once more, with a longer wait; it no longer holds anything else up.

    device_id None: it could not be fetched or changed on its server. Returns whether that is news: it was not set
    aside, or for another reason.
    """
    where = (
        trouble.c.mailbox_id == mailbox_id,
        trouble.c.message_id == message_id,
        trouble.c.device_id.is_(None) if device_id is None else trouble.c.device_id == device_id,
    )
    known = conn.execute(select(trouble.c.id, trouble.c.attempts, trouble.c.error).where(*where)).one_or_none()
    attempts = known.attempts + 1 if known else 1
    values = {
        "error": error,
        "temper": temper.value,
        "attempts": attempts,
        "retry_at": NEVER if temper is Temper.GIVE_UP else due_at(now, attempts),
    }
    if known:
        conn.execute(update(trouble).where(trouble.c.id == known.id).values(**values))
    else:
        conn.execute(
            insert(trouble).values(
                mailbox_id=mailbox_id, message_id=message_id, device_id=device_id, since_at=now, **values
            )
        )
    return known is None or known.error != error


def set_aside_on_server(
    conn: Connection, refused: Mapping[int, SyncdError], *, mailbox_id: int, now: float
) -> Mapping[int, str]:
    """Set aside messages of which a server refused something; return of which that is news, and why."""
    return {
        message_id: str(error)
        for message_id, error in refused.items()
        if set_aside(
            conn,
            mailbox_id=mailbox_id,
            message_id=message_id,
            device_id=None,
            error=str(error),
            temper=error.temper,
            now=now,
        )
    }


def attempts(conn: Connection, *, message_id: int, device_id: int | None) -> int:
    """Return how often a message was set aside so far."""
    of_device = trouble.c.device_id.is_(None) if device_id is None else trouble.c.device_id == device_id
    query = select(trouble.c.attempts).where(trouble.c.message_id == message_id, of_device)
    return conn.execute(query).scalar_one_or_none() or 0


def due(conn: Connection, *, mailbox_id: int, device_id: int | None, now: float) -> tuple[int, ...]:
    """Return the messages whose time to be tried again has come: a round's worth, those that wait longest first."""
    of = {"of_mailbox": mailbox_id, "of_device": device_id, "by": now}
    wanted = {name: value for name, value in of.items() if value is not None}
    return tuple(conn.execute(_due(of_server=device_id is None), wanted).scalars())


@cache
def _due(*, of_server: bool) -> Select[Any]:
    query = select(trouble.c.message_id).where(
        trouble.c.mailbox_id == bindparam("of_mailbox"),
        trouble.c.device_id.is_(None) if of_server else trouble.c.device_id == bindparam("of_device"),
        trouble.c.message_id.is_not(None),
        is_due(bindparam("by", type_=Double())),
    )
    return query.order_by(trouble.c.retry_at, trouble.c.id).limit(_DUE_MAX)


def count_sleeping(conn: Connection, *, now: float) -> Mapping[tuple[int, int | None], int]:
    """Count by mailbox and device, None for the server, the messages that are to be tried again later."""
    return {(mailbox_id, device_id): n for mailbox_id, device_id, n in conn.execute(_SLEEPING, {"by": now})}


def due_mailboxes(conn: Connection, *, device_id: int, now: float) -> tuple[int, ...]:
    """Return the mailboxes in which a device has messages to try again."""
    return tuple(conn.execute(_DUE_MAILBOXES, {"of_device": device_id, "by": now}).scalars())


def hurry(conn: Connection, *, device_id: int) -> None:
    """Try all troubles of a device again at once, also those that were given up: somebody asks."""
    conn.execute(_HURRY, {"of_device": device_id})


def hurry_bodies(conn: Connection, *, account_id: int) -> None:
    """Try again at once to fetch what an account's server did not give: somebody asks."""
    conn.execute(_HURRY_BODIES, {"of_account": account_id})


def resolve(conn: Connection, message_ids: Collection[int], *, device_id: int | None) -> None:
    """Forget the troubles of messages that went well."""
    if not message_ids:
        return
    statement = _resolution(of_server=device_id is None)
    conn.execute(statement, {"ids": message_ids} if device_id is None else {"ids": message_ids, "of_id": device_id})


@cache
def _resolution(*, of_server: bool) -> Delete:
    of_device = trouble.c.device_id.is_(None) if of_server else trouble.c.device_id == bindparam("of_id")
    return delete(trouble).where(is_listed(trouble.c.message_id, "ids"), of_device)


def forget(conn: Connection, message_ids: Iterable[int]) -> None:
    """Forget all troubles of messages that are gone: there is nothing to try again."""
    conn.execute(delete(trouble).where(is_one_of(trouble.c.message_id, message_ids)))


_DUE_MAILBOXES = (
    select(trouble.c.mailbox_id)
    .where(trouble.c.device_id == bindparam("of_device"), is_due(bindparam("by", type_=Double())))
    .distinct()
)
_HURRY = (
    update(trouble)
    .where(trouble.c.device_id == bindparam("of_device"), trouble.c.retry_at > 0)
    .values({trouble.c.retry_at: literal(0.0)})
)
_HURRY_BODIES = (
    update(trouble)
    .where(
        trouble.c.id.in_(
            select(trouble.c.id)
            .join(mailbox, mailbox.c.id == trouble.c.mailbox_id)
            .join(server_message, server_message.c.id == trouble.c.message_id)
            .where(
                mailbox.c.account_id == bindparam("of_account"),
                trouble.c.device_id.is_(None),
                server_message.c.body_id.is_(None),
            )
        )
    )
    .values({trouble.c.retry_at: literal(0.0)})
)
_SLEEPING = (
    select(trouble.c.mailbox_id, trouble.c.device_id, func.count())
    .where(~is_due(bindparam("by", type_=Double())), trouble.c.message_id.is_not(None))
    .group_by(trouble.c.mailbox_id, trouble.c.device_id)
)
