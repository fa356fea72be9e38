"""Floor 4: the second look of a device at files that it misses: only what is missing again, a while later, is deleted.

Theory (law 2). A look that does not find a file says only that it is missing. `settle` later, by a clock that nobody
sets, one descriptor of the root is opened, its marker is read through it, and through it every mailbox is listed
completely. What is still missing then is deleted, on all mailboxes of the device in one transaction, so that the guard
sees the whole of it. A listing that is not complete, or a name that two files have, lets the wait begin again, each
time for twice as long; so does, for the usual time, a restart or another attachment. What went because the device
moved it is not deleted; it is looked for again when the device has done something else.

`settle` is for programs that are in the middle of their work: that take a file away before they put its successor in
place. Who asks for a sync says that none is, so that the second look follows *at once*; it proves as much.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from sqlalchemy import Connection

from syncd.errors import DeviceAwayError, SyncdError
from syncd.log import log
from syncd.mail.tree import ReplicaMessage
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.news.sweep import Sweep
from syncd.store.engine.database import Database
from syncd.store.files import deletions
from syncd.store.files.added_files import AddedFile
from syncd.store.files.deletions import MissingFile
from syncd.sync.device.attachment import Prove
from syncd.sync.device.directory_changes import DirectoryChanges
from syncd.sync.device.files import DeviceFiles
from syncd.sync.device.known_mailboxes import Served
from syncd.sync.device.sightings import Seen, place_of, see
from syncd.sync.device.standstill import Standstill
from syncd.sync.device.unsynced_moves import UnsyncedMoves

_LONGEST_WAIT_S = 3600.0


class _Wanted(NamedTuple):
    served: Served
    rows: Mapping[str, ReplicaMessage]
    added: Sequence[AddedFile]
    is_removed: bool


class SecondLook:
    """Know the missing files of one device, and since when this process misses them; the device's task uses it."""

    def __init__(
        self,
        db: Database,
        path: Path,
        files: DeviceFiles,
        *,
        settle_s: float,
        is_read_only: bool = False,
        prover: Callable[[], Awaitable[Prove]],
        clock: Callable[[], float],
        directories: DirectoryChanges,
    ) -> None:
        """Call `prover` before each look for what proves the root as it is to be by then.

        is_read_only: the device moves nothing, so that a file which went is not waited for where another came.
        directories: tells where else files may be, and which mailboxes have no directory any more.
        """
        self._db = db
        self._path = path
        self._files = files
        self._settle_s = settle_s
        self._is_read_only = is_read_only
        self._prover = prover
        self._clock = clock
        self._directories = directories
        self._accounts: Mapping[int, str] = {}
        self._since: dict[MissingFile, float] = {}
        self._unclear: Counter[MissingFile] = Counter()
        self._sweep = Sweep(path)
        self._moves = UnsyncedMoves(db)
        self._moved: frozenset[int] = frozenset()

    def begin_anew(self) -> None:
        """Let every wait begin again: the root was not watched."""
        self._since.clear()
        self._unclear.clear()

    async def note(self, device_id: int, served: Sequence[Served], *, is_news: bool = True) -> None:
        """Read which files are missing; is_news: the device did something, so what it moved may be told by now."""
        now = asyncio.get_running_loop().time()
        served = [*served, *await self._directories.removed(device_id)]
        self._accounts = here = {one.mailbox.id: one.account for one in served}
        found = await self._db.read(partial(deletions.missing_files, device_id=device_id))
        self._since = {file: self._since.get(file, now) for file in found if file.mailbox_id in here}
        if is_news:
            self._moved = frozenset()
        self._unclear = Counter({file: count for file, count in self._unclear.items() if file in self._since})

    def hurry(self) -> None:
        """Look for what seems to be moved as well, and wait no longer where a look could not tell: somebody asks."""
        self._moved = frozenset()
        self._unclear.clear()

    def wait_s(self, still: Standstill, *, at_once: bool = False) -> float | None:
        """Return the time until the first file may be looked for again; None: nothing is missing.

        at_once: now, but for those of which a second look could not tell since anybody asked.
        """
        now = asyncio.get_running_loop().time()
        waits = [
            max(since + self._wait_of(file, at_once=at_once) - now, 0.0)
            for file, since in self._since.items()
            if self._may_be_due(file, still)
        ]
        return min(waits, default=None)

    async def run(
        self,
        device_id: int,
        served: Sequence[Served],
        still: Standstill,
        accounts: set[str],
        *,
        at_once: bool = False,
        is_all_recorded: bool = False,
    ) -> None:
        """Look again for the files whose time has come, and add the accounts that have something to do by that.

        is_all_recorded: what the device did in any mailbox is, so that nobody need look for it there.
        """
        due = self._due(still, at_once=at_once)
        if not due:
            return
        if not is_all_recorded:
            await self._look_elsewhere(served, still, accounts)
        wanted: list[_Wanted] = []
        removed = await self._directories.removed(device_id)
        for one in (*served, *removed):
            ids = [file.file_id for file in due if file.mailbox_id == one.mailbox.id]
            if ids:
                rows = await self._db.read(partial(deletions.missing_rows, of=one.replica, file_ids=ids))
                added = () if self._is_read_only else await self._moves.added(device_id, one.mailbox.account_id)
                wanted.append(_Wanted(one, rows, added, is_removed=one in removed))
        prove, began = await self._prover(), self._clock()
        looks = await asyncio.to_thread(self._look, wanted, prove)
        strange = {one.account: await self._directories.names_elsewhere(one.account) for one, *_ in wanted}
        gone: list[tuple[Served, list[int]]] = []
        unclear: set[int] = set()
        moved: frozenset[int] = frozenset()
        for (one, rows, added, _), seen in zip(wanted, looks, strict=True):
            with still.guard(one.mailbox.id, one.where):
                if isinstance(seen, SyncdError):
                    raise seen
                if seen.found and await self._files.look(one.replica, seen.found):
                    accounts.add(one.account)  # what was added elsewhere may have waited for that
                unclear |= {row.id for name, row in rows.items() if name not in seen.looked_for}
                not_there = {name: rows[name] for name in seen.looked_for - seen.found.keys()}
                moved |= await self._moves.moved(not_there, added)
                moved |= {row.id for name, row in not_there.items() if name in strange[one.account]}
                gone.append((one, [row.id for row in not_there.values() if row.id not in moved]))
        gone = [(one, ids) for one, ids in gone if ids]
        if gone:
            accounts |= {one.account for one, _ in gone}  # a write that nobody waits for any more is done all the same
            await self._db.write(partial(_conclude, gone=gone, listed_at=began))
            for one, ids in gone:
                log.info("deletions_concluded", replica=one.replica.directory, count=len(ids))
        for file in due:
            del self._since[file]
            self._unclear[file] += file.file_id in unclear
        await self.note(device_id, served)  # what is missing still begins anew
        self._moved = moved

    async def _look_elsewhere(self, served: Sequence[Served], still: Standstill, accounts: set[str]) -> None:
        """Record what the device did in other mailboxes, and add the accounts that have something to do by that."""
        swept = await asyncio.to_thread(self._sweep.changed)
        changed = [one for one in served if PurePosixPath(one.replica.directory) in swept]
        seen = await self._files.unchanged(one.replica for one in changed) if changed else frozenset()
        for one in changed:
            if one.replica.id not in seen and one.mailbox.id not in still:
                with still.guard(one.mailbox.id, one.where):
                    accounts |= {one.account} if await self._files.observe_all(one.replica) else set()

    def _due(self, still: Standstill, *, at_once: bool) -> list[MissingFile]:
        now = asyncio.get_running_loop().time()
        return [
            file
            for file, since in self._since.items()
            if since + self._wait_of(file, at_once=at_once) <= now and self._may_be_due(file, still)
        ]

    def _may_be_due(self, file: MissingFile, still: Standstill) -> bool:
        if file.mailbox_id in still or file.file_id in self._moved:
            return False
        return not self._directories.has_unlooked(self._accounts[file.mailbox_id], still)

    def _wait_of(self, file: MissingFile, *, at_once: bool) -> float:
        tries = self._unclear[file]
        if not tries:
            return 0.0 if at_once else self._settle_s
        return min(max(self._settle_s, 1.0) * 2.0 ** min(tries, 12), _LONGEST_WAIT_S)

    def _look(self, wanted: Sequence[_Wanted], prove: Prove) -> list[Seen | SyncdError]:
        looks: list[Seen | SyncdError] = []
        with ReplicaRoot(self._path) as root:
            prove(root)
            self._moves.read(root, list(dict.fromkeys(file for one in wanted for file in one.added)))
            for one in wanted:
                of = one.served.replica
                files = [place_of(row) for row in one.rows.values()]
                keywords = self._files.keywords.of(of)
                if one.is_removed:
                    looks.append(_seen_without_directory(root, PurePosixPath(of.directory), one.rows))
                    continue
                try:
                    looks.append(see(root, PurePosixPath(of.directory), files, one.rows, keywords))
                except DeviceAwayError:
                    raise
                except SyncdError as error:
                    looks.append(error)
            prove(root)
        return looks


def _seen_without_directory(root: ReplicaRoot, directory: PurePosixPath, names: Iterable[str]) -> Seen:
    """Return what is seen where a whole directory was removed: none of its files, or nothing that says anything."""
    try:
        lacks = root.lacks(directory)
    except SyncdError:
        lacks = False
    return Seen({}, frozenset(names) if lacks else frozenset())


def _conclude(conn: Connection, *, gone: Sequence[tuple[Served, list[int]]], listed_at: float) -> None:
    for one, ids in gone:
        deletions.conclude(conn, one.replica, ids, listed_at=listed_at)
