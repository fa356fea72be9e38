"""Floor 4: the directories of one device follow their mailboxes: renamed where these were, removed where they are gone.

Theory. A renamed mailbox keeps its rows, so that all there is to do on a device is to rename a directory, whenever the
device is there. Where that cannot be, because another directory has the name, or a disk does not take it, the mailbox
is synced in its old directory until it can. That is no error, but it is shown. Where the directory has its new name
already, and it was not a program of this device that gave it, nobody knows who put it there, and what it lacks may
never have come: it is looked at as for the first time.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath

from syncd.errors import FileError, MailboxNameError
from syncd.log import log
from syncd.mail.mailbox import MailboxName
from syncd.maildir.directories import Renaming, remove_mailbox, rename_directory, renamed_before
from syncd.maildir.layout import Layout
from syncd.maildir.root import ReplicaRoot
from syncd.reconcile.directories import Step, next_step
from syncd.store.engine.database import Database
from syncd.store.mailboxes import directories
from syncd.store.mailboxes.directories import Place
from syncd.store.mailboxes.mailbox_changes import ChangeKind
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
        """Do one step; what ends it in between leaves the replicas as not looked at, and is found the next time.

        same: the replicas that a program put where the step does.
        """
        prove = await self._prover()
        renaming = await asyncio.to_thread(self._done_before, step, prove)
        if renaming is Renaming.MISSING:
            return renaming
        target = step.target
        if renaming is Renaming.FOUND:
            # NOTE: in one transaction, for what a program took out of it since is to be missing after a kill as well.
            found = partial(directories.record_found, device_id=device_id, source=step.source, target=target, same=same)
            await self._db.write(found)
        else:
            begin = partial(directories.begin_move, device_id=device_id, source=step.source)
            listed_at = await self._db.write(begin)
            renaming = await to_its_end(self._renamed, step, prove)
            if renaming is Renaming.FOUND:
                listed_at = dict.fromkeys(listed_at)
            elif renaming in _WHY_NOT:
                target = step.source
            settle = partial(directories.settle_move, source=step.source, target=target, listed_at=listed_at)
            await self._db.write(settle)
        if target is not step.source:
            log.info("directory_renamed", replica=str(step.source), to=str(target), how=renaming.value)
        return renaming

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

    def _done_before(self, step: Step, prove: Prove) -> Renaming | None:
        """Return what a program has done to the directory of a step already, None where there is something to do."""
        with ReplicaRoot(self._path) as root:
            prove(root)
            with suppress(FileError):
                return renamed_before(root, step.source, step.target)
        return None

    def _renamed(self, step: Step, prove: Prove) -> Renaming:
        with ReplicaRoot(self._path) as root:
            prove(root)
            return rename_directory(root, step.source, step.target)

    def _removed(self, directory: PurePosixPath, prove: Prove) -> bool:
        with ReplicaRoot(self._path) as root:
            prove(root)
            return remove_mailbox(root, directory)
