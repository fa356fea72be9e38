"""Floor 4: deletions by a device pass the guard before its server hears of them, or are held until a person looked.

Theory. A device that lost its disk, or whose user slipped, loses mail in many mailboxes at once. So a deletion is
judged by all that its device lost within the window and all that it misses now, and what is held stays so: its files
coming back take it out of the hold, a person releases it, and nothing else. Once a hold is older than the window it
weighs no more on what is deleted after it.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection

from syncd.log import log
from syncd.reconcile.effects import Departure
from syncd.reconcile.guard import Reason, Rule, judge
from syncd.store import deletions, holds
from syncd.store.accounts import MailboxRow
from syncd.store.devices import ReplicaRow
from syncd.store.holds import Hold, HoldScope, HoldState


def admit_deletions(
    conn: Connection, mailbox: MailboxRow, of: ReplicaRow, effects: Sequence[Departure], *, rule: Rule, now: float
) -> frozenset[int]:
    """Return which messages of these, all that the device wants deleted of this mailbox, may be; write what is held."""
    mine = holds.holds(conn, device_id=of.device_id, scope=HoldScope.BY_DEVICE)
    here = [one for one in mine if one.mailbox_id == of.mailbox_id]
    wanted = {effect.message_id: effect for effect in effects}
    over = _ids(here) - wanted.keys()
    if over:
        holds.take_out(conn, mailbox_id=of.mailbox_id, message_ids=over, device_id=of.device_id)
    held = _ids(one for one in here if one.state is HoldState.HELD) & wanted.keys()
    fresh = wanted.keys() - _ids(here)
    reason = _judge(conn, mailbox, of, mine, rule=rule, now=now) if fresh else None
    if reason is not None:
        held |= fresh
        listed = [wanted[message_id] for message_id in sorted(held)]
        holds.put_hold(
            conn,
            device_id=of.device_id,
            mailbox_id=of.mailbox_id,
            reason=reason,
            effects=listed,
            now=now,
            scope=HoldScope.BY_DEVICE,
        )
        log.warning("deletions_held", replica_id=of.id, replica=of.directory, count=len(held), reason=reason)
    return frozenset(wanted.keys() - held)


def count_deletions(conn: Connection, of: ReplicaRow, message_ids: frozenset[int], *, rule: Rule, now: float) -> None:
    """Count deletions that happened and that no person released; call it before the base rows go.

    What a person released is released for the other devices, too.
    """
    found = holds.holds(conn, device_id=of.device_id, mailbox_id=of.mailbox_id, scope=HoldScope.BY_DEVICE)
    released: frozenset[int] = frozenset()
    for one in found:
        if one.state is HoldState.RELEASED and (mine := message_ids.intersection(one.message_ids)):
            holds.let_go_elsewhere(conn, of, mine, reason=one.reason, now=now)
            released |= mine
    if counted := message_ids - released:
        scope = HoldScope.BY_DEVICE
        holds.record_removals(conn, of, removed=len(counted), now=now, window_s=rule.window_s, scope=scope)


def _judge(
    conn: Connection, mailbox: MailboxRow, of: ReplicaRow, mine: Sequence[Hold], *, rule: Rule, now: float
) -> Reason | None:
    since = now - rule.window_s
    exempt = _ids(one for one in mine if one.state is HoldState.RELEASED or one.held_at < since)
    planned = deletions.not_there(
        conn, device_id=of.device_id, account_id=mailbox.account_id, since=since, without=exempt
    )
    scope = HoldScope.BY_DEVICE
    lost = holds.losses(conn, device_id=of.device_id, planned=planned, since=since, scope=scope)
    return judge(lost.mailboxes, rule, untouched=lost.untouched)


def _ids(found: Iterable[Hold]) -> frozenset[int]:
    return frozenset(message_id for one in found for message_id in one.message_ids)
