"""Floor 4: one round of a mailbox's server: what its devices changed is planned, stored there, and settled.

The theory is that of `replica_round`, but a server performs, and nothing has to be announced: a flag that was
stored and not settled is observed again, and then both sides agree. Flags go first: a deletion comes after what others
changed, or not at all (`departures`). What the server deleted and a device wants is put back (`restores`), once it is
known that the server did not move it.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType

from sqlalchemy import Connection

from syncd.errors import RefusedError, SyncdError
from syncd.log import log
from syncd.reconcile.effects import Expunge, Move, Restore, Store, as_text
from syncd.reconcile.guard import DEFAULT, Rule
from syncd.reconcile.planner import Policy, is_in_doubt, plan
from syncd.store.due import carried_changes
from syncd.store.due.carried_changes import CarriedChange
from syncd.store.engine.database import Database
from syncd.store.files import deletions
from syncd.store.files.restores import put_back
from syncd.store.files.successors import with_successors
from syncd.store.mailboxes import mailbox_removals
from syncd.store.rounds import pairs
from syncd.store.trees import accounts, devices, history, troubles
from syncd.store.trees.accounts import MailboxRow
from syncd.store.trees.devices import ReplicaRow
from syncd.store.trees.history import Outcome
from syncd.store.trees.server_tree import FlagDelta, apply_flag_deltas
from syncd.sync.rounds.departures import Admitted, DepartureRound
from syncd.sync.rounds.server_plan import PAIRS_PER_ROUND, ServerPlan, delta_of, plan_changes
from syncd.sync.rounds.sides import RoundResult, ServerSide, StoreOutcome
from syncd.values import Value, replace

Replicas = Sequence[tuple[ReplicaRow, Policy]]


class _Stored(Value):
    """Say what came of the flags that were to be stored, and what follows for the rest of the plan.

    overtaken: messages in which the server was faster; of these, `waiting` are to be planned again. over: messages
    whose trouble is. held: replicas whose cursors stay. departing: those whose cursors move with what departs. unseen:
    messages that are gone, and may have been moved.
    """

    outcome: StoreOutcome
    overtaken: frozenset[int]
    refused: Mapping[int, SyncdError]
    over: frozenset[int]
    held: frozenset[int]
    departing: frozenset[int]
    unseen: frozenset[int]

    @property
    def waiting(self) -> frozenset[int]:
        return self.overtaken - self.refused.keys()


class ServerRound(Value):
    """Bring to one mailbox of the server what its devices changed; several devices' equal changes are one.

    takes_part: returns the replicas of the mailbox whose changes count, with what may be planned for each.
    sets_overtaken_aside: try the changes in which the server was faster later, instead of holding cursors for them.
    unmoved: which messages that are gone were looked for in other mailboxes since; None: nothing is there unseen.
    """

    db: Database
    side: ServerSide
    mailbox: MailboxRow
    takes_part: Callable[[Connection], Replicas]
    now: float
    rule: Rule = DEFAULT
    sets_overtaken_aside: bool = False
    unmoved: Collection[int] | None = None

    async def run(self) -> RoundResult:
        """Plan, store and settle, and let messages depart; the mailbox row given must be a current one."""
        replicas, planned = await self.db.read(self._plan)
        stores = planned.stores
        outcome = StoreOutcome()
        if stores:
            outcome = await self.side.store(self.mailbox, _joined(stores), modseq=planned.modseq)
        stored = self._judged(planned, outcome, over=await self._over(replicas, planned, outcome))
        departures = self._departures(replicas, planned, stored)

        def settle(conn: Connection) -> tuple[int, frozenset[str], Admitted | None]:
            return *self._settle(conn, replicas, planned, stored), departures.admit(conn)

        put, spared, admitted = await self.db.write(settle)
        for effect in stores:
            log.debug("effect_settled", mailbox_id=self.mailbox.id, effect=as_text(effect))
        left = await departures.run(admitted)
        if put:
            log.info("messages_put_back", mailbox_id=self.mailbox.id, count=put)
        done = len(stores) + put + left.effects
        is_stale = bool(stored.overtaken) or left.is_stale
        is_whole = admitted is None and planned.is_of_flags and outcome.done == planned.storing
        is_whole &= all(planned.cursors[of.id] == of.version for of, _ in replicas)
        return RoundResult(len(planned.seen), done, is_stale, left.moved, stored.unseen, is_whole, spared)

    def _plan(self, conn: Connection) -> tuple[Replicas, ServerPlan]:
        replicas = self.takes_part(conn)
        return replicas, plan_changes(conn, mailbox=self.mailbox, replicas=replicas, now=self.now)

    async def _over(self, replicas: Replicas, planned: ServerPlan, outcome: StoreOutcome) -> frozenset[int]:
        """Return the messages whose trouble is over: their flags are stored, or nobody wants anything of them."""
        wished = planned.wishes.message_ids
        idle = planned.troubled.all.intersection(planned.seen) - planned.storing - wished
        over = outcome.done - wished
        if idle:
            over |= await self.db.read(partial(_unwanted, replicas=replicas, message_ids=idle))
        return over

    def _judged(self, planned: ServerPlan, outcome: StoreOutcome, *, over: frozenset[int]) -> _Stored:
        wanted_back, wishes = planned.wanted_back, planned.wishes.by_replica
        overtaken = planned.storing - outcome.done - outcome.refused.keys()
        refused = dict(outcome.refused)
        if self.sets_overtaken_aside:
            refused |= dict.fromkeys(overtaken, RefusedError("the server does not tell that it stored the flags"))
        waiting = overtaken - refused.keys()
        held = {id_ for effect, ids in planned.stores.items() if effect.message_id in waiting for id_ in ids}
        held |= {of.id for of, wanted in wishes.items() if wanted.keys() & waiting}
        departing = {of.id for of in wishes} - held
        gone = frozenset(wanted_back) | planned.lost
        unseen = frozenset[int]() if self.unmoved is None else gone.difference(self.unmoved)
        held |= {replica_id for message_id in unseen for replica_id in wanted_back.get(message_id, ())}
        return _Stored(outcome, overtaken, refused, over, frozenset(held), frozenset(departing), unseen)

    def _settle(
        self, conn: Connection, replicas: Replicas, planned: ServerPlan, stored: _Stored
    ) -> tuple[int, frozenset[str]]:
        """Settle all but what departs, and return how many messages were put back, and whom that is no news to."""
        mailbox_id = self.mailbox.id
        before = accounts.mailbox_by_id(conn, mailbox_id=mailbox_id).version if planned.stores else 0
        if stored.outcome.record is not None:
            stored.outcome.record(conn)
        self._settle_flags(conn, replicas, planned, stored)
        deletions.touch(conn, mailbox_id, planned.wishes.returning | planned.followed)
        for device_id in planned.wishes.losing:
            mailbox_removals.give_back(conn, mailbox_id=mailbox_id, device_id=device_id)
        put = self._put_back(conn, replicas, planned, stored)
        for replica_id, upto in planned.cursors.items():
            if replica_id not in stored.held | stored.departing:
                devices.move_replica_cursor(conn, replica_id, upto)
        looked_for = planned.lost - stored.unseen
        put += carried_changes.conclude(conn, looked_for, now=self.now) if looked_for else 0
        # NOTE: what leaves the mailbox, or comes back, is news to all of them.
        is_of_flags = bool(planned.stores) and planned.is_of_flags
        return put, self._spare(conn, replicas, planned, before=before) if is_of_flags else frozenset()

    def _spare(self, conn: Connection, replicas: Replicas, planned: ServerPlan, *, before: int) -> frozenset[str]:
        """Spare devices a round in which they would find that all that is new on the server is what they have.

        before: up to which version a device must have followed its server, so that only this transaction is new to it.
        """
        spared: set[int] = set()
        told = frozenset(replica_id for replica_ids in planned.stores.values() for replica_id in replica_ids)
        for replica_id, policy in ((of.id, policy) for of, policy in replicas if of.id in told):
            of = devices.replica_of(conn, replica_id)
            if of.server_cursor != before or not of.has_server_news:
                continue
            news = pairs.server_news(conn, of, limit=PAIRS_PER_ROUND)
            is_any_left = news.upto < of.mailbox_version
            if not (is_any_left or any(is_in_doubt(pair, policy) or any(plan(pair, policy)) for pair in news.pairs)):
                devices.move_server_cursor(conn, of.id, news.upto)
                spared.add(of.device_id)
        names = devices.device_names(conn) if spared else {}
        return frozenset(names[id_] for id_ in spared)

    def _settle_flags(self, conn: Connection, replicas: Replicas, planned: ServerPlan, stored: _Stored) -> None:
        done = {effect: ids for effect, ids in planned.stores.items() if effect.message_id in stored.outcome.done}
        apply_flag_deltas(conn, self.mailbox.id, map(delta_of, _joined(done)))
        agreed: dict[int, list[FlagDelta]] = {id_: [*moved] for id_, moved in planned.agreed.items()}
        for effect, replica_ids in done.items():
            for replica_id in replica_ids:
                agreed.setdefault(replica_id, []).append(delta_of(effect))
        for replica_id, moved in agreed.items():
            pairs.agree(conn, replica_id, moved)
        fresh = troubles.set_aside_on_server(conn, stored.refused, mailbox_id=self.mailbox.id, now=self.now)
        carried = [one.id for effect in done for one in planned.carried.get(effect, ())]
        carried_changes.drop(conn, (*planned.heard, *carried))
        if planned.mistaken:
            carried_changes.follow(conn, mistaken=planned.mistaken)
        self._tell(conn, replicas, done, carried=planned.carried)
        self._tell(conn, replicas, planned.stores, refused=fresh, carried=planned.carried)
        troubles.resolve(conn, stored.over, device_id=None)

    def _put_back(self, conn: Connection, replicas: Replicas, planned: ServerPlan, stored: _Stored) -> int:
        restored = planned.wanted_back.keys() - stored.unseen
        put_back(conn, self.mailbox.id, restored, now=self.now)
        files = {id_: planned.wanted_back[id_] for id_ in restored}
        back = {Restore(id_, next(iter(by_replica.values()))): tuple(by_replica) for id_, by_replica in files.items()}
        self._tell(conn, replicas, back)
        return len(restored)

    def _departures(self, replicas: Replicas, planned: ServerPlan, stored: _Stored) -> DepartureRound:
        return DepartureRound(
            self.db,
            self.side,
            self.mailbox,
            [of for of, _ in replicas],
            planned.wishes,
            barred=stored.waiting | planned.barred,
            sleeping=planned.troubled.all.difference(planned.troubled.due),
            cursors={replica_id: planned.cursors[replica_id] for replica_id in stored.departing},
            rule=self.rule,
            now=self.now,
            sets_overtaken_aside=self.sets_overtaken_aside,
        )

    def _tell(
        self,
        conn: Connection,
        replicas: Replicas,
        effects: Mapping[Store, Sequence[int]] | Mapping[Restore, Sequence[int]],
        *,
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
        history.tell_of_devices(conn, told, now=self.now, mailbox_id=self.mailbox.id, outcome=outcome)


def _unwanted(conn: Connection, *, replicas: Replicas, message_ids: frozenset[int]) -> frozenset[int]:
    """Return the messages of which no device wants a change any more: their trouble ended with its cause."""
    wanted = {
        effect.message_id
        for of, policy in replicas
        for pair in with_successors(conn, of, pairs.pairs_of(conn, of, message_ids))
        for effect in plan(pair, policy)
        if isinstance(effect, Store | Move | Expunge)
    }
    return message_ids - wanted


def _joined(effects: Iterable[Store]) -> tuple[Store, ...]:
    """Return one effect for each message: to the server, the second of two would come after a stranger's change."""
    joined: dict[int, Store] = {}
    for effect in effects:
        known = joined.get(effect.message_id, effect)
        joined[effect.message_id] = replace(known, add=known.add | effect.add, remove=known.remove | effect.remove)
    return tuple(joined.values())
