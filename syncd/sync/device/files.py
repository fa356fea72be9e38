"""Floor 4: the files of one device: names are minted, tasks performed, changes observed and recorded."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from functools import partial
from pathlib import PurePosixPath

from syncd.config.model import DeviceConfig
from syncd.log import log
from syncd.mail.flags import Flags
from syncd.mail.paths import path_of
from syncd.mail.tree import Holdable, ReplicaMessage, ReplicaState
from syncd.maildir.disk.barrier import Touched, barrier
from syncd.maildir.disk.files import CUR, NEW
from syncd.maildir.disk.marker import Marker, write_marker
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.effects import perform as verbs
from syncd.maildir.naming.keywords import KeywordMap
from syncd.maildir.naming.names import (
    joined,
    letters_of,
    mint,
    tokens,
    unknown_letters,
)
from syncd.maildir.news.changes import ChangedFile, Changes
from syncd.maildir.news.observe import ChangedNs, Names, SeenFile
from syncd.maildir.news.odd_files import OddFile
from syncd.reconcile.changes import Change, Reflagged, compare
from syncd.store.bodies import bodies
from syncd.store.engine.database import Database
from syncd.store.rounds.deliveries import Deliverable
from syncd.store.trees import replica_tree
from syncd.store.trees.devices import ReplicaRow
from syncd.store.trees.replica_tree import MintedFile
from syncd.sync.commons import Commons, FileSystem, FileSystems
from syncd.sync.device.appearances import Appearances
from syncd.sync.device.attachment import Prove, Prover
from syncd.sync.device.file_effects import effect_of, file_pieces, outcome_of, read_for_files
from syncd.sync.device.keyword_letters import KeywordLetters
from syncd.sync.device.own_doing import OwnDoing, Place
from syncd.sync.device.sightings import LISTINGS_MAX, Seen, place_of, see
from syncd.sync.device.thread import to_its_end
from syncd.sync.device.whole_looks import WholeLooks, names_changed_ns
from syncd.sync.policies import keyword_names
from syncd.sync.recent_bodies import RecentBodies
from syncd.sync.rounds.sides import (
    FileDone,
    FileOutcome,
    FileTask,
    FileToDeliver,
    FileToRemove,
    FileToRename,
)

_SMALL_BODY_BYTES = 1024 * 1024


class DeviceFiles:
    """Own the files of one device: the only object that changes them, from one task."""

    def __init__(
        self,
        db: Database,
        config: DeviceConfig,
        *,
        marker: Callable[[int], Marker],
        prover: Prover,
        file_systems: FileSystems,
        recent: RecentBodies,
        odd_files: MutableMapping[str, tuple[OddFile, ...]],
        clock: Callable[[], float],
    ) -> None:
        """Take `marker` to make the marker of a generation, `prover` for what proves a root that is open.

        file_systems: what devices share. odd_files: is told, by directory, what is left alone among the messages.
        """
        self._db = db
        self._config = config
        self._marker = marker
        self._prover = prover
        self._file_systems = file_systems
        self._recent = recent
        self.commons = Commons()
        self._clock = clock
        self._hears_names = False
        self.keywords = KeywordLetters(db, config.path)
        self._ours = OwnDoing()
        self._whole_looks = WholeLooks(db, config.path, self._ours, odd_files)
        self._appearances = Appearances(db, config.path, prover=prover, clock=clock)
        self._has_seen_moves = self._has_seen_odd = False
        self._news: set[int] = set()
        self._missed: dict[int, set[str]] = {}
        self._unclear: set[ChangedFile] = set()

    async def arrive(self) -> None:
        """Find out whose files can be linked, and examine every file, not only its name, at the next whole look."""
        self._whole_looks.begin_anew()
        self._missed.clear()
        self._unclear.clear()
        if self._config.link:
            self.commons = self._file_systems.join(str(self._config.path), await asyncio.to_thread(self._file_system))

    @property
    def is_follower(self) -> bool:
        """Tell whether another device was the last to write what is to be here as well: this one links it."""
        return self.commons.writer not in {None, str(self._config.path)}

    def examine(self, of: ReplicaRow) -> None:
        """Examine every file of a replica, not only its name, at the next whole look."""
        self._whole_looks.examine(of)

    def forget(self, of: ReplicaRow) -> None:
        """Compare all of a replica with its rows at the next whole look: somebody else looked, and wrote rows."""
        self._whole_looks.forget(of)

    def take_unclear(self) -> Changes:
        """Return the files to look at again, because a directory changed too fast to say that they are not there."""
        taken, self._unclear = frozenset(self._unclear), set()
        return Changes(files=taken)

    def take_moves(self) -> bool:
        """Tell whether any file came, went or was rewritten that a look has recorded since the last call."""
        taken, self._has_seen_moves = self._has_seen_moves, False
        return taken

    def take_news(self, of: ReplicaRow) -> bool:
        """Tell whether looks at a replica have recorded any change since the last call."""
        before, self._news = self._news, self._news - {of.id}
        return of.id in before

    def mint(self, of: ReplicaRow, wanted: Sequence[tuple[Deliverable, Flags]]) -> Sequence[MintedFile]:
        keywords, time_s = self.keywords.of(of), int(self._clock())
        return [
            MintedFile(
                message_id=body.message_id,
                name=mint(
                    time_s=time_s,
                    size_bytes=body.file_size_bytes,
                    wire_size_bytes=body.size_bytes,
                    token=token,
                ),
                info=letters or None,
                subdir=CUR if letters else NEW,
                flags=flags,
                size_bytes=body.file_size_bytes,
                mtime=body.internaldate,
                form=body.form,
            )
            for (body, flags), token in zip(wanted, tokens(len(wanted)), strict=True)
            for letters in (letters_of(flags, keywords),)
        ]

    async def prepare(self, of: ReplicaRow, flags: Flags) -> Holdable:
        return await self.keywords.prepare(of, flags)

    async def perform(self, of: ReplicaRow, tasks: Sequence[FileTask], *, generation: int) -> Mapping[int, FileOutcome]:
        wanted = {
            task.body.body_id: task.body
            for task in tasks
            if isinstance(task, FileToDeliver) and task.source is None and task.body.size_bytes <= _SMALL_BODY_BYTES
        }
        octets = await self._octets(wanted)
        keywords = self.keywords.of(of)
        self._whole_looks.we_change(of, (place_of(task.file) for task in tasks))
        hears_names = self._hears_names
        expected = self._expect(of, tasks, keywords) if hears_names else {}
        perform = partial(self._perform, keywords=keywords, generation=generation, prove=await self._prover(generation))
        done: Mapping[int, FileOutcome] = {}
        try:
            outcomes, before, after = await to_its_end(perform, of, tasks, octets)
            done = {
                task.file.id: outcome_of(task, outcome, keywords) for task, outcome in zip(tasks, outcomes, strict=True)
            }
        finally:
            for file_id, places in expected.items():
                if not isinstance(done.get(file_id), FileDone):
                    self._ours.forget(places)
        # NOTE: without a watch that names files nobody tells what others did meanwhile.
        hears_names &= self._hears_names
        as_meant = hears_names and all(isinstance(one, FileDone) and not one.is_touched for one in done.values())
        self._whole_looks.we_changed(of, before=before, after=after if as_meant else None)
        return done

    async def _octets(self, wanted: Mapping[int, Deliverable]) -> dict[int, bytes | memoryview]:
        """Return what files of bodies have, of those that are at hand or can be read."""
        octets = dict(self._recent.take(wanted))
        if others := {id_: body for id_, body in wanted.items() if id_ not in octets}:
            octets |= await self._db.read(partial(read_for_files, wanted=others))
        return octets

    async def look(self, of: ReplicaRow, names: Iterable[str]) -> int:
        rows = await self._db.read(lambda conn: replica_tree.files_by_name(conn, of.id, names))
        count = await self.observe(of, [place_of(row) for row in rows.values()])
        # NOTE: they are not where their rows have them, and there may be nobody who is told of more.
        return count + (await self.look_for_missed(of) if self.has_missed(of) else 0)

    def expect(self, of: ReplicaRow, file: SeenFile) -> None:
        """Remember that a file will appear by our own doing."""
        self._whole_looks.open(of, [file])
        if self._hears_names:
            self._ours.expect((path_of(of.directory), file))

    def hear_names(self, hears_names: bool) -> None:
        """Hear whether there is a watch from now on that names files, and somebody who asks what is `unexpected`."""
        self._hears_names = hears_names

    def unexpected(self, changes: Changes) -> Changes:
        """Return the changes without those that we made ourselves; give it all that the watch tells, at once."""
        unexpected = self._ours.unexpected(changes)
        if unexpected:
            self._whole_looks.heard(unexpected)
        return unexpected

    async def observe(self, of: ReplicaRow, files: Sequence[SeenFile]) -> int:
        """Look at files that an event named, record what the device did, and return how many changes that were.

        What is neither there nor where its row has it is missed: `look_for_missed`. NOTE: while a program changes its
        files a listing says nothing, and of many names it takes long; so none is made until nothing more is told.
        """
        keywords = self.keywords.of(of)
        # NOTE: the keyword of a letter may be listed before or after the letter is in a name. Once it is listed, names
        # that did not change may say it as well.
        are_new = any(unknown_letters(file.letters, keywords) for file in files) and await self.keywords.read(of)
        # NOTE: what is so of a file that was left alone, and of another that has its name, a listing tells.
        if are_new or self._whole_looks.is_any_left_alone(of, files):
            return await self.observe_all(of) + await self._record(of, files, listings=0)
        self._has_seen_odd = False
        count = await self._record(of, files, listings=0)
        return count + await self.observe_all(of) if self._has_seen_odd else count

    def has_missed(self, of: ReplicaRow) -> bool:
        """Tell whether any file of a replica is to be looked for: it was not where it should be."""
        return of.id in self._missed

    async def look_for_missed(self, of: ReplicaRow) -> int:
        """List a replica once for the files that were missed, record what became of them, and return how many changed.

        Those of which that does not tell are `take_unclear`.
        """
        missed = self._missed.pop(of.id, set())
        rows = await self._db.read(lambda conn: replica_tree.files_by_name(conn, of.id, missed))
        return await self._record(of, [place_of(row) for row in rows.values()], listings=1)

    async def as_listed(self, device_id: int, replicas: Iterable[ReplicaRow]) -> frozenset[int]:
        """Return those of these replicas that need not be listed: all is as their rows say, and nothing waits.

        NOTE: a look then takes as long for any number of files. What rows say of present files changes only with what
        we do to them, or after what was seen of them.
        """
        unchanged = await self.unchanged(replicas)
        if not unchanged:
            return unchanged
        return unchanged - await self._db.read(partial(replica_tree.unsettled_replicas, device_id=device_id))

    async def unchanged(self, replicas: Iterable[ReplicaRow]) -> frozenset[int]:
        """Return those of these replicas in which no name changed since they were listed, but by our own doing."""
        return await self._whole_looks.unchanged(replicas, self.keywords.of)

    def take_doubts(self) -> bool:
        """Tell whether more may be seen than by whole looks, and what the watch has told of since; who asks looks."""
        return self._whole_looks.take_doubts()

    async def as_rows_say(self, replicas: Iterable[ReplicaRow]) -> frozenset[int]:
        """Look at whole replicas, and return those of which nothing is to be recorded; others need `observe_all`."""
        known = [of for of in replicas if keyword_names(self.keywords.of(of)) == of.keywords]
        return await self._whole_looks.as_rows_say(known, self.keywords.of, await self._prover())

    async def observe_all(self, of: ReplicaRow) -> int:
        """List a whole replica, record what the device did since the last look, and return how many changes."""
        await self.keywords.read(of)
        look = await self._whole_looks.look(of, self.keywords.of(of), await self._prover())
        count = await self._record(of, look.suspects, names=look.names) if look.suspects else 0
        self._whole_looks.conclude(of, look)
        return count

    async def _record(
        self,
        of: ReplicaRow,
        files: Sequence[SeenFile],
        *,
        names: Names | None = None,
        listings: int = LISTINGS_MAX,
    ) -> int:
        """Look at files and record what changed; names: of a listing that was just made."""
        keywords = self.keywords.of(of)
        wanted = {file.name for file in files}
        rows = await self._db.read(lambda conn: replica_tree.files_by_name(conn, of.id, wanted))
        self._whole_looks.open(of, (*files, *map(place_of, rows.values())))
        look = partial(self._see, keywords=keywords, prove=await self._prover(), names=names, listings=listings)
        changes, seen = await asyncio.to_thread(look, of, files, rows)
        if listings == 0 and seen.unclear:
            self._missed.setdefault(of.id, set()).update(seen.unclear)
        else:
            directory = path_of(of.directory)
            self._unclear |= {ChangedFile(directory, place_of(rows[name]), is_gone=True) for name in seen.unclear}
        self._has_seen_odd |= seen.has_odd
        self._has_seen_moves |= not all(_is_of_flags(change, rows) for change in changes)
        known = await self._appearances.record(of, changes, keywords)
        changes = tuple(change for change in changes if change not in known)
        self._news |= {of.id} if known else set()
        if changes:
            now = self._clock()
            await self._db.write(lambda conn: replica_tree.record_changes(conn, of.id, changes, now=now))
            self._news |= {of.id}
            log.info("replica_changed", replica=of.directory, changes=len(changes))
        return len(changes) + len(known)

    def _expect(self, of: ReplicaRow, tasks: Iterable[FileTask], keywords: KeywordMap) -> Mapping[int, Sequence[Place]]:
        """Remember which files will come and go by our own doing, and return their places, by row id."""
        directory = path_of(of.directory)
        expected: dict[int, list[Place]] = {}
        for task in tasks:
            places = expected[task.file.id] = []
            if not isinstance(task, FileToDeliver):
                places.append((directory, place_of(task.file)))
                self._ours.expect(places[-1], is_gone=True)
            if not isinstance(task, FileToRemove):
                letters = letters_of(task.flags, keywords)
                name, subdir = task.file.name, CUR if letters or isinstance(task, FileToRename) else NEW
                info = letters if subdir == CUR else None
                places.append((directory, SeenFile(name, subdir, joined(name, info))))
                self._ours.expect(places[-1])
        return expected

    def _perform(
        self,
        of: ReplicaRow,
        tasks: Sequence[FileTask],
        octets: dict[int, bytes | memoryview],
        *,
        keywords: KeywordMap,
        generation: int,
        prove: Callable[[ReplicaRoot], None],
    ) -> tuple[tuple[verbs.Outcome, ...], ChangedNs, ChangedNs]:
        """Return the outcomes, and the times of the directory before and after that."""

        def made_durable(root: ReplicaRoot, touched: Iterable[Touched]) -> None:
            barrier(root, touched)
            write_marker(root, self._marker(generation))

        directory = path_of(of.directory)
        with ReplicaRoot(self._config.path) as root:
            prove(root)  # by the same descriptor: a disk that is another by now gets neither files nor our marker
            before = names_changed_ns(root, of)
            outcomes = verbs.perform(
                root,
                [effect_of(task, directory, lambda body: self._pieces(body, octets)) for task in tasks],
                keywords=lambda _: keywords,
                barrier=made_durable,
            )
            return outcomes, before, names_changed_ns(root, of)

    def _pieces(self, body: Deliverable, octets: dict[int, bytes | memoryview]) -> Iterator[bytes | memoryview]:
        """Yield what a file of a body has.

        What is at hand is let go of, and read from the store if it is to be written once more.
        """
        if body.body_id in octets:
            yield octets.pop(body.body_id)
        else:
            yield from file_pieces(bodies.stream_body(self._db.read_now, body.body_id), body)

    def _see(
        self,
        of: ReplicaRow,
        files: Sequence[SeenFile],
        rows: Mapping[str, ReplicaMessage],
        *,
        keywords: KeywordMap,
        prove: Prove,
        names: Names | None,
        listings: int,
    ) -> tuple[tuple[Change, ...], Seen]:
        """Return what changed, once it is durable, and what was seen.

        NOTE: a row never runs ahead of the disk. Were a rename of the device's lost in a power cut after we had told
        the server, the old name would read as the device taking the flag back.
        """
        directory = PurePosixPath(of.directory)
        with ReplicaRoot(self._config.path) as root:
            seen = see(root, directory, files, rows, keywords, names=names, listings=listings)
            if seen.looked_for - seen.found.keys():
                prove(root)  # by the same descriptor: a file is missing only in a root that is ours
            changes = compare(rows, seen.found, sorted(seen.looked_for))
            if changes:
                barrier(root, [Touched(directory, subdir) for subdir in (CUR, NEW)])
            return changes, seen

    def _file_system(self) -> FileSystem:
        with ReplicaRoot(self._config.path) as root:
            return root.file_system()


def _is_of_flags(change: Change, rows: Mapping[str, ReplicaMessage]) -> bool:
    """Tell whether a file of a message only has other flags: then none came, went or waits anew for its time."""
    row = rows.get(change.seen.name) if isinstance(change, Reflagged) else None
    return row is not None and row.message_id is not None and row.state is ReplicaState.PRESENT
