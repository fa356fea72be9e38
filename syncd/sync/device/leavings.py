"""Floor 4: the mailboxes that a device does not take any more, brought to their end: nothing known is left of them.

Theory. Their files go by the rounds of their replicas, for a device that takes nothing (`reconcile.planner`). What is
done here is what comes before and after that. A directory that somebody has removed already needs no round. A replica
without a file is recorded as having left, and only then its directory goes, if nothing of anybody else is in it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from syncd.errors import DeviceAwayError, SyncdError
from syncd.log import log
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.effects.directories import remove_empty_parents, remove_mailbox
from syncd.store.engine.database import Database
from syncd.store.rounds import leaving
from syncd.sync.device.attachment import Prove
from syncd.sync.device.known_mailboxes import Served
from syncd.sync.device.mailboxes import DeviceMailboxes
from syncd.sync.device.thread import to_its_end


class Leavings:
    """Know how replicas of one device begin and end to leave; its task uses it."""

    def __init__(
        self, db: Database, path: Path, mailboxes: DeviceMailboxes, *, prover: Callable[[], Awaitable[Prove]]
    ) -> None:
        """Call `prover` for what proves a root that is open."""
        self._db = db
        self._path = path
        self._mailboxes = mailboxes
        self._prover = prover

    async def clean(self, device_id: int) -> None:
        """Remove the directories of what has left that an interruption spared, or that had something else in them."""
        left = await self._mailboxes.have_left(device_id)
        if left:
            await to_its_end(self._remove, [one.directory for one in left], await self._prover())

    async def begin(self, device_id: int) -> None:
        """Forget the files of directories that are gone already."""
        gone = await self._without_directory(await self._mailboxes.leaving(device_id))
        for one in gone:
            await self._db.write(partial(leaving.forget_files, of=one.replica))
        if gone:
            await self.end(device_id)

    async def end(self, device_id: int) -> None:
        """Record which replicas have left, and remove their directories."""
        empty = await self._db.read(partial(leaving.without_files, device_id=device_id))
        if not empty:
            return
        left = [one.replica for one in await self._mailboxes.leaving(device_id) if one.replica.id in empty]
        await self._db.write(partial(leaving.mark_left, replica_ids=[one.id for one in left]))
        await to_its_end(self._remove, [one.directory for one in left], await self._prover())
        log.info("mailboxes_left", replicas=[one.directory for one in left])

    async def _without_directory(self, served: Sequence[Served]) -> Sequence[Served]:
        if not served:
            return ()
        there = await asyncio.to_thread(self._there, [one.replica.directory for one in served], await self._prover())
        return [one for one in served if one.replica.directory not in there]

    def _there(self, directories: Iterable[str], prove: Prove) -> frozenset[str]:
        with ReplicaRoot(self._path) as root:
            prove(root)
            return frozenset(one for one in directories if _has(root, one))

    def _remove(self, directories: Iterable[str], prove: Prove) -> None:
        with ReplicaRoot(self._path) as root:
            prove(root)
            for one in directories:
                try:
                    if remove_mailbox(root, PurePosixPath(one)):
                        remove_empty_parents(root, PurePosixPath(one))
                except DeviceAwayError:
                    raise
                except SyncdError as error:
                    log.warning("directory_not_removed", replica=one, error=str(error))  # no mail is in it


def _has(root: ReplicaRoot, directory: str) -> bool:
    try:
        at = PurePosixPath(directory)
        return not (root.is_absent(at) or root.lacks(at))  # if a disk is away, nothing of it is deleted anywhere
    except DeviceAwayError:
        raise
    except SyncdError:
        return True  # its round says what the matter is
