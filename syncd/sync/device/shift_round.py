"""Floor 4: a round of shifts: what a server moved between mailboxes, a device does to its files.

Theory. It comes before the rounds of the replicas, which would remove the file here and deliver another there. What it
cannot do (a name that is in use, another file system, a file that the device changed) it leaves to them. It moves no
cursor: they find nothing left to do, whichever of the two is first. A file that keeps its message is no loss to the
guard, but where the message went to Trash or Junk. What went to Trash and was changed in a way that is stronger than a
deletion stays where it is, and its message comes back.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

from sqlalchemy import Connection

from syncd.log import log
from syncd.mail.flags import Flags, with_delta
from syncd.mail.mailbox import SpecialUse
from syncd.mail.tree import BaseMessage
from syncd.maildir.effects.shift import Kept
from syncd.reconcile.effects import Shift, as_text
from syncd.reconcile.guard import Rule
from syncd.reconcile.planner import Selection, is_wanted, merge
from syncd.store.engine.database import Database
from syncd.store.rounds import holds, shifts
from syncd.store.rounds.holds import HoldScope
from syncd.store.rounds.pairs import Settled
from syncd.store.rounds.shifts import Shiftable, ShiftedFile
from syncd.store.trees import devices, history, troubles
from syncd.store.trees.accounts import MailboxRow, trash_of
from syncd.store.trees.devices import DeviceRow
from syncd.sync.bounded import BATCH_FILES
from syncd.sync.device.known_mailboxes import Served
from syncd.sync.device.shifted_files import FileOutcome, FileToShift, ShiftedFiles
from syncd.sync.policies import policy_of
from syncd.sync.rounds.guarding import admit_moves, count_removals
from syncd.sync.rounds.sides import FileDone
from syncd.values import Value

_BINS = frozenset({SpecialUse.TRASH, SpecialUse.JUNK})


class ShiftBatch(Value):
    """Files that go from one mailbox of a device to another, as many as one barrier covers."""

    source: Served
    target: Served
    files: tuple[Shiftable, ...]

    @property
    def is_removal(self) -> bool:
        """Tell whether people call this a deletion."""
        return self.target.mailbox.special_use in _BINS and self.source.mailbox.special_use not in _BINS


class _Announced(Value):
    tasks: tuple[FileToShift, ...]
    generation: int


class ShiftResult(Value):
    """Tell what was done of a batch; has_device_news: the account has something to store on the server."""

    effects: int
    has_device_news: bool
    was_touched: bool


class ShiftRound(Value):
    """Shift files between the mailboxes of one device, of those given."""

    db: Database
    files: ShiftedFiles
    device: DeviceRow
    served: Sequence[Served]
    selection: Selection
    rule: Rule
    now: float

    async def plan(self, *, may_be_begun: bool) -> tuple[ShiftBatch, ...]:
        """Return what can be shifted now; may_be_begun: look for what was announced and not settled, too."""
        plan = partial(
            plan_shifts,
            device=self.device,
            served=self.served,
            selection=self.selection,
            rule=self.rule,
            now=self.now,
            may_be_begun=may_be_begun,
        )
        return await self.db.read(plan)

    async def perform(self, batch: ShiftBatch) -> ShiftResult:
        """Announce, move and settle one batch; a SyncdError leaves it announced, and the rounds that follow do it."""
        source, target = batch.source.replica, batch.target.replica
        holdable = await self.files.prepare(target, frozenset().union(*map(_flags_there, batch.files)))
        flags = {one.file.id: holdable.part_of(_flags_there(one)) for one in batch.files}
        announced = await self.db.write(partial(self._announce, batch=batch, flags=flags))
        outcomes = await self.files.shift(source, target, announced.tasks, generation=announced.generation)
        shifted, kept = _sorted(batch, announced.tasks, outcomes)
        settle = partial(self._settle, batch=batch, generation=announced.generation, shifted=shifted, kept=kept)
        await self.db.write(settle)
        self._tell(batch, shifted)
        touched = [name for name, outcome in _outcomes_by_name(announced.tasks, outcomes) if _is_touched(outcome)]
        was_touched = bool(touched and await self.files.look(target, touched))
        stayed = [name for name, outcome in _outcomes_by_name(announced.tasks, outcomes) if isinstance(outcome, Kept)]
        was_touched |= bool(stayed and await self.files.look(source, stayed))
        return ShiftResult(len(shifted), was_touched or any(one.is_changed for one in shifted), was_touched)

    def _announce(self, conn: Connection, *, batch: ShiftBatch, flags: Mapping[int, Flags]) -> _Announced:
        target = batch.target.replica
        tasks = [FileToShift(one.file, one.announced, True) for one in batch.files if one.announced is not None]
        new = {one.file.id: one for one in batch.files if one.announced is None}
        placed = {
            id_: self.files.placed(target, one.file, message_id=one.successor.id, flags=flags[id_])
            for id_, one in new.items()
        }
        bases = {id_: _base_there(one, flags[id_]) for id_, one in new.items()}
        made = shifts.announce(conn, target, placed, bases=bases)
        tasks += [FileToShift(new[id_].file, there, False) for id_, there in made.items()]
        return _Announced(tuple(tasks), devices.begin_barrier(conn, self.device.id))

    def _settle(
        self,
        conn: Connection,
        *,
        batch: ShiftBatch,
        generation: int,
        shifted: Sequence[ShiftedFile],
        kept: Mapping[int, int],
    ) -> None:
        source, target = batch.source.replica, batch.target.replica
        gone = [one.gone_id for one in shifted]
        if gone and batch.is_removal:
            count_removals(conn, self.device, source, gone, rule=self.rule, now=self.now)
        shifts.settle(conn, source, target, shifted, now=self.now)
        shifts.retract(conn, kept)
        devices.settle_barrier(conn, self.device.id, generation, now=self.now)
        troubles.resolve(conn, [one.settled.message_id for one in shifted], device_id=self.device.id)
        to, done = str(batch.target.mailbox.name), {*gone}
        told = [history.of(effect_of(one, to=to)) for one in batch.files if _gone(one) in done]
        here, device_id = source.mailbox_id, self.device.id
        history.tell(conn, told, now=self.now, origin=history.SERVER, mailbox_id=here, device_id=device_id)

    def _tell(self, batch: ShiftBatch, shifted: Sequence[ShiftedFile]) -> None:
        if not shifted:
            return
        here, there = batch.source.replica.directory, batch.target.replica.directory
        log.info("files_shifted", device=self.device.name, replica=here, to=there, count=len(shifted))
        if log.is_enabled_for(logging.DEBUG):
            done = {one.gone_id for one in shifted}
            for one in batch.files:
                if _gone(one) in done:
                    effect = as_text(effect_of(one, to=str(batch.target.mailbox.name)))
                    log.debug("effect_settled", device=self.device.name, replica=here, effect=effect)


def plan_shifts(
    conn: Connection,
    *,
    device: DeviceRow,
    served: Sequence[Served],
    selection: Selection,
    rule: Rule,
    now: float,
    may_be_begun: bool,
) -> tuple[ShiftBatch, ...]:
    """Return what can be shifted between these mailboxes of a device, and what the guard lets go to Trash or Junk."""
    of = [one.replica for one in served]
    begun = _batches(served, shifts.begun(conn, of)) if may_be_begun else ()
    waiting = holds.holds(conn, device_id=device.id, scope=HoldScope.ON_DEVICE)
    held = {message_id for hold in waiting for message_id in hold.message_ids}
    found = _batches(served, _without_wanted(served, selection, shifts.find(conn, of, selection=selection, held=held)))
    moved: defaultdict[int, set[int]] = defaultdict(set)
    for batch in found:
        if batch.is_removal:
            moved[batch.source.mailbox.id] |= {_gone(one) for one in batch.files}
    admitted = admit_moves(conn, device, moved, rule=rule, now=now) if moved else frozenset()
    may_go = [one for batch in found for one in batch.files if not batch.is_removal or _gone(one) in admitted]
    return (*begun, *(_batches(served, may_go) if moved else found))


def _without_wanted(
    served: Sequence[Served], selection: Selection, found: Iterable[Shiftable]
) -> tuple[Shiftable, ...]:
    """Return what the server moved, without what it moved to Trash while the device wanted it."""
    by_replica = {one.replica.id: one for one in served}
    accounts: defaultdict[str, list[MailboxRow]] = defaultdict(list)
    for one in served:
        accounts[one.account].append(one.mailbox)
    trashes = {trash.id for known in accounts.values() if (trash := trash_of(known)) is not None}

    def is_kept(one: Shiftable) -> bool:
        source = by_replica[one.source.id]
        policy = policy_of(source.replica, source.mailbox, selection)
        return is_wanted(one.successor, BaseMessage(one.base), one.file, policy)

    return tuple(one for one in found if one.target.mailbox_id not in trashes or not is_kept(one))


def _batches(served: Iterable[Served], found: Sequence[Shiftable]) -> tuple[ShiftBatch, ...]:
    by_replica = {one.replica.id: one for one in served}
    together: defaultdict[tuple[int, int], list[Shiftable]] = defaultdict(list)
    for one in found:
        together[one.source.id, one.target.id].append(one)
    return tuple(
        ShiftBatch(by_replica[source_id], by_replica[target_id], tuple(files[start : start + BATCH_FILES]))
        for (source_id, target_id), files in together.items()
        for start in range(0, len(files), BATCH_FILES)
    )


def effect_of(one: Shiftable, *, to: str) -> Shift:
    """Return a shift as the plan has it."""
    return Shift(_gone(one), one.file.id, one.successor.id, one.target.mailbox_id, to)


def _sorted(
    batch: ShiftBatch, tasks: Iterable[FileToShift], outcomes: Mapping[int, FileOutcome]
) -> tuple[Sequence[ShiftedFile], Mapping[int, int]]:
    """Return what was shifted, and of what is to be taken back the row id there, with that of the file."""
    of = {one.file.id: one for one in batch.files}
    shifted: list[ShiftedFile] = []
    kept: dict[int, int] = {}
    for task in tasks:
        one, there = of[task.file.id], task.there
        match outcomes[there.id]:
            case FileDone(info, subdir):
                settled = Settled(there.id, one.successor.id, info, subdir, there.flags)
                is_changed = there.flags != _base_there(one, there.flags)
                shifted.append(ShiftedFile(_gone(one), settled, is_changed))
            case Kept():
                kept[there.id] = task.file.id
    return shifted, kept


def _flags_there(one: Shiftable) -> Flags:
    """Return the flags of the successor, with what the device changed before and its server has not heard of."""
    changes = merge(one.successor.flags, one.base, one.file.flags)
    return with_delta(one.successor.flags, add=changes.server_add, remove=changes.server_remove)


def _base_there(one: Shiftable, announced: Flags) -> Flags:
    """Return what was agreed on of a file with the announced flags: those without what the device changed."""
    changes = merge(one.base, one.base, one.file.flags)
    return with_delta(announced, add=changes.server_remove, remove=changes.server_add)


def _outcomes_by_name(
    tasks: Iterable[FileToShift], outcomes: Mapping[int, FileOutcome]
) -> Iterator[tuple[str, FileOutcome]]:
    return ((task.there.name, outcomes[task.there.id]) for task in tasks)


def _is_touched(outcome: FileOutcome) -> bool:
    return isinstance(outcome, FileDone) and outcome.is_touched


def _gone(one: Shiftable) -> int:
    """Return the message that the file had, which has one by its plan."""
    if one.file.message_id is None:
        raise ValueError("a file of the device's own was to be shifted")
    return one.file.message_id
