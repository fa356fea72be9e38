"""Floor 4: removals pass the guard, or are held, shown, and wait for a person or for their cause to go away."""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection

from syncd.reconcile.effects import Remove, ReplicaEffect
from syncd.reconcile.guard import Rule, judge
from syncd.store import holds
from syncd.store.devices import DeviceRow, ReplicaRow
from syncd.store.holds import HoldState

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits at the guard of one replica: message ids held, and those a person released."""

    held: frozenset[int] = frozenset()
    released: frozenset[int] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.held or self.released)


def waiting(conn: Connection, device: DeviceRow, of: ReplicaRow) -> Waiting:
    """Return the removals of a replica that are held or released; they are planned anew in every round."""
    found = holds.holds(conn, device_id=device.id, mailbox_id=of.mailbox_id)
    return Waiting(
        held=frozenset(id_ for hold in found if hold.state is HoldState.HELD for id_ in hold.message_ids),
        released=frozenset(id_ for hold in found if hold.state is HoldState.RELEASED for id_ in hold.message_ids),
    )


def admit(
    conn: Connection,
    device: DeviceRow,
    of: ReplicaRow,
    effects: Sequence[ReplicaEffect],
    *,
    before: Waiting,
    rule: Rule,
    now: float,
) -> tuple[ReplicaEffect, ...]:
    """Return the effects that may happen, and write what is held; a hold whose removals are no longer planned goes.

    Released removals happen without being judged again, and only they.
    """
    removes = [effect for effect in effects if isinstance(effect, Remove)]
    judged = [effect for effect in removes if effect.message_id not in before.released]
    reason = None
    if judged:
        lost = holds.losses(conn, device_id=device.id, planned={of.mailbox_id: len(judged)}, since=now - rule.window_s)
        reason = judge(lost.mailboxes, rule, untouched=lost.untouched)
    old = holds.holds(conn, device_id=device.id, mailbox_id=of.mailbox_id)
    if reason is None:
        holds.drop_holds(conn, (hold.id for hold in old))
        held: frozenset[int] = frozenset()
    else:
        held = frozenset(effect.message_id for effect in judged)
        if held != before.held:
            holds.put_hold(conn, device_id=device.id, mailbox_id=of.mailbox_id, reason=reason, effects=judged, now=now)
            log.warning("removals_held", device=device.name, replica=of.directory, count=len(held), reason=reason)
    admitted = tuple(effect for effect in effects if not (isinstance(effect, Remove) and effect.message_id in held))
    count = sum(isinstance(effect, Remove) for effect in admitted)
    if count:
        holds.record_removals(
            conn,
            device_id=device.id,
            replica_id=of.id,
            mailbox_id=of.mailbox_id,
            removed=count,
            now=now,
            window_s=rule.window_s,
        )
    return admitted
