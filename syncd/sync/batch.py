"""Floor 4: a batch of a round: planned, announced, performed, and what replica and server then agree on."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from syncd.errors import Reach, SyncdError
from syncd.mail.tree import ReplicaMessage
from syncd.reconcile.effects import ReplicaEffect
from syncd.store.deliveries import Deliverable, LinkSource
from syncd.store.pairs import Settled, Settlement
from syncd.sync.commons import Content
from syncd.sync.sides import (
    FileDone,
    FileFailed,
    FileOutcome,
    FileStale,
    FileTask,
    FileToDeliver,
    FileToRemove,
    FileToRename,
)

BATCH_BYTES = 8 * 1024 * 1024
BATCH_FILES = 500
"""Bounds of what one barrier covers: memory for the bodies, and work to repeat after a crash."""

_REACHES = tuple(Reach)


class Job(NamedTuple):
    """An effect with the file that it concerns, and for a delivery the body, and what to link if there is that."""

    effect: ReplicaEffect
    file: ReplicaMessage | None
    body: Deliverable | None = None
    source: LinkSource | None = None

    @property
    def content(self) -> Content:
        return self.body.content if self.body is not None else (0, 0)


@dataclass(frozen=True, slots=True)
class Announced:
    """A batch whose names, targets and withdrawals are committed.

    bound: messages that need no file any more, for one that the device added has become theirs since they were planned.
    """

    effects: tuple[ReplicaEffect, ...]
    tasks: tuple[FileTask, ...]
    generation: int
    bound: frozenset[int]


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
