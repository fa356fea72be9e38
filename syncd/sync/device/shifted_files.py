"""Floor 4: the files of one device that go to another of its mailboxes, because their messages did so on the server."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from syncd.mail.flags import Flags
from syncd.mail.tree import Holdable, ReplicaMessage
from syncd.maildir.disk.barrier import Touched, barrier
from syncd.maildir.disk.files import CUR, NEW, FileFacts
from syncd.maildir.disk.marker import Marker, write_marker
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.effects.shift import Kept, Shift, Shifted, ShiftOutcome, Unclear, shift_files
from syncd.maildir.naming.keywords import KeywordMap
from syncd.maildir.naming.names import FileName, flags_of, letters_of
from syncd.store.trees.devices import ReplicaRow
from syncd.store.trees.replica_tree import MintedFile
from syncd.sync.device.files import DeviceFiles
from syncd.sync.device.sightings import place_of
from syncd.sync.device.thread import to_its_end
from syncd.sync.rounds.sides import FileDone
from syncd.values import Value

FileOutcome = FileDone | Kept | Unclear


class FileToShift(Value):
    """A file as it is, and what it is announced to be in another mailbox.

    is_repeated: an earlier attempt may have got through.
    """

    file: ReplicaMessage
    there: ReplicaMessage
    is_repeated: bool


class ShiftedFiles:
    """Move files between the mailboxes of one device; beside its `DeviceFiles`, from the same task."""

    def __init__(
        self,
        path: Path,
        files: DeviceFiles,
        *,
        marker: Callable[[int], Marker],
        prover: Callable[[], Awaitable[Callable[[ReplicaRoot], None]]],
    ) -> None:
        """Take `marker` to make the marker of a generation, `prover` for what proves a root that is open."""
        self._path = path
        self._files = files
        self._marker = marker
        self._prover = prover

    async def prepare(self, of: ReplicaRow, flags: Flags) -> Holdable:
        """Give each of these flags a letter in the replica while there are letters; return what it can hold."""
        return await self._files.prepare(of, flags)

    async def look(self, of: ReplicaRow, names: Iterable[str]) -> int:
        """Observe these files, record what is seen, and return how many changes that were."""
        return await self._files.look(of, names)

    def placed(self, of: ReplicaRow, file: ReplicaMessage, *, message_id: int, flags: Flags) -> MintedFile:
        """Return what a file is to be in another replica: the same, under the same name, with other letters."""
        letters = letters_of(flags, self._files.keywords.of(of))
        subdir = NEW if file.subdir == NEW and not letters else CUR
        return MintedFile(
            message_id=message_id,
            name=file.name,
            info=letters if subdir == CUR else None,
            subdir=subdir,
            flags=flags,
            size_bytes=file.size_bytes,
            mtime=file.mtime,
            form=file.form,
        )

    async def shift(
        self, source: ReplicaRow, target: ReplicaRow, tasks: Sequence[FileToShift], *, generation: int
    ) -> Mapping[int, FileOutcome]:
        """Do the tasks, make them durable, raise the marker, and tell by the row id in `target` how each went.

        A SyncdError says that nothing of the batch counts: it was not made durable.
        """
        for task in tasks:
            self._files.expect(target, place_of(task.there))
        keywords = {PurePosixPath(of.directory): self._files.keywords.of(of) for of in (source, target)}
        shift = partial(self._shift, keywords=keywords, generation=generation, prove=await self._prover())
        outcomes = await to_its_end(shift, source, target, tasks)
        known = self._files.keywords.of(target)
        return {
            task.there.id: _outcome(task.there.flags, outcome, known)
            for task, outcome in zip(tasks, outcomes, strict=True)
        }

    def _shift(
        self,
        source: ReplicaRow,
        target: ReplicaRow,
        tasks: Sequence[FileToShift],
        *,
        keywords: Mapping[PurePosixPath, KeywordMap],
        generation: int,
        prove: Callable[[ReplicaRoot], None],
    ) -> tuple[ShiftOutcome, ...]:
        def made_durable(root: ReplicaRoot, touched: Iterable[Touched]) -> None:
            barrier(root, touched)
            write_marker(root, self._marker(generation))

        with ReplicaRoot(self._path) as root:
            prove(root)  # as before any file call that ends with our marker
            return shift_files(
                root,
                PurePosixPath(source.directory),
                PurePosixPath(target.directory),
                [_shift(task) for task in tasks],
                keywords=keywords.__getitem__,
                barrier=made_durable,
            )


def _shift(task: FileToShift) -> Shift:
    file = task.file
    return Shift(
        file=place_of(file),
        flags=file.flags,
        say_there=task.there.flags,
        expected=FileFacts(file.size_bytes, file.mtime),
        is_repeated=task.is_repeated,
    )


def _outcome(expected: Flags, outcome: ShiftOutcome, keywords: KeywordMap) -> FileOutcome:
    if not isinstance(outcome, Shifted):
        return outcome
    name, letters = FileName.parse(outcome.file.filename), letters_of(expected, keywords)
    if flags_of(name.letters, keywords) == flags_of(letters, keywords):
        return FileDone(name.info, outcome.file.subdir)
    # NOTE: the name that the row gets is not the one on disk, so that every look finds what the device did.
    return FileDone(letters, outcome.file.subdir, is_touched=True)
