"""Floor 4: sightings: what a look at the files of a replica says, beside what its rows say.

Theory. Names come from events or from a listing; a file counts where it is found now. Its row tells one place more to
look at, and mostly it is there: our own renames are heard of, too. Absence is believed only of a complete listing, and
nothing at all is concluded of a name that two files have.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from syncd.log import log
from syncd.mail.tree import ReplicaMessage
from syncd.maildir.files import FileFacts
from syncd.maildir.keywords import KeywordMap
from syncd.maildir.names import FileName, flags_of
from syncd.maildir.observe import ChangedNs, SeenFile, changed_ns, list_mailbox, seen_now
from syncd.maildir.root import ReplicaRoot
from syncd.reconcile.changes import Sighting
from syncd.store.replica_tree import FilePlace

_LISTINGS_MAX = 5


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look found, and the names that it can speak of: one of them that is not found is not there."""

    found: Mapping[str, Sighting]
    looked_for: frozenset[str]


def place_of(row: ReplicaMessage) -> SeenFile:
    """Return where a row has its file."""
    return SeenFile(row.name, row.subdir, str(FileName(row.name, row.info)))


def suspects(
    root: ReplicaRoot,
    directory: PurePosixPath,
    places: Mapping[str, FilePlace],
    keywords: KeywordMap,
    *,
    is_examining: bool,
) -> tuple[tuple[SeenFile, ...], ChangedNs | None]:
    """Return the files of a listing that are not as their rows say, and those that rows have and it has not.

    With them, where there are none, by what a later look tells that all names are as they were. is_examining: look at
    size and mtime of every file as well, for an edit in place changes no name.
    """
    found: list[SeenFile] = []
    alike: list[SeenFile] = []
    listing = list_mailbox(root, directory)
    for file in listing.files:
        place = places.get(file.name)
        (alike if place and _is_at(place, file, keywords) else found).append(file)
    if is_examining:
        found += [
            file
            for file, facts in seen_now(root, directory, alike)
            if facts != FileFacts(places[file.name].size_bytes, places[file.name].mtime)
        ]
    listed = {file.name for file in listing.files}
    found += [SeenFile(name, place.subdir, place.filename) for name, place in places.items() if name not in listed]
    unclear = listing.duplicates | listing.odd
    if unclear:
        log.warning("replica_files_left_alone", replica=str(directory), count=len(unclear))
    files = tuple(file for file in found if file.name not in unclear)
    return files, None if files else listing.changed_ns


def is_as_listed(root: ReplicaRoot, directory: PurePosixPath, listed: ChangedNs) -> bool:
    """Tell whether all names of a mailbox directory are as they were when it was listed."""
    with root.mailbox(directory) as mailbox:
        return changed_ns(mailbox) == listed


def see(
    root: ReplicaRoot,
    directory: PurePosixPath,
    files: Sequence[SeenFile],
    rows: Mapping[str, ReplicaMessage],
    keywords: KeywordMap,
) -> Seen:
    """Look at files at the places given and where their rows have them; list only for a row whose file is at neither.

    A file without a row that is not where it was is left to the event of its new name.
    """
    found, doubled = _found(root, directory, {*files, *map(place_of, rows.values())}, keywords)
    wanted = rows.keys() - found.keys() - doubled
    if not wanted:
        return Seen(found, frozenset(found))
    for _ in range(_LISTINGS_MAX):
        listing = list_mailbox(root, directory)
        if listing.is_complete:
            break
    elsewhere = [file for file in listing.files if file.name in wanted]
    found_elsewhere, _ = _found(root, directory, elsewhere, keywords)
    found |= found_elsewhere
    gone = wanted - {file.name for file in elsewhere} - listing.odd if listing.is_complete else set()
    return Seen(found, frozenset(found.keys() | gone))


def _is_at(place: FilePlace, file: SeenFile, keywords: KeywordMap) -> bool:
    """Tell whether a file is where its row has it, and its letters mean what they meant."""
    is_there = place.is_settled and (place.subdir, place.filename) == (file.subdir, file.filename)
    return is_there and flags_of(file.letters, keywords) == place.flags


def _found(
    root: ReplicaRoot, directory: PurePosixPath, places: Iterable[SeenFile], keywords: KeywordMap
) -> tuple[dict[str, Sighting], frozenset[str]]:
    """Return the files that are at these places, and the names that are at more than one."""
    found: dict[str, Sighting] = {}
    doubled: set[str] = set()
    for file, facts in seen_now(root, directory, places):
        if isinstance(facts, FileFacts):
            if file.name in found:
                doubled.add(file.name)
            found[file.name] = sighting_of(file, facts, keywords)
    return {name: seen for name, seen in found.items() if name not in doubled}, frozenset(doubled)


def sighting_of(file: SeenFile, facts: FileFacts, keywords: KeywordMap) -> Sighting:
    """Return what is seen of a file that has these facts."""
    name = FileName.parse(file.filename)
    flags = flags_of(name.letters, keywords)
    return Sighting(name.name, name.info, file.subdir, flags, facts.size_bytes, facts.mtime)
