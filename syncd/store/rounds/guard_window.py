"""Floor 3: the window of the guard: what devices and accounts lost lately, and what devices are about to lose."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Delete,
    Double,
    Insert,
    ScalarSelect,
    Select,
    Table,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal,
    select,
)

from syncd.mail.mailbox import SpecialUse
from syncd.reconcile.guard import MailboxLoss, Rule
from syncd.store.rounds.holds import HoldScope, HoldState, holds
from syncd.store.tables.columns import Id
from syncd.store.tables.schema import base_message, guard_removal, hold, mailbox, replica, server_message
from syncd.store.trees.devices import ReplicaRow

_MAY_EMPTY = frozenset({SpecialUse.TRASH.value, SpecialUse.JUNK.value})


def tallies(
    conn: Connection, scope: HoldScope, scope_id: int, *, since: float, planned: int, rule: Rule
) -> tuple[MailboxLoss, ...]:
    """Return for each mailbox of a device or account what it lost since then, and had before that.

    Also for one that the device does not have any more. planned: how many more the rule judges with that; of what a
    mailbox has, no more is counted than makes a difference to it.
    """
    removed: dict[int, int] = {}
    had: dict[int, int] = {}
    of = {"in_scope": scope.value, "of_id": scope_id, "since": since}
    for event in conn.execute(_REMOVALS, of):
        had.setdefault(event.mailbox_id, event.present)
        removed[event.mailbox_id] = removed.get(event.mailbox_id, 0) + event.removed
    most = rule.telling(planned + sum(removed.values()))
    present = _present_of_account if scope is HoldScope.OF_ACCOUNT else _present
    there = [
        MailboxLoss(
            mailbox_id, removed.get(mailbox_id, 0), had.get(mailbox_id, count), may_empty=special_use in _MAY_EMPTY
        )
        for mailbox_id, special_use, count in present(conn, scope_id, most=most)
    ]
    gone = removed.keys() - {one.mailbox_id for one in there}
    return (*there, *(MailboxLoss(id_, removed[id_], had[id_], may_empty=False) for id_ in sorted(gone)))


def record_removals(
    conn: Connection,
    of: ReplicaRow,
    *,
    removed: int,
    now: float,
    window_s: float,
    scope: HoldScope = HoldScope.ON_DEVICE,
) -> None:
    """Count removals on a replica, or deletions by it, that are about to be settled; before the base rows go."""
    of_whom = {"in_scope": scope.value, "of_id": of.device_id, "of_mailbox": of.mailbox_id, "of_replica": of.id}
    _count(conn, _loss_of_replica(), removed=removed, now=now, window_s=window_s, **of_whom)


def record_account_deletions(
    conn: Connection, *, account_id: int, mailbox_id: int, deleted: int, now: float, window_s: float
) -> None:
    """Count deletions by whichever device that are about to be settled; call it before they are marked as gone."""
    of_whom = {"in_scope": HoldScope.OF_ACCOUNT.value, "of_id": account_id, "of_mailbox": mailbox_id}
    _count(conn, _loss_of_account(), removed=deleted, now=now, window_s=window_s, **of_whom)


def _present(conn: Connection, device_id: int, *, most: int) -> Iterator[tuple[int, str | None, int]]:
    """Yield the mailboxes of a device: which, what for, and how much of it is agreed on, counted as far as `most`."""
    for row in conn.execute(_agreed_of_device(), {"of_id": device_id, "most": most}):
        yield row.mailbox_id, row.special_use, row.present


def _present_of_account(conn: Connection, account_id: int, *, most: int) -> Iterator[tuple[int, str | None, int]]:
    """Yield the mailboxes of an account: which, what for, and how much there is, counted at least as far as `most`."""
    gone = {row.mailbox_id: row.gone for row in conn.execute(_gone_of_account(), {"of_id": account_id})}
    most += max(gone.values(), default=0)
    for row in conn.execute(_known_of_account(), {"of_id": account_id, "most": most}):
        yield row.mailbox_id, row.special_use, row.known - gone.get(row.mailbox_id, 0)


@cache
def _agreed_of_device() -> Select[Any]:
    agreed = _number_of(base_message, base_message.c.replica_id == replica.c.id, of=replica)
    return (
        select(replica.c.mailbox_id, mailbox.c.special_use, agreed.label("present"))
        .join(mailbox, mailbox.c.id == replica.c.mailbox_id)
        .where(replica.c.device_id == bindparam("of_id"))
    )


@cache
def _known_of_account() -> Select[Any]:
    known = _number_of(server_message, server_message.c.mailbox_id == mailbox.c.id, of=mailbox)
    columns = mailbox.c.id.label("mailbox_id"), mailbox.c.special_use, known.label("known")
    return select(*columns).where(mailbox.c.account_id == bindparam("of_id"))


@cache
def _gone_of_account() -> Select[Any]:
    columns = mailbox.c.id.label("mailbox_id"), _gone_number(mailbox.c.id).label("gone")
    return select(*columns).where(mailbox.c.account_id == bindparam("of_id"))


def _number_of(table: Table, condition: ColumnElement[bool], *, of: Table) -> ScalarSelect[int]:
    """Count what an index has for a row of another table, as far as `most`: to count a hundred thousand takes 3 ms."""
    some = select(literal(1)).select_from(table).where(condition).limit(bindparam("most")).correlate(of).subquery()
    return select(func.count()).select_from(some).correlate(of).scalar_subquery()


def _agreed_number(replica_id: ColumnElement[int]) -> ScalarSelect[int]:
    """Count what a replica and its server agree on. NOTE: an index does it, at three instructions for each."""
    query = select(func.count()).select_from(base_message)
    return query.where(base_message.c.replica_id == replica_id).scalar_subquery()


def _alive_number(mailbox_id: ColumnElement[int]) -> ColumnElement[int]:
    """Count what there is of a mailbox on its server.

    NOTE: by what two indexes say; what is gone is known of no message without reading its row.
    """
    query = select(func.count()).select_from(server_message).where(server_message.c.mailbox_id == mailbox_id)
    return query.scalar_subquery() - _gone_number(mailbox_id)


def _gone_number(mailbox_id: ColumnElement[int]) -> ScalarSelect[int]:
    query = select(func.count()).select_from(server_message).where(server_message.c.mailbox_id == mailbox_id)
    return query.where(server_message.c.gone_at.is_not(None)).scalar_subquery()


def pending_removals(conn: Connection, of: ReplicaRow, *, since: float) -> Mapping[int, int]:
    """Count what the device of a replica is about to lose in its other mailboxes: not planned yet, or held since then.

    What a person released is not judged any more, and what a server lost by going back waits anyhow.
    """
    pending: dict[int, set[int]] = {}
    for mailbox_id, message_id in conn.execute(_not_planned(), {"of_device": of.device_id, "but_for": of.id}):
        pending.setdefault(mailbox_id, set()).add(message_id)
    for one in holds(conn, device_id=of.device_id, scope=HoldScope.ON_DEVICE):
        if one.mailbox_id == of.mailbox_id:
            continue
        if one.state is HoldState.RELEASED or not one.reason.is_judged:
            pending.get(one.mailbox_id, set()).difference_update(one.message_ids)
        elif one.held_at >= since:
            pending.setdefault(one.mailbox_id, set()).update(one.message_ids)
    return {mailbox_id: len(ids) for mailbox_id, ids in pending.items() if ids}


@cache
def _not_planned() -> Select[Any]:
    """Select what a device is to lose that is not planned yet, in all its mailboxes but for one."""
    message = server_message
    return (
        select(replica.c.mailbox_id, message.c.id)
        .join(mailbox, mailbox.c.id == replica.c.mailbox_id)
        .join(
            message,
            and_(message.c.mailbox_id == replica.c.mailbox_id, message.c.version > replica.c.server_cursor),
        )
        .join(
            base_message,
            and_(base_message.c.replica_id == replica.c.id, base_message.c.message_id == message.c.id),
        )
        .where(
            replica.c.device_id == bindparam("of_device"),
            replica.c.id != bindparam("but_for"),
            mailbox.c.version > replica.c.server_cursor,
            message.c.gone_at.is_not(None),
        )
    )


def _count(conn: Connection, loss: Insert, *, now: float, window_s: float, **parameters: Any) -> None:
    """Write down a loss; what was counted is kept for the window before the oldest hold of its scope.

    For that one does not dissolve as time passes.
    """
    conn.execute(loss, {"now": now, **parameters})
    of = {name: parameters[name] for name in ("in_scope", "of_id")}
    conn.execute(_sweeping(), {"before": now - window_s, "window_s": window_s, **of})


@cache
def _loss_of_replica() -> Insert:
    return _loss(_agreed_number(bindparam("of_replica", type_=Id)))


@cache
def _loss_of_account() -> Insert:
    return _loss(_alive_number(bindparam("of_mailbox", type_=Id)))


def _loss(present: ColumnElement[int]) -> Insert:
    names = {"scope": "in_scope", "scope_id": "of_id", "mailbox_id": "of_mailbox", "at": "now", "removed": "removed"}
    given = {column: bindparam(name, type_=guard_removal.c[column].type) for column, name in names.items()}
    return insert(guard_removal).from_select((*given, "present"), select(*given.values(), present))


@cache
def _sweeping() -> Delete:
    columns = guard_removal.c
    window_s: ColumnElement[float] = bindparam("window_s", type_=Double())
    is_of_hold = exists().where(
        hold.c.scope == columns.scope, hold.c.scope_id == columns.scope_id, hold.c.held_at - window_s <= columns.at
    )
    mine = (columns.scope == bindparam("in_scope"), columns.scope_id == bindparam("of_id"))
    return delete(guard_removal).where(*mine, columns.at < bindparam("before"), ~is_of_hold)


_REMOVALS = (
    select(guard_removal)
    .where(
        guard_removal.c.scope == bindparam("in_scope"),
        guard_removal.c.scope_id == bindparam("of_id"),
        guard_removal.c.at >= bindparam("since"),
    )
    .order_by(guard_removal.c.at, guard_removal.c.id)
)
