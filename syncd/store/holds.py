"""Floor 3: holds: removals that wait for a person, and the window in which removals are counted."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, delete, func, insert, select, update

from syncd.mail.mailbox import SpecialUse
from syncd.reconcile.effects import Remove, as_json
from syncd.reconcile.guard import MailboxLoss, Reason
from syncd.store.devices import ReplicaRow
from syncd.store.queries import is_one_of
from syncd.store.schema import base_message, guard_removal, hold, mailbox, replica

_DEVICE = "device"
_MAY_EMPTY = frozenset({SpecialUse.TRASH.value, SpecialUse.JUNK.value})


class HoldState(StrEnum):
    """Say whether a hold waits, or a person let its removals happen."""

    HELD = "held"
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class Hold:
    """Removals of one replica that were too many to be believed; exactly these are released."""

    id: int
    device_id: int
    mailbox_id: int
    reason: Reason
    state: HoldState
    effects: tuple[Remove, ...]
    held_at: float

    @property
    def message_ids(self) -> tuple[int, ...]:
        return tuple(effect.message_id for effect in self.effects)


@dataclass(frozen=True, slots=True)
class Losses:
    """What a device lost within the window and is about to lose, and what it has in mailboxes that lose nothing."""

    mailboxes: tuple[MailboxLoss, ...]
    untouched: int


def losses(conn: Connection, *, device_id: int, planned: Mapping[int, int], since: float) -> Losses:
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
        .where(guard_removal.c.scope == _DEVICE, guard_removal.c.scope_id == device_id, guard_removal.c.at >= since)
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
    conn: Connection, *, device_id: int, replica_id: int, mailbox_id: int, removed: int, now: float, window_s: float
) -> None:
    """Count removals that are about to be settled; call it before the base rows go.

    What was counted is kept for the window before the device's oldest hold, which does not dissolve as time passes.
    """
    present = select(func.count()).select_from(base_message).where(base_message.c.replica_id == replica_id)
    conn.execute(
        insert(guard_removal).values(
            scope=_DEVICE,
            scope_id=device_id,
            mailbox_id=mailbox_id,
            at=now,
            removed=removed,
            present=conn.execute(present).scalar_one(),
        )
    )
    oldest = select(func.min(hold.c.held_at)).where(hold.c.scope == _DEVICE, hold.c.scope_id == device_id)
    held_since = conn.execute(oldest).scalar_one()
    begin = now if held_since is None else min(now, held_since)
    mine = (guard_removal.c.scope == _DEVICE, guard_removal.c.scope_id == device_id)
    conn.execute(delete(guard_removal).where(*mine, guard_removal.c.at < begin - window_s))


def holds(conn: Connection, *, device_id: int | None = None, mailbox_id: int | None = None) -> tuple[Hold, ...]:
    """Return the holds, of one device or mailbox if given, oldest first."""
    query = select(hold).where(hold.c.scope == _DEVICE).order_by(hold.c.id)
    if device_id is not None:
        query = query.where(hold.c.scope_id == device_id)
    if mailbox_id is not None:
        query = query.where(hold.c.mailbox_id == mailbox_id)
    return tuple(
        Hold(
            id=row.id,
            device_id=row.scope_id,
            mailbox_id=row.mailbox_id,
            reason=Reason(row.reason),
            state=HoldState(row.state),
            effects=tuple(Remove(effect["message_id"], effect["file_id"]) for effect in json.loads(row.effects)),
            held_at=row.held_at,
        )
        for row in conn.execute(query)
    )


def mailboxes_of(conn: Connection, *, device_id: int, states: Collection[HoldState]) -> frozenset[int]:
    """Return the mailboxes in which a device has holds of these states."""
    query = select(hold.c.mailbox_id).where(
        hold.c.scope == _DEVICE, hold.c.scope_id == device_id, hold.c.state.in_(state.value for state in states)
    )
    return frozenset(conn.execute(query).scalars())


def put_hold(
    conn: Connection, *, device_id: int, mailbox_id: int, reason: Reason, effects: Sequence[Remove], now: float
) -> None:
    """Hold removals of one replica; a hold of it that is held already becomes this one, and waits since then.

    It gets a new id, so that nobody releases more than what was shown under the old one.
    """
    old = [one for one in holds(conn, device_id=device_id, mailbox_id=mailbox_id) if one.state is HoldState.HELD]
    drop_holds(conn, (one.id for one in old))
    held_since = min((one.held_at for one in old), default=now)
    conn.execute(
        insert(hold).values(
            scope=_DEVICE,
            scope_id=device_id,
            mailbox_id=mailbox_id,
            reason=reason.value,
            effects=f"[{','.join(map(as_json, effects))}]",
            state=HoldState.HELD.value,
            held_at=held_since,
        )
    )


def drop_holds(conn: Connection, ids: Iterable[int]) -> None:
    """Forget holds whose removals happened, or whose cause is gone."""
    for hold_id in ids:
        conn.execute(delete(hold).where(hold.c.id == hold_id))


def drop_done(conn: Connection, of: ReplicaRow) -> None:
    """Forget the released holds of a replica all of whose removals are settled."""
    for one in holds(conn, device_id=of.device_id, mailbox_id=of.mailbox_id):
        if one.state is not HoldState.RELEASED:
            continue
        there = select(base_message.c.message_id).where(base_message.c.replica_id == of.id)
        there = there.where(is_one_of(conn, base_message.c.message_id, one.message_ids)).limit(1)
        if conn.execute(there).first() is None:
            drop_holds(conn, (one.id,))


def release_hold(conn: Connection, *, hold_id: int) -> bool:
    """Let the removals of a hold happen in the next round of its device; False when there is no such hold."""
    released = update(hold).where(hold.c.id == hold_id).values(state=HoldState.RELEASED.value)
    return conn.execute(released).rowcount > 0
