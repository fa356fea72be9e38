"""Floor 3: wanted bodies: those that devices take of a mailbox, and that the store does not have yet."""

from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple, Self

from sqlalchemy import (
    ColumnElement,
    Connection,
    Double,
    Select,
    and_,
    bindparam,
    exists,
    func,
    or_,
    select,
    true,
)

from syncd.mail.message import TUID_BYTES
from syncd.mail.tree import ReplicaState
from syncd.reconcile.planner import Selection
from syncd.store.engine.queries import AtOnce
from syncd.store.tables.schema import (
    carried_change,
    journal,
    mailbox,
    replica,
    replica_message,
    server_message,
    trouble,
)
from syncd.store.trees import troubles
from syncd.store.trees.journal import FOUND, UploadState
from syncd.values import Value


class WantedBody(Value):
    """A message whose body is not in the store."""

    message_id: int
    uid: int
    size_bytes: int


def wanted_bodies(
    conn: Connection, *, mailbox_id: int, uidvalidity: int, selections: Iterable[Selection], limit: int, now: float
) -> tuple[WantedBody, ...]:
    """Return messages without a body that at least one of `selections` takes, newest UIDs first.

    Or of which a device may have the file already, by its size, or to which a change was carried. Those set aside wait
    for the retry of their trouble, and those that may be what a device added, until that is known.
    """
    of = _Wanted.of(selections)
    values = of.values(mailbox_id, uidvalidity, now=now) | {"at_most": limit}
    found = (WantedBody(*row) for row in _wanted(of.shape).rows(conn, **values))
    return tuple(sorted(found, key=lambda wanted: wanted.uid, reverse=True))


def count_wanted_bodies(
    conn: Connection, *, mailbox_id: int, uidvalidity: int, selections: Iterable[Selection], now: float
) -> int:
    """Return how many messages `wanted_bodies` has in all."""
    return weigh_wanted_bodies(conn, mailbox_id=mailbox_id, uidvalidity=uidvalidity, selections=selections, now=now)[0]


def weigh_wanted_bodies(
    conn: Connection, *, mailbox_id: int, uidvalidity: int, selections: Iterable[Selection], now: float
) -> tuple[int, int]:
    """Return how many messages `wanted_bodies` has in all, and how large they are together."""
    of = _Wanted.of(selections)
    number, size_bytes = conn.execute(_weighed(of.shape), of.values(mailbox_id, uidvalidity, now=now)).one()
    return int(number), int(size_bytes)


def mailboxes_without_bodies(conn: Connection, *, account_id: int) -> frozenset[int]:
    """Return the mailboxes of an account that have messages without a body, wanted or not."""
    return frozenset(conn.execute(_WITHOUT_BODIES, {"of_account": account_id}).scalars())


_Shape = tuple[tuple[bool, bool], ...]
"""Of each selection whether it has a date and a size; a selection that has neither takes all, and stands alone."""


class _Wanted(NamedTuple):
    """Several selections as one statement takes them, which is put together once for each shape."""

    shape: _Shape
    selections: tuple[Selection, ...]

    @classmethod
    def of(cls, selections: Iterable[Selection]) -> Self:
        taking = tuple(dict.fromkeys(one for one in selections if not one.takes_none))
        unlimited = tuple(one for one in taking if not one.is_limited)
        taking = unlimited or taking
        return cls(tuple((one.not_before is not None, one.max_size_bytes is not None) for one in taking), taking)

    def values(self, mailbox_id: int, uidvalidity: int, *, now: float) -> dict[str, Any]:
        values: dict[str, Any] = {"of_mailbox": mailbox_id, "of_uidvalidity": uidvalidity, "by": now}
        for number, one in enumerate(self.selections):
            values |= {f"not_before_{number}": one.not_before} if one.not_before is not None else {}
            values |= {f"max_size_{number}": one.max_size_bytes} if one.max_size_bytes is not None else {}
        return values


@cache
def _wanted(shape: _Shape) -> AtOnce:
    message = server_message.c
    query = select(message.id, message.uid, message.size_bytes).where(_is_wanted(shape))
    return AtOnce(query.order_by(message.uid.desc()).limit(bindparam("at_most")))


@cache
def _weighed(shape: _Shape) -> Select[Any]:
    columns = func.count(), func.coalesce(func.sum(server_message.c.size_bytes), 0)
    return select(*columns).select_from(server_message).where(_is_wanted(shape))


def _is_wanted(shape: _Shape) -> ColumnElement[bool]:
    message = server_message.c
    return and_(
        message.mailbox_id == bindparam("of_mailbox"),
        # NOTE: without the sum SQLite reads the whole mailbox instead of the partial index of what is wanted.
        message.uidvalidity + 0 == bindparam("of_uidvalidity"),
        message.body_id.is_(None),
        message.gone_at.is_(None),
        message.id.not_in(_set_aside()),
        ~exists(_begun_below(message.mailbox_id, message.uidvalidity, message.uid)),
        _is_taken(shape),
    )


def _is_taken(shape: _Shape) -> ColumnElement[bool]:
    if (False, False) in shape:
        return true()
    message = server_message.c
    return or_(
        message.size_bytes.in_(_sizes_found()),
        (message.size_bytes - TUID_BYTES).in_(_sizes_found()),
        message.id.in_(select(carried_change.c.message_id)),
        *(_taken_by(number, *one) for number, one in enumerate(shape)),
    )


def _set_aside() -> Select[Any]:
    return select(trouble.c.message_id).where(
        trouble.c.mailbox_id == bindparam("of_mailbox"),
        trouble.c.device_id.is_(None),
        trouble.c.message_id.is_not(None),
        ~troubles.is_due(bindparam("by", type_=Double())),
    )


def _sizes_found() -> Select[Any]:
    file = replica_message.c
    return (
        select(journal.c.size_bytes)
        .join(replica_message, file.id == journal.c.replica_message_id)
        .join(replica, replica.c.id == file.replica_id)
        .where(
            journal.c.mailbox_id == bindparam("of_mailbox"),
            journal.c.kind == FOUND,
            file.state == ReplicaState.FOUND,
            replica.c.listed_at.is_not(None),  # else the right file may be among those that are still to be read
        )
    )


def _begun_below(
    mailbox_id: ColumnElement[int], uidvalidity: ColumnElement[int], uid: ColumnElement[int]
) -> Select[Any]:
    """Select what was begun in a mailbox when a UID was yet to be given."""
    return select(journal.c.id).where(
        journal.c.mailbox_id == mailbox_id,
        journal.c.kind == UploadState.BEGUN.value,
        journal.c.uidvalidity == uidvalidity,
        journal.c.uidnext <= uid,
    )


def _taken_by(number: int, has_date: bool, has_size: bool) -> ColumnElement[bool]:  # of a shape
    terms: list[ColumnElement[bool]] = [true()]
    if has_date:
        terms.append(server_message.c.internaldate >= bindparam(f"not_before_{number}"))
    if has_size:
        terms.append(server_message.c.size_bytes <= bindparam(f"max_size_{number}"))
    return and_(*terms)


_message = server_message.c
_WITHOUT_BODIES = select(mailbox.c.id).where(
    mailbox.c.account_id == bindparam("of_account"),
    exists(
        select(_message.id).where(
            _message.mailbox_id == mailbox.c.id, _message.body_id.is_(None), _message.gone_at.is_(None)
        )
    ),
)
