"""Floor 3: the history as people ask for it: read from its end, with names in place of ids."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, or_, select, true

from syncd.store.due.named import has_header_id, number_of
from syncd.store.people.entries import Entry, Question
from syncd.store.tables.own_tables import history
from syncd.store.tables.schema import account, body, device, mailbox, server_message


def recall(conn: Connection, question: Question) -> tuple[Entry, ...]:
    """Return the newest lines that are wanted, oldest first; one more than their limit if there are more.

    A message is each that has its body in the same account: what it was before it was moved, what it was copied to.
    """
    newest = _LINES.where(_is_asked_for(question)).order_by(history.c.id.desc()).limit(question.limit + 1)
    return tuple(_entry(row._mapping) for row in reversed(conn.execute(newest).all()))


def unknown(conn: Connection, question: Question) -> str | None:
    """Return what the store knows nothing of that is asked for by its name: `mailbox` or `message`; None else."""
    if question.mailbox is not None:
        query = select(mailbox.c.id).join(account, account.c.id == mailbox.c.account_id)
        if conn.execute(query.where(_is_mailbox(question.mailbox)).limit(1)).first() is None:
            return "mailbox"
    if question.message is not None and conn.execute(_messages(question.message).limit(1)).first() is None:
        return "message"
    return None


def recall_after(conn: Connection, after: int, *, limit: int) -> tuple[Entry, ...]:
    """Return the oldest lines that came after the one of this number, oldest first."""
    oldest = _LINES.where(history.c.id > after).order_by(history.c.id).limit(limit)
    return tuple(_entry(row._mapping) for row in conn.execute(oldest))


def _lines() -> Select[Any]:
    columns = history.c
    return (
        select(
            columns.id,
            columns.at,
            account.c.name.label("account_name"),
            mailbox.c.name.label("mailbox_name"),
            device.c.name.label("device_name"),
            columns.message_id,
            server_message.c.uid,
            columns.messages,
            columns.origin,
            _BY.c.name.label("origin_name"),
            columns.verb,
            columns.detail,
            columns.outcome,
            columns.reason,
        )
        .select_from(history)
        .outerjoin(mailbox, mailbox.c.id == columns.mailbox_id)
        .outerjoin(account, account.c.id == mailbox.c.account_id)
        .outerjoin(device, device.c.id == columns.device_id)
        .outerjoin(_BY, _BY.c.id == columns.origin_device_id)
        .outerjoin(server_message, server_message.c.id == columns.message_id)
    )


_BY = device.alias("origin_device")
_LINES = _lines()


def _is_asked_for(question: Question) -> ColumnElement[bool]:
    wanted: list[ColumnElement[bool]] = [true()]
    if question.account is not None:
        wanted.append(account.c.name == question.account)
    if question.mailbox is not None:
        wanted.append(_is_mailbox(question.mailbox))
    if question.device is not None:
        wanted.append(or_(device.c.name == question.device, _BY.c.name == question.device))
    if question.since is not None:
        wanted.append(history.c.at >= question.since)
    if question.message is not None:
        wanted.append(history.c.message_id.in_(_messages(question.message)))
    return and_(*wanted)


def _is_mailbox(named: str) -> ColumnElement[bool]:
    return or_(mailbox.c.name == named, account.c.name + "/" + mailbox.c.name == named)


def _messages(named: str) -> Any:
    """Select a message by its number, or those with a Message-ID, and in the same account each with the same body."""
    first, other, here = server_message.alias("first"), server_message.alias("other"), mailbox.alias("of_first")
    there = mailbox.alias("of_other")
    number = number_of(named)
    if number is not None:
        is_named: ColumnElement[bool] = first.c.id == number
    else:
        is_named = first.c.body_id.in_(select(body.c.id).where(has_header_id(named)))
    alike = and_(there.c.account_id == here.c.account_id, other.c.body_id == first.c.body_id)
    return (
        select(other.c.id)
        .select_from(first)
        .join(here, here.c.id == first.c.mailbox_id)
        .join(other, or_(other.c.id == first.c.id, other.c.body_id == first.c.body_id))
        .join(there, there.c.id == other.c.mailbox_id)
        .where(is_named, or_(other.c.id == first.c.id, alike))
    )


def _entry(row: Mapping[Any, Any]) -> Entry:
    origin = row["origin"]
    if origin == "device":
        origin = row["origin_name"] or "devices"
    return Entry(
        id=row["id"],
        at=row["at"],
        account=row["account_name"],
        mailbox=row["mailbox_name"],
        device=row["device_name"],
        message=row["message_id"],
        uid=row["uid"],
        messages=row["messages"],
        origin=origin,
        verb=row["verb"],
        detail=row["detail"],
        outcome=row["outcome"],
        reason=row["reason"],
    )
