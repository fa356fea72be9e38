"""Floor 4: the files that a device added or rewrote, taken into the store once nobody writes them any more.

Theory. A file is ripe when it stayed as it was for `settle`, by a clock that nobody sets, or for a moment where
somebody asks for it, if need be by what its file system says; at once then where it was put in its place as a whole, as
a message is that was written in tmp/, and nobody has written to it since. Then its octets become a body, line ends as
mail has them, and from there on the file can be lost. A file with the octets of a message that the account has, but for
notes that programs keep in header fields of their own, is a copy of that message. A file that was rewritten in place is
a new one, and its message stays where it is; of a draft it is the newer version, and replaces it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from pathlib import Path

from sqlalchemy import Connection

from syncd.errors import SyncdError
from syncd.log import log
from syncd.mail.message import BodyFacts, bare_digest
from syncd.mail.tree import BodyForm
from syncd.maildir.disk.files import FileFacts
from syncd.maildir.naming.keywords import KeywordMap
from syncd.maildir.naming.names import FileName, mint, unknown_letters
from syncd.maildir.news.changes import Changes
from syncd.store.bodies import bodies
from syncd.store.engine.database import Database
from syncd.store.engine.queries import PER_VERSION, groups
from syncd.store.files import added_files, uploads
from syncd.store.files.added_files import AddedFile, Sibling, TakenIn
from syncd.store.trees.devices import ReplicaRow
from syncd.sync.backoff import Backoff
from syncd.sync.bounded import bounded
from syncd.sync.device.attachment import Prove
from syncd.sync.device.intake_files import IntakeFiles, ReadFile
from syncd.sync.device.known_mailboxes import Served
from syncd.sync.device.read_ahead import ReadAhead
from syncd.sync.device.standstill import Standstill
from syncd.sync.device.thread import to_its_end
from syncd.sync.wakes import Wakes
from syncd.values import Record, field, replace

_BATCH_BYTES = 8 * 1024 * 1024
_BATCH_FILES = 200
_ROUNDS_MAX = 5
_MOMENT_S = 0.1
"""How long a file stays as it is before it is taken in for somebody who asks for it."""
_WHOLE_MAX = 10_000
_HELD_S = 5.0
"""Of a device whose files settle later nothing is read before anybody asks, for it would be held for as long."""

_Place = tuple[str, str, str]
"""The directory of a mailbox, which of its two, and the whole name."""


class _Waiting(Record):
    """Since when a file is as it is; facts: when it was last read, of one that was not as its row has it, or edited."""

    since: float
    facts: FileFacts | None = None
    failures: Backoff = field(default_factory=Backoff)
    until: float = 0.0
    error: str = ""


class Intake:
    """Know which files of one device are to be taken in, and since when they are as they are; for its task."""

    def __init__(
        self,
        db: Database,
        path: Path,
        *,
        settle_s: float,
        spool_directory: Path | None,
        keywords: Callable[[ReplicaRow], KeywordMap],
        prover: Callable[[], Awaitable[Prove]],
        wakes: Wakes,
        clock: Callable[[], float],
    ) -> None:
        """Call `prover` before each reading for what proves the root as it is to be by then."""
        self._db = db
        self._files = IntakeFiles(path, spool_directory)
        self._settle_s = settle_s
        self._keywords = keywords
        self._prover = prover
        self._wakes = wakes
        self._clock = clock
        self._waiting: dict[AddedFile, _Waiting] = {}
        self._whole: frozenset[_Place] = frozenset()
        self._mailboxes: Mapping[int, int] = {}
        self._is_underway = False
        self._is_expecting = True
        self._ahead = ReadAhead()

    @property
    def is_busy(self) -> bool:
        """Tell whether something is expected, waits, or may come back from its way to the server changed."""
        return self._is_expecting or bool(self._waiting) or self._is_underway

    def expect(self) -> None:
        """Let the next run ask what there is: the device may have added something."""
        self._is_expecting = True

    def hear(self, changes: Changes) -> None:
        """Hear what the watch tells of files, before it is looked at them."""
        put, others = (
            {(str(one.directory), one.file.subdir, one.file.filename) for one in changes.files if one.is_whole is whole}
            for whole in (True, False)
        )
        whole = (self._whole | put) - others
        # NOTE: what is written in its place is read again, for sizes and times may tell nothing of that.
        self._ahead.keep([] if changes.is_overflow else [file for file in self._waiting if _place(file) not in others])
        # NOTE: where not all is heard, or there are too many, they stay as they are for a moment.
        self._whole = frozenset() if changes.is_overflow or len(whole) > _WHOLE_MAX else whole

    async def note(self, device_id: int, served: Sequence[Served]) -> None:
        """Read what was added; empty files are no messages yet, but one that was emptied has lost its message."""
        now = asyncio.get_running_loop().time()
        here = {one.replica.id: one.mailbox.id for one in served}
        self._mailboxes = here
        self._is_underway, found = await self._db.read(partial(_added, device_id=device_id))
        self._waiting = {
            file: self._waiting.get(file) or _Waiting(now)
            for file in found
            if file.replica_id in here and (file.size_bytes or file.message_id is not None)
        }
        self._whole &= {_place(file) for file in self._waiting}
        self._ahead.keep(self._waiting.keys())

    async def read_ahead(self, device_id: int, served: Sequence[Served], still: Standstill) -> None:
        """Begin to read what the next run, at once, will find ripe; nothing is concluded of it before that."""
        await self.note(device_id, served)
        await self._read_ahead(still)

    def let_go(self) -> None:
        """Keep nothing that was read and is not taken in."""
        self._ahead.drop()

    def wait_s(self, still: Standstill) -> float | None:
        """Return the time until the first file may be read, None when there is none."""
        now = asyncio.get_running_loop().time()
        at = [self._due_at(file, self._settle_s) for file in self._movable(still)]
        return min((max(one - now, 0.0) for one in at), default=None)

    async def run(
        self, device_id: int, served: Sequence[Served], still: Standstill, accounts: set[str], *, at_once: bool
    ) -> None:
        """Take in what is ripe, and add the accounts that have something to bring.

        at_once: all of it, as soon as it has stayed as it is for a moment. What could not be read is tried later.
        """
        self._is_expecting = False
        await self.note(device_id, served)
        settle_s = min(self._settle_s, _MOMENT_S) if at_once else self._settle_s
        for _ in range(_ROUNDS_MAX if at_once else 1):
            if at_once:
                await self._ripen(still, settle_s)
            now = asyncio.get_running_loop().time()
            due = [file for file in self._movable(still) if self._due_at(file, settle_s) <= now]
            if not due:
                break
            for batch in bounded(due, attrgetter("size_bytes"), count=_BATCH_FILES, size_bytes=_BATCH_BYTES):
                await self._take_in(batch, {one.replica.id: one for one in served}, accounts)
            await self.note(device_id, served)
            if not any(waiting.facts for waiting in self._waiting.values()):
                break
        # NOTE: who asks soon after waits for no reading. What comes meanwhile is read together, for each reading ends
        # in a barrier; and of what waits for long nothing is held for as long.
        if self._settle_s <= _HELD_S and not self._ahead.is_busy:
            await self._read_ahead(still)

    async def _read_ahead(self, still: Standstill) -> None:
        """Begin to read files that were put there as a whole, as far as they fit into memory."""
        whole = [file for file in self._movable(still) if _place(file) in self._whole]
        batches = bounded(whole, attrgetter("size_bytes"), count=_BATCH_FILES, size_bytes=_BATCH_BYTES)
        if batch := next(batches, None):
            prove = await self._prover()
            self._ahead.begin(batch, lambda files: self._files.read(files, prove))

    async def _ripen(self, still: Standstill, settle_s: float) -> None:
        """Wait until files have stayed as they are, which some may have done for longer than we know of them."""
        files = [file for file in self._movable(still) if not self._waiting[file].error]
        aging = [file for file in files if _place(file) not in self._whole]
        ages_s = await asyncio.to_thread(partial(self._files.ages_s, aging, now=self._clock())) if aging else ()
        now = asyncio.get_running_loop().time()
        ages = dict.fromkeys(files, settle_s) | dict(zip(aging, ages_s, strict=True))
        for file, age_s in ages.items():
            waiting = self._waiting[file]
            if waiting.facts is None:  # else it is compared with an earlier reading, by the clock that nobody sets
                waiting.since = min(waiting.since, now - age_s)
        wait_s = max((self._due_at(file, settle_s) - now for file in files), default=0.0)
        if wait_s > 0.0:
            await asyncio.sleep(wait_s)

    def _movable(self, still: Standstill) -> list[AddedFile]:
        return [file for file in self._waiting if self._mailboxes[file.replica_id] not in still]

    def _due_at(self, file: AddedFile, settle_s: float) -> float:
        waiting = self._waiting[file]
        return max(waiting.since + settle_s, waiting.until)

    async def _take_in(self, batch: Sequence[AddedFile], served: dict[int, Served], accounts: set[str]) -> None:
        """Take in some files, and add the accounts that have something to bring."""
        outcomes = await self._read(batch)
        found = [one for one in outcomes if isinstance(one, ReadFile)]
        try:
            self._note_failures(batch, outcomes)
            ready = [one for one in found if self._is_ripe(one)]
            known = await self._known(ready)
            copies = [one for one, body_id in zip(ready, known, strict=True) if body_id is not None]
            infos = await self._without_foreign_letters(copies, served)
            drafts = {id_ for id_, one in served.items() if one.mailbox.is_drafts}
            siblings = {one.file: await self._linked(one.file) for one in ready if one.file.message_id is not None}
            linked = {file: [one.file for one in others] for file, others in siblings.items()}
            write = partial(self._write, ready=ready, known=known, infos=infos, linked=linked, drafts=drafts)
            accounts |= {served[id_].account for one in ready if (id_ := one.file.replica_id) in served}
            await self._db.write(write, weight_bytes=sum(one.body.stored_bytes for one in ready))
            for name in {one.device for others in siblings.values() for one in others}:
                self._wakes.device(name).set()  # its watch tells nothing of what is written through another link
        finally:
            for one in found:
                one.body.close()
        if ready:
            log.info("files_taken_in", count=len(ready))

    async def _read(self, batch: Sequence[AddedFile]) -> Sequence[ReadFile | SyncdError]:
        read: dict[AddedFile, ReadFile | SyncdError] = {}
        if ahead := await self._ahead.take(batch):
            # NOTE: what was written to since may not have been looked at yet.
            unchanged = partial(self._files.unchanged, ahead, await self._prover())
            read |= {one.file: one for one in await asyncio.to_thread(unchanged)}
        if left := [file for file in batch if file not in read]:
            outcomes = await asyncio.to_thread(self._files.read, left, await self._prover())
            read |= zip(left, outcomes, strict=True)
        return [read[file] for file in batch]

    def _note_failures(self, batch: Sequence[AddedFile], outcomes: Sequence[ReadFile | SyncdError]) -> None:
        now = asyncio.get_running_loop().time()
        for file, outcome in zip(batch, outcomes, strict=True):
            waiting = self._waiting[file]
            if isinstance(outcome, SyncdError):
                waiting.until = now + max(waiting.failures.failed(outcome), self._settle_s)
                if str(outcome) != waiting.error:
                    waiting.error = str(outcome)
                    log.warning("file_not_taken_in", file_id=file.file_id, error=waiting.error)

    def _is_ripe(self, read: ReadFile) -> bool:
        """Tell whether a file is as it was a while ago; by its row, if it is new, or by the reading before.

        NOTE: where no watch tells of writing in place, the row of a new file stays as it was first seen.
        """
        waiting, facts = self._waiting[read.file], FileFacts(read.seen.size_bytes, read.seen.mtime)
        is_as_in_row = facts == FileFacts(read.file.size_bytes, read.file.mtime)
        if waiting.facts == facts or (is_as_in_row and read.file.message_id is None):
            return True
        waiting.facts, waiting.since = facts, asyncio.get_running_loop().time()
        return False

    async def _known(self, ready: Sequence[ReadFile]) -> list[int | None]:
        """Return for each file the body of the account that it has, but for what programs note in it."""
        digests = [one.body.facts.digest for one in ready]
        same, alike = await self._db.read(partial(_alike, ready=ready)) if ready else ({}, [])
        return [
            same.get(digest) if (noted := await self._noted_in(one, found)) is None else noted
            for one, digest, found in zip(ready, digests, alike, strict=True)
        ]

    async def _noted_in(self, read: ReadFile, alike: Sequence[int]) -> int | None:
        """Return the body that a file has but for notes, of some with its Message-ID."""
        for body_id in alike:
            pieces = bodies.stream_body(self._db.read_now, body_id)
            if await asyncio.to_thread(bare_digest, pieces) == read.bare_digest:
                return body_id
        return None

    async def _without_foreign_letters(
        self, copies: Sequence[ReadFile], served: Mapping[int, Served]
    ) -> Mapping[int, str | None]:
        """Take from the names of copies the letters that were keywords where they came from, and mean nothing here.

        Once they meant something here the message would have a keyword that nobody gave it. Returns what the names of
        those files say now.
        """
        renames: list[tuple[AddedFile, FileName]] = []
        for one in copies:
            keywords = self._keywords(served[one.file.replica_id].replica)
            if unknown_letters(one.name.letters, keywords):
                renames.append((one.file, one.name.without_unknown(keywords)))
        return await to_its_end(self._files.rename, renames) if renames else {}

    async def _linked(self, file: AddedFile) -> Sequence[Sibling]:
        """Return the files of other devices that are links to a rewritten one: it is theirs, too."""
        others = await self._db.read(partial(added_files.siblings, file=file))
        return await asyncio.to_thread(self._files.links, file, others) if others else ()

    def _write(
        self,
        conn: Connection,
        *,
        ready: Sequence[ReadFile],
        known: Sequence[int | None],
        infos: Mapping[int, str | None],
        linked: Mapping[AddedFile, Sequence[AddedFile]],
        drafts: set[int],
    ) -> None:
        now = self._clock()
        there = bodies.body_facts(conn, [id_ for id_ in known if id_ is not None])
        ids: list[int | None] = [id_ if id_ in there else None for id_ in known]  # else swept since
        new = [one for one, id_ in zip(ready, ids, strict=True) if id_ is None and not one.is_empty]
        made = iter(bodies.put_bodies(conn, [one.body for one in new], now=now))
        exact = bodies.body_ids(conn, [one.body.facts.digest for one in ready])
        taken: list[TakenIn] = []
        for one, known_id in zip(ready, ids, strict=True):
            file, body_id = one.file, next(made) if known_id is None and not one.is_empty else known_id
            form = one.seen.form if exact.get(one.body.facts.digest) == body_id else BodyForm.OWN
            if file.message_id is not None:
                if body_id is not None and added_files.body_of(conn, file.message_id) == body_id:
                    added_files.accept(conn, file, seen=replace(one.seen, form=form))
                    continue
                for each in (file, *linked[file]):
                    is_version = file.replica_id in drafts and not one.is_empty
                    twin = self._twin(one.body.facts) if is_version else None
                    added_files.detach(conn, each, twin=twin, now=now)
            if body_id is None or one.is_empty:
                for each in (file, *linked.get(file, ())):
                    added_files.record_empty(conn, each, mtime=one.seen.mtime)
                continue
            for each in (file, *linked.get(file, ())):
                seen = replace(one.seen, form=form, info=infos.get(each.file_id, each.info))
                taken.append(TakenIn(each, seen, body_id))
        for group in groups(taken, PER_VERSION):
            added_files.take_in(conn, group, now=now)

    def _twin(self, facts: BodyFacts) -> str:
        return mint(time_s=int(self._clock()), size_bytes=facts.lf_size_bytes, wire_size_bytes=facts.size_bytes)


def _place(file: AddedFile) -> _Place:
    return file.directory, file.subdir, str(FileName(file.name, file.info))


def _added(conn: Connection, *, device_id: int) -> tuple[bool, Sequence[AddedFile]]:
    return uploads.is_underway(conn, device_id=device_id), added_files.added_files(conn, device_id)


def _alike(conn: Connection, *, ready: Sequence[ReadFile]) -> tuple[Mapping[bytes, int], list[Sequence[int]]]:
    """Return the bodies that files have, by digest, and for each that no message has those with its Message-ID.

    NOTE: a first look puts the octets of a file into the store before anybody knows whose they are.
    """
    same = bodies.body_ids(conn, digests=[one.body.facts.digest for one in ready])
    ours = added_files.bodies_of_messages(conn, same.values())
    known = {digest for digest, id_ in same.items() if id_ in ours}
    open_ = {one.body.facts.message_id for one in ready if one.body.facts.digest not in known}
    there = added_files.known_message_ids(conn, (id_ for id_ in open_ if id_ is not None))
    alike: list[Sequence[int]] = []
    for one in ready:
        facts = one.body.facts
        is_open = facts.digest not in known and facts.message_id in there
        alike.append(added_files.alike(conn, one.file.replica_id, str(facts.message_id)) if is_open else ())
    return same, alike
