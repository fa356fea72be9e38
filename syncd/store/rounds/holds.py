"""Floor 3: holds: removals and deletions that wait for a person; `guard_window` counts those that happen."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, bindparam, case, delete, func, insert, select, update

from syncd.mail.tree import NOT_THERE
from syncd.reconcile.effects import Departure, Remove, as_json, from_json
from syncd.reconcile.guard import Reason
from syncd.store.engine.queries import is_one_of
from syncd.store.tables.schema import base_message, hold, mailbox, replica, replica_message
from syncd.store.trees import history
from syncd.store.trees.devices import ReplicaRow
from syncd.store.trees.history import Outcome, Verb
from syncd.values import Value


class HoldScope(StrEnum):
    """Say what is held, and of whom.

    ON_DEVICE: removals on a device of what its server deleted. BY_DEVICE: deletions by a device on its server.
    OF_ACCOUNT: deletions by all devices of an account together.
    """

    ON_DEVICE = "device"
    BY_DEVICE = "by_device"
    OF_ACCOUNT = "account"


_DELETIONS = (HoldScope.BY_DEVICE, HoldScope.OF_ACCOUNT)


class HoldState(StrEnum):
    """Say whether a hold waits, or a person let its removals happen."""

    HELD = "held"
    RELEASED = "released"


Held = Remove | Departure


class Hold(Value):
    """Removals or deletions in one mailbox that were too many to be believed; exactly these are released.

    scope_id: the device, or the account.
    """

    id: int
    scope: HoldScope
    scope_id: int
    mailbox_id: int
    reason: Reason
    state: HoldState
    effects: tuple[Held, ...]
    held_at: float

    @property
    def message_ids(self) -> tuple[int, ...]:
        return tuple(effect.message_id for effect in self.effects)

    @property
    def device_id(self) -> int | None:
        return None if self.scope is HoldScope.OF_ACCOUNT else self.scope_id


def holds(
    conn: Connection,
    *,
    device_id: int | None = None,
    mailbox_id: int | None = None,
    scope: HoldScope | None = None,
    account_id: int | None = None,
) -> tuple[Hold, ...]:
    """Return the holds, of one mailbox or scope, and of one device or account if given, oldest first."""
    given = {"of_scope": scope, "of_device": device_id, "of_account": account_id, "of_mailbox": mailbox_id}
    wanted = {name: value for name, value in given.items() if value is not None}
    return tuple(
        Hold(
            id=row.id,
            scope=HoldScope(row.scope),
            scope_id=row.scope_id,
            mailbox_id=row.mailbox_id,
            reason=Reason(row.reason),
            state=HoldState(row.state),
            effects=tuple(map(from_json, json.loads(row.effects))),
            held_at=row.held_at,
        )
        for row in conn.execute(_holds(*wanted), wanted)
    )


@cache
def _holds(*wanted: str) -> Select[Any]:
    terms = {
        "of_scope": (hold.c.scope == bindparam("of_scope"),),
        "of_device": (hold.c.scope_id == bindparam("of_device"), hold.c.scope != HoldScope.OF_ACCOUNT),
        "of_account": (hold.c.scope_id == bindparam("of_account"), hold.c.scope == HoldScope.OF_ACCOUNT),
        "of_mailbox": (hold.c.mailbox_id == bindparam("of_mailbox"),),
    }
    return select(hold).where(*(term for name in wanted for term in terms[name])).order_by(hold.c.id)


def mark(conn: Connection) -> tuple[int, ...]:
    """Return what is another value as soon as there are other holds, or one of them is released."""
    is_held = case((hold.c.state == HoldState.HELD, 1), else_=0)
    columns = (func.count(), func.coalesce(func.max(hold.c.id), 0), func.coalesce(func.sum(is_held), 0))
    return tuple(map(int, conn.execute(select(*columns).select_from(hold)).one()))


def holds_by_devices(conn: Connection, *, account_id: int) -> tuple[Hold, ...]:
    """Return the holds of deletions in an account's mailboxes, each by one device."""
    found = holds(conn, scope=HoldScope.BY_DEVICE)
    if not found:
        return ()
    mailbox_ids = set(conn.execute(select(mailbox.c.id).where(mailbox.c.account_id == account_id)).scalars())
    return tuple(one for one in found if one.mailbox_id in mailbox_ids)


