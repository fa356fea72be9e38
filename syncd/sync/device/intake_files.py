"""Floor 4: the files that a device added or rewrote, as an intake handles them: read, compared, given another name.

House rules. Each method of `IntakeFiles` blocks, so it is called in a thread, and opens the root anew. What is returned
as read was made durable first, and was after that still as it had been read.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import TypeVar

from syncd.errors import DeviceAwayError, FileError, Reach, SyncdError
from syncd.mail.message import BodyFacts, bare_digest, crlf_pieces
from syncd.mail.tree import BodyForm
from syncd.maildir.disk.barrier import Touched, barrier
from syncd.maildir.disk.files import FileFacts, MailboxDirectory, Renaming
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.naming.names import FileName
from syncd.maildir.system.mounts import is_shared
from syncd.store.bodies.encoding import EncodedBody, encode_octets
from syncd.store.files.added_files import AddedFile, FileAsRead, Sibling
from syncd.sync.body_batches import FileSpool
from syncd.sync.device.attachment import Prove
from syncd.values import Value

T = TypeVar("T")

_SMALL_BYTES = 1024 * 1024


class ReadFile(Value):
    """A file as it was read; facts and bare_digest: of its octets with line ends of mail.

    changed_at: when it was changed last before that, which no program sets.
    """

    file: AddedFile
    seen: FileAsRead
    body: EncodedBody
    bare_digest: bytes
    changed_at: float | None

    @property
    def name(self) -> FileName:
        return FileName(self.file.name, self.file.info)

    @property
    def is_empty(self) -> bool:
        return not self.seen.size_bytes


class IntakeFiles(Value):
    """Handle the files of the device whose root is at `path`."""

    path: Path
    spool_directory: Path | None

    def read(self, batch: Sequence[AddedFile], prove: Prove) -> list[ReadFile | SyncdError]:
        """Read files, make them durable together, and take those for read that are as they were then."""
        by_directory: defaultdict[str, list[AddedFile]] = defaultdict(list)
        for file in batch:
            by_directory[file.directory].append(file)
        outcomes: dict[AddedFile, ReadFile | SyncdError] = {}
        with ReplicaRoot(self.path) as root:
            prove(root)
            for directory, files in by_directory.items():
                read = _unless_it_fails(partial(self._read_of, root, PurePosixPath(directory), files))
                outcomes |= dict.fromkeys(files, read) if isinstance(read, SyncdError) else read
        return [outcomes[file] for file in batch]

    def unchanged(self, read: Sequence[ReadFile], prove: Prove) -> list[ReadFile]:
        """Return those whose files nobody has changed since they were read, and let go of the others."""
        kept: set[AddedFile] = set()
        with ReplicaRoot(self.path) as root:
            prove(root)
            for directory, ones in groupby(read, key=lambda one: one.file.directory):
                with suppress(FileError), root.mailbox(PurePosixPath(directory)) as mailbox:
                    kept |= {one.file for one in ones if _is_unchanged(mailbox, one)}
        for one in read:
            if one.file not in kept:
                one.body.close()
        return [one for one in read if one.file in kept]

    def ages_s(self, files: Sequence[AddedFile], *, now: float) -> list[float]:
        """Return for how long each file has stayed as it is; 0.0 where that cannot be told.

        NOTE: by a clock that may be set. A file that then seems older than it is must cost no more than being read in
        the middle of its being written, and once more after that.
        """
        if is_shared(self.path):  # whose clock is another one
            return [0.0] * len(files)
        with ReplicaRoot(self.path) as root:
            return [_age_s(root, file, now) for file in files]

    def links(self, file: AddedFile, others: Sequence[Sibling]) -> list[Sibling]:
        """Return which files of other devices are hard links to one of this device."""
        wanted = _inode(self.path, file)
        linked: list[Sibling] = []
        for other in others:
            with suppress(SyncdError):  # a device that is away finds out by itself
                linked += [other] if wanted is not None and _inode(Path(other.path), other.file) == wanted else []
        return linked

    def rename(self, renames: Sequence[tuple[AddedFile, FileName]]) -> Mapping[int, str | None]:
        """Give files other names, and return of those that have one now what it says, by the ids of their rows."""
        infos: dict[int, str | None] = {}
        with ReplicaRoot(self.path) as root:
            for file, to in renames:
                with root.mailbox(PurePosixPath(file.directory)) as mailbox:
                    filename = str(FileName(file.name, file.info))
                    if (
                        mailbox.rename(file.subdir, filename, to_subdir=file.subdir, to_filename=str(to))
                        is Renaming.DONE
                    ):
                        mailbox.sync_names(file.subdir)
                        infos[file.file_id] = to.info
        return infos

    def _read_of(
        self, root: ReplicaRoot, directory: PurePosixPath, files: Sequence[AddedFile]
    ) -> dict[AddedFile, ReadFile | SyncdError]:
        """Read files of one mailbox, which is opened once: that takes as long as to read a letter."""
        with root.mailbox(directory) as mailbox:
            outcomes = {file: _unless_it_fails(partial(self._read, mailbox, file)) for file in files}
            read = [one for one in outcomes.values() if isinstance(one, ReadFile)]
            # NOTE: once they are in the store their files count as there, so they must not be lost in a power cut.
            failure = _unless_it_fails(partial(barrier, root, [_touched(one.file) for one in read]))
            for one in read:
                failed = failure or _unless_it_fails(partial(_ensure_as_read, mailbox, one))
                if failed is not None:
                    one.body.close()
                    outcomes[one.file] = failed
        return outcomes

    def _read(self, mailbox: MailboxDirectory, file: AddedFile) -> ReadFile:
        filename = str(FileName(file.name, file.info))
        found = mailbox.stat(file.subdir, filename)
        if not isinstance(found, FileFacts):
            raise FileError("an added file is not there any more, or is no file", reach=Reach.MESSAGE)
        changed_at = mailbox.changed_at(file.subdir, filename)
        pieces = crlf_pieces(mailbox.pieces(file.subdir, filename))
        body, digest = self._encoded(pieces, found.size_bytes)
        seen = FileAsRead(found.size_bytes, found.mtime, _form(body.facts, found), file.info)
        return ReadFile(file, seen, body, digest, changed_at)

    def _encoded(self, pieces: Iterable[bytes], size_bytes: int) -> tuple[EncodedBody, bytes]:
        if size_bytes <= _SMALL_BYTES // 2:  # each of its octets may be a line end
            octets = b"".join(pieces)
            return encode_octets(octets), bare_digest((octets,))
        spool = FileSpool(self.spool_directory)
        try:
            digest = bare_digest(_through(spool, pieces))
            return spool.encoded(), digest
        except BaseException:
            spool.discard()
            raise


def _unless_it_fails(work: Callable[[], T]) -> T | SyncdError:
    """Return what reaches one file; that the device went away reaches all of them."""
    try:
        return work()
    except DeviceAwayError:
        raise
    except SyncdError as error:
        return error


def _touched(file: AddedFile) -> Touched:
    return Touched(PurePosixPath(file.directory), file.subdir, str(FileName(file.name, file.info)))


def _ensure_as_read(mailbox: MailboxDirectory, read: ReadFile) -> None:
    if mailbox.stat(read.file.subdir, str(read.name)) != FileFacts(read.seen.size_bytes, read.seen.mtime):
        raise FileError("an added file was written while it was read", reach=Reach.MESSAGE)


def _is_unchanged(mailbox: MailboxDirectory, read: ReadFile) -> bool:
    if _unless_it_fails(partial(_ensure_as_read, mailbox, read)) is not None or read.changed_at is None:
        return False
    # NOTE: a program may write as many octets within the same second, which is all that rows know of time.
    return mailbox.changed_at(read.file.subdir, str(read.name)) == read.changed_at


def _age_s(root: ReplicaRoot, file: AddedFile, now: float) -> float:
    with suppress(FileError), root.mailbox(PurePosixPath(file.directory)) as mailbox:
        changed_at = mailbox.changed_at(file.subdir, str(FileName(file.name, file.info)))
        return 0.0 if changed_at is None else max(now - changed_at, 0.0)
    return 0.0


def _through(spool: FileSpool, pieces: Iterable[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        spool.write(piece)
        yield piece


def _inode(path: Path, file: AddedFile) -> tuple[int, int] | None:
    with ReplicaRoot(path) as root, root.mailbox(PurePosixPath(file.directory)) as mailbox:
        return mailbox.inode(file.subdir, str(FileName(file.name, file.info)))


def _form(facts: BodyFacts, found: FileFacts) -> BodyForm:
    if facts.size_bytes == found.size_bytes:
        return BodyForm.RAW
    return BodyForm.LF if facts.is_crlf and facts.lf_size_bytes == found.size_bytes else BodyForm.OWN
