"""Floor 4: one round of a replica: plan, guard, perform, settle; what its server has becomes what the device has.

Theory. The tasks that own a side observe and record (`sync/imap`, `sync/pop3`, `sync/device`); a round takes it from
there. It reads the pairs that changed since a cursor, plans them, announces in one transaction what it is about to do
to files, lets the owner of the side perform, and settles in a second transaction, which moves base, rows and cursor
together. Interrupted anywhere, the next round reads the same pairs, finds what was announced, and goes on.

House rules. No wire and no file call here: a side is a Protocol. No transaction is open while a side performs. What
fails for a reason of its own is set aside by message, and the rest goes on. What fails for a reason that reaches
further (no space, no rights, no directory) is raised after the rest of its batch is settled: no message is to blame.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple

from sqlalchemy import Connection

from syncd.mail.flags import NONE, Flags
from syncd.mail.tree import Holdable, Pair
from syncd.reconcile.effects import (
    Agree,
    Deliver,
    Drop,
    Effect,
    Forget,
    Remove,
    Rename,
    ReplicaEffect,
    Restore,
    in_order,
)
from syncd.reconcile.guard import Rule
from syncd.reconcile.planner import Policy, is_in_doubt, plan
from syncd.store.engine.database import Database
from syncd.store.mailboxes import mailbox_removals
from syncd.store.rounds import pairs
from syncd.store.rounds.pairs import Settlement
from syncd.store.trees import devices, replica_news, troubles
from syncd.store.trees.devices import DeviceRow, ReplicaRow
from syncd.store.trees.server_tree import FlagDelta
from syncd.sync.rounds.batch import Batches, Done, Job, Performed
from syncd.sync.rounds.guarding import Waiting, admit, decided, judge_removals
from syncd.sync.rounds.round_news import RoundNews, as_decided, news_of
from syncd.sync.rounds.sharing import Looked, Offer, Sharing, look_for
from syncd.sync.rounds.sides import ReplicaSide
from syncd.values import Value, replace


class ReplicaResult(Value):
    """Tell what a round did.

    planned: messages. stale: those that the device forestalled, to be planned again. has_device_news: it changed files
    meanwhile, which its account has to hear of. outside: messages of which it has files, though it does not take them.
    is_waiting: what became of a message is not known yet, so that the cursor stays. is_removal_awaited: something was
    done, and a mailbox that a device removed waits for all of them to be rid of it.
    """

    planned: int
    effects: int
    stale: frozenset[int]
    has_device_news: bool
    outside: frozenset[int]
    is_waiting: bool
    is_removal_awaited: bool


class _Planned(NamedTuple):
    """What a round found, the pairs by message, what is planned for them, and what is known for its deliveries.

    is_guarded: some of it may have to wait at the guard, or what waited there has to no more.
    """

    news: RoundNews
    pairs: Mapping[int, Pair]
    effects: Sequence[Effect]
    looked: Looked
    is_guarded: bool


@dataclass(frozen=True)
class ReplicaRound:
    """Bring one replica up to what its server tree has, a thousand pairs at a time.

    Of a device that may only read, what it changed is read as well, and undone; no account hears of it.
    hopeless: messages that were stale so often that they are set aside if they are once more. shifted_upto: by replica,
    the versions of the server trees in which shifts were looked for.
    """

    db: Database
    side: ReplicaSide
    device: DeviceRow
    of: ReplicaRow
    policy: Policy
    rule: Rule
    now: float
    hopeless: frozenset[int] = frozenset()
    shifted_upto: Mapping[int, int] | None = None

    async def run(self) -> ReplicaResult:
        """Plan and settle the next pairs; the replica row given must be a current one.

        A SyncdError reaches further than one message; what was done is settled then, and the cursor stays.
        """
        with self.side.commons.offering() as offer:
            return await self._run(offer)

    async def _run(self, offer: Offer) -> ReplicaResult:
        of, commons = self.of, self.side.commons
        ask = partial(self._plan, device_paths=frozenset(commons.roots), finished=commons.finished)
        found, planned, effects, looked, is_guarded = await self.db.read(ask)
        news, waits, again = found.server, found.waits, found.again
        if waits and any(isinstance(effect, Restore) for effect in effects):
            effects = as_decided(effects, await self.db.read(partial(decided, of=self.of)))
        mine: Sequence[ReplicaEffect] = in_order(e for e in effects if isinstance(e, ReplicaEffect))
        over = frozenset(again).difference(effect.message_id for effect in mine)
        if is_guarded:
            mine = await self.db.write(partial(self._admit, effects=mine, before=waits))
        holdable = await self.side.prepare(of, frozenset().union(*(_wanted_flags(effect) for effect in mine)))
        mine = _held(mine, holdable)
        jobs = [Job(effect, planned[effect.message_id].replica) for effect in mine]
        # NOTE: the last batch is settled with the rest, unless something of it is odd.
        done, last = await self._batches.perform([job for job in jobs if not isinstance(job.effect, Deliver)])
        sharing = Sharing(self.db, self._batches, offer)
        to_deliver = [job for job in jobs if isinstance(job.effect, Deliver)]
        delivered, last = await sharing.deliver(to_deliver, looked, also=last)
        done |= delivered
        if old := self._as_before(planned, mine):
            if last is not None:
                done |= await self._batches.end(last)
            caught_up, last = await self._catch_up(old)
            done |= caught_up
        dropped = {effect.message_id for effect in mine if isinstance(effect, Drop)} - done.stale
        is_waiting = any(is_in_doubt(pair, self.policy) for pair in news.pairs)
        outside = {id_ for id_, pair in planned.items() if pair.replica is not None and self._is_outside(pair)}
        rest = Settlement(
            agreed=tuple(FlagDelta(e.message_id, e.add, e.remove) for e in effects if isinstance(e, Agree)),
            forgotten=tuple(e.message_id for e in effects if isinstance(e, Forget)),
            upto=None if done.stale or is_waiting else news.upto,
        )
        wanted = [effect.file_id for effect in effects if isinstance(effect, Restore)]
        upto = None if done.stale else found.replica_upto
        is_awaited = await self.db.write(
            partial(self._settle_rest, rest=rest, over=over, wanted=wanted, also=last, replica_upto=upto)
        )
        if last is not None:
            self._batches.tell(last)
        is_told = bool(wanted) or any(isinstance(job.effect, Deliver) and job.file is not None for job in jobs)
        is_told |= any(isinstance(effect, Remove | Drop) and (effect.add or effect.remove) for effect in mine)
        has_news = done.has_device_news or is_told
        outside -= dropped
        return ReplicaResult(
            len(planned), len(mine), done.stale, has_news, frozenset(outside), is_waiting, bool(mine) and is_awaited
        )

    def _plan(self, conn: Connection, *, device_paths: frozenset[str], finished: int) -> "_Planned":
        """Plan, judge, and look for what is to be known of deliveries: nothing comes between a plan and its bodies."""
        found = news_of(
            conn, device=self.device, of=self.of, policy=self.policy, now=self.now, shifted_upto=self.shifted_upto
        )
        pairs_of = {pair.server.id: pair for pair in found.server.pairs if pair.server is not None}
        effects = [effect for pair in pairs_of.values() for effect in plan(pair, self.policy)]
        ids = [effect.message_id for effect in effects if isinstance(effect, Deliver)]
        looked = look_for(conn, ids, device_paths=device_paths, finished=finished)
        return _Planned(found, pairs_of, effects, looked, self._is_guarded(conn, effects, before=found.waits))

    def _is_guarded(self, conn: Connection, effects: Iterable[Effect], *, before: Waiting) -> bool:
        """Tell whether what the guard says is to be written down; mostly it lets all pass, and nothing waited there."""
        if before:
            return True
        removes = [effect for effect in effects if isinstance(effect, Remove)]
        if not removes:
            return False
        judge = partial(judge_removals, conn, self.device, self.of, removes, before=before)
        return not judge(rule=self.rule, now=self.now).is_trivial

    @cached_property
    def _batches(self) -> Batches:
        return Batches(self.db, self.side, self.device, self.of, self.rule, self.now, self.hopeless)

    def _admit(
        self, conn: Connection, *, effects: Sequence[ReplicaEffect], before: Waiting
    ) -> tuple[ReplicaEffect, ...]:
        return admit(conn, self.device, self.of, effects, before=before, rule=self.rule, now=self.now)

    def _settle_rest(
        self,
        conn: Connection,
        *,
        rest: Settlement,
        over: frozenset[int],
        wanted: Sequence[int],
        also: Performed | None,
        replica_upto: int | None,
    ) -> bool:
        """Settle what asks for no file call; troubles are over whose messages ask for nothing any more.

        wanted: files of messages that the server deleted and that are to be put back, which is for their account to do.
        Tell whether a device removed the mailbox.
        """
        if also is not None:
            self._batches.settle(conn, performed=also)
        replica_news.tell_again(conn, self.of.id, wanted)
        pairs.settle(conn, self.of, rest, now=self.now)
        if replica_upto is not None:
            devices.move_replica_cursor(conn, self.of.id, replica_upto)
        troubles.resolve(conn, over, device_id=self.device.id)
        return mailbox_removals.are_awaited(conn, mailbox_id=self.of.mailbox_id)

    def _as_before(self, planned: Mapping[int, Pair], effects: Iterable[ReplicaEffect]) -> Sequence[int]:
        """Return what is delivered as it was announced before an interruption, and is not as it should be now.

        Its server changed it since, or the device does not take it any more.
        """
        delivers = ((effect, planned[effect.message_id]) for effect in effects if isinstance(effect, Deliver))
        return [
            one.message_id for one, pair in delivers if one.flags != self._flags_now(pair) or self._is_outside(pair)
        ]

    def _is_outside(self, pair: Pair) -> bool:
        server = pair.server
        return server is not None and not server.is_gone and not self.policy.selection.takes(server)

    async def _catch_up(self, old: Sequence[int]) -> tuple[Done, Performed | None]:
        """Bring what was delivered as it was announced before an interruption to what it should be now."""
        now = await self.db.read(lambda conn: pairs.pairs_of(conn, self.of, old))
        delivered = {pair.server.id: pair for pair in now if pair.server is not None}
        effects = [effect for pair in now for effect in plan(pair, self.policy) if isinstance(effect, Rename | Drop)]
        holdable = await self.side.prepare(self.of, frozenset().union(*(_wanted_flags(effect) for effect in effects)))
        held = _held(effects, holdable)
        return await self._batches.perform([Job(effect, delivered[effect.message_id].replica) for effect in held])

    def _flags_now(self, pair: Pair) -> Flags:
        return self.policy.replica.part_of(pair.server.flags) if pair.server is not None else NONE


def _held(effects: Iterable[ReplicaEffect], holdable: Holdable) -> tuple[ReplicaEffect, ...]:
    """Return the effects with the flags that found a letter; what a file cannot say is not agreed on."""
    held: list[ReplicaEffect] = []
    for effect in effects:
        match effect:
            case Deliver(flags=flags):
                part = holdable.part_of(flags)
                held.append(effect if part == flags else replace(effect, flags=part))
            case Rename(add=add, remove=remove):
                if (add := holdable.part_of(add)) or remove:
                    held.append(replace(effect, add=add))
            case _:
                held.append(effect)
    return tuple(held)


def _wanted_flags(effect: ReplicaEffect) -> Flags:
    match effect:
        case Deliver(flags=flags) | Rename(add=flags):
            return flags
    return frozenset()
