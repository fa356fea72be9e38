"""Floor 4: deletions by a device pass the guard before its server hears of them, or are held until a person looked.

Theory. A device that lost its disk, or whose user slipped, loses mail in many mailboxes at once. So a deletion is
judged by all that its device lost within the window and all that it misses now, and what is held stays so: its files
coming back take it out of the hold, a person releases it, and nothing else. Once a hold is older than the window it
weighs no more on what is deleted after it. Several devices that each stay below the limit do not empty an account
either: what their deletions have let pass is judged once more, by all that the account lost and is about to lose.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from sqlalchemy import Connection

from syncd.log import log
from syncd.reconcile.effects import Departure
from syncd.reconcile.guard import Reason, Rule, judge_planned
from syncd.store.files import deletions
from syncd.store.mailboxes import mailbox_removals
from syncd.store.rounds import guard_window, holds
from syncd.store.rounds.holds import Hold, HoldScope, HoldState
from syncd.store.trees.accounts import MailboxRow
from syncd.store.trees.devices import ReplicaRow
from syncd.values import Value, replace


class Judgement(Value):
    """Say which deletions in a mailbox may be, of one device or of all of an account's.

    held: those that wait. over: what is held and nobody wants any more. reason: why all that is held is held anew,
    because something is new among it.
    """

    allowed: frozenset[int]
    held: frozenset[int]
    over: frozenset[int]
    reason: Reason | None


def judge_deletions(
    conn: Connection, mailbox: MailboxRow, of: ReplicaRow, effects: Sequence[Departure], *, rule: Rule, now: float
) -> Judgement:
    """Return which messages of these, all that the device wants deleted of this mailbox, may be; nothing is written.

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
        return _judge_planned(conn, (scope, of.device_id), planned, since=since, rule=rule)

    wanted = frozenset(effect.message_id for effect in effects)
    return _judgement(here, wanted, may_be=wanted, released=released, judge_all=judge_all)


def judge_of_account(
    conn: Connection,
    mailbox: MailboxRow,
    effects: Sequence[Departure],
    of_devices: Iterable[Judgement],
    *,
    rule: Rule,
    now: float,
) -> Judgement:
    """Return which of the deletions that each device is allowed by itself may be, given what all of them delete.

    effects: all that devices want deleted of this mailbox, held or not. What a person released for one device passes.
    """
    scope, account_id = HoldScope.OF_ACCOUNT, mailbox.account_id
    mine = holds.holds(conn, account_id=account_id)
    by_devices = holds.holds_by_devices(conn, account_id=account_id)
    here = [one for one in mine if one.mailbox_id == mailbox.id]
    released = _released(by_devices)
    since = now - rule.window_s
    judged = tuple(of_devices)
    allowed = frozenset[int]().union(*(one.allowed for one in judged))
    waiting = _ids(by_devices).difference(*(one.over for one in judged)).union(*(one.held for one in judged))

    def judge_all() -> Reason | None:
        planned = deletions.deleted_of_account(conn, account_id=account_id, without=_exempt(mine, since) | waiting)
        return _judge_planned(conn, (scope, account_id), planned, since=since, rule=rule)

    wanted = frozenset(effect.message_id for effect in effects)
    found = _judgement(here, wanted, may_be=allowed, released=released, judge_all=judge_all)
    return replace(found, allowed=found.allowed & allowed)


def hold_deletions(
    conn: Connection,
    mailbox: MailboxRow,
    of: tuple[HoldScope, int],
    effects: Iterable[Departure],
    found: Judgement,
    *,
    now: float,
) -> None:
    """Write what is held of a device's or an account's deletions in a mailbox."""
    scope, scope_id = of
    if found.over:
        mine = holds.holds(conn, mailbox_id=mailbox.id, scope=scope)
        holds.tell_dissolved(conn, (one for one in mine if one.scope_id == scope_id), found.over, now=now)
        holds.take_out(conn, mailbox_id=mailbox.id, message_ids=found.over, of=of)
    if found.reason is not None:
        listed = sorted(
            {one.message_id: one for one in effects if one.message_id in found.held}.values(),
            key=lambda one: one.message_id,
        )
        where = {"scope_id": scope_id, "mailbox_id": mailbox.id}
        holds.put_hold(conn, **where, reason=found.reason, effects=listed, now=now, scope=scope)
        log.warning("deletions_held", scope=scope, **where, count=len(listed), reason=found.reason)


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


def _judge_planned(
    conn: Connection, of: tuple[HoldScope, int], planned: Mapping[int, int], *, since: float, rule: Rule
) -> Reason | None:
    count = sum(planned.values())
    return judge_planned(guard_window.tallies(conn, *of, since=since, planned=count, rule=rule), planned, rule)


def _judgement(
    here: Sequence[Hold],
    wanted: frozenset[int],
    *,
    may_be: frozenset[int],
    released: frozenset[int],
    judge_all: Callable[[], Reason | None],
) -> Judgement:
    """Judge what is new; here: what is held or released there already. may_be: what nothing else holds."""
    held = _ids(one for one in here if one.state is HoldState.HELD) & wanted
    fresh = may_be - released - _ids(here)
    reason = judge_all() if fresh else None
    if reason is not None:
        held |= fresh
    return Judgement(wanted - (held - released), held, _ids(here) - wanted, reason)


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
