"""Floor 4: the first look at a replica that was made, adopted or selected again: what is there counts, nothing else.

Theory. Nobody knows what happened before, so nothing is concluded from what is missing. Each file is compared with the
row of its name, and where there is none, or the file is another, by its octets: one that we once removed is removed
again, the body of any other goes into the store, from where its message finds it, so that it is neither delivered nor
fetched nor uploaded. Interrupted, the next first look goes on where this one was.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from sqlalchemy import Connection

from syncd.errors import FileError, Reach, Temper
from syncd.log import log
from syncd.mail.tree import BodyForm, ReplicaMessage, ReplicaState
from syncd.maildir.disk.files import FileFacts
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.naming.keywords import KeywordMap
from syncd.maildir.news.observe import list_mailbox, seen_now
from syncd.reconcile.changes import Sighting
from syncd.store.bodies import bodies
from syncd.store.bodies.encoding import EncodedBody
from syncd.store.engine.database import Database
from syncd.store.files import adoption, found_files
from syncd.store.files.adoption import KnownFile, Looked, ReturnedFile
from syncd.store.files.found_files import FoundFile
from syncd.sync.body_batches import encoded_on_thread
from syncd.sync.device.contents import Content, batches, encoded_bodies, read_contents
from syncd.sync.device.files import DeviceFiles
from syncd.sync.device.known_mailboxes import Served
from syncd.sync.device.sightings import sighting_of
from syncd.values import Record, field

_LISTINGS_MAX = 5
Prove = Callable[[ReplicaRoot], None]
"""Raises DeviceAwayError unless the marker in an open root is the one that the store expects."""


class _Sorted(Record):
    """Say what a listing has: files as their rows have them, files to be read by name, and rows without a file."""

    there: list[KnownFile] = field(default_factory=list)
    to_read: dict[str, Sighting] = field(default_factory=dict)
    not_there: list[ReplicaMessage] = field(default_factory=list)


class FirstLook:
    """Look for the first time at replicas of one device; the device's task uses it."""

    def __init__(
        self,
        db: Database,
        path: Path,
        files: DeviceFiles,
        *,
        prover: Callable[[], Awaitable[Prove]],
        clock: Callable[[], float],
    ) -> None:
        self._db = db
        self._path = path
        self._files = files
        self._prover = prover
        self._clock = clock

    async def run(self, served: Served) -> int:
        """Compare a whole replica with its rows and bodies; return how many files that concerned."""
        of, directory = served.replica, PurePosixPath(served.replica.directory)
        await self._files.keywords.read(of)
        began, prove = self._clock(), await self._prover()
        rows = await self._db.read(partial(adoption.all_files, replica_id=of.id))
        found = await asyncio.to_thread(self._sorted, directory, rows, self._files.keywords.of(of), prove)
        ours = await self._expected(served, found, rows)
        returned: list[ReturnedFile] = []
        count = 0
        for batch in batches(found.to_read.values()):
            others: list[Content] = []
            swept: list[tuple[Content, int]] = []
            for content in await asyncio.to_thread(self._read, directory, batch, prove):
                name = content.seen.name
                row, expected = rows.get(name), ours.get(name)
                form = None if expected is None else content.form_of(expected.digest)
                if form is None or expected is None:
                    others.append(content)
                elif row is None:
                    returned.append(ReturnedFile(content.seen, expected.message_id, form))
                    is_tagged = expected.digest != content.untagged.digest
                    again = content.with_line_of_mbsync() if is_tagged else content
                    swept += [(again, expected.message_id)] if expected.is_swept else []
                else:
                    found.there.append(KnownFile(row, content.seen, form))
            count += await self._take_in(served, directory, others, rows, prove)
            await self._store_again(directory, swept, prove)
        looked = Looked(found.there, returned, found.not_there, began)
        count += await self._db.write(partial(adoption.unite, of=of, looked=looked))
        if count:
            log.info("replica_adopted", replica=of.directory, files=len(rows) or count, missing=len(found.not_there))
        return count

    def _sorted(
        self, directory: PurePosixPath, rows: Mapping[str, ReplicaMessage], keywords: KeywordMap, prove: Prove
    ) -> _Sorted:
        with ReplicaRoot(self._path) as root:
            prove(root)
            for _ in range(_LISTINGS_MAX):
                listing = list_mailbox(root, directory)
                if listing.is_complete:
                    break
            else:
                raise FileError(
                    "another program changes the directory all the time", reach=Reach.MAILBOX, temper=Temper.RETRY
                )
            unclear = listing.unclear
            files = [file for file in listing.files if file.name not in unclear]
            found = _Sorted()
            for file, facts in seen_now(root, directory, files):
                if isinstance(facts, FileFacts):
                    _sort(found, rows.get(file.name), sighting_of(file, facts, keywords))
        listed = {file.name for file in listing.files} | unclear
        found.not_there += [row for name, row in rows.items() if name not in listed and not _is_own(row)]
        return found

    async def _expected(
        self, served: Served, found: _Sorted, rows: Mapping[str, ReplicaMessage]
    ) -> Mapping[str, adoption.Returned]:
        """Return what the files that are to be read hold if they are the messages of their rows, or removed by us."""
        messages = {name: id_ for name in found.to_read if (row := rows.get(name)) and (id_ := row.message_id)}
        digests = await self._db.read(partial(adoption.digests_of, message_ids=list(messages.values())))
        names = found.to_read.keys() - rows.keys()
        removed = await self._db.read(partial(adoption.removed_by_us, of=served.replica, names=names))
        known = {name: adoption.Returned(digests[id_], id_) for name, id_ in messages.items() if id_ in digests}
        return {**removed, **known}

    async def _take_in(
        self,
        served: Served,
        directory: PurePosixPath,
        contents: Sequence[Content],
        rows: Mapping[str, ReplicaMessage],
        prove: Prove,
    ) -> int:
        """Put the bodies of files into the store, and record that they were found, in one transaction."""
        if not contents:
            return 0
        digests = {content.untagged.digest for content in contents}
        known = await self._db.read(partial(bodies.body_ids, digests=digests))
        new = {one.untagged.digest: one for one in contents if one.untagged.digest not in known}
        encode = partial(self._encoded, directory, list(new.values()), prove)
        made = await encoded_on_thread(encode) if new else ()
        files = [
            FoundFile(one.seen, one.identities, row.id if (row := rows.get(one.seen.name)) else None)
            for one in contents
        ]
        try:
            record = partial(self._record, served=served, files=files, made=made)
            await self._db.write(record, weight_bytes=sum(one.stored_bytes for one in made))
        finally:
            for one in made:
                one.close()
        return len(files)

    async def _store_again(self, directory: PurePosixPath, swept: Sequence[tuple[Content, int]], prove: Prove) -> None:
        """Put the bodies of files that are to be removed once more into the store, which has swept them meanwhile."""
        if not swept:
            return
        made = await encoded_on_thread(partial(self._encoded, directory, [content for content, _ in swept], prove))
        message_ids = [message_id for _, message_id in swept]

        def record(conn: Connection) -> None:
            ids = bodies.put_bodies(conn, made, now=self._clock())
            adoption.bind_again(conn, dict(zip(message_ids, ids, strict=True)))

        try:
            await self._db.write(record, weight_bytes=sum(one.stored_bytes for one in made))
        finally:
            for one in made:
                one.close()

    def _record(
        self, conn: Connection, *, served: Served, files: Sequence[FoundFile], made: Sequence[EncodedBody]
    ) -> None:
        now = self._clock()
        bodies.put_bodies(conn, made, now=now)
        found_files.record_found(conn, served.replica, files, account_id=served.mailbox.account_id, now=now)

    def _read(self, directory: PurePosixPath, batch: Sequence[Sighting], prove: Prove) -> list[Content]:
        with ReplicaRoot(self._path) as root:
            prove(root)
            return read_contents(root, directory, batch)

    def _encoded(self, directory: PurePosixPath, contents: Sequence[Content], prove: Prove) -> tuple[EncodedBody, ...]:
        with ReplicaRoot(self._path) as root:
            prove(root)
            return encoded_bodies(root, directory, contents)


def _sort(found: _Sorted, row: ReplicaMessage | None, seen: Sighting) -> None:
    """Put a file where it belongs; what we were about to remove or to write anew is left to the round."""
    if row is None:
        found.to_read[seen.name] = seen
        return
    if _is_own(row):
        return  # added by the device, and looked at like any other
    is_as_recorded = (row.size_bytes, row.mtime) == (seen.size_bytes, seen.mtime)
    is_torn = row.state is ReplicaState.DELIVERING and (seen.size_bytes or 0) < row.size_bytes
    if row.state is ReplicaState.WITHDRAWN or is_torn:
        return
    # NOTE: what the server has otherwise than the device no digest tells.
    is_own_form = row.form is BodyForm.OWN and row.size_bytes == seen.size_bytes
    if is_as_recorded or is_own_form:
        found.there.append(KnownFile(row, seen, row.form))
    else:
        found.to_read[seen.name] = seen


def _is_own(row: ReplicaMessage) -> bool:
    return row.message_id is None and row.state is not ReplicaState.FOUND
