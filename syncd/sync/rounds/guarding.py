"""Floor 4: removals pass the guard, or are held, shown, and wait for a person or for their cause to go away.

Theory. A device may lose mail in many mailboxes at once, and its rounds see one after the other. So each is judged with
what is about to go elsewhere on the device. What a server lost by going back to an older state was held when that was
recorded (`holds.hold_lost`); no rule lets it go, only a person, or the message that is there again.
"""

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import Connection

from syncd.log import log
from syncd.reconcile.effects import Remove, ReplicaEffect
from syncd.reconcile.guard import Reason, Rule, judge_part, judge_planned
from syncd.store.rounds import guard_window, holds
from syncd.store.rounds.holds import Hold, HoldScope, HoldState
from syncd.store.trees import history
from syncd.store.trees.devices import DeviceRow, ReplicaRow
from syncd.store.trees.history import Verb
from syncd.values import Value


class Waiting(Value):
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


def decided(conn: Connection, of: ReplicaRow) -> frozenset[int]:
    """Return the messages whose removal from a replica a person decides about, or has decided: no flag does.

    NOTE: else one flag would take a message out of a hold, and the others might be few enough to go.
    """
    found = holds.holds(conn, device_id=of.device_id, mailbox_id=of.mailbox_id, scope=HoldScope.ON_DEVICE)
    return frozenset(id_ for one in found for id_ in one.message_ids)


class Judgement(Value):
    """Say which removals of a replica wait, and what becomes of its holds.

    fresh: removals that are held with what was held before, for this reason; empty without one. over: holds with
    nothing left to do. released: holds that the rule allows by now. returned: messages that leave a hold because
    nothing would remove them any more.
    """

    held: frozenset[int]
    fresh: tuple[Remove, ...]
    reason: Reason | None
    over: tuple[Hold, ...]
    released: tuple[Hold, ...]
    returned: tuple[tuple[Hold, frozenset[int]], ...]

    @property
    def is_trivial(self) -> bool:
        """Tell whether all may happen, and nothing becomes of any hold."""
        return not (self.held or self.over or self.released or self.returned)

    def allows(self, effect: ReplicaEffect) -> bool:
        return not (isinstance(effect, Remove) and effect.message_id in self.held)


def judge_removals(
    conn: Connection,
    device: DeviceRow,
    of: ReplicaRow,
    effects: Sequence[ReplicaEffect],
    *,
    before: Waiting,
    rule: Rule,
    now: float,
) -> Judgement:
    """Return which of these effects may happen; nothing is written.

    A hold whose removals are no longer planned goes, and one that the rule allows by now is released. Released removals
    happen without being judged again, and only they. What is held is judged by what was lost in the window before it
    was held, however long ago that is.
    """
    removes = [effect for effect in effects if isinstance(effect, Remove)]
    planned = {effect.message_id for effect in removes}
    old = holds.holds(conn, device_id=device.id, mailbox_id=of.mailbox_id, scope=HoldScope.ON_DEVICE)
    over = [
        one
        for one in old
        # NOTE: one that was put after the pairs were read is for the next round.
        if one.state is HoldState.RELEASED
        and before.released.issuperset(one.message_ids)
        and planned.isdisjoint(one.message_ids)
    ]
    by_server = [one for one in old if one.state is HoldState.HELD and not one.reason.is_judged]
    lost_by_server = frozenset(id_ for one in by_server for id_ in one.message_ids).intersection(planned)
    judged = [effect for effect in removes if effect.message_id not in before.released | lost_by_server]
    waiting_now = [one for one in old if one.state is HoldState.HELD and one.reason.is_judged]
    reason = None
    if judged:
        since = min((one.held_at for one in waiting_now), default=now) - rule.window_s
        to_go = {**guard_window.pending_removals(conn, of, since=since), of.mailbox_id: len(judged)}
        count = sum(to_go.values())
        lost = guard_window.tallies(conn, HoldScope.ON_DEVICE, device.id, since=since, planned=count, rule=rule)
        reason = judge_part(of.mailbox_id, lost, to_go, rule)
    held = frozenset(effect.message_id for effect in judged) if reason is not None else frozenset()
    is_as_before = held == frozenset(id_ for one in waiting_now for id_ in one.message_ids)
    ended = [] if reason is not None else waiting_now
    over += [one for one in ended if planned.isdisjoint(one.message_ids)]
    returned = [(one, before.held.intersection(one.message_ids).difference(planned)) for one in by_server]
    return Judgement(
        held=held | lost_by_server,
        fresh=() if reason is None or is_as_before else tuple(judged),
        reason=reason,
        over=tuple(over),
        # NOTE: the cursor is past these removals, so only the hold remembers them until they are done.
        released=tuple(one for one in ended if not planned.isdisjoint(one.message_ids)),
        returned=tuple((one, ids) for one, ids in returned if ids),
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
    """Return the effects that may happen, and write what is held."""
    found = judge_removals(conn, device, of, effects, before=before, rule=rule, now=now)
    for one, ids in found.returned:
        holds.tell_dissolved(conn, (one,), ids, now=now)
        holds.take_out(conn, mailbox_id=one.mailbox_id, message_ids=ids, of=(one.scope, one.scope_id))
    for one in found.released:
        holds.release_hold(conn, hold_id=one.id)
        holds.tell(conn, one, Verb.RELEASE, origin=history.SYNCD, now=now)
    if found.fresh and found.reason is not None:
        reason, listed = found.reason, found.fresh
        holds.put_hold(conn, scope_id=device.id, mailbox_id=of.mailbox_id, reason=reason, effects=listed, now=now)
        log.warning("removals_held", device=device.name, replica=of.directory, count=len(listed), reason=reason)
    for one in found.over:
        holds.tell_dissolved(conn, (one,), one.message_ids, now=now)
    holds.drop_holds(conn, (one.id for one in found.over))
    return tuple(effect for effect in effects if found.allows(effect))


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
    since, count = now - rule.window_s, sum(counts.values())
    lost = guard_window.tallies(conn, HoldScope.ON_DEVICE, device.id, since=since, planned=count, rule=rule)
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
