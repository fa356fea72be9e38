"""Floor 4: one round of a mailbox's server: what its devices changed is planned, stored there, and settled.

The theory is that of `round`; here the side that performs is a server, and nothing has to be announced: a flag that was
stored and not settled is observed again, and then both sides agree. Flags go first: a deletion comes after what others
changed, or not at all (`departures`). What the server deleted and a device wants is put back (`restores`), once it is
known that the server did not move it.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from sqlalchemy import Connection

from syncd.errors import RefusedError
from syncd.log import log
from syncd.mail.tree import Pair
from syncd.reconcile.deletions import is_personal
from syncd.reconcile.effects import Agree, Expunge, Move, Remove, Restore, Store, as_text
from syncd.reconcile.guard import DEFAULT, Rule
from syncd.reconcile.planner import Policy, plan
from syncd.store import deletions, devices, pairs, troubles
from syncd.store.accounts import MailboxRow
from syncd.store.database import Database
from syncd.store.devices import ReplicaRow
from syncd.store.restores import put_back
from syncd.store.server_tree import FlagDelta, apply_flag_deltas, refused_stores
from syncd.store.successors import with_successors
from syncd.sync.departures import DepartureRound, Wishes
from syncd.sync.guarding import decided
from syncd.sync.sides import RoundResult, ServerSide, StoreOutcome

_PAIRS_PER_ROUND = 1000


async def server_round(
    db: Database,
    side: ServerSide,
    mailbox: MailboxRow,
    replicas: Sequence[tuple[ReplicaRow, Policy]],
    *,
    now: float,
    rule: Rule = DEFAULT,
    sets_overtaken_aside: bool = False,
    unmoved: Collection[int] | None = None,
) -> RoundResult:
    """Bring to one mailbox of the server what its devices changed; several devices' equal changes are one.

    sets_overtaken_aside: try the changes in which the server was faster later, instead of holding cursors for them.
    unmoved: which messages that are gone were looked for in other mailboxes since; None: nothing is there unseen.
    """
    stores: dict[Store, list[int]] = defaultdict(list)
    agreed: dict[int, list[FlagDelta]] = defaultdict(list)
    cursors: dict[int, int] = {}
    troubled = await db.read(partial(_troubled, mailbox_id=mailbox.id, now=now))
    seen = set(troubled.due)
    wishes = Wishes()
    wanted_back: dict[int, set[int]] = defaultdict(set)
    followed: set[int] = set()
    for of, policy in replicas:
        news = await db.read(partial(_server_news, of=of, again=troubled.due))
        cursors[of.id] = news.upto
        for pair in dict.fromkeys(news.pairs):
            seen |= {pair.server.id} if pair.server is not None else set()
            for effect in plan(pair, policy):
                if isinstance(effect, Store):
                    stores[effect].append(of.id)
                elif isinstance(effect, Agree):
                    agreed[of.id].append(_delta(effect))
                elif isinstance(effect, Restore):
                    wanted_back[effect.message_id].add(of.id)
                elif isinstance(effect, Remove):
                    followed |= _moved_after_all(of, pair)
                else:
                    wishes.take(of, pair, effect)
    outcome = await side.store(mailbox, _joined(stores)) if stores else StoreOutcome(frozenset(), {})
    planned = {effect.message_id for effect in stores}
    idle = troubled.all.intersection(seen) - planned - wishes.message_ids
    settled = (outcome.done - wishes.message_ids) | await db.read(
        partial(_unwanted, replicas=replicas, message_ids=idle)
    )
    overtaken = planned - outcome.done - outcome.refused.keys()
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
    for of, _ in replicas if wanted_back else ():
        for message_id in await db.read(partial(decided, of=of)):
            wanted_back[message_id].discard(of.id)
    wanted_back = {message_id: replica_ids for message_id, replica_ids in wanted_back.items() if replica_ids}
    unseen = wanted_back.keys() - unmoved if unmoved is not None else frozenset[int]()
    held |= {replica_id for message_id in unseen for replica_id in wanted_back[message_id]}

    restored = wanted_back.keys() - unseen

    def settle(conn: Connection) -> None:
        done = {effect: ids for effect, ids in stores.items() if effect.message_id in outcome.done}
        apply_flag_deltas(conn, mailbox.id, map(_delta, _joined(done)))
        for effect, replica_ids in done.items():
            for replica_id in replica_ids:
                agreed[replica_id].append(_delta(effect))
        for replica_id, moved in agreed.items():
            pairs.agree(conn, replica_id, moved)
        for message_id, error in refused.items():
            troubles.set_aside(
                conn,
                mailbox_id=mailbox.id,
                message_id=message_id,
                device_id=None,
                error=str(error),
                temper=error.temper,
                now=now,
            )
        troubles.resolve(conn, settled, device_id=None)
        deletions.touch(conn, mailbox.id, wishes.returning | followed)
        put_back(conn, mailbox.id, restored, now=now)
        for replica_id, upto in cursors.items():
            if replica_id not in held | departing:
                devices.move_replica_cursor(conn, replica_id, upto)

    await db.write(settle)
    for effect in stores:
        log.debug("effect_settled", mailbox_id=mailbox.id, effect=as_text(effect))
    left = await DepartureRound(
        db,
        side,
        mailbox,
        [of for of, _ in replicas],
        wishes,
        barred=waiting | {effect.message_id for effect in stores if is_personal(effect.add | effect.remove)},
        sleeping=troubled.all.difference(troubled.due),
        cursors={replica_id: cursors[replica_id] for replica_id in departing},
        rule=rule,
        now=now,
        sets_overtaken_aside=sets_overtaken_aside,
    ).run()
    if restored:
        log.info("messages_put_back", mailbox_id=mailbox.id, count=len(restored))
    return RoundResult(
        len(stores) + len(restored) + left.effects, bool(overtaken) or left.is_stale, left.moved, frozenset(unseen)
    )


@dataclass(frozen=True, slots=True)
class _Troubled:
    """Messages whose change the server refused; due: those to try again."""

    all: frozenset[int]
    due: tuple[int, ...]


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


def _moved_after_all(of: ReplicaRow, pair: Pair) -> set[int]:
    """Return a message that turned out to be moved when its device had waited already for its being put back."""
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


def _server_news(conn: Connection, *, of: ReplicaRow, again: tuple[int, ...]) -> pairs.News:
    news = pairs.replica_news(conn, of, limit=_PAIRS_PER_ROUND)
    also = {*again, *deletions.deleted_messages(conn, of)}
    found = (*news.pairs, *pairs.pairs_of(conn, of, also)) if also else news.pairs
    return replace(news, pairs=with_successors(conn, of, found))
