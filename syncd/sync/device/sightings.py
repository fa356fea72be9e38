"""Floor 4: sightings: what a look at the files of a replica says, beside what its rows say.

Theory. Names come from events or from a listing; a file counts where it is found now. Its row tells one place more to
look at, and mostly it is there: our own renames are heard of, too. Absence is believed only of a complete listing, and
nothing at all is concluded of a name that two files have.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from syncd.mail.flags import Flags
from syncd.mail.tree import ReplicaMessage
from syncd.maildir.disk.files import Absence, FileFacts
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.naming.keywords import KeywordMap
from syncd.maildir.naming.names import FileName, flags_of, joined
from syncd.maildir.news.observe import Called, Names, SeenFile, called_in, seen_now
from syncd.reconcile.changes import Sighting
from syncd.store.trees.replica_tree import FilePlace
from syncd.values import Value

LISTINGS_MAX = 5
_NOTHING = Called((), is_complete=False)


class Seen(Value):
    """What a look found, and the names that it can speak of: one of them that is not found is not there.

    unclear: names of which it can not: they were looked for in no listing during which nothing came, went or changed.
    has_odd: some of what was looked at is no file, or shares its name with another.
    """

    found: Mapping[str, Sighting]
    looked_for: frozenset[str]
    unclear: frozenset[str] = frozenset()
    has_odd: bool = False


class Listed(Value):
    """What a listing has beside names that are known: files that came, and what is no file under such names."""

    names: Names
    came: Sequence[SeenFile]
    odd: Sequence[SeenFile] = ()


def place_of(row: ReplicaMessage) -> SeenFile:
    """Return where a row has its file."""
    return SeenFile(row.name, row.subdir, joined(row.name, row.info))


def compared(
    listed: Listed, rows: Mapping[str, FilePlace], keywords: KeywordMap
) -> tuple[Sequence[SeenFile], Sequence[SeenFile]]:
    """Return the files that are to be looked at, and those that are left alone: odd ones, and two of one name.

    To be looked at are files that are not as their rows say, and those that rows have and the listing has not.
    """
    found: list[SeenFile] = []
    names: set[str] = set()
    doubled: set[str] = set()
    meant: dict[str, Flags] = {}
    for file in listed.came:
        name, subdir, filename = file
        (doubled if name in names else names).add(name)
        place = rows.get(name)
        # NOTE: nearly all files are where their rows have them; so this is done here, and not by `_is_at`.
        if place is not None and place.is_settled and place.filename == filename and place.subdir == subdir:
            letters = FileName.letters_in(filename)
            if (flags := meant.get(letters)) is None:
                flags = meant[letters] = flags_of(letters, keywords)
            if flags == place.flags:
                continue
        found.append(file)
        if place is not None and place.filename != file.filename and listed.names.has(place.subdir, place.filename):
            doubled.add(file.name)  # with one whose name was known
    for name, place in rows.items():
        if name not in names:
            file = SeenFile(name, place.subdir, place.filename)
            if not (listed.names.has(file.subdir, file.filename) and _is_at(place, file, keywords)):
                found.append(file)
    unclear = doubled.union(file.name for file in listed.odd)
    if not unclear:
        return found, ()
    places = [SeenFile(name, rows[name].subdir, rows[name].filename) for name in unclear & rows.keys()]
    alone = [*listed.odd, *places, *(file for file in listed.came if file.name in unclear)]
    return [file for file in found if file.name not in unclear], alone


def see(
    root: ReplicaRoot,
    directory: PurePosixPath,
    files: Sequence[SeenFile],
    rows: Mapping[str, ReplicaMessage],
    keywords: KeywordMap,
    *,
    names: Names | None = None,
    listings: int = LISTINGS_MAX,
) -> Seen:
    """Look at files at the places given and where their rows have them; list only for a row whose file is at neither.

    names: of a listing since the rows were as they are. listings: how many may be made until one is complete. A file
    without a row that is not where it was is left to the event of its new name.
    """
    found, doubled, has_odd = _found(root, directory, {*files, *map(place_of, rows.values())}, keywords)
    wanted = rows.keys() - found.keys() - doubled
    if not wanted:
        return Seen(found, frozenset(found), has_odd=has_odd)
    elsewhere = _NOTHING if names is None else names.called(wanted)
    for _ in range(listings):
        if elsewhere.is_complete:
            break
        elsewhere = called_in(root, directory, wanted)
    found_elsewhere, *_ = _found(root, directory, elsewhere.files, keywords)
    found |= found_elsewhere
    nowhere = frozenset(wanted - {file.name for file in elsewhere.files})
    if not elsewhere.is_complete:
        return Seen(found, frozenset(found), unclear=nowhere, has_odd=has_odd)
    return Seen(found, nowhere.union(found), has_odd=has_odd)


def _is_at(place: FilePlace, file: SeenFile, keywords: KeywordMap) -> bool:
    """Tell whether a file is where its row has it, and its letters mean what they meant."""
    is_there = place.is_settled and (place.subdir, place.filename) == (file.subdir, file.filename)
    return is_there and flags_of(file.letters, keywords) == place.flags


def _found(
    root: ReplicaRoot, directory: PurePosixPath, places: Iterable[SeenFile], keywords: KeywordMap
) -> tuple[dict[str, Sighting], frozenset[str], bool]:
    """Return the files that are at these places, the names that are at more than one, and whether anything is odd."""
    found: dict[str, Sighting] = {}
    doubled: set[str] = set()
    is_any_none = False
    for file, facts in seen_now(root, directory, places):
        is_any_none |= facts is Absence.NOT_A_FILE
        if isinstance(facts, FileFacts):
            if file.name in found:
                doubled.add(file.name)
            found[file.name] = sighting_of(file, facts, keywords)
    clear = {name: seen for name, seen in found.items() if name not in doubled}
    return clear, frozenset(doubled), is_any_none or bool(doubled)


def sighting_of(file: SeenFile, facts: FileFacts, keywords: KeywordMap) -> Sighting:
    """Return what is seen of a file that has these facts."""
    name = FileName.parse(file.filename)
    flags = flags_of(name.letters, keywords)
    return Sighting(name.name, name.info, file.subdir, flags, facts.size_bytes, facts.mtime)
