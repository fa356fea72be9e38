"""Floor 4: files that appeared in a replica and are not new: one that we removed, or that we were just delivering.

Theory. Both are told by their octets, with their name or their date. A delivery is settled a moment after its file is
there. If everything ends in between, and a program has given the file another name, the row takes that name, or the
next round would write the file once more. A file that is in another mailbox by then was delivered and is missing since,
and new where it is: so it is moved. There its very name has to tell, which only that delivery has, or its octets where
no other message has the same: else these may be two messages, of which one was never written.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from sqlalchemy import Connection

from syncd.errors import FileError
from syncd.log import log
from syncd.mail.tree import ReplicaMessage
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.naming.keywords import KeywordMap
from syncd.maildir.news.observe import called_in
from syncd.reconcile.changes import Appeared, Change, Sighting
from syncd.store.engine.database import Database
from syncd.store.files import adoption
from syncd.store.files.adoption import ReturnedFile
from syncd.store.rounds import deliveries
from syncd.store.rounds.deliveries import Unsettled
from syncd.store.trees.devices import ReplicaRow
from syncd.sync.device.attachment import Prove
from syncd.sync.device.contents import Content, batches, read_contents
from syncd.sync.device.sightings import see

_Facts = tuple[int | None, int | None]


class Appearances:
    """Know of files that appeared in the replicas of one device which messages they have."""

    def __init__(
        self, db: Database, path: Path, *, prover: Callable[[], Awaitable[Prove]], clock: Callable[[], float]
    ) -> None:
        """Take the path of the root, and what is called before each reading for what proves it."""
        self._db = db
        self._path = path
        self._prover = prover
        self._clock = clock

    async def record(self, of: ReplicaRow, changes: Iterable[Change], keywords: KeywordMap) -> frozenset[Change]:
        """Record what files are that are not new, and return those changes.

        Of those that are new it records what they say of other mailboxes.
        """
        new = {change.seen.name: change for change in changes if isinstance(change, Appeared)}
        if not new:
            return frozenset()
        unsettled = await self._db.read(partial(deliveries.unsettled_deliveries, device_id=of.device_id))
        here = [one for one in unsettled if one.replica_id == of.id]
        delivered = await self._delivered(of, here, [one.seen for one in new.values()], keywords)
        left = {name: one.seen for name, one in new.items() if name not in delivered}
        others = [one for one in unsettled if one.replica_id != of.id]
        alike = _by_facts(left.values() if others else ())
        elsewhere = [(one, seen) for one in others for seen in _may_be(one, left, alike)]
        await self._record_moved(of, elsewhere)
        returned = await self._returned(of, left)
        return frozenset(new[name] for name in delivered | returned)

    async def _delivered(
        self, of: ReplicaRow, unsettled: Sequence[Unsettled], new: Sequence[Sighting], keywords: KeywordMap
    ) -> frozenset[str]:
        """Record which of these files have messages of which deliveries were interrupted, and return their names."""
        facts = {_facts_of(seen) for seen in new}
        wanted = [one for one in unsettled if _facts_of(one.file) in facts]
        if not wanted:
            return frozenset()
        facts = {_facts_of(one.file) for one in wanted}
        alike = [seen for seen in new if _facts_of(seen) in facts]
        find = partial(self._find, of, wanted, alike, keywords=keywords, prove=await self._prover())
        names = await asyncio.to_thread(find)
        if names:
            await self._db.write(partial(deliveries.rename_unsettled, names=names))
            log.info("deliveries_found", replica=of.directory, count=len(names))
        return frozenset(names.values())

    def _find(
        self,
        of: ReplicaRow,
        wanted: Collection[Unsettled],
        alike: Sequence[Sighting],
        *,
        keywords: KeywordMap,
        prove: Prove,
    ) -> Mapping[int, str]:
        """Return the names that files have by now, by row id, of those that are not there under their own."""
        with ReplicaRoot(self._path) as root:
            seen = see(root, PurePosixPath(of.directory), (), {one.file.name: one.file for one in wanted}, keywords)
            prove(root)  # by the same descriptor: a file is missing only in a root that is ours
            gone = [one for one in wanted if one.file.name in seen.looked_for - seen.found.keys()]
            names: dict[int, str] = {}
            for content in self._contents(root, of.directory, alike if gone else ()):
                for one in gone:
                    if one.file.id not in names and _is_of(content, one):
                        names[one.file.id] = content.seen.name
                        break
            return names

    async def _record_moved(self, of: ReplicaRow, found: Sequence[tuple[Unsettled, Sighting]]) -> None:
        """Record that files of interrupted deliveries, which may be here, went from other mailboxes."""
        if not found:
            return
        moved = await asyncio.to_thread(self._moved, of, found, await self._prover())
        if moved:
            await self._db.write(partial(deliveries.settle_as_missing, file_ids=moved, now=self._clock()))
            log.info("deliveries_found", replica=of.directory, count=len(moved))

    def _moved(self, of: ReplicaRow, found: Sequence[tuple[Unsettled, Sighting]], prove: Prove) -> Sequence[int]:
        """Return the deliveries, by row id, of which a file is here and none where it was delivered."""
        with ReplicaRoot(self._path) as root:
            prove(root)  # by the same descriptor: a file is missing only in a root that is ours
            wanted = dict.fromkeys(seen for _, seen in found)
            read = {one.seen: one for one in self._contents(root, of.directory, wanted)}
            ours = dict.fromkeys(one for one, seen in found if seen in read and _is_of(read[seen], one))
            still = _still_there(root, ours)
            return [one.file.id for one in ours if one not in still]

    async def _returned(self, of: ReplicaRow, new: Mapping[str, Sighting]) -> frozenset[str]:
        """Record which files of those that appeared we have removed before, so that they are removed again.

        A backup brings them back, or a program that copies; the same name and octets are no new message. What is
        missing beside them may never have been in that backup, so all is looked at as for the first time.
        """
        ask = partial(adoption.removed_by_us, of=of, names=list(new), is_first=False)
        removed = await self._db.read(ask) if new else {}
        if not removed:
            return frozenset()
        contents = await asyncio.to_thread(self._read, of.directory, [new[name] for name in removed])
        ours = {one.seen: removed[one.seen.name] for one in contents}
        again = {one.seen: form for one in contents if (form := one.form_of(ours[one.seen].digest)) is not None}
        kept = [
            ReturnedFile(seen, ours[seen].message_id, form) for seen, form in again.items() if not ours[seen].is_swept
        ]
        # NOTE: what was swept is only left out here: the first look that comes now puts it into the store once more.
        swept = frozenset(seen.name for seen in again if ours[seen].is_swept)
        names = await self._db.write(partial(_record_returned, of=of, returned=kept, swept=swept))
        if names:
            log.info("removed_files_returned", replica=of.directory, count=len(names))
        return names

    def _read(self, directory: str, seen: Sequence[Sighting]) -> list[Content]:
        with ReplicaRoot(self._path) as root:
            return list(self._contents(root, directory, seen))

    def _contents(self, root: ReplicaRoot, directory: str, seen: Collection[Sighting]) -> Iterator[Content]:
        for batch in batches(seen):
            yield from read_contents(root, PurePosixPath(directory), batch)


def _facts_of(file: Sighting | ReplicaMessage) -> _Facts:
    return file.size_bytes, file.mtime


def _is_of(content: Content, one: Unsettled) -> bool:
    return _facts_of(content.seen) == _facts_of(one.file) and content.form_of(one.digest) is one.file.form


def _by_facts(files: Iterable[Sighting]) -> Mapping[_Facts, Sequence[Sighting]]:
    found: dict[_Facts, list[Sighting]] = {}
    for seen in files:
        found.setdefault(_facts_of(seen), []).append(seen)
    return found


def _may_be(
    one: Unsettled, new: Mapping[str, Sighting], alike: Mapping[_Facts, Sequence[Sighting]]
) -> Collection[Sighting]:
    """Return those of the files that are new in another mailbox which a delivery may have written."""
    if one.file.name in new:
        return (new[one.file.name],)
    return alike.get(_facts_of(one.file), ()) if one.is_only else ()


def _still_there(root: ReplicaRoot, files: Collection[Unsettled]) -> Collection[Unsettled]:
    """Return the files that are where they were delivered, or may be."""
    there: list[Unsettled] = []
    for directory in {one.directory for one in files}:
        here = {one.file.name: one for one in files if one.directory == directory}
        try:
            called = called_in(root, PurePosixPath(directory), here)
        except FileError:
            there += here.values()
            continue
        there += (here[file.name] for file in called.files) if called.is_complete else here.values()
    return there


def _record_returned(
    conn: Connection, *, of: ReplicaRow, returned: Sequence[ReturnedFile], swept: frozenset[str]
) -> frozenset[str]:
    names = adoption.record_returned(conn, of, returned) | swept
    if names:
        adoption.doubt(conn, of.device_id)
    return names
