"""Floor 4: one round of a replica: plan, guard, perform, settle; what its server has becomes what the device has.

Theory. The tasks that own a side observe and record (`imap_account`, `pop3_account`, `device`); a round takes it from
there. It reads the pairs that changed since a cursor, plans them, announces in one transaction what it is about to do
to files, lets the owner of the side perform, and settles in a second transaction, which moves base, rows and cursor
together. Interrupted anywhere, the next round reads the same pairs, finds what was announced, and goes on.

House rules. No wire and no file call here: a side is a Protocol. No transaction is open while a side performs. What
fails for a reason of its own is set aside by message, and the rest goes on. What fails for a reason that reaches
further (no space, no rights, no directory) is raised after the rest of its batch is settled: no message is to blame.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from sqlalchemy import Connection

from syncd.errors import Reach, SyncdError
from syncd.log import log
from syncd.mail.flags import NONE, Flags
from syncd.mail.tree import Holdable, Pair, ReplicaMessage, ReplicaState
from syncd.reconcile.effects import Agree, Deliver, Forget, Remove, Rename, ReplicaEffect, as_text
from syncd.reconcile.guard import Rule
from syncd.reconcile.planner import Policy, plan
from syncd.store import deliveries, devices, holds, pairs, replica_tree, troubles
from syncd.store.database import Database
from syncd.store.deliveries import Deliverable, LinkSource
from syncd.store.devices import DeviceRow, ReplicaRow
from syncd.store.pairs import Settled, Settlement
from syncd.store.server_tree import FlagDelta
from syncd.sync.commons import Content
from syncd.sync.guarding import Waiting, admit, count_removals, waiting
from syncd.sync.sides import (
    FileDone,
    FileFailed,
    FileOutcome,
    FileStale,
    FileTask,
    FileToDeliver,
    FileToRemove,
    FileToRename,
    ReplicaSide,
)

_PAIRS_PER_ROUND = 1000
BATCH_BYTES = 8 * 1024 * 1024
_BATCH_FILES = 500
"""Bounds of what one barrier covers: memory for the bodies, and work to repeat after a crash."""

_REACHES = tuple(Reach)
_HOPELESS = SyncdError("another program changes the file each time it is touched", reach=Reach.MESSAGE)


@dataclass(frozen=True, slots=True)
class ReplicaResult:
    """Tell what a round did.

    stale: the messages that the device forestalled, to be planned again. has_device_news: it changed files meanwhile,
    which its account has to hear of.
    """

    effects: int
    stale: frozenset[int]
    has_device_news: bool


@dataclass(frozen=True, slots=True)
class ReplicaRound:
    """Bring one replica up to what its server tree has, a thousand pairs at a time.

    hopeless: messages that were stale so often that they are set aside if they are once more.
    """

    db: Database
    side: ReplicaSide
    device: DeviceRow
    of: ReplicaRow
    policy: Policy
    rule: Rule
    now: float
    hopeless: frozenset[int] = frozenset()

    async def run(self) -> ReplicaResult:
        """Plan and settle the next pairs; the replica row given must be a current one.

        A SyncdError reaches further than one message; what was done is settled then, and the cursor stays.
        """
        of = self.of
        news, waits, again = await self.db.read(self._news)
        planned = {pair.server.id: pair for pair in news.pairs if pair.server is not None}
        effects = [effect for pair in planned.values() for effect in plan(pair, self.policy)]
        mine: Sequence[ReplicaEffect] = [e for e in effects if isinstance(e, Deliver | Rename | Remove)]
        over = frozenset(again).difference(effect.message_id for effect in mine)
        if waits or any(isinstance(effect, Remove) for effect in mine):
            mine = await self.db.write(partial(self._admit, effects=mine, before=waits))
        holdable = await self.side.prepare(of, frozenset().union(*(_wanted_flags(effect) for effect in mine)))
        mine = _held(mine, holdable)
        jobs = [_Job(effect, planned[effect.message_id].replica) for effect in mine]
        done = await self._perform_all([job for job in jobs if not isinstance(job.effect, Deliver)])
        done |= await self._deliver([job for job in jobs if isinstance(job.effect, Deliver)])
        done |= await self._catch_up(planned, [effect for effect in mine if isinstance(effect, Deliver)])
        rest = Settlement(
            agreed=tuple(FlagDelta(e.message_id, e.add, e.remove) for e in effects if isinstance(e, Agree)),
            forgotten=tuple(e.message_id for e in effects if isinstance(e, Forget)),
            upto=None if done.stale else news.upto,
        )
        await self.db.write(partial(self._settle_rest, rest=rest, over=over))
        return ReplicaResult(len(mine), done.stale, done.has_device_news)

    def _news(self, conn: Connection) -> tuple[pairs.News, Waiting, tuple[int, ...]]:
        news = pairs.server_news(conn, self.of, limit=_PAIRS_PER_ROUND)
        waits = waiting(conn, self.device, self.of)
        again = troubles.due(conn, mailbox_id=self.of.mailbox_id, device_id=self.device.id, now=self.now)
        older = pairs.pairs_of(conn, self.of, {*again, *waits.held, *waits.released})
        return replace(news, pairs=(*news.pairs, *older)), waits, again

    def _admit(
        self, conn: Connection, *, effects: Sequence[ReplicaEffect], before: Waiting
    ) -> tuple[ReplicaEffect, ...]:
        return admit(conn, self.device, self.of, effects, before=before, rule=self.rule, now=self.now)

    def _settle_rest(self, conn: Connection, *, rest: Settlement, over: frozenset[int]) -> None:
        """Settle what asks for no file call; troubles are over whose messages ask for nothing any more."""
        pairs.settle(conn, self.of, rest, now=self.now)
        troubles.resolve(conn, over, device_id=self.device.id)

    async def _deliver(self, jobs: Sequence["_Job"]) -> "_Done":
        """Link together what other devices have by now; write the next of what none has and none is writing."""
        ids = [job.effect.message_id for job in jobs]
        bodies = await self.db.read(partial(deliveries.deliverables, message_ids=ids)) if ids else {}
        rest = [job._replace(body=bodies[id_]) for id_, job in zip(ids, jobs, strict=True) if id_ in bodies]
        commons, is_patient, done = self.side.commons, True, _Done()
        while rest:
            finished = commons.finished
            batch = await self._linkable(rest)
            if batch:
                done |= await self._perform(batch)
            elif commons.finished != finished:
                continue
            elif batch := _writable(job for job in rest if not (is_patient and commons.is_claimed(job.content))):
                with commons.claim(job.content for job in batch):
                    done |= await self._perform(batch)
            else:
                is_patient = await commons.wait()
            taken = {job.effect.message_id for job in batch}
            rest = [job for job in rest if job.effect.message_id not in taken]
        return done

    async def _linkable(self, jobs: Sequence["_Job"]) -> Sequence["_Job"]:
        """Return those of the next deliveries for which there is a file to link."""
        roots = frozenset(self.side.commons.roots)
        if not roots:
            return ()
        ahead = jobs[:_BATCH_FILES]
        wanted = [job.body for job in ahead if job.body is not None]
        found = await self.db.read(partial(deliveries.link_sources, wanted=wanted, device_paths=roots))
        return [job._replace(source=found[job.content]) for job in ahead if job.content in found]

    async def _perform_all(self, jobs: Sequence["_Job"]) -> "_Done":
        done = _Done()
        for start in range(0, len(jobs), _BATCH_FILES):
            done |= await self._perform(jobs[start : start + _BATCH_FILES])
        return done

    async def _perform(self, batch: Sequence["_Job"]) -> "_Done":
        """Announce, perform and settle one batch; raise what reaches further than a message."""
        announced = await self.db.write(partial(self._announce, batch=batch))
        outcomes = await self.side.perform(self.of, announced.tasks, generation=announced.generation)
        await self.db.write(partial(self._settle, announced=announced, outcomes=outcomes))
        if log.is_enabled_for(logging.DEBUG):
            for job in batch:
                text = as_text(job.effect)
                log.debug("effect_settled", device=self.device.name, replica=self.of.directory, effect=text)
        touched = [task.file.name for task in announced.tasks if _is_touched(outcomes[task.file.id])]
        news = await self.side.look(self.of, touched) if touched else 0
        if wider := [error for outcome in outcomes.values() if (error := _wider(outcome)) is not None]:
            raise max(wider, key=lambda error: _REACHES.index(error.reach))
        stale = {_message_of(task) for task in announced.tasks if isinstance(outcomes[task.file.id], FileStale)}
        return _Done(frozenset(stale - self.hopeless), bool(news))

    async def _catch_up(self, planned: Mapping[int, Pair], delivers: Sequence[Deliver]) -> "_Done":
        """Bring what was delivered as it was announced before an interruption to the flags that its server has now."""
        old = [one.message_id for one in delivers if one.flags != self._flags_now(planned[one.message_id])]
        if not old:
            return _Done()
        now = await self.db.read(lambda conn: pairs.pairs_of(conn, self.of, old))
        delivered = {pair.server.id: pair for pair in now if pair.server is not None}
        effects = [effect for pair in now for effect in plan(pair, self.policy) if isinstance(effect, Rename)]
        holdable = await self.side.prepare(self.of, frozenset().union(*(effect.add for effect in effects)))
        held = _held(effects, holdable)
        return await self._perform_all([_Job(effect, delivered[effect.message_id].replica) for effect in held])

    def _flags_now(self, pair: Pair) -> Flags:
        return self.policy.replica.part_of(pair.server.flags) if pair.server is not None else NONE

    def _announce(self, conn: Connection, *, batch: Sequence["_Job"]) -> "_Announced":
        """Commit names, targets and withdrawals before anything is done to a file (law 3)."""
        minted = [
            self.side.mint(self.of, job.body, job.effect.flags)
            for job in batch
            if isinstance(job.effect, Deliver) and job.body is not None and job.file is None
        ]
        made = replica_tree.announce_deliveries(conn, self.of.id, minted)
        again = [job.file for job in batch if isinstance(job.effect, Deliver) and job.file is not None]
        deleted = {file.id for file in again if file.state is ReplicaState.DELETED}
        lost = deleted - replica_tree.announce_returns(conn, deleted) if deleted else frozenset[int]()
        tasks: list[FileTask] = []
        for effect, known, body, source in batch:
            file = known or made.get(effect.message_id)
            if file is None or file.id in lost:
                continue
            match effect:
                case Deliver(flags=flags) if body is not None:
                    tasks.append(FileToDeliver(file, body, flags, source, is_repeated=known is not None))
                case Rename(add=add, remove=remove):
                    tasks.append(FileToRename(file, add, remove))
                case Remove():
                    tasks.append(FileToRemove(file))
        replica_tree.announce_moves(conn, [t.file.id for t in tasks if isinstance(t, FileToRename)])
        replica_tree.announce_withdrawals(conn, [t.file.id for t in tasks if isinstance(t, FileToRemove)])
        return _Announced(tuple(tasks), devices.begin_barrier(conn, self.device.id))

    def _settle(self, conn: Connection, *, announced: "_Announced", outcomes: Mapping[int, FileOutcome]) -> None:
        done = _settlement(announced.tasks, outcomes)
        if done.removed:
            count_removals(conn, self.device, self.of, done.removed, rule=self.rule, now=self.now)
        pairs.settle(conn, self.of, done, now=self.now)
        if done.removed:
            holds.drop_done(conn, self.of)
        devices.settle_barrier(conn, self.device.id, announced.generation, now=self.now)
        well: list[int] = []
        undone: list[int] = []
        for task in announced.tasks:
            match outcomes[task.file.id]:
                case FileDone():
                    well.append(_message_of(task))
                case FileStale():
                    undone.append(task.file.id)
                    if _message_of(task) in self.hopeless:
                        self._set_aside(conn, _message_of(task), _HOPELESS)
                case FileFailed(error):
                    undone.append(task.file.id)
                    if error.reach is Reach.MESSAGE:
                        self._set_aside(conn, _message_of(task), error)
        delivering = {task.file.id for task in announced.tasks if isinstance(task, FileToDeliver)}
        replica_tree.retract_announcements(conn, [file_id for file_id in undone if file_id not in delivering])
        troubles.resolve(conn, well, device_id=self.device.id)

    def _set_aside(self, conn: Connection, message_id: int, error: SyncdError) -> None:
        troubles.set_aside(
            conn,
            mailbox_id=self.of.mailbox_id,
            message_id=message_id,
            device_id=self.device.id,
            error=str(error),
            temper=error.temper,
            now=self.now,
        )


def _message_of(task: FileTask) -> int:
    """Return the message of a planned file, which has one by its plan."""
    message_id = task.file.message_id
    if message_id is None:
        raise ValueError("a file of the device's own was planned for")
    return message_id


def _is_touched(outcome: FileOutcome) -> bool:
    return isinstance(outcome, FileStale) or (isinstance(outcome, FileDone) and outcome.is_touched)


def _wider(outcome: FileOutcome) -> SyncdError | None:
    """Return an error that is not of its message alone."""
    if isinstance(outcome, FileFailed) and outcome.error.reach is not Reach.MESSAGE:
        return outcome.error
    return None


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


def _writable(jobs: Iterable["_Job"]) -> Sequence["_Job"]:
    """Return the first deliveries whose octets fit into memory together, none of them twice."""
    batch: list[_Job] = []
    size_bytes = 0
    for job in jobs:
        size_bytes += job.body.size_bytes if job.body is not None else 0
        if batch and (size_bytes > BATCH_BYTES or len(batch) >= _BATCH_FILES):
            break
        batch.append(job)
    return batch


class _Job(NamedTuple):
    """An effect with the file that it concerns, and for a delivery the body, and what to link if there is that."""

    effect: ReplicaEffect
    file: ReplicaMessage | None
    body: Deliverable | None = None
    source: LinkSource | None = None

    @property
    def content(self) -> Content:
        return self.body.content if self.body is not None else (0, 0)


@dataclass(frozen=True, slots=True)
class _Done:
    """Say what of some batches is to be planned again, and whether the device changed files meanwhile."""

    stale: frozenset[int] = frozenset()
    has_device_news: bool = False

    def __or__(self, other: "_Done") -> "_Done":
        return _Done(self.stale | other.stale, self.has_device_news or other.has_device_news)


@dataclass(frozen=True, slots=True)
class _Announced:
    tasks: tuple[FileTask, ...]
    generation: int


def _settlement(tasks: Sequence[FileTask], outcomes: Mapping[int, FileOutcome]) -> Settlement:
    """Return what of a batch both sides now agree on."""
    as_announced: list[int] = []
    delivered: list[Settled] = []
    renamed: list[Settled] = []
    removed: list[int] = []
    for task in tasks:
        outcome, file = outcomes[task.file.id], task.file
        if not isinstance(outcome, FileDone):
            continue
        match task:
            case FileToDeliver(flags=flags):
                if (outcome.info, outcome.subdir, flags) == (file.info, file.subdir, file.flags):
                    as_announced.append(file.id)
                else:
                    delivered.append(Settled(file.id, _message_of(task), outcome.info, outcome.subdir, flags))
            case FileToRename(add=add, remove=remove):
                # NOTE: what the device changed meanwhile stays unrecorded here; the look that follows sees it as new.
                where = Settled(file.id, _message_of(task), outcome.info, outcome.subdir, task.flags)
                renamed.append(replace(where, base_add=add, base_remove=remove))
            case FileToRemove():
                removed.append(_message_of(task))
    return Settlement(
        as_announced=tuple(as_announced), delivered=tuple(delivered), renamed=tuple(renamed), removed=tuple(removed)
    )
