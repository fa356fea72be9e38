"""Floor 3: observing a replica: complete listings of a mailbox, and a second look at files that an event named."""

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from syncd.maildir.disk.files import CUR, NEW, Absence, FileFacts, MailboxDirectory
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.naming.names import FileName
from syncd.values import Value

_TICK_NS = 20_000_000
"""More than a tick of the clock by which file systems stamp changes (4 to 10 ms before Linux 6.13)."""
_COARSE_NS = 10_000_000
_COARSE_TICK_NS = 2_500_000_000
"""More than the tick of file systems that keep whole hundredths of a second, seconds, or every other second."""
_PATIENCE_NS = 125_000_000
"""For how long a look for missing files waits until times tell names; twenty of these are longer than a coarse tick."""

ChangedNs = tuple[int, ...]
"""The times of new/ and cur/, which change with every name that comes, goes or changes.

Whoever asks what letters mean, too, has those of the list of keywords beside them.
"""


class SeenFile(NamedTuple):
    """Name a regular file of cur/ or new/: its unchanging name, and its whole name with the flag letters."""

    name: str
    subdir: str
    filename: str

    @classmethod
    def of(cls, subdir: str, filename: str) -> "SeenFile":
        return cls(FileName.name_of(filename), subdir, filename)

    @property
    def letters(self) -> str:
        """Return the flag letters; a file in new/ may have some too."""
        return FileName.letters_in(self.filename)


class Listing(Value):
    """Hold all that cur/ and new/ of one mailbox contained.

    files: regular files, dot names left out. duplicates: names that more than one of them has. odd: links, FIFOs,
    directories and the like, which are no messages and prove nothing. is_complete: no name came,
    went or changed while the directories were read; only then does a file not in `files` count as not seen.
    changed_ns: of a complete one, the times by which a later look tells that all names are as they were.
    """

    files: tuple[SeenFile, ...]
    duplicates: frozenset[str]
    odd: tuple[SeenFile, ...]
    changed_ns: ChangedNs | None

    @property
    def is_complete(self) -> bool:
        return self.changed_ns is not None

    @property
    def unclear(self) -> frozenset[str]:
        """Return the names of which nobody can say which file is meant, or that no file has."""
        return self.duplicates.union(file.name for file in self.odd)


class Called(NamedTuple):
    """Say what in new/ and cur/ of one mailbox has certain unchanging names; is_complete: as of a `Listing`."""

    files: Sequence[SeenFile]
    is_complete: bool


class Names(Value):
    """Hold all names in new/ and cur/ of one mailbox, whatever has them; to be compared by the set, not one by one.

    changed_ns: as of a `Listing`.
    """

    new: frozenset[str]
    cur: frozenset[str]
    changed_ns: ChangedNs | None

    @property
    def is_complete(self) -> bool:
        return self.changed_ns is not None

    def has(self, subdir: str, filename: str) -> bool:
        """Tell whether anything has this name."""
        return filename in (self.new if subdir == NEW else self.cur)

    def called(self, wanted: Collection[str]) -> Called:
        """Return what has one of these unchanging names, with whatever flag letters."""
        return Called([*_called(NEW, self.new, wanted), *_called(CUR, self.cur, wanted)], self.is_complete)


class Sighting(NamedTuple):
    """Say what a second look at a file found."""

    file: SeenFile
    facts: FileFacts | Absence


def list_mailbox(root: ReplicaRoot, directory: PurePosixPath) -> Listing:
    """List a mailbox directory without touching a file.

    FileError when cur/ or new/ is missing or cannot be read to its end: that is never an empty listing.
    """
    with root.mailbox(directory) as mailbox:
        return listed(mailbox)


def listed(mailbox: MailboxDirectory) -> Listing:
    """List an open mailbox directory, like `list_mailbox`."""
    before = _settled_ns(mailbox)
    files: list[SeenFile] = []
    odd: list[SeenFile] = []
    # NOTE: files move from new/ to cur/: in this order one that moves meanwhile is seen twice rather than not at all.
    for subdir in (NEW, CUR):
        for filename, is_file in mailbox.entries(subdir):
            (files if is_file else odd).append(SeenFile.of(subdir, filename))
    duplicates = _doubled(files)
    if duplicates:
        files = [
            file
            for file in files
            if file.name not in duplicates or isinstance(mailbox.stat(file.subdir, file.filename), FileFacts)
        ]
        duplicates = _doubled(files)
    is_complete = before == _changed_ns(mailbox)
    return Listing(tuple(files), duplicates, tuple(odd), before if is_complete else None)


