"""Floor 4: deletions by a device pass the guard before its server hears of them, or are held until a person looked.

Theory. A device that lost its disk, or whose user slipped, loses mail in many mailboxes at once. So a deletion is
judged by all that its device lost within the window and all that it misses now, and what is held stays so: its files
coming back take it out of the hold, a person releases it, and nothing else. Once a hold is older than the window it
weighs no more on what is deleted after it. Several devices that each stay below the limit do not empty an account
either: what their deletions have let pass is judged once more, by all that the account lost and is about to lose.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from sqlalchemy import Connection

from syncd.log import log
from syncd.reconcile.effects import Departure
from syncd.reconcile.guard import Reason, Rule, judge_planned
from syncd.store import deletions, guard_window, holds, mailbox_removals
from syncd.store.accounts import MailboxRow
from syncd.store.devices import ReplicaRow
from syncd.store.holds import Hold, HoldScope, HoldState


def admit_deletions(
    conn: Connection, mailbox: MailboxRow, of: ReplicaRow, effects: Sequence[Departure], *, rule: Rule, now: float
) -> frozenset[int]:
    """Return which messages of these, all that the device wants deleted of this mailbox, may be; write what is held.

    What a person released for the account passes.
    """
    scope = HoldScope.BY_DEVICE
    mine = holds.holds(conn, device_id=of.device_id, scope=scope)
    here = [one for one in mine if one.mailbox_id == of.mailbox_id]
    released = _released(holds.holds(conn, mailbox_id=mailbox.id, scope=HoldScope.OF_ACCOUNT))
    since = now - rule.window_s

    def judge_all() -> Reason | None:
        exempt = _exempt(mine, since) | released
        planned = {
            # NOTE: a mailbox without messages that the device removed as well is one more that it lost everything of.
            **dict.fromkeys(mailbox_removals.empty_removals(conn, device_id=of.device_id, since=since), 1),
            **deletions.not_there(
                conn, device_id=of.device_id, account_id=mailbox.account_id, since=since, without=exempt
            ),
        }
        return judge_planned(guard_window.tallies(conn, scope, of.device_id, since=since), planned, rule)

    wanted = {effect.message_id: effect for effect in effects}
    may_be = wanted.keys() - released
    held = _hold(conn, mailbox, (scope, of.device_id), here, wanted, may_be=may_be, judge_all=judge_all, now=now)
    return frozenset(wanted.keys() - (held - released))


def admit_of_account(
    conn: Connection,
    mailbox: MailboxRow,
    effects: Sequence[Departure],
    allowed: frozenset[int],
    *,
    rule: Rule,
    now: float,
) -> frozenset[int]:
    """Return which of the deletions that each device is allowed by itself may be, given what all of them delete.

    effects: all that devices want deleted of this mailbox, held or not. What a person released for one device passes.
    """
    scope, account_id = HoldScope.OF_ACCOUNT, mailbox.account_id
    mine = holds.holds(conn, account_id=account_id)
    of_devices = holds.holds_by_devices(conn, account_id=account_id)
    here = [one for one in mine if one.mailbox_id == mailbox.id]
    released = _released(of_devices)
    since = now - rule.window_s

    def judge_all() -> Reason | None:
        exempt = _exempt(mine, since) | _ids(of_devices)
        planned = deletions.deleted_of_account(conn, account_id=account_id, without=exempt)
        return judge_planned(guard_window.tallies(conn, scope, account_id, since=since), planned, rule)

    wanted = {effect.message_id: effect for effect in effects}
    may_be = allowed - released
    held = _hold(conn, mailbox, (scope, account_id), here, wanted, may_be=may_be, judge_all=judge_all, now=now)
    return allowed - (held - released)


def count_deletions(conn: Connection, of: ReplicaRow, message_ids: frozenset[int], *, rule: Rule, now: float) -> None:
    """Count deletions by a device that happened and that no person released; call it before the base rows go.

    What a person released is released for the other devices, too.
    """
    found = holds.holds(conn, device_id=of.device_id, mailbox_id=of.mailbox_id, scope=HoldScope.BY_DEVICE)
    released = _let_go(conn, found, message_ids, now=now)
    released |= _released(holds.holds(conn, mailbox_id=of.mailbox_id, scope=HoldScope.OF_ACCOUNT))
    if counted := message_ids - released:
        scope = HoldScope.BY_DEVICE
        guard_window.record_removals(conn, of, removed=len(counted), now=now, window_s=rule.window_s, scope=scope)


def count_account_deletions(
    conn: Connection, mailbox: MailboxRow, message_ids: frozenset[int], *, rule: Rule, now: float
) -> None:
    """Count deletions by all devices that happened and that no person released; before they are marked as gone."""
    account_id = mailbox.account_id
    found = [one for one in holds.holds(conn, account_id=account_id) if one.mailbox_id == mailbox.id]
    by_devices = holds.holds_by_devices(conn, account_id=account_id)
    released = _let_go(conn, found, message_ids, now=now)
    released |= _released(by_devices)
    if counted := message_ids - released:
        guard_window.record_account_deletions(
            conn,
            account_id=account_id,
            mailbox_id=mailbox.id,
            deleted=len(counted),
            now=now,
            window_s=rule.window_s,
        )


def _hold(
    conn: Connection,
    mailbox: MailboxRow,
    of: tuple[HoldScope, int],
    here: Sequence[Hold],
    wanted: Mapping[int, Departure],
    *,
    may_be: Collection[int],
    judge_all: Callable[[], Reason | None],
    now: float,
) -> frozenset[int]:
    """Return what is held of a device's or an account's deletions in a mailbox, and write it.

    here: what is held or released there already. may_be: the deletions that nothing else holds.
    """
    scope, scope_id = of
    if over := _ids(here) - wanted.keys():
        holds.take_out(conn, mailbox_id=mailbox.id, message_ids=over, of=of)
    held = _ids(one for one in here if one.state is HoldState.HELD) & wanted.keys()
    fresh = frozenset(may_be) - _ids(here)
    reason = judge_all() if fresh else None
    if reason is not None:
        held |= fresh
        listed = [wanted[message_id] for message_id in sorted(held)]
        where = {"scope_id": scope_id, "mailbox_id": mailbox.id}
        holds.put_hold(conn, **where, reason=reason, effects=listed, now=now, scope=scope)
        log.warning("deletions_held", scope=scope, **where, count=len(held), reason=reason)
    return held


def _let_go(conn: Connection, found: Iterable[Hold], message_ids: frozenset[int], *, now: float) -> frozenset[int]:
    """Return what a person released of these messages, and let the devices that still have them follow."""
    released: frozenset[int] = frozenset()
    for one in found:
        if one.state is HoldState.RELEASED and (mine := message_ids.intersection(one.message_ids)):
            holds.let_go_elsewhere(conn, mailbox_id=one.mailbox_id, message_ids=mine, reason=one.reason, now=now)
            released |= mine
    return released


def _released(found: Iterable[Hold]) -> frozenset[int]:
    return _ids(one for one in found if one.state is HoldState.RELEASED)


def _exempt(mine: Iterable[Hold], since: float) -> frozenset[int]:
    return _ids(one for one in mine if one.state is HoldState.RELEASED or one.held_at < since)


def _ids(found: Iterable[Hold]) -> frozenset[int]:
    return frozenset(message_id for one in found for message_id in one.message_ids)
