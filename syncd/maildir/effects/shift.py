"""Floor 3: moving files to another mailbox of a replica: the same file and name, with the letters of its new mailbox.

Theory. What moves is announced as a withdrawal here and a delivery there, so nothing has to be proved when a file is
not found: what is not moved can be removed and delivered, and an announced file that is in neither mailbox is written.
Only while it is certain that no file has the name in the new mailbox may the announcement be taken back.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePosixPath

from syncd.errors import FileError, Reach
from syncd.mail.flags import Flags, with_delta
from syncd.maildir.disk.barrier import Touched
from syncd.maildir.disk.barrier import barrier as durable_barrier
from syncd.maildir.disk.files import CUR, NEW, FileFacts, MailboxDirectory, Renaming
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.naming.keywords import KeywordMap
from syncd.maildir.naming.names import FileName, flags_of, letters_of
from syncd.maildir.news.observe import SeenFile
from syncd.values import Value

_LOOKS = 5


class Shift(Value):
    """Move a file that is as recorded; commit it as withdrawn here and as delivering there before.

    file: where it is believed to be. flags: what its letters say there by the record, and say_there: what they are to
    say in the new mailbox, beside what the device changed since. is_repeated: an earlier attempt may have got through.
    """

    file: SeenFile
    flags: Flags
    say_there: Flags
    expected: FileFacts
    is_repeated: bool = False


class Shifted(Value):
    """The file is in its new mailbox, durably."""

    file: SeenFile


class Kept(Value):
    """The file was not moved, and its name is not used in the new mailbox by us: take the announcement back."""


class Unclear(Value):
    """It cannot be told what became of an earlier attempt: remove and deliver, as announced."""


ShiftOutcome = Shifted | Kept | Unclear


def shift_files(
    root: ReplicaRoot,
    source: PurePosixPath,
    target: PurePosixPath,
    shifts: Sequence[Shift],
    *,
    keywords: Callable[[PurePosixPath], KeywordMap],
    barrier: Callable[[ReplicaRoot, Iterable[Touched]], None] = durable_barrier,
) -> tuple[ShiftOutcome, ...]:
    """Move files from one mailbox directory to another, make that durable, and return each one's outcome, in order.

    keywords: gives the map of a mailbox directory. FileError when the barrier fails: then nothing counts as done. A
    mailbox that cannot be opened moves nothing, and is told of by whoever removes or delivers.
    """
    touched: list[Touched] = []
    outcomes: list[ShiftOutcome] = []
    try:
        with root.mailbox(source) as from_mailbox, root.mailbox(target) as to_mailbox:
            here, there = _Directory(from_mailbox, keywords(source)), _Directory(to_mailbox, keywords(target))
            for one in shifts:
                outcomes.append(_shift(one, here, there))
                if isinstance(outcomes[-1], Shifted):
                    touched += [Touched(source, CUR), Touched(source, NEW), Touched(target, outcomes[-1].file.subdir)]
    except FileError as error:
        if error.reach is Reach.DEVICE:
            raise
        outcomes += [_not_shifted(one) for one in shifts[len(outcomes) :]]
    barrier(root, touched)
    return tuple(outcomes)


class _Found(Value):
    file: SeenFile
    facts: FileFacts


class _Directory:
    """Find the files of one mailbox, by a listing only where one is not where it was believed to be."""

    def __init__(self, mailbox: MailboxDirectory, keywords: KeywordMap) -> None:
        self.mailbox = mailbox
        self.keywords = keywords
        self._by_name: dict[str, SeenFile] | None = None

    def find(self, believed: SeenFile) -> _Found | None:
        """Return the file of this name; None, which proves nothing, when none is seen."""
        guess: SeenFile | None = believed
        for _ in range(_LOOKS):
            if guess is None:
                return None
            facts = self.mailbox.stat(guess.subdir, guess.filename)
            if isinstance(facts, FileFacts):
                return _Found(guess, facts)
            if self._by_name is None or guess is not believed:
                self._by_name = self._listed()
            guess = self._by_name.get(believed.name)
        return None

    def _listed(self) -> dict[str, SeenFile]:
        listed = (
            SeenFile.of(subdir, filename)
            for subdir in (NEW, CUR)
            for filename, is_file in self.mailbox.entries(subdir)
            if is_file
        )
        return {file.name: file for file in listed}


def _shift(one: Shift, here: _Directory, there: _Directory) -> ShiftOutcome:
    for _ in range(_LOOKS):
        found = here.find(one.file)
        if found is None or found.facts != one.expected:
            break
        file, target = found.file, _target(one, found.file, here, there)
        match here.mailbox.move(
            file.subdir, file.filename, there.mailbox, to_subdir=target.subdir, to_filename=target.filename
        ):
            case Renaming.DONE:
                return Shifted(target)
            case Renaming.GONE:
                continue
            case Renaming.TAKEN | None:
                break
    if one.is_repeated and here.find(one.file) is None:
        found = there.find(_target(one, one.file, here, there))
        if found is not None and found.facts == one.expected:
            return Shifted(found.file)
    return _not_shifted(one)


def _not_shifted(one: Shift) -> Kept | Unclear:
    return Unclear() if one.is_repeated else Kept()


def _target(one: Shift, file: SeenFile, here: _Directory, there: _Directory) -> SeenFile:
    """Return what the file becomes: its letters say what was asked for, and what the device changed since."""
    before = flags_of(letters_of(one.flags, here.keywords), here.keywords)
    now = flags_of(file.letters, here.keywords)
    flags = with_delta(one.say_there, add=now - before, remove=before - now)
    if file.subdir == NEW and not letters_of(flags, there.keywords):
        return SeenFile(file.name, NEW, file.name)
    name = FileName.parse(file.filename).in_mailbox(flags, there.keywords)
    return SeenFile(file.name, CUR, str(name))
