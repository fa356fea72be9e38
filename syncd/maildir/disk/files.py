"""Floor 3: the files of one mailbox directory: the only calls that write, link, rename, read or remove them.

House rules. Everything happens relative to directory descriptors that were opened without following a link;
callers run these functions in threads. Nothing here replaces a file, except `replace`, which says so.
"""

import errno
import os
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import PurePosixPath
from types import TracebackType
from typing import NamedTuple, Self

from syncd.errors import FileError, Reach, Temper
from syncd.maildir.naming.names import is_minted
from syncd.maildir.system import entries
from syncd.maildir.system.failures import failing, failure
from syncd.maildir.system.libc import rename_without_replacing

NEW = "new"
CUR = "cur"
TMP = "tmp"
SUBDIRS = (CUR, NEW, TMP)

_MODE = 0o600
_PIECE_BYTES = 256 * 1024
_FOREIGN_TMP_AGE_S = 36 * 3600
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# NOTE: without O_NONBLOCK, opening a FIFO that somebody put into cur/ would wait for its writer for ever.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NOT_A_FILE = frozenset({errno.ENOENT, errno.ELOOP, errno.ENXIO})
"""What opening by `_READ` says of nothing, a link, and a socket or device without a driver."""
_KINDS = (
    (stat.S_ISREG, "a file"),
    (stat.S_ISLNK, "a link"),
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
)
_MTIME_MIN, _MTIME_MAX = -(2**31), 2**34 - 1

Times = tuple[int, int]
"""The mtime and the ctime of a directory or a control file, in nanoseconds."""


class FileFacts(NamedTuple):
    """Tell whether a file is still the one that was recorded: size, and mtime in whole seconds since 1970."""

    size_bytes: int
    mtime: int


class Absence(StrEnum):
    """Why there are no facts: nothing has that name, or something that is no file has it (link, FIFO, directory)."""

    MISSING = "missing"
    NOT_A_FILE = "not_a_file"


class LinkRefusal(StrEnum):
    """Why a file was not linked: no links between the places, no source of that name, an edited one, a name in use."""

    UNSUPPORTED = "unsupported"
    TAKEN = "taken"
    GONE = "gone"
    CHANGED = "changed"


class Renaming(StrEnum):
    """How a rename ended: done, the source is not there, or the target is there already."""

    DONE = "done"
    GONE = "gone"
    TAKEN = "taken"


