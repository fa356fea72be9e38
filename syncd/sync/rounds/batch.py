"""Floor 4: the batches of a round: planned, announced, performed, and what replica and server then agree on.

A batch is announced in one transaction and settled in another, or with the announcement of the next one. In between no
transaction is open, and the owner of the side calls the files.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple, Self

from sqlalchemy import Connection

from syncd.errors import Reach, SyncdError
from syncd.log import log
from syncd.mail.tree import BodyForm, ReplicaMessage, ReplicaState
from syncd.reconcile.effects import Deliver, Drop, Remove, Rename, ReplicaEffect, as_text
from syncd.reconcile.guard import Rule
from syncd.store.due import carried_changes
from syncd.store.engine.database import Database
from syncd.store.rounds import holds, pairs
from syncd.store.rounds.deliveries import Deliverable, LinkSource
from syncd.store.rounds.pairs import Settled, Settlement
from syncd.store.trees import devices, history, replica_news, replica_tree, troubles
from syncd.store.trees.devices import DeviceRow, ReplicaRow
from syncd.store.trees.history import Outcome
from syncd.store.trees.replica_tree import MintedFile
from syncd.sync.bounded import BATCH_BYTES, BATCH_FILES
from syncd.sync.commons import Content
from syncd.sync.rounds.guarding import count_removals
from syncd.sync.rounds.sides import (
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
from syncd.values import Value, replace

_REACHES = tuple(Reach)
_HOPELESS = SyncdError("another program changes the file each time it is touched", reach=Reach.MESSAGE)


class Job(NamedTuple):
    """An effect with the file that it concerns, and for a delivery the body, and what to link if there is that."""

    effect: ReplicaEffect
    file: ReplicaMessage | None
    body: Deliverable | None = None
    source: LinkSource | None = None

    @property
    def content(self) -> Content:
        return self.body.content if self.body is not None else (0, 0)


class Announced(Value):
    """A batch whose names, targets and withdrawals are committed.

    bound: messages that need no file any more, for one that the device added has become theirs since they were planned.
    """

    effects: tuple[ReplicaEffect, ...]
    tasks: tuple[FileTask, ...]
    generation: int
    bound: frozenset[int]

    def linking(self, sources: Mapping[Content, LinkSource]) -> Self:
        """Return the same with what to link instead of writing it, where there is that by now."""
        tasks = (
            FileToDeliver(one.file, one.body, one.flags, sources.get(one.body.content), one.is_repeated)
            if isinstance(one, FileToDeliver)
            else one
            for one in self.tasks
        )
        return replace(self, tasks=tuple(tasks))


@dataclass(frozen=True)
class Performed:
    """A batch that is on disk; outcomes: by row id of the file."""

    announced: Announced
    outcomes: Mapping[int, FileOutcome]

    @cached_property
    def odd(self) -> Sequence[tuple[FileTask, FileOutcome]]:
        """Return what did not go as announced: it is to be looked at, told or tried again."""
        pairs = ((task, self.outcomes[task.file.id]) for task in self.announced.tasks)
        return [(task, one) for task, one in pairs if not isinstance(one, FileDone) or one.is_touched]

    @property
    def is_odd(self) -> bool:
        """Tell whether it has to be ended, and cannot be settled with something else."""
        return bool(self.odd or self.stale)

    @property
    def touched(self) -> Sequence[str]:
        """Return the names of files that the device changed meanwhile."""
        return [task.file.name for task, outcome in self.odd if not isinstance(outcome, FileFailed)]

    @property
    def stale(self) -> frozenset[int]:
        """Return the messages at which the device, or their account, forestalled us."""
        stale = (message_of(task) for task, outcome in self.odd if isinstance(outcome, FileStale))
        return self.announced.bound.union(stale)

    @property
    def widest_error(self) -> SyncdError | None:
        """Return the error that reaches furthest of those that are not of their message alone."""
        errors = [error for _, outcome in self.odd if (error := _wider(outcome)) is not None]
        return max(errors, key=lambda error: _REACHES.index(error.reach), default=None)

    def settlement(self) -> Settlement:
        """Return what both sides now agree on."""
        return _settlement(self.announced.tasks, self.outcomes)


class Done(Value):
    """Say what of some batches is to be planned again, and whether the device changed files meanwhile."""

    stale: frozenset[int] = frozenset()
    has_device_news: bool = False

    def __or__(self, other: "Done") -> "Done":
        return Done(self.stale | other.stale, self.has_device_news or other.has_device_news)


class Batches(Value):
    """Announce, perform and settle what a round does to the files of one replica.

    hopeless: messages that were stale so often that they are set aside if they are once more.
    """

    db: Database
    side: ReplicaSide
    device: DeviceRow
    of: ReplicaRow
    rule: Rule
    now: float
    hopeless: frozenset[int]

    async def perform(self, jobs: Sequence[Job]) -> tuple[Done, Performed | None]:
        """Do all of it, batch by batch; a last batch that went as announced is returned to be settled."""
        done = Done()
        last: Performed | None = None
        for start in range(0, len(jobs), BATCH_FILES):
            last = await self.begin(jobs[start : start + BATCH_FILES], also=last)
            if last.is_odd:
                done, last = done | await self.end(last), None
        return done, last

    async def begin(self, batch: Sequence[Job], *, also: Performed | None = None) -> Performed:
        """Announce and perform one batch, and settle another with its announcement."""
        return await self.carry_out(await self.announce(batch, also=also))

    async def announce(self, batch: Sequence[Job], *, also: Performed | None = None) -> Announced:
        """Announce one batch, and settle another with that."""
        minted = self._minted(batch)  # here, for every other task waits for the one thread that writes

        def announce(conn: Connection) -> Announced:
            if also is not None:
                self.settle(conn, performed=also)
            return self._announce(conn, batch=batch, minted=minted)

        announced = await self.db.write(announce)
        if also is not None:
            self.tell(also)
        return announced

    async def carry_out(self, announced: Announced) -> Performed:
        """Perform a batch that is announced; nothing else may be announced for the device meanwhile."""
        return Performed(announced, await self.side.perform(self.of, announced.tasks, generation=announced.generation))

    async def end(self, performed: Performed) -> Done:
        """Settle one batch and look at what the device did meanwhile; raise what reaches further than a message."""
        await self.db.write(partial(self.settle, performed=performed))
        self.tell(performed)
        news = await self.side.look(self.of, touched) if (touched := performed.touched) else 0
        if (error := performed.widest_error) is not None:
            raise error
        return Done(performed.stale - self.hopeless, bool(news))

    def settle(self, conn: Connection, *, performed: Performed) -> None:
        """Move base and rows as far as files were moved, and tell the history."""
        announced, outcomes = performed.announced, performed.outcomes
        done = performed.settlement()
        effects = {effect.message_id: effect for effect in announced.effects}
        gone = [effect for id_ in done.removed if isinstance(effect := effects[id_], Remove | Drop)]
        carried_changes.carry(conn, self.of, gone)
        lost = frozenset(one.message_id for one in gone if isinstance(one, Remove))  # what is dropped is lost to nobody
        if lost:
            count_removals(conn, self.device, self.of, lost, rule=self.rule, now=self.now)
        pairs.settle(conn, self.of, done, now=self.now)
        if lost:
            holds.drop_done(conn, self.of)
        again = [task.file.id for task in announced.tasks if isinstance(task, FileToDeliver) and task.is_repeated]
        replica_news.tell_changed(conn, self.of.id, again)
        devices.settle_barrier(conn, self.device.id, announced.generation, now=self.now)
        well: list[int] = []
        undone: list[int] = []
        for task in announced.tasks:
            match outcomes[task.file.id]:
                case FileDone():
                    well.append(message_of(task))
                case FileStale():
                    undone.append(task.file.id)
                    if message_of(task) in self.hopeless:
                        self._set_aside(conn, effects[message_of(task)], _HOPELESS)
                case FileFailed(error):
                    undone.append(task.file.id)
                    if error.reach is Reach.MESSAGE:
                        self._set_aside(conn, effects[message_of(task)], error)
        delivering = {task.file.id for task in announced.tasks if isinstance(task, FileToDeliver)}
        replica_tree.retract_announcements(conn, [file_id for file_id in undone if file_id not in delivering])
        troubles.resolve(conn, well, device_id=self.device.id)
        self._tell_history(conn, [history.of(effects[message_id]) for message_id in well])

    def tell(self, settled: Performed) -> None:
        """Log what was settled, once it is committed."""
        if log.is_enabled_for(logging.DEBUG):
            for effect in settled.announced.effects:
                log.debug("effect_settled", device=self.device.name, replica=self.of.directory, effect=as_text(effect))

    def _minted(self, batch: Sequence[Job]) -> Sequence[MintedFile]:
        new = [
            (job.body, job.effect.flags)
            for job in batch
            if isinstance(job.effect, Deliver) and job.body is not None and job.file is None
        ]
        return self.side.mint(self.of, new)

    def _announce(self, conn: Connection, *, batch: Sequence[Job], minted: Sequence[MintedFile]) -> Announced:
        """Commit names, targets and withdrawals before anything is done to a file (law 3)."""
        made = replica_tree.announce_deliveries(conn, self.of.id, minted)
        bound = frozenset(file.message_id for file in minted) - made.keys()
        again = [job.file for job in batch if isinstance(job.effect, Deliver) and job.file is not None]
        deleted = {file.id for file in again if file.state is ReplicaState.DELETED}
        lost = deleted - replica_tree.announce_returns(conn, deleted) if deleted else frozenset[int]()
        changing = {job.file.id for job in batch if not isinstance(job.effect, Deliver) and job.file is not None}
        lost |= changing - replica_tree.still_of_messages(conn, changing) if changing else frozenset()
        tasks: list[FileTask] = []
        for effect, known, body, source in batch:
            file = known or made.get(effect.message_id)
            if file is None or file.id in lost:
                continue
            match effect:
                case Deliver(flags=flags) if body is not None:
                    if file.form is BodyForm.OWN:
                        file = body.file_as_delivered(file)
                        replica_tree.announce_body(conn, file)
                    tasks.append(FileToDeliver(file, body, flags, source, is_repeated=known is not None))
                case Rename(add=add, remove=remove):
                    tasks.append(FileToRename(file, add, remove))
                case Remove() | Drop():
                    tasks.append(FileToRemove(file))
        replica_tree.announce_moves(conn, [t.file.id for t in tasks if isinstance(t, FileToRename)])
        replica_tree.announce_withdrawals(conn, [t.file.id for t in tasks if isinstance(t, FileToRemove)])
        effects = tuple(job.effect for job in batch)
        return Announced(effects, tuple(tasks), devices.begin_barrier(conn, self.device.id), bound)

    def _set_aside(self, conn: Connection, effect: ReplicaEffect, error: SyncdError) -> None:
        is_news = troubles.set_aside(
            conn,
            mailbox_id=self.of.mailbox_id,
            message_id=effect.message_id,
            device_id=self.device.id,
            error=str(error),
            temper=error.temper,
            now=self.now,
        )
        if is_news:
            self._tell_history(conn, [history.of(effect, reason=str(error))], Outcome.REFUSED)

    def _tell_history(
        self, conn: Connection, told: Iterable[history.Happening], outcome: Outcome = Outcome.DONE
    ) -> None:
        where = {"mailbox_id": self.of.mailbox_id, "device_id": self.device.id}
        history.tell(conn, told, now=self.now, origin=history.SERVER, outcome=outcome, **where)


def writable(jobs: Iterable[Job]) -> Sequence[Job]:
    """Return the first deliveries whose octets fit into memory together."""
    batch: list[Job] = []
    size_bytes = 0
    for job in jobs:
        size_bytes += job.body.size_bytes if job.body is not None else 0
        if batch and (size_bytes > BATCH_BYTES or len(batch) >= BATCH_FILES):
            break
        batch.append(job)
    return batch


def message_of(task: FileTask) -> int:
    """Return the message of a planned file, which has one by its plan."""
    message_id = task.file.message_id
    if message_id is None:
        raise ValueError("a file of the device's own was planned for")
    return message_id


def _wider(outcome: FileOutcome) -> SyncdError | None:
    """Return an error that is not of its message alone."""
    if isinstance(outcome, FileFailed) and outcome.error.reach is not Reach.MESSAGE:
        return outcome.error
    return None


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
                    delivered.append(Settled(file.id, message_of(task), outcome.info, outcome.subdir, flags))
            case FileToRename(add=add, remove=remove):
                # NOTE: what the device changed meanwhile stays unrecorded here; the look that follows sees it as new.
                where = Settled(file.id, message_of(task), outcome.info, outcome.subdir, task.flags)
                renamed.append(replace(where, base_add=add, base_remove=remove))
            case FileToRemove():
                removed.append(message_of(task))
    return Settlement(
        as_announced=tuple(as_announced), delivered=tuple(delivered), renamed=tuple(renamed), removed=tuple(removed)
    )
