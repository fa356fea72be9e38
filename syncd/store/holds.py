"""Floor 3: holds: removals that wait for a person, and the window in which removals are counted."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, delete, func, insert, select, update

from syncd.mail.mailbox import SpecialUse
from syncd.mail.tree import ReplicaState
from syncd.reconcile.effects import Departure, Remove, as_json, from_json
from syncd.reconcile.guard import MailboxLoss, Reason
from syncd.store.devices import ReplicaRow
from syncd.store.queries import is_one_of
from syncd.store.schema import base_message, guard_removal, hold, mailbox, replica, replica_message

_MAY_EMPTY = frozenset({SpecialUse.TRASH.value, SpecialUse.JUNK.value})


class HoldScope(StrEnum):
    """Say what is held: removals on a device of what its server deleted, or deletions by a device on its server."""

    ON_DEVICE = "device"
    BY_DEVICE = "by_device"


class HoldState(StrEnum):
    """Say whether a hold waits, or a person let its removals happen."""

    HELD = "held"
    RELEASED = "released"


Held = Remove | Departure


@dataclass(frozen=True, slots=True)
class Hold:
    """Removals on one replica, or deletions by it, that were too many to be believed; exactly these are released."""

    id: int
    scope: HoldScope
    device_id: int
    mailbox_id: int
    reason: Reason
    state: HoldState
    effects: tuple[Held, ...]
    held_at: float

    @property
    def message_ids(self) -> tuple[int, ...]:
        return tuple(effect.message_id for effect in self.effects)


@dataclass(frozen=True, slots=True)
class Losses:
    """What a device lost within the window and is about to lose, and what it has in mailboxes that lose nothing."""

    mailboxes: tuple[MailboxLoss, ...]
    untouched: int


def losses(
    conn: Connection,
    *,
    device_id: int,
    planned: Mapping[int, int],
    since: float,
    scope: HoldScope = HoldScope.ON_DEVICE,
) -> Losses:
    """Return the losses of a device since then, with those `planned` now, by mailbox id."""
    query = (
        select(replica.c.mailbox_id, mailbox.c.special_use, func.count(base_message.c.message_id).label("present"))
        .join(mailbox, mailbox.c.id == replica.c.mailbox_id)
        .outerjoin(base_message, base_message.c.replica_id == replica.c.id)
        .where(replica.c.device_id == device_id)
        .group_by(replica.c.mailbox_id, mailbox.c.special_use)
    )
    removed: dict[int, int] = {}
    had: dict[int, int] = {}
    for event in conn.execute(
        select(guard_removal)
        .where(guard_removal.c.scope == scope, guard_removal.c.scope_id == device_id, guard_removal.c.at >= since)
        .order_by(guard_removal.c.at)
    ):
        had.setdefault(event.mailbox_id, event.present)
        removed[event.mailbox_id] = removed.get(event.mailbox_id, 0) + event.removed
    lost: list[MailboxLoss] = []
    untouched = 0
    for row in conn.execute(query):
        count = removed.get(row.mailbox_id, 0) + planned.get(row.mailbox_id, 0)
        if count:
            may_empty = row.special_use in _MAY_EMPTY
            lost.append(MailboxLoss(row.mailbox_id, count, had.get(row.mailbox_id, row.present), may_empty))
        else:
            untouched += row.present
    return Losses(tuple(lost), untouched)


def record_removals(
    conn: Connection,
    of: ReplicaRow,
    *,
    removed: int,
    now: float,
    window_s: float,
    scope: HoldScope = HoldScope.ON_DEVICE,
) -> None:
    """Count removals that are about to be settled; call it before the base rows go.

    What was counted is kept for the window before the device's oldest hold, which does not dissolve as time passes.
    """
    present = select(func.count()).select_from(base_message).where(base_message.c.replica_id == of.id)
    conn.execute(
        insert(guard_removal).values(
            scope=scope.value,
            scope_id=of.device_id,
            mailbox_id=of.mailbox_id,
            at=now,
            removed=removed,
            present=conn.execute(present).scalar_one(),
        )
    )
    oldest = select(func.min(hold.c.held_at)).where(hold.c.scope == scope, hold.c.scope_id == of.device_id)
    held_since = conn.execute(oldest).scalar_one()
    begin = now if held_since is None else min(now, held_since)
    mine = (guard_removal.c.scope == scope, guard_removal.c.scope_id == of.device_id)
    conn.execute(delete(guard_removal).where(*mine, guard_removal.c.at < begin - window_s))


def holds(
    conn: Connection,
    *,
    device_id: int | None = None,
    mailbox_id: int | None = None,
    scope: HoldScope | None = None,
) -> tuple[Hold, ...]:
    """Return the holds, of one device, mailbox or scope if given, oldest first."""
    query = select(hold).order_by(hold.c.id)
    if scope is not None:
        query = query.where(hold.c.scope == scope)
    if device_id is not None:
        query = query.where(hold.c.scope_id == device_id)
    if mailbox_id is not None:
        query = query.where(hold.c.mailbox_id == mailbox_id)
    return tuple(
        Hold(
            id=row.id,
            scope=HoldScope(row.scope),
            device_id=row.scope_id,
            mailbox_id=row.mailbox_id,
            reason=Reason(row.reason),
            state=HoldState(row.state),
            effects=tuple(map(from_json, json.loads(row.effects))),
            held_at=row.held_at,
        )
        for row in conn.execute(query)
    )


def mailboxes_of(conn: Connection, *, device_id: int, states: Collection[HoldState]) -> frozenset[int]:
    """Return the mailboxes in which removals on a device have holds of these states."""
    query = select(hold.c.mailbox_id).where(
        hold.c.scope == HoldScope.ON_DEVICE,
        hold.c.scope_id == device_id,
        hold.c.state.in_(state.value for state in states),
    )
    return frozenset(conn.execute(query).scalars())


def put_hold(
    conn: Connection,
    *,
    device_id: int,
    mailbox_id: int,
    reason: Reason,
    effects: Sequence[Held],
    now: float,
    scope: HoldScope = HoldScope.ON_DEVICE,
) -> None:
    """Hold removals of one replica; a hold of it that is held already becomes this one, and waits since then.

    It gets a new id, so that nobody releases more than what was shown under the old one.
    """
    known = holds(conn, device_id=device_id, mailbox_id=mailbox_id, scope=scope)
    old = [one for one in known if one.state is HoldState.HELD]
    drop_holds(conn, (one.id for one in old))
    held_since = min((one.held_at for one in old), default=now)
    conn.execute(
        insert(hold).values(
            scope=scope.value,
            scope_id=device_id,
            mailbox_id=mailbox_id,
            reason=reason.value,
            effects=_as_text(effects),
            state=HoldState.HELD.value,
            held_at=held_since,
        )
    )


def drop_holds(conn: Connection, ids: Iterable[int]) -> None:
    """Forget holds whose removals happened, or whose cause is gone."""
    for hold_id in ids:
        conn.execute(delete(hold).where(hold.c.id == hold_id))


def take_out(
    conn: Connection,
    *,
    mailbox_id: int,
    message_ids: Collection[int],
    device_id: int | None = None,
    scope: HoldScope = HoldScope.BY_DEVICE,
) -> None:
    """Take messages out of the holds of devices, or of one: there is nothing left to delete of them."""
    for one in holds(conn, device_id=device_id, mailbox_id=mailbox_id, scope=scope):
        rest = [effect for effect in one.effects if effect.message_id not in message_ids]
        if not rest:
            drop_holds(conn, (one.id,))
        elif len(rest) < len(one.effects):
            conn.execute(update(hold).where(hold.c.id == one.id).values(effects=_as_text(rest)))


def let_go_elsewhere(
    conn: Connection, of: ReplicaRow, message_ids: Collection[int], *, reason: Reason, now: float
) -> None:
    """Let the other devices remove what a person released for deletion by one, without asking for each of them.

    reason: why it was held.
    """
    columns = replica_message.c
    query = (
        select(replica.c.device_id, columns.message_id, columns.id)
        .join(replica, replica.c.id == columns.replica_id)
        .where(
            replica.c.mailbox_id == of.mailbox_id,
            replica.c.id != of.id,
            is_one_of(conn, columns.message_id, message_ids),
            columns.state.not_in((ReplicaState.MISSING, ReplicaState.DELETED)),
        )
        .order_by(columns.id)
    )
    removes: dict[int, list[Remove]] = {}
    for device_id, message_id, file_id in conn.execute(query):
        removes.setdefault(device_id, []).append(Remove(message_id, file_id))
    for device_id, effects in removes.items():
        conn.execute(
            insert(hold).values(
                scope=HoldScope.ON_DEVICE.value,
                scope_id=device_id,
                mailbox_id=of.mailbox_id,
                reason=reason.value,
                effects=_as_text(effects),
                state=HoldState.RELEASED.value,
                held_at=now,
            )
        )


def drop_done(conn: Connection, of: ReplicaRow) -> None:
    """Forget the released holds of a replica all of whose removals are settled."""
    for one in holds(conn, device_id=of.device_id, mailbox_id=of.mailbox_id, scope=HoldScope.ON_DEVICE):
        if one.state is not HoldState.RELEASED:
            continue
        there = select(base_message.c.message_id).where(base_message.c.replica_id == of.id)
        there = there.where(is_one_of(conn, base_message.c.message_id, one.message_ids)).limit(1)
        if conn.execute(there).first() is None:
            drop_holds(conn, (one.id,))


def release_hold(conn: Connection, *, hold_id: int) -> bool:
    """Let what a hold holds happen in the next round of its device or account; False when there is no such hold."""
    released = update(hold).where(hold.c.id == hold_id).values(state=HoldState.RELEASED.value)
    row = conn.execute(released.returning(hold.c.scope, hold.c.scope_id, hold.c.mailbox_id)).one_or_none()
    if row is None:
        return False
    if row.scope == HoldScope.BY_DEVICE:
        # NOTE: the account is past these deletions, so it has to be told that the replica has news.
        mine = (replica.c.device_id == row.scope_id, replica.c.mailbox_id == row.mailbox_id)
        conn.execute(update(replica).where(*mine).values(version=replica.c.version + 1))
    return True


def _as_text(effects: Iterable[Held]) -> str:
    return f"[{','.join(map(as_json, effects))}]"
