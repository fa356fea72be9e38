"""Floor 4: the directories of one device follow their mailboxes: renamed where these were, removed where they are gone.

Theory. A renamed mailbox keeps its rows, so that all there is to do on a device is to rename a directory, whenever the
device is there. Where that cannot be, because another directory has the name, or a disk does not take it, the mailbox
is synced in its old directory until it can. That is no error, but it is shown. Where the directory has its new name
already, and it was neither we, who had announced that (law 3), nor a program of this device that gave it, nobody knows
who put it there, and what it lacks may never have come: it is looked at as for the first time. So is one of which
after a kill both names are there, and its files, whose names no other directory has, do not say which it is. Where
neither is there, it went as any does (`directory_changes`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath

from syncd.errors import FileError, MailboxNameError, Reach
from syncd.log import log
from syncd.mail.mailbox import MailboxName
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.effects.directories import (
    Renaming,
    Whereabouts,
    make_way,
    remove_mailbox,
    rename_directory,
    renamed_before,
    whereabouts,
)
from syncd.maildir.naming.layout import Layout
from syncd.maildir.news.observe import list_mailbox
from syncd.reconcile.directories import Step, next_step
from syncd.reconcile.moved_directories import has_moved
from syncd.store.engine.database import Database
from syncd.store.mailboxes import directories
from syncd.store.mailboxes.directories import Place
from syncd.store.mailboxes.mailbox_changes import ChangeKind
from syncd.store.trees import replica_tree
from syncd.sync.device.attachment import Prove
from syncd.sync.device.known_mailboxes import KnownMailboxes
from syncd.sync.device.standstill import Standstill
from syncd.sync.device.thread import to_its_end

_NAME_TAKEN = "the directory keeps the mailbox's old name, for there is another one of the new name"
_NO_NAME = "the directory keeps the mailbox's old name, for no directory can have the new one"
_WHY_NOT = {
    Renaming.TAKEN: _NAME_TAKEN,
    Renaming.REFUSED: "the directory keeps the mailbox's old name, for the disk does not take the new one",
    Renaming.MISSING: "the directory of the mailbox is not there",
}


class MailboxDirectories:
    """Rename and remove the directories of one device; its task is the only one that does."""

    def __init__(
        self,
        db: Database,
        path: Path,
        layout: Layout,
        *,
        known: Callable[[int], Awaitable[KnownMailboxes]],
        prover: Callable[[], Awaitable[Prove]],
    ) -> None:
        """Ask `known` where the replicas of a device are, and before each change `prover` for what proves the root."""
        self._db = db
        self._path = path
        self._layout = layout
        self._known = known
        self._prover = prover
        self._wanted: dict[tuple[str, MailboxName], PurePosixPath | None] = {}
        self._in_place: int | None = None
        """Of which places it is known that all are where they are wanted."""

    async def settle(self, device_id: int) -> None:
        """Record what became of a directory that was about to be renamed when all ended; call it before any look."""
        while step := _announced((await self._known(device_id)).places):
            is_moved, is_known = await self._outcome(device_id, step)
            await self._settle_move(device_id, step, is_moved=is_moved, same=None if is_known else ())
            if is_moved:
                _log(step, Renaming.DONE)

    async def follow(self, device_id: int, still: Standstill) -> frozenset[str]:
        """Rename what has another name than its mailbox; return the accounts of which something was renamed."""
        moved: set[str] = set()
        stuck: dict[int, str] = {}
        while True:
            known = await self._known(device_id)
            if known.moves == self._in_place:
                return frozenset(moved)
            places = tuple(known.places)
            step = next_step({one.replica_id: one.directory for one in places}, self._targets(places, stuck))
            if step is None:
                break
            renaming = await self._rename(device_id, step, same=self._renamed_here(known, step))
            if renaming is Renaming.MISSING and step.replica_id in {one.replica_id for one in places if one.has_left}:
                move = partial(directories.move_left, replica_id=step.replica_id, target=step.target)
                await self._db.write(move)
            elif renaming in _WHY_NOT:
                stuck[step.replica_id] = _WHY_NOT[renaming]
            else:
                moved |= {one.account for one in places if one.replica_id == step.replica_id}
        if self._tell(places, stuck, still):
            self._in_place = known.moves
        return frozenset(moved)

    async def remove(self, replica_id: int, directory: PurePosixPath) -> bool:
        """Remove the directory of a mailbox that is gone, if nothing is left in it; tell whether it is."""
        if not await self._db.read(partial(directories.is_without_messages, replica_id=replica_id)):
            return False
        prove = await self._prover()
        if not await to_its_end(self._removed, directory, prove):
            return False
        await self._db.write(partial(directories.forget, replica_id=replica_id))
        log.info("directory_removed", replica=str(directory))
        return True

    async def _rename(self, device_id: int, step: Step, *, same: Collection[int]) -> Renaming:
        """Do one step; what ends it in between is settled before the next look.

        same: the replicas that a program put where the step does.
        """
        prove = await self._prover()
        renaming = await to_its_end(self._prepared, step, prove)
        if renaming in _WHY_NOT:
            return renaming
        known: Collection[int] | None = same
        if renaming is None:
            announce = partial(directories.announce_move, source=step.source, target=step.target)
            await self._db.write(partial(announce, device_id=device_id))
            renaming = await to_its_end(self._renamed, step, prove)
            known = () if renaming is Renaming.FOUND else None
        is_moved = renaming not in _WHY_NOT
        await self._settle_move(device_id, step, is_moved=is_moved, same=known)
        if is_moved:
            _log(step, renaming)
        return renaming

    async def _settle_move(self, device_id: int, step: Step, *, is_moved: bool, same: Collection[int] | None) -> None:
        target = step.target if is_moved else step.source
        settle = partial(directories.settle_move, source=step.source, target=target, same=same)
        await self._db.write(partial(settle, device_id=device_id))

    async def _outcome(self, device_id: int, step: Step) -> tuple[bool, bool]:
        """Return whether the directory of a step that was announced has its new name, and whether that is known."""
        prove = await self._prover()
        try:
            found = await asyncio.to_thread(self._whereabouts, step, prove)
            if found is not Whereabouts.ONE_OF_BOTH:
                return found is Whereabouts.RENAMED, True
            places = (await self._known(device_id)).places
            inside = [one for one in places if one.directory.is_relative_to(step.source)]
            files: set[str] = set()
            for one in inside:
                files.update(await self._db.read(partial(replica_tree.places, replica_id=one.replica_id)))
            old = [one.directory for one in inside]
            new = [step.target / one.relative_to(step.source) for one in old]
            return await asyncio.to_thread(self._has_moved, files, old, new, prove)
        except FileError as error:
            if error.reach is Reach.DEVICE:
                raise  # another time it can be told
            return False, False

    def _targets(self, places: Iterable[Place], stuck: Collection[int]) -> Mapping[int, PurePosixPath]:
        """Return where the replicas should be that can be anywhere else than they are."""
        return {
            one.replica_id: directory
            for one in places
            if one.replica_id not in stuck and (directory := self._directory_of(one)) is not None
        }

    def _directory_of(self, place: Place) -> PurePosixPath | None:
        named = place.account, place.name
        if named not in self._wanted:
            try:
                self._wanted[named] = self._layout.directory(*named)
            except MailboxNameError:
                self._wanted[named] = None
        return self._wanted[named]

    def _tell(self, places: Iterable[Place], stuck: Mapping[int, str], still: Standstill) -> bool:
        """Show which directories have another name than their mailbox, and why; tell whether none has."""
        still.forget_notes()
        is_any = False
        for one in places:
            wanted = self._directory_of(one)
            if wanted != one.directory:
                why = _NO_NAME if wanted is None else stuck.get(one.replica_id, _NAME_TAKEN)
                still.note(one.mailbox_id, f"{one.account}/{one.name}", why)
                is_any = True
        return not is_any

    def _renamed_here(self, known: KnownMailboxes, step: Step) -> frozenset[int]:
        """Return the replicas whose directories a program has renamed as a step does, by what is on record."""
        names = {one.mailbox_id: one.name for one in known.changes if one.kind is ChangeKind.RENAME}
        return frozenset(
            one.replica_id
            for one in known.places
            if names.get(one.mailbox_id) == one.name
            and one.directory.is_relative_to(step.source)
            and step.target / one.directory.relative_to(step.source) == self._directory_of(one)
        )

    def _prepared(self, step: Step, prove: Prove) -> Renaming | None:
        """Return what a program has done to the directory of a step already, or why nothing is to be done, or None."""
        with ReplicaRoot(self._path) as root:
            prove(root)
            with suppress(FileError):
                before = renamed_before(root, step.source, step.target)
                return before or (None if make_way(root, step.source, step.target) else Renaming.TAKEN)
        return None

    def _whereabouts(self, step: Step, prove: Prove) -> Whereabouts:
        with ReplicaRoot(self._path) as root:
            prove(root)
            found = whereabouts(root, step.source, step.target)
            prove(root)
            return found

    def _has_moved(
        self, files: Collection[str], old: Iterable[PurePosixPath], new: Iterable[PurePosixPath], prove: Prove
    ) -> tuple[bool, bool]:
        with ReplicaRoot(self._path) as root:
            prove(root)
            (in_old, is_all_of_old), (in_new, is_all_of_new) = _files_in(root, old), _files_in(root, new)
        is_moved, is_certain = has_moved(files, in_old, in_new)
        return is_moved, is_certain and is_all_of_old and is_all_of_new

    def _renamed(self, step: Step, prove: Prove) -> Renaming:
        with ReplicaRoot(self._path) as root:
            prove(root)
            return rename_directory(root, step.source, step.target)

    def _removed(self, directory: PurePosixPath, prove: Prove) -> bool:
        with ReplicaRoot(self._path) as root:
            prove(root)
            return remove_mailbox(root, directory)


def _announced(places: Iterable[Place]) -> Step | None:
    """Return the step that was about to be done, with which all goes that is inside; None if there is none."""
    marked = [(one.directory, one.moving_to, one.replica_id) for one in places if one.moving_to is not None]
    if not marked:
        return None
    source, target, replica_id = min(marked, key=lambda one: len(one[0].parts))
    return Step(replica_id, source, target)


def _files_in(root: ReplicaRoot, directories: Iterable[PurePosixPath]) -> tuple[frozenset[str], bool]:
    """Return the names of the files in what there is of directories, and whether each could be listed."""
    names: set[str] = set()
    is_all = True
    for one in directories:
        try:
            if not (root.is_absent(one) or root.is_bare(one)):
                names.update(file.name for file in list_mailbox(root, one).files)
        except FileError as error:
            if error.reach is Reach.DEVICE:
                raise
            is_all = False
    return frozenset(names), is_all


def _log(step: Step, how: Renaming) -> None:
    log.info("directory_renamed", replica=str(step.source), to=str(step.target), how=how.value)
