"""Floor 4: whole looks at the replicas of one device: each listed as a whole, and compared with its rows.

Theory (law 5). A directory is not listed when its times say that no name changed since all files were as their rows
say, or since nobody but we ourselves changed it. Of one that is listed, only what differs from its roll is compared
(`roll`), but for the first time, or when files are to be examined; then all of it is.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath

from sqlalchemy import Connection

from syncd.errors import FileError
from syncd.log import log
from syncd.mail.paths import path_of
from syncd.maildir.disk import dovecot
from syncd.maildir.disk.dovecot import KEYWORDS
from syncd.maildir.disk.files import CUR, NEW, Absence, FileFacts
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.naming.keywords import EMPTY, KeywordMap
from syncd.maildir.news.changes import Changes
from syncd.maildir.news.observe import ChangedNs, Names, SeenFile, is_recent, listed, names_in, seen_now
from syncd.maildir.news.odd_files import OddFile, is_any_of, odd_files
from syncd.store.engine.database import Database
from syncd.store.trees import replica_tree
from syncd.store.trees.devices import ReplicaRow
from syncd.store.trees.replica_tree import FilePlace
from syncd.sync.device.attachment import Prove
from syncd.sync.device.own_doing import OwnDoing
from syncd.sync.device.roll import Roll, Rolls
from syncd.sync.device.sightings import Listed, compared
from syncd.values import Value

_HEARD_OF_S = 1.0
"""By then the watch has told of what others did while we changed a directory; it takes some hundredths of a second."""
_NAMES_AT_ONCE = 10_000
"""So many names are enough for one turn of a thread, and for one query."""

_TELLING = (NEW, CUR, KEYWORDS)
"""What of a directory has other times when a name changes, or what its letters mean."""


def names_changed_ns(root: ReplicaRoot, of: ReplicaRow) -> ChangedNs:
    """Return the times that change with the names of a replica, and with what their letters mean."""
    return root.changed_ns(path_of(of.directory), *_TELLING)


class _Listing(Value):
    """What is listed of a replica whose letters mean `keywords`.

    keywords_ns: since when they do, None where the list of them says something else, or is being written. facts: those
    of the files that came, in their order, if all are examined.
    """

    of: ReplicaRow
    keywords: KeywordMap
    listed: Listed
    keywords_ns: ChangedNs | None
    at: float
    facts: Sequence[FileFacts | Absence] | None = None

    def roll(self) -> Roll:
        """Return what remembers it."""
        listed_ns = self.listed.names.changed_ns
        changed_ns = None if listed_ns is None or self.keywords_ns is None else (*listed_ns, *self.keywords_ns)
        return Roll(self.of.directory, self.keywords, changed_ns, self.at)


class WholeLook(Value):
    """What a listing says: the files that are to be looked at, what is left alone, and all names that there are."""

    suspects: Sequence[SeenFile]
    odd: tuple[OddFile, ...]
    names: Names
    roll: Roll
    is_list_known: bool


class WholeLooks:
    """Remember what the directories of one device had when they were listed; for its task."""

    def __init__(
        self, db: Database, path: Path, ours: OwnDoing, odd_files: MutableMapping[str, tuple[OddFile, ...]]
    ) -> None:
        """Ask `ours` what the watch has told of our own doing; tell `odd_files`, by directory, what is left alone."""
        self._db = db
        self._path = path
        self._ours = ours
        self._odd_files = odd_files
        self._examined: set[int] = set()
        self._doubtful: set[int] = set()
        self._rolls = Rolls()

    def begin_anew(self) -> None:
        """Forget everything: who knows what happened meanwhile."""
        self._examined.clear()
        self._doubtful.clear()
        self._rolls.clear()
        self._odd_files.clear()

    def examine(self, of: ReplicaRow) -> None:
        """Examine every file of a replica, not only its name, at the next whole look."""
        self._examined.discard(of.id)
        self._doubtful.discard(of.id)
        self._rolls.drop(of.id)

    def forget(self, of: ReplicaRow) -> None:
        """Compare all of a replica with its rows at the next whole look."""
        self._rolls.drop(of.id)

    def take_doubts(self) -> bool:
        """Tell whether more may be seen than what was listed, and what the watch has told of since; who asks looks.

        There may be more where a list of keywords said something else than is known, and where what we did ourselves
        did not go as it was meant to: of what the watch told then, some may have been taken for our own doing.
        """
        doubtful, self._doubtful = self._doubtful, set()
        return bool(doubtful)

    def open(self, of: ReplicaRow, files: Iterable[SeenFile]) -> None:
        """Compare these files with their rows at the next whole look; call it before either is changed."""
        self._rolls.open(of.id, files)

    async def look(self, of: ReplicaRow, keywords: KeywordMap, prove: Prove) -> WholeLook:
        """List a replica, and tell what of it is to be looked at one by one; call it after keywords were read."""
        roll, now = self._rolls.get(of, keywords), asyncio.get_running_loop().time()
        self._rolls.drop(of.id)  # until all went well: `conclude`
        listing, went = await asyncio.to_thread(self._list, of, roll, keywords, prove, now)
        wanted = None
        if roll is not None:
            files = (*listing.listed.came, *listing.listed.odd, *went, *roll.open)
            wanted = {file.name for file in files}
        rows = await self._db.read(partial(replica_tree.places, replica_id=of.id, names=wanted))
        suspects, alone = await asyncio.to_thread(self._judged, listing, rows)
        if alone:
            log.warning("replica_files_left_alone", replica=of.directory, count=len({file.name for file in alone}))
        odd = await asyncio.to_thread(self._told, of, alone) if alone else ()
        made = listing.roll()
        await asyncio.to_thread(made.remember, listing.listed.names, without=(*suspects, *alone))
        return WholeLook(suspects, odd, listing.listed.names, made, listing.keywords_ns is not None)

    def conclude(self, of: ReplicaRow, look: WholeLook) -> None:
        """Remember a look, of which all that was to be looked at is recorded by now."""
        self._keep(of, look.roll, look.odd)
        if not look.is_list_known:
            self._doubtful.add(of.id)

    def is_any_left_alone(self, of: ReplicaRow, files: Iterable[SeenFile]) -> bool:
        """Tell whether any of these files was left alone when a replica was listed."""
        return is_any_of(self._odd_files.get(of.directory, ()), path_of(of.directory), files)

    async def as_rows_say(
        self, replicas: Iterable[ReplicaRow], keywords: Callable[[ReplicaRow], KeywordMap], prove: Prove
    ) -> frozenset[int]:
        """Look at all of these replicas, and return those in which every file is as its row says.

        The others, and those that cannot be looked at, are left to a look of their own. NOTE: by itself each takes
        some turns of threads and a transaction, which was most of what a sync of many quiet mailboxes took.
        """
        now, agreed = asyncio.get_running_loop().time(), set[int]()
        waiting = iter([(of, keywords(of)) for of in replicas])
        while listings := await asyncio.to_thread(self._list_some, waiting, prove, now):
            rows = await self._db.read(partial(_rows, listings=listings))
            for of, roll in await asyncio.to_thread(self._agreeing, listings, rows):
                self._keep(of, roll, ())
                agreed.add(of.id)
        return frozenset(agreed)

    async def unchanged(
        self, replicas: Iterable[ReplicaRow], keywords: Callable[[ReplicaRow], KeywordMap]
    ) -> frozenset[int]:
        """Return those of these replicas in which no name changed since they were listed, or only by our own doing.

        NOTE: what others do while we change a directory leaves no trace in its times. But the watch tells of it before
        it tells of our last change, or soon after (`heard`).
        """
        now, known = asyncio.get_running_loop().time(), dict[int, Roll]()
        for of in replicas:
            roll = self._rolls.get(of, keywords(of))
            if roll is None or roll.changed_ns is None:
                continue
            if roll.ours_at is not None and (
                now - roll.ours_at < _HEARD_OF_S or self._ours.is_awaited(path_of(of.directory), since=roll.listed_at)
            ):
                continue
            known[of.id] = roll
        return await asyncio.to_thread(self._unchanged, known) if known else frozenset()

    def we_change(self, of: ReplicaRow, files: Iterable[SeenFile]) -> None:
        """Hear that we are about to change these files."""
        self.open(of, files)
        if (roll := self._rolls.kept(of.id)) is not None:
            roll.ours_at = asyncio.get_running_loop().time()

    def heard(self, changes: Changes) -> None:
        """Hear what others did, or may have done, as soon as it is told, whenever it will be looked at.

        Where it may have been while we changed a directory, its times say nothing until it is listed.
        """
        named = changes.keyword_lists.union(changed.directory for changed in changes.files)
        for roll in self._rolls:
            if roll.ours_at is None:
                continue  # then its times tell of all
            directory = path_of(roll.directory)
            is_named = directory in named or any(directory.is_relative_to(one) for one in changes.mailboxes)
            if is_named or changes.is_overflow:
                roll.changed_ns = None

    def we_changed(self, of: ReplicaRow, *, before: ChangedNs, after: ChangedNs | None) -> None:
        """Hear that we changed a directory between these times; None: not all of that went as it was meant to."""
        roll = self._rolls.kept(of.id)
        if after is None:
            self._doubtful.add(of.id)
        if roll is not None:  # its times are None if anything was heard of meanwhile
            roll.changed_ns = after if roll.changed_ns == before else None
            roll.ours_at = asyncio.get_running_loop().time()

    def _unchanged(self, known: Mapping[int, Roll]) -> frozenset[int]:
        with ReplicaRoot(self._path) as root:
            return frozenset(
                replica_id
                for replica_id, roll in known.items()
                if root.changed_ns(path_of(roll.directory), *_TELLING) == roll.changed_ns
            )

    def _keep(self, of: ReplicaRow, roll: Roll, odd: tuple[OddFile, ...]) -> None:
        self._examined.add(of.id)
        self._doubtful.discard(of.id)
        self._rolls.put(of.id, roll)
        if odd:
            self._odd_files[of.directory] = odd
        else:
            self._odd_files.pop(of.directory, None)

    def _told(self, of: ReplicaRow, alone: Iterable[SeenFile]) -> tuple[OddFile, ...]:
        with ReplicaRoot(self._path) as root, root.mailbox(path_of(of.directory)) as mailbox:
            return odd_files(mailbox, alone)

    def _list(
        self, of: ReplicaRow, roll: Roll | None, keywords: KeywordMap, prove: Prove, now: float
    ) -> tuple[_Listing, Sequence[SeenFile]]:
        """Return what there is beside what a roll has, and what the roll has and is not there."""
        directory = path_of(of.directory)
        with ReplicaRoot(self._path) as root:
            if roll is None:
                listing = self._listed(root, of, keywords, now)
                prove(root)  # by the same descriptor: what is not listed is missing only in a root that is ours
                return listing, ()
            since_ns = _since_ns(root, directory, keywords)
            names = names_in(root, directory)
            prove(root)
            came, went = roll.differences(names)
            seen = seen_now(root, directory, came)
            files = [one.file for one in seen if one.facts is not Absence.NOT_A_FILE]
            odd = [one.file for one in seen if one.facts is Absence.NOT_A_FILE]
            return _Listing(of, keywords, Listed(names, files, odd), since_ns, now), went

    def _list_some(
        self, waiting: Iterator[tuple[ReplicaRow, KeywordMap]], prove: Prove, now: float
    ) -> Sequence[_Listing]:
        """Return listings of the next of these replicas, none when there are no more."""
        listings: list[_Listing] = []
        count = 0
        with ReplicaRoot(self._path) as root:
            for of, keywords in waiting:
                with suppress(FileError):  # its own look tells of it
                    listings.append(self._listed(root, of, keywords, now))
                    count += len(listings[-1].listed.came)
                if count >= _NAMES_AT_ONCE:
                    break
            prove(root)
        return listings

    def _agreeing(
        self, listings: Iterable[_Listing], rows: Mapping[int, Mapping[str, FilePlace]]
    ) -> Sequence[tuple[ReplicaRow, Roll]]:
        """Return the replicas in which all is as their rows say."""
        agreeing: list[tuple[ReplicaRow, Roll]] = []
        for one in listings:
            with suppress(FileError):
                if one.keywords_ns is not None and not any(self._judged(one, rows.get(one.of.id, {}))):
                    roll = one.roll()
                    roll.remember(one.listed.names, without=())
                    agreeing.append((one.of, roll))
        return agreeing

    def _judged(
        self, listing: _Listing, rows: Mapping[str, FilePlace]
    ) -> tuple[Sequence[SeenFile], Sequence[SeenFile]]:
        """Return what is to be looked at, and what is left alone; by size and time as well, if it is examined."""
        suspects, alone = compared(listing.listed, rows, listing.keywords)
        if listing.facts is None:
            return suspects, alone
        known = {*suspects, *alone}
        edited = [
            file
            for file, facts in zip(listing.listed.came, listing.facts, strict=True)
            if file not in known and facts != (rows[file.name].size_bytes, rows[file.name].mtime)
        ]
        return [*suspects, *edited], alone

    def _listed(self, root: ReplicaRoot, of: ReplicaRow, keywords: KeywordMap, now: float) -> _Listing:
        """List all of a replica, and examine its files if that is to be; the root is to be proven after it."""
        directory = path_of(of.directory)
        since_ns = _since_ns(root, directory, keywords)
        facts = None
        with root.mailbox(directory) as mailbox:
            listing = listed(mailbox)
            if of.id not in self._examined:
                facts = [mailbox.stat(file.subdir, file.filename) for file in listing.files]
        new, cur = (frozenset([one.filename for one in listing.files if one.subdir == at]) for at in (NEW, CUR))
        names = Names(new, cur, listing.changed_ns)
        return _Listing(of, keywords, Listed(names, listing.files, listing.odd), since_ns, now, facts)


def _rows(conn: Connection, listings: Iterable[_Listing]) -> Mapping[int, Mapping[str, FilePlace]]:
    """Return the rows of replicas that are listed, by replica: those of small ones all at once."""
    large = {one.of.id for one in listings if len(one.listed.came) > _NAMES_AT_ONCE}
    small = [one.of.id for one in listings if one.of.id not in large]
    return {**replica_tree.places_of(conn, small), **{id_: replica_tree.places(conn, id_) for id_ in large}}


def _since_ns(root: ReplicaRoot, directory: PurePosixPath, keywords: KeywordMap) -> ChangedNs | None:
    """Return since when letters mean this, None where the list of them says something else, or is being written."""
    keywords_ns = root.changed_ns(directory, KEYWORDS)
    is_there = any(keywords_ns)
    is_so = (dovecot.read_keywords(root, directory) if is_there else EMPTY) == keywords
    return keywords_ns if is_so and not is_recent(keywords_ns) else None