def lost_messages(conn: Connection, *, mailbox_id: int) -> frozenset[int]:
    """Return the messages that devices have, and that wait for a person because their server lost them."""
    return frozenset(
        message_id
        for one in holds(conn, mailbox_id=mailbox_id, scope=HoldScope.ON_DEVICE)
        if one.state is HoldState.HELD and not one.reason.is_judged
        for message_id in one.message_ids
    )


def mailboxes_of(conn: Connection, *, device_id: int, states: Collection[HoldState]) -> frozenset[int]:
    """Return the mailboxes in which removals on a device have holds of these states."""
    wanted = {"of_device": device_id, "of_states": [state.value for state in states]}
    return frozenset(conn.execute(_MAILBOXES_OF, wanted).scalars())


def put_hold(
    conn: Connection,
    *,
    scope_id: int,
    mailbox_id: int,
    reason: Reason,
    effects: Sequence[Held],
    now: float,
    scope: HoldScope = HoldScope.ON_DEVICE,
) -> None:
    """Hold effects in one mailbox; what is held of it in the same way becomes this hold, and waits since then.

    It gets a new id, so that nobody releases more than what was shown under the old one.
    """
    query = select(hold.c.id, hold.c.held_at, hold.c.reason, hold.c.effects).where(
        hold.c.scope == scope,
        hold.c.scope_id == scope_id,
        hold.c.mailbox_id == mailbox_id,
        hold.c.state == HoldState.HELD,
    )
    old = [row for row in conn.execute(query) if Reason(row.reason).is_judged is reason.is_judged]
    drop_holds(conn, (row.id for row in old))
    held_since = min((row.held_at for row in old), default=now)
    _insert(
        conn,
        scope,
        scope_id,
        mailbox_id,
        reason=reason,
        effects=effects,
        state=HoldState.HELD,
        held_at=held_since,
    )
    known = {effect["message_id"] for row in old for effect in json.loads(row.effects)}
    told = [history.of(effect, reason=reason.value) for effect in effects if effect.message_id not in known]
    if scope is HoldScope.ON_DEVICE:
        where = {"mailbox_id": mailbox_id, "device_id": scope_id}
        history.tell(conn, told, now=now, origin=history.SERVER, outcome=Outcome.HELD, **where)
    else:
        whose = (scope_id,) if scope is HoldScope.BY_DEVICE else ()
        those = [(one, whose) for one in told]
        history.tell_of_devices(conn, those, now=now, mailbox_id=mailbox_id, outcome=Outcome.HELD)


def hold_lost(conn: Connection, *, mailbox_id: int, message_ids: Collection[int], now: float) -> int:
    """Hold the removals of messages that a server lost by going back, on every device; return of how many devices.

    Call it in the transaction that marks them as gone, so that no device can remove one before.
    """
    removes = _removes(conn, mailbox_id, message_ids)
    for device_id, effects in removes.items():
        known = holds(conn, device_id=device_id, mailbox_id=mailbox_id, scope=HoldScope.ON_DEVICE)
        older = {
            effect.message_id: effect
            for one in known
            if one.state is HoldState.HELD and not one.reason.is_judged
            for effect in one.effects
        }
        listed = list((older | {effect.message_id: effect for effect in effects}).values())
        reason = Reason.SERVER_WENT_BACK
        put_hold(conn, scope_id=device_id, mailbox_id=mailbox_id, reason=reason, effects=listed, now=now)
    return len(removes)


def tell(conn: Connection, one: Hold, verb: Verb, *, origin: history.Origin, now: float) -> None:
    """Tell the history what was decided about each message of a hold, on the device or server that it is done on."""
    is_there = one.scope is HoldScope.ON_DEVICE or (one.scope is HoldScope.BY_DEVICE and verb is Verb.DISCARD)
    device_id = one.scope_id if is_there else None
    told = [history.Happening(verb, message_id, reason=one.reason.value) for message_id in one.message_ids]
    history.tell(conn, told, now=now, origin=origin, mailbox_id=one.mailbox_id, device_id=device_id)


def drop_holds(conn: Connection, ids: Iterable[int]) -> None:
    """Forget holds whose removals happened, or whose cause is gone."""
    for hold_id in ids:
        conn.execute(delete(hold).where(hold.c.id == hold_id))


def take_out(
    conn: Connection, *, mailbox_id: int, message_ids: Collection[int], of: tuple[HoldScope, int] | None = None
) -> None:
    """Take messages out of the holds of deletions, or of one scope and its device or account: nothing is left to do."""
    scopes = _DELETIONS if of is None else (of[0],)
    for one in (each for scope in scopes for each in holds(conn, mailbox_id=mailbox_id, scope=scope)):
        if of is not None and of != (one.scope, one.scope_id):
            continue
        rest = [effect for effect in one.effects if effect.message_id not in message_ids]
        if not rest:
            drop_holds(conn, (one.id,))
        elif len(rest) < len(one.effects):
            conn.execute(update(hold).where(hold.c.id == one.id).values(effects=_as_text(rest)))


