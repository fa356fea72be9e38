"""Floor 4: removals pass the guard, or are held, shown, and wait for a person or for their cause to go away.

Theory. A device may lose mail in many mailboxes at once, and its rounds see one after the other. So each is judged with
what is about to go elsewhere on the device. What a server lost by going back to an older state was held when that was
recorded (`holds.hold_lost`); no rule lets it go, only a person, or the message that is there again.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from syncd.log import log
from syncd.reconcile.effects import Remove, ReplicaEffect
from syncd.reconcile.guard import Rule, judge_part, judge_planned
from syncd.store import guard_window, holds
from syncd.store.devices import DeviceRow, ReplicaRow
from syncd.store.holds import Hold, HoldScope, HoldState


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits at the guard of one replica: message ids held, and those a person released."""

    held: frozenset[int] = frozenset()
    released: frozenset[int] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.held or self.released)


def waiting(conn: Connection, device: DeviceRow, of: ReplicaRow) -> Waiting:
    """Return the removals of a replica that are held or released; they are planned anew in every round."""
    found = holds.holds(conn, device_id=device.id, mailbox_id=of.mailbox_id, scope=HoldScope.ON_DEVICE)
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
    """Return the effects that may happen, and write what is held.

    A hold whose removals are no longer planned goes, and one that the rule allows by now is released. Released removals
    happen without being judged again, and only they. What is held is judged by what was lost in the window before it
    was held, however long ago that is.
    """
    removes = [effect for effect in effects if isinstance(effect, Remove)]
    planned = {effect.message_id for effect in removes}
    old = holds.holds(conn, device_id=device.id, mailbox_id=of.mailbox_id, scope=HoldScope.ON_DEVICE)
    over = [
        one.id
        for one in old
        # NOTE: one that was put after the pairs were read is for the next round.
        if one.state is HoldState.RELEASED
        and before.released.issuperset(one.message_ids)
        and planned.isdisjoint(one.message_ids)
    ]
    lost_by_server = _still_held(conn, old, before, planned)
    judged = [effect for effect in removes if effect.message_id not in before.released | lost_by_server]
    waiting_now = [one for one in old if one.state is HoldState.HELD and one.reason.is_judged]
    reason = None
    if judged:
        since = min((one.held_at for one in waiting_now), default=now) - rule.window_s
        elsewhere = guard_window.pending_removals(conn, of, since=since)
        lost = guard_window.tallies(conn, HoldScope.ON_DEVICE, device.id, since=since)
        reason = judge_part(of.mailbox_id, lost, {**elsewhere, of.mailbox_id: len(judged)}, rule)
    held: frozenset[int] = frozenset()
    if reason is None:
        # NOTE: the cursor is past these removals, so only the hold remembers them until they are done.
        for one in waiting_now:
            if planned.isdisjoint(one.message_ids):
                over.append(one.id)
            else:
                holds.release_hold(conn, hold_id=one.id)
    else:
        held = frozenset(effect.message_id for effect in judged)
        if held != frozenset(id_ for one in waiting_now for id_ in one.message_ids):
            holds.put_hold(conn, scope_id=device.id, mailbox_id=of.mailbox_id, reason=reason, effects=judged, now=now)
            log.warning("removals_held", device=device.name, replica=of.directory, count=len(held), reason=reason)
    holds.drop_holds(conn, over)
    held |= lost_by_server
    return tuple(effect for effect in effects if not (isinstance(effect, Remove) and effect.message_id in held))


def admit_moves(
    conn: Connection, device: DeviceRow, moved: Mapping[int, Collection[int]], *, rule: Rule, now: float
) -> frozenset[int]:
    """Return which messages' files may go to Trash or Junk, of those that their server moved there, by mailbox id.

    The others are then removed and delivered, and held. What is held already is judged together with them.
    """
    found = holds.holds(conn, device_id=device.id, scope=HoldScope.ON_DEVICE)
    released = {id_ for hold in found if hold.state is HoldState.RELEASED for id_ in hold.message_ids}
    holding = {hold.mailbox_id for hold in found if hold.state is HoldState.HELD}
    judged = {mailbox_id: {*ids} - released for mailbox_id, ids in moved.items() if mailbox_id not in holding}
    counts = {mailbox_id: len(ids) for mailbox_id, ids in judged.items()}
    lost = guard_window.tallies(conn, HoldScope.ON_DEVICE, device.id, since=now - rule.window_s)
    if judge_planned(lost, counts, rule) is not None:
        judged = {}
    return frozenset().union(*judged.values(), *({*ids} & released for ids in moved.values()))


def count_removals(
    conn: Connection, device: DeviceRow, of: ReplicaRow, removed: Collection[int], *, rule: Rule, now: float
) -> None:
    """Count removals that happened and that no person released; call it before the base rows go."""
    counted = set(removed) - waiting(conn, device, of).released
    if counted:
        guard_window.record_removals(conn, of, removed=len(counted), now=now, window_s=rule.window_s)


def _still_held(conn: Connection, old: Sequence[Hold], before: Waiting, planned: Collection[int]) -> frozenset[int]:
    """Return what is held because the server lost it; a message that nothing would remove any more leaves its hold."""
    mine = [one for one in old if one.state is HoldState.HELD and not one.reason.is_judged]
    for one in mine:
        over = before.held.intersection(one.message_ids).difference(planned)
        if over:
            holds.take_out(conn, mailbox_id=one.mailbox_id, message_ids=over, of=(one.scope, one.scope_id))
    return frozenset(id_ for one in mine for id_ in one.message_ids).intersection(planned)
