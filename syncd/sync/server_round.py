"""Floor 4: one round of a mailbox's server: what its devices changed is planned, stored there, and settled.

The theory is that of `replica_round`, but a server performs, and nothing has to be announced: a flag that was
stored and not settled is observed again, and then both sides agree. Flags go first: a deletion comes after what others
changed, or not at all (`departures`). What the server deleted and a device wants is put back (`restores`), once it is
known that the server did not move it.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType

from sqlalchemy import Connection

from syncd.errors import RefusedError
from syncd.log import log
from syncd.mail.tree import Pair
from syncd.reconcile.deletions import is_personal
from syncd.reconcile.effects import Agree, Expunge, Move, Remove, Restore, Store, as_text
from syncd.reconcile.guard import DEFAULT, Rule
from syncd.reconcile.planner import Policy, is_in_doubt, merge, plan
from syncd.store import carried_changes, deletions, devices, history, mailbox_removals, pairs, troubles
from syncd.store.accounts import MailboxRow
from syncd.store.backlog import refused_stores
from syncd.store.carried_changes import CarriedChange
from syncd.store.database import Database
from syncd.store.devices import ReplicaRow
from syncd.store.history import Outcome
from syncd.store.queries import groups
from syncd.store.restores import put_back
from syncd.store.server_tree import FlagDelta, apply_flag_deltas
from syncd.store.successors import with_successors
from syncd.sync.departures import Admitted, DepartureRound, Wishes
from syncd.sync.guarding import decided
from syncd.sync.sides import RoundResult, ServerSide, StoreOutcome

_PAIRS_PER_ROUND = 1000


@dataclass(frozen=True, slots=True)
class _Troubled:
    """Messages whose change the server refused; due: those to try again."""

    all: frozenset[int] = frozenset()
    due: tuple[int, ...] = ()


@dataclass(slots=True)
class ServerPlan:
    """What a round is to do to one mailbox of a server: flags to store, by whose replicas, and wishes for deletions.

    carried: what of the flags is from devices that had the message in another mailbox. heard: of such, by id, what says
    nothing new; mistaken: what is for another message. lost: messages that went and of which a change is carried to
    nowhere. agreed: where both sides changed the same, by replica id.
    wanted_back: for each message that is to be put back, the files that want it by replica id. followed: what turned
    out to be moved. seen: the messages that were planned.
    """

    troubled: _Troubled = field(default_factory=_Troubled)
    stores: dict[Store, list[int]] = field(default_factory=lambda: defaultdict(list))
    agreed: dict[int, list[FlagDelta]] = field(default_factory=lambda: defaultdict(list))
    carried: dict[Store, list[CarriedChange]] = field(default_factory=lambda: defaultdict(list))
    heard: set[int] = field(default_factory=set)
    mistaken: set[int] = field(default_factory=set)
    lost: frozenset[int] = frozenset()
    wishes: Wishes = field(default_factory=Wishes)
    wanted_back: dict[int, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    followed: set[int] = field(default_factory=set)
    cursors: dict[int, int] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)

    @property
    def barred(self) -> frozenset[int]:
        """Return the messages that a flag which somebody set keeps from being deleted."""
        return frozenset(effect.message_id for effect in self.stores if is_personal(effect.add | effect.remove))


def plan_changes(
    conn: Connection, *, mailbox: MailboxRow, replicas: Sequence[tuple[ReplicaRow, Policy]], now: float
) -> ServerPlan:
    """Return what the next round of a mailbox is to do, of a thousand changes of each device and all its deletions."""
    planned = ServerPlan(_troubled(conn, mailbox_id=mailbox.id, now=now))
    planned.seen.update(planned.troubled.due)
    for of, policy in replicas:
        news = pairs.replica_news(conn, of, limit=_PAIRS_PER_ROUND)
        planned.cursors[of.id] = news.upto
        for pair in _with_older(conn, of, news.pairs, again=planned.troubled.due):
            planned.seen |= {pair.server.id} if pair.server is not None else set()
            if is_in_doubt(pair, policy):
                planned.followed |= _moved_after_all(of, pair)
            for effect in plan(pair, policy):
                if isinstance(effect, Store):
                    planned.stores[effect].append(of.id)
                elif isinstance(effect, Agree):
                    planned.agreed[of.id].append(_delta(effect))
                elif isinstance(effect, Restore):
                    planned.wanted_back[effect.message_id][of.id] = effect.file_id
                elif isinstance(effect, Remove):
                    planned.followed |= _moved_after_all(of, pair)
                else:
                    planned.wishes.take(of, pair, effect)
    _take_carried(conn, mailbox, planned, now=now)
    planned.lost = carried_changes.lost(conn, mailbox_id=mailbox.id)
    for of, _ in replicas if planned.wanted_back else ():
        for message_id in decided(conn, of).intersection(planned.wanted_back):
            planned.wanted_back[message_id].pop(of.id, None)
    planned.wanted_back = {message_id: files for message_id, files in planned.wanted_back.items() if files}
    return planned


async def server_round(
    db: Database,
    side: ServerSide,
    mailbox: MailboxRow,
    takes_part: Callable[[Connection], Sequence[tuple[ReplicaRow, Policy]]],
    *,
    now: float,
    rule: Rule = DEFAULT,
    sets_overtaken_aside: bool = False,
    unmoved: Collection[int] | None = None,
) -> RoundResult:
    """Bring to one mailbox of the server what its devices changed; several devices' equal changes are one.

    takes_part: returns the replicas of the mailbox whose changes count, with what may be planned for each.
    sets_overtaken_aside: try the changes in which the server was faster later, instead of holding cursors for them.
    unmoved: which messages that are gone were looked for in other mailboxes since; None: nothing is there unseen.
    """
    replicas, planned = await db.read(partial(_planned, mailbox=mailbox, takes_part=takes_part, now=now))
    stores, agreed, cursors = planned.stores, planned.agreed, planned.cursors
    troubled, seen, wishes, wanted_back = planned.troubled, planned.seen, planned.wishes, planned.wanted_back
    outcome = await side.store(mailbox, _joined(stores)) if stores else StoreOutcome()
    storing = {effect.message_id for effect in stores}
    idle = troubled.all.intersection(seen) - storing - wishes.message_ids
    settled = outcome.done - wishes.message_ids
    if idle:
        settled |= await db.read(partial(_unwanted, replicas=replicas, message_ids=idle))
    overtaken = storing - outcome.done - outcome.refused.keys()
    refused = dict(outcome.refused)
    if sets_overtaken_aside:
        refused |= dict.fromkeys(overtaken, RefusedError("the server does not tell that it stored the flags"))
    held = {
        replica_id
        for effect, replica_ids in stores.items()
        if effect.message_id in overtaken and effect.message_id not in refused
        for replica_id in replica_ids
    }
    waiting = overtaken - refused.keys()
    held |= {of.id for of, wanted in wishes.by_replica.items() if wanted.keys() & waiting}
    departing = {of.id for of in wishes.by_replica} - held
    unseen = (wanted_back.keys() | planned.lost).difference(unmoved) if unmoved is not None else frozenset[int]()
    held |= {replica_id for message_id in unseen for replica_id in wanted_back.get(message_id, ())}

    restored, looked_for = wanted_back.keys() - unseen, planned.lost - unseen

    departures = DepartureRound(
        db,
        side,
        mailbox,
        [of for of, _ in replicas],
        wishes,
        barred=waiting | planned.barred,
        sleeping=troubled.all.difference(troubled.due),
        cursors={replica_id: cursors[replica_id] for replica_id in departing},
        rule=rule,
        now=now,
        sets_overtaken_aside=sets_overtaken_aside,
    )

    def settle(conn: Connection) -> tuple[int, Admitted | None]:
        if outcome.record is not None:
            outcome.record(conn)
        done = {effect: ids for effect, ids in stores.items() if effect.message_id in outcome.done}
        apply_flag_deltas(conn, mailbox.id, map(_delta, _joined(done)))
        for effect, replica_ids in done.items():
            for replica_id in replica_ids:
                agreed[replica_id].append(_delta(effect))
        for replica_id, moved in agreed.items():
            pairs.agree(conn, replica_id, moved)
        fresh: dict[int, str] = {}
        for message_id, error in refused.items():
            is_news = troubles.set_aside(
                conn,
                mailbox_id=mailbox.id,
                message_id=message_id,
                device_id=None,
                error=str(error),
                temper=error.temper,
                now=now,
            )
            if is_news:
                fresh[message_id] = str(error)
        stored = [one.id for effect in done for one in planned.carried.get(effect, ())]
        carried_changes.drop(conn, (*planned.heard, *stored))
        if planned.mistaken:
            carried_changes.follow(conn, mistaken=planned.mistaken)
        _tell(conn, mailbox, replicas, done, now=now, carried=planned.carried)
        _tell(conn, mailbox, replicas, stores, now=now, refused=fresh, carried=planned.carried)
        troubles.resolve(conn, settled, device_id=None)
        deletions.touch(conn, mailbox.id, wishes.returning | planned.followed)
        for device_id in wishes.losing:
            mailbox_removals.give_back(conn, mailbox_id=mailbox.id, device_id=device_id)
        put_back(conn, mailbox.id, restored, now=now)
        back = {Restore(id_, next(iter(wanted_back[id_].values()))): tuple(wanted_back[id_]) for id_ in restored}
        _tell(conn, mailbox, replicas, back, now=now)
        for replica_id, upto in cursors.items():
            if replica_id not in held | departing:
                devices.move_replica_cursor(conn, replica_id, upto)
        put = carried_changes.conclude(conn, looked_for, now=now) if looked_for else 0
        return len(restored) + put, departures.admit(conn)

    put, admitted = await db.write(settle)
    for effect in stores:
        log.debug("effect_settled", mailbox_id=mailbox.id, effect=as_text(effect))
    left = await departures.run(admitted)
    if put:
        log.info("messages_put_back", mailbox_id=mailbox.id, count=put)
    done = len(stores) + put + left.effects
    return RoundResult(len(seen), done, bool(overtaken) or left.is_stale, left.moved, frozenset(unseen))


def _planned(
    conn: Connection,
    *,
    mailbox: MailboxRow,
    takes_part: Callable[[Connection], Sequence[tuple[ReplicaRow, Policy]]],
    now: float,
) -> tuple[Sequence[tuple[ReplicaRow, Policy]], ServerPlan]:
    replicas = takes_part(conn)
    return replicas, plan_changes(conn, mailbox=mailbox, replicas=replicas, now=now)


def _tell(
    conn: Connection,
    mailbox: MailboxRow,
    replicas: Sequence[tuple[ReplicaRow, Policy]],
    effects: Mapping[Store, Sequence[int]] | Mapping[Restore, Sequence[int]],
    *,
    now: float,
    refused: Mapping[int, str] | None = None,
    carried: Mapping[Store, Sequence[CarriedChange]] = MappingProxyType({}),
) -> None:
    """Tell the history what was done for whom, or what of it was refused and why."""
    device_of = {of.id: of.device_id for of, _ in replicas}
    by_devices: dict[Store | Restore, list[int]] = {
        effect: [device_of[id_] for id_ in replica_ids] for effect, replica_ids in effects.items()
    }
    for effect, ones in carried.items():
        if effect in by_devices:
            by_devices[effect] += [one.device_id for one in ones]
    told = [
        (history.of(effect, reason=(refused or {}).get(effect.message_id, "")), device_ids)
        for effect, device_ids in by_devices.items()
        if refused is None or effect.message_id in refused
    ]
    outcome = Outcome.DONE if refused is None else Outcome.REFUSED
    history.tell_of_devices(conn, told, now=now, mailbox_id=mailbox.id, outcome=outcome)


def _troubled(conn: Connection, *, mailbox_id: int, now: float) -> _Troubled:
    refused = refused_stores(conn, mailbox_id=mailbox_id)
    due = troubles.due(conn, mailbox_id=mailbox_id, device_id=None, now=now)
    return _Troubled(refused, tuple(refused.intersection(due)))


def _unwanted(
    conn: Connection, *, replicas: Sequence[tuple[ReplicaRow, Policy]], message_ids: frozenset[int]
) -> frozenset[int]:
    """Return the messages of which no device wants a change any more: their trouble ended with its cause."""
    wanted = {
        effect.message_id
        for of, policy in replicas
        for pair in with_successors(conn, of, pairs.pairs_of(conn, of, message_ids))
        for effect in plan(pair, policy)
        if isinstance(effect, Store | Move | Expunge)
    }
    return message_ids - wanted


def _take_carried(conn: Connection, mailbox: MailboxRow, planned: ServerPlan, *, now: float) -> None:
    """Plan a thousand changes by devices of messages that they had elsewhere; what was refused waits for its time."""
    for one in carried_changes.carried_changes(conn, mailbox_id=mailbox.id, limit=_PAIRS_PER_ROUND, now=now):
        planned.seen.add(one.message_id)
        # NOTE: as if both had last agreed on what was taken back, and the device had what was set.
        merged = merge(one.flags, *map(mailbox.holdable.part_of, (one.remove, one.add)))
        effect = Store(one.message_id, one.uid, merged.server_add, merged.server_remove)
        if not one.is_same:
            planned.mistaken.add(one.id)
        elif effect.add or effect.remove:
            planned.stores.setdefault(effect, [])
            planned.carried[effect].append(one)
        else:
            planned.heard.add(one.id)


def _moved_after_all(of: ReplicaRow, pair: Pair) -> set[int]:
    """Return a message that was moved, or may have been, when its device waits already for its being put back."""
    server = pair.server
    is_past = server is not None and server.version <= of.server_cursor and pair.successor is not None
    return {server.id} if server is not None and is_past else set()


def _delta(effect: Store | Agree) -> FlagDelta:
    return FlagDelta(effect.message_id, effect.add, effect.remove)


def _joined(effects: Iterable[Store]) -> tuple[Store, ...]:
    """Return one effect for each message: to the server, the second of two would come after a stranger's change."""
    joined: dict[int, Store] = {}
    for effect in effects:
        known = joined.get(effect.message_id, effect)
        joined[effect.message_id] = replace(known, add=known.add | effect.add, remove=known.remove | effect.remove)
    return tuple(joined.values())


def _with_older(conn: Connection, of: ReplicaRow, news: Sequence[Pair], *, again: Iterable[int]) -> Iterator[Pair]:
    """Yield what is new, what is tried again and all that the device deleted, which may be much, a group at a time."""
    yield from with_successors(conn, of, tuple(news))
    older = {*again, *deletions.deleted_messages(conn, of)}
    older -= {pair.server.id for pair in news if pair.server is not None}
    for group in groups(sorted(older), _PAIRS_PER_ROUND):
        yield from with_successors(conn, of, pairs.pairs_of(conn, of, group))