def tell_dissolved(conn: Connection, found: Iterable[Hold], message_ids: Collection[int], *, now: float) -> None:
    """Tell the history that these messages, if they were held, are no more: nobody wants them to go."""
    for one in found:
        if one.state is HoldState.HELD:
            device_id = one.scope_id if one.scope is HoldScope.ON_DEVICE else None
            told = [history.Happening(Verb.DISSOLVE, id_) for id_ in one.message_ids if id_ in message_ids]
            history.tell(conn, told, now=now, origin=history.SYNCD, mailbox_id=one.mailbox_id, device_id=device_id)


def let_go_elsewhere(
    conn: Connection, *, mailbox_id: int, message_ids: Collection[int], reason: Reason, now: float
) -> None:
    """Let devices remove what a person released for deletion, without asking for each of them.

    reason: why it was held.
    """
    for device_id, effects in _removes(conn, mailbox_id, message_ids).items():
        _insert(
            conn,
            HoldScope.ON_DEVICE,
            device_id,
            mailbox_id,
            reason=reason,
            effects=effects,
            state=HoldState.RELEASED,
            held_at=now,
        )


def drop_done(conn: Connection, of: ReplicaRow) -> None:
    """Forget the released holds of a replica all of whose removals are settled."""
    for one in holds(conn, device_id=of.device_id, mailbox_id=of.mailbox_id, scope=HoldScope.ON_DEVICE):
        if one.state is not HoldState.RELEASED:
            continue
        there = select(base_message.c.message_id).where(base_message.c.replica_id == of.id)
        there = there.where(is_one_of(base_message.c.message_id, one.message_ids)).limit(1)
        if conn.execute(there).first() is None:
            drop_holds(conn, (one.id,))


def release_hold(conn: Connection, *, hold_id: int) -> bool:
    """Let what a hold holds happen in the next round of its device or account; False when there is no such hold."""
    released = update(hold).where(hold.c.id == hold_id).values(state=HoldState.RELEASED.value)
    row = conn.execute(released.returning(hold.c.scope, hold.c.scope_id, hold.c.mailbox_id)).one_or_none()
    if row is None:
        return False
    if row.scope in _DELETIONS:
        # NOTE: the account is past these deletions, so it has to be told that replicas have news.
        where = [replica.c.mailbox_id == row.mailbox_id]
        if row.scope == HoldScope.BY_DEVICE:
            where.append(replica.c.device_id == row.scope_id)
        conn.execute(update(replica).where(*where).values(version=replica.c.version + 1))
    return True


def _removes(conn: Connection, mailbox_id: int, message_ids: Collection[int]) -> Mapping[int, Sequence[Remove]]:
    """Return for each device that has files of these messages what their removal would be."""
    columns = replica_message.c
    query = (
        select(replica.c.device_id, columns.message_id, columns.id)
        .join(replica, replica.c.id == columns.replica_id)
        .where(
            replica.c.mailbox_id == mailbox_id,
            is_one_of(columns.message_id, message_ids),
            columns.state.not_in(NOT_THERE),
        )
        .order_by(columns.id)
    )
    removes: dict[int, list[Remove]] = {}
    for device_id, message_id, file_id in conn.execute(query):
        removes.setdefault(device_id, []).append(Remove(message_id, file_id))
    return removes


def _insert(
    conn: Connection,
    scope: HoldScope,
    scope_id: int,
    mailbox_id: int,
    *,
    reason: Reason,
    effects: Iterable[Held],
    state: HoldState,
    held_at: float,
) -> None:
    conn.execute(
        insert(hold).values(
            scope=scope.value,
            scope_id=scope_id,
            mailbox_id=mailbox_id,
            reason=reason.value,
            effects=_as_text(effects),
            state=state.value,
            held_at=held_at,
        )
    )


def _as_text(effects: Iterable[Held]) -> str:
    return f"[{','.join(map(as_json, effects))}]"


_MAILBOXES_OF = select(hold.c.mailbox_id).where(
    hold.c.scope == HoldScope.ON_DEVICE,
    hold.c.scope_id == bindparam("of_device"),
    hold.c.state.in_(bindparam("of_states", expanding=True)),
)