class MailboxDirectory:
    """Hold one mailbox directory and its cur/, new/ and tmp/ open."""

    def __init__(self, path: PurePosixPath, *, fd: int, cur_fd: int, new_fd: int, tmp_fd: int) -> None:
        """Own the descriptors from here on; `ReplicaRoot.mailbox` and `.create` make them."""
        self.path = path
        self.fd = fd
        self._fds = {CUR: cur_fd, NEW: new_fd, TMP: tmp_fd}

    def close(self) -> None:
        for fd in (self.fd, *self._fds.values()):
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def device_number(self) -> int:
        """Return which file system the directory is on."""
        with failing("examine a mailbox directory"):
            return os.fstat(self.fd).st_dev

    def entries(self, subdir: str) -> Iterator[tuple[str, bool]]:
        """Yield each name but dot names, and whether it is a regular file; readdir's order, no file touched."""
        with failing("list a mailbox directory"), os.scandir(self._fds[subdir]) as found:
            for entry in found:
                if not entry.name.startswith("."):
                    yield entry.name, entry.is_file(follow_symlinks=False)

    def names(self, subdir: str) -> list[str]:
        """Return each name, whatever has it, dot names too; nothing is asked about any of them."""
        with failing("list a mailbox directory"):
            return os.listdir(self._fds[subdir])  # noqa: PTH208

    def names_beside(self, subdir: str, wanted: Collection[str]) -> Iterator[Sequence[str]]:
        """Yield names piece by piece, whatever has them, but for pieces without any of those wanted; see `entries`."""
        with failing("list a mailbox directory"):
            yield from entries.names_beside(self._fds[subdir], wanted)

    def changed_ns(self, subdir: str) -> Times:
        """Return the times that change with the directory's list of names."""
        with failing("examine a mailbox directory"):
            return times_of(os.fstat(self._fds[subdir]))

    def stat(self, subdir: str, filename: str) -> FileFacts | Absence:
        """Return the facts of a regular file, or why there are none; nothing is opened or followed."""
        found = self._lstat(subdir, filename)
        if found is None:
            return Absence.MISSING
        return _facts(found) if stat.S_ISREG(found.st_mode) else Absence.NOT_A_FILE

    def kind(self, subdir: str, filename: str) -> str | None:
        """Return in words what has a name, None when nothing does; nothing is opened or followed."""
        found = self._lstat(subdir, filename)
        return found and next((words for is_it, words in _KINDS if is_it(found.st_mode)), "a device")

    def inode(self, subdir: str, filename: str) -> tuple[int, int] | None:
        """Return what tells whether two names are links to one file, None when nothing has that name."""
        found = self._lstat(subdir, filename)
        return found and (found.st_dev, found.st_ino)

    def changed_at(self, subdir: str, filename: str) -> float | None:
        """Return when a file was written, renamed or linked last, which no program sets; None when there is none."""
        found = self._lstat(subdir, filename)
        return found and found.st_ctime

    def _lstat(self, subdir: str, filename: str) -> os.stat_result | None:
        try:
            return os.stat(_component(filename), dir_fd=self._fds[subdir], follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:  # NOTE: no `failing`, which takes half as long as the call: each file is looked at
            raise failure(error, "examine a message") from error

    def write_tmp(self, filename: str, pieces: Iterable[bytes | memoryview], *, mtime: int) -> FileFacts:
        """Write a new file into tmp/, mode 0600, and return its facts; on any failure nothing is left there."""
        with failing("create a message"):
            fd = self._create_tmp(filename)
        try:
            try:
                with failing("write a message"):
                    for piece in pieces:
                        _write_all(fd, piece)
                    time_ns = min(max(mtime, _MTIME_MIN), _MTIME_MAX) * 1_000_000_000
                    os.utime(fd, ns=(time_ns, time_ns))
                    found = os.fstat(fd)
                    if stat.S_IMODE(found.st_mode) != _MODE:  # by an umask that takes rights from the owner
                        os.fchmod(fd, _MODE)
                    return _facts(found)
            finally:
                os.close(fd)
        except BaseException:
            self.discard_tmp(filename)
            raise

    def _create_tmp(self, filename: str) -> int:
        tmp_fd = self._fds[TMP]
        try:
            fd = os.open(_component(filename), _CREATE, _MODE, dir_fd=tmp_fd)
        except FileExistsError:
            # NOTE: only we mint this name, so what has it is our own torn attempt, or was planted there.
            os.unlink(filename, dir_fd=tmp_fd)
            fd = os.open(filename, _CREATE, _MODE, dir_fd=tmp_fd)
        return fd

    def link(
        self,
        subdir: str,
        filename: str,
        source: "MailboxDirectory",
        *,
        source_subdir: str,
        source_filename: str,
        expected: FileFacts,
    ) -> LinkRefusal | None:
        """Link another replica's file, without ever replacing one, if it still is as expected; None when that worked.

        NOTE: the facts are read once more from the new link, so that a source replaced meanwhile does not stay. Going
        by tmp/ would keep that one out of sight for an instant, and costs more than the rest of a delivery by link.
        """
        found = source.stat(source_subdir, source_filename)
        if found != expected:
            return LinkRefusal.GONE if found is Absence.MISSING else LinkRefusal.CHANGED
        try:
            os.link(
                _component(source_filename),
                _component(filename),
                src_dir_fd=source._fds[source_subdir],
                dst_dir_fd=self._fds[subdir],
                follow_symlinks=False,
            )
        except FileNotFoundError:
            return LinkRefusal.GONE
        except FileExistsError:
            return LinkRefusal.TAKEN
        except OSError:
            # EXDEV, EMLINK, EPERM, no links on this file system, …: writing a copy tells whether it is trouble.
            return LinkRefusal.UNSUPPORTED
        if self.stat(subdir, filename) == expected:
            return None
        if not self.remove(subdir, filename):
            raise FileError(
                "a file changed while it was linked, and was taken", reach=Reach.MESSAGE, temper=Temper.RETRY
            )
        return LinkRefusal.CHANGED

    def discard_tmp(self, filename: str) -> None:
        """Remove a file from tmp/, if it is there; trouble with that is left to `clean_tmp`."""
        try:
            os.unlink(_component(filename), dir_fd=self._fds[TMP])
        except OSError:
            pass

    def publish(self, tmp_filename: str, *, subdir: str, filename: str) -> Renaming:
        """Move a finished file out of tmp/, without ever replacing another."""
        return self._rename(TMP, tmp_filename, subdir, filename, deed="deliver a message")

    def replace(self, tmp_filename: str, *, subdir: str, filename: str) -> None:
        """Move a finished file out of tmp/ over a torn one of the same minted name."""
        with failing("deliver a message again"):
            os.rename(
                _component(tmp_filename),
                _component(filename),
                src_dir_fd=self._fds[TMP],
                dst_dir_fd=self._fds[subdir],
            )

    def rename(self, subdir: str, filename: str, *, to_subdir: str, to_filename: str) -> Renaming:
        """Give a message another name or move it from new/ to cur/, without ever replacing another."""
        return self._rename(subdir, filename, to_subdir, to_filename, deed="rename a message")

    def move(
        self, subdir: str, filename: str, target: "MailboxDirectory", *, to_subdir: str, to_filename: str
    ) -> Renaming | None:
        """Move a message to another mailbox directory, without ever replacing another.

        None: it cannot be moved there (EXDEV, EPERM, …); writing it there tells whether that is trouble.
        """
        try:
            rename_without_replacing(
                _component(filename),
                _component(to_filename),
                source_dir_fd=self._fds[subdir],
                target_dir_fd=target._fds[to_subdir],
            )
        except FileNotFoundError:
            return Renaming.GONE
        except FileExistsError:
            return Renaming.TAKEN
        except OSError:
            return None
        return Renaming.DONE

    def _rename(self, subdir: str, filename: str, to_subdir: str, to_filename: str, *, deed: str) -> Renaming:
        try:
            rename_without_replacing(
                _component(filename),
                _component(to_filename),
                source_dir_fd=self._fds[subdir],
                target_dir_fd=self._fds[to_subdir],
            )
        except FileNotFoundError:
            return Renaming.GONE
        except FileExistsError:
            return Renaming.TAKEN
        except OSError as error:
            raise failure(error, deed) from error
        return Renaming.DONE

    def remove(self, subdir: str, filename: str) -> bool:
        """Remove a message; False when it was not there."""
        with failing("remove a message"):
            try:
                os.unlink(_component(filename), dir_fd=self._fds[subdir])
            except FileNotFoundError:
                return False
        return True

    def pieces(self, subdir: str, filename: str) -> Iterator[bytes]:
        """Yield the octets of a regular file.

        FileError that reaches one message: gone, no file, or changed while it was read; then what was yielded must
        not be used.
        """
        with failing("read a message"):
            try:
                fd = os.open(_component(filename), _READ, dir_fd=self._fds[subdir])
            except OSError as error:
                if error.errno in _NOT_A_FILE:
                    raise _unreadable("is not there or is no file") from error
                raise
            try:
                before = os.fstat(fd)
                if not stat.S_ISREG(before.st_mode):
                    raise _unreadable("is no file")
                while piece := os.read(fd, _PIECE_BYTES):
                    yield piece
                after = os.fstat(fd)
            finally:
                os.close(fd)
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise _unreadable("changed while it was read")

    def sync_file(self, subdir: str, filename: str) -> bool:
        """Write a file's octets to disk; False when no file has that name any more."""
        with failing("make a message durable"):
            try:
                fd = os.open(_component(filename), _READ, dir_fd=self._fds[subdir])
            except OSError as error:
                if error.errno in _NOT_A_FILE:
                    return False
                raise
            try:
                is_file = stat.S_ISREG(os.fstat(fd).st_mode)
                if is_file:
                    os.fsync(fd)
            finally:
                os.close(fd)
        return is_file

    def sync_names(self, subdir: str) -> None:
        """Write the list of names of cur/ or new/ to disk."""
        with failing("make a mailbox directory durable"):
            os.fsync(self._fds[subdir])

    def clean_tmp(self, *, now_s: float) -> int:
        """Remove our own litter from tmp/, and others' that nobody touched for 36 hours; return how many files.

        Call it while nothing is being delivered: what a crash left has a name that `mint` made.
        """
        count = 0
        for filename, is_file in tuple(self.entries(TMP)):
            if is_file and (is_minted(filename) or self._is_given_up(filename, now_s)):
                count += self.remove(TMP, filename)
        return count

    def _is_given_up(self, filename: str, now_s: float) -> bool:
        with failing("examine a file in tmp"):
            try:
                found = os.stat(filename, dir_fd=self._fds[TMP], follow_symlinks=False)
            except FileNotFoundError:
                return False
        # NOTE: mtime alone lies: a program may set it to the message's date before it is done.
        return max(found.st_atime, found.st_mtime, found.st_ctime) < now_s - _FOREIGN_TMP_AGE_S


def times_of(found: os.stat_result) -> Times:
    """Return mtime and ctime: programs that copy or restore trees set the one, and by that the other."""
    return found.st_mtime_ns, found.st_ctime_ns


def _facts(found: os.stat_result) -> FileFacts:
    return FileFacts(found.st_size, found.st_mtime_ns // 1_000_000_000)


def _write_all(fd: int, piece: bytes | memoryview) -> None:
    written = os.write(fd, piece)
    while written < len(piece):
        written += os.write(fd, memoryview(piece)[written:])


def _component(filename: str) -> str:
    """Return the name of one file as it is; ValueError for what would lead elsewhere."""
    if not filename or "/" in filename or "\0" in filename or filename in {".", ".."}:
        raise ValueError("not the name of a file")
    return filename


def _unreadable(why: str) -> FileError:
    return FileError(f"the file of a message {why}", reach=Reach.MESSAGE, temper=Temper.RETRY)