def names_in(root: ReplicaRoot, directory: PurePosixPath) -> Names:
    """Do what `list_mailbox` does without a look at any single name: that takes a tenth of the time.

    NOTE: what has a name need not be a file, and two files may have one unchanging name.
    """
    with root.mailbox(directory) as mailbox:
        before = _settled_ns(mailbox)
        new, cur = (frozenset(mailbox.names(subdir)) for subdir in (NEW, CUR))  # in this order: see `listed`
        return Names(new, cur, before if before == _changed_ns(mailbox) else None)


def called_in(root: ReplicaRoot, directory: PurePosixPath, wanted: Collection[str]) -> Called:
    """List a mailbox as `names_in` does, and return only what has one of these unchanging names.

    A directory that changes at this moment is not listed, or no further: it would be for nothing.
    """
    files: list[SeenFile] = []
    with root.mailbox(directory) as mailbox:
        before = _settled_ns(mailbox, patience_ns=_PATIENCE_NS)
        if before is None:
            return Called((), is_complete=False)
        for subdir in (NEW, CUR):  # in this order: see `listed`
            for filenames in mailbox.names_beside(subdir, wanted):
                files += _called(subdir, filenames, wanted)
                if before != _changed_ns(mailbox):
                    return Called(files, is_complete=False)
        return Called(files, is_complete=before == _changed_ns(mailbox))


def seen_now(root: ReplicaRoot, directory: PurePosixPath, files: Iterable[SeenFile]) -> tuple[Sighting, ...]:
    """Look at files of one mailbox by their whole names, in the order given.

    A file that is missing here may have another name by now: that it is gone only a complete listing can tell.
    Facts that differ from the recorded ones mean that the file was edited in place.
    """
    with root.mailbox(directory) as mailbox:
        return tuple([Sighting(file, mailbox.stat(file.subdir, file.filename)) for file in files])


def _called(subdir: str, filenames: Iterable[str], wanted: Collection[str]) -> Iterator[SeenFile]:
    for filename in filenames:
        if (name := FileName.name_of(filename)) in wanted:
            yield SeenFile(name, subdir, filename)


def _settled_ns(mailbox: MailboxDirectory, *, patience_ns: int = _TICK_NS) -> ChangedNs | None:
    """Return the times of a directory that is about to be listed; None when the next change could leave them so."""
    before = _changed_ns(mailbox)
    wait_ns = _recent_for_ns(before)
    if wait_ns > 0:
        time.sleep(min(wait_ns, patience_ns) / 1_000_000_000)
        before = _changed_ns(mailbox)
    return None if is_recent(before) else before


def _changed_ns(mailbox: MailboxDirectory) -> ChangedNs:
    return *mailbox.changed_ns(NEW), *mailbox.changed_ns(CUR)


def is_recent(changed: Iterable[int]) -> bool:
    """Tell whether a change at this moment could leave the times as they are, for they advance in ticks."""
    return _recent_for_ns(changed) > 0


def _recent_for_ns(changed: Iterable[int]) -> int:
    """Return for how long from now on a change may be stamped with one of these times as well."""
    now_ns = time.time_ns()
    # NOTE: a look asks this of some times of each directory, and nearly all are old.
    young = [at for at in changed if 0 <= now_ns - at < _COARSE_TICK_NS]
    return max(((_TICK_NS if at % _COARSE_NS else _COARSE_TICK_NS) + at - now_ns for at in young), default=0)


def _doubled(files: Iterable[SeenFile]) -> frozenset[str]:
    names = [file.name for file in files]
    if len(set(names)) == len(names):  # as nearly always
        return frozenset()
    once: set[str] = set()
    twice: set[str] = set()
    for name in names:
        (twice if name in once else once).add(name)
    return frozenset(twice)
