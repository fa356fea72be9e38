"""Floor 3: a root: its mailbox directories, opened step by step without following a link, and its control files."""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self

from syncd.errors import DeviceAwayError, MailboxLostError
from syncd.mail.paths import path_of
from syncd.maildir.disk.files import CUR, NEW, SUBDIRS, TMP, MailboxDirectory, Times, times_of
from syncd.maildir.system.failures import failing
from syncd.maildir.system.libc import syncfs

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ROOT = PurePosixPath()
_CONTROL_FILE_MAX_BYTES = 1024 * 1024
_DEPTH_MAX = 64
_MOUNT = re.compile(r"^mnt_id:\s*(\d+)$", re.MULTILINE)


class ReplicaRoot:
    """Hold a device root open for one piece of work; not longer, or a disk could never be unmounted."""

    def __init__(self, path: Path) -> None:
        """Open the root itself (which may be a link: the configuration names it); DeviceAwayError when not there."""
        try:
            self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            reason = (error.strerror or "unknown error").lower()
            raise DeviceAwayError(f"the directory of the device cannot be opened: {reason}") from error
        self.path = path

    def close(self) -> None:
        os.close(self.fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def mailbox(self, directory: PurePosixPath) -> MailboxDirectory:
        """Open a mailbox directory; FileError that reaches the mailbox when it, cur/, new/ or tmp/ is no directory.

        It is a MailboxLostError where one of them is not there.

        A link instead of a directory is refused at every step.
        """
        with failing("open a mailbox directory"):
            fd = _walk_to_mailbox(self.fd, directory)
            try:
                fds = _opened_subdirs(fd)
            except BaseException:
                os.close(fd)
                raise
        return MailboxDirectory(directory, fd=fd, cur_fd=fds[CUR], new_fd=fds[NEW], tmp_fd=fds[TMP])

    def create(self, directory: PurePosixPath) -> MailboxDirectory:
        """Make what is missing of a mailbox directory, durably and with mode 0700 whatever the umask, and open it."""
        self.make(directory)
        with failing("make a mailbox directory"), self.opened(directory) as fd:
            # NOTE: cur/ last, for it is what makes a directory a mailbox: a crash before it leaves none half made.
            for subdir in (TMP, NEW, CUR):
                _make(subdir, fd)
        return self.mailbox(directory)

    def is_absent(self, directory: PurePosixPath) -> bool:
        """Tell whether nothing at all has the name of a directory; FileError where that cannot be told."""
        with failing("look for a mailbox directory"), ExitStack() as opened:
            return not _reached(self.fd, directory, opened)[1]

    def lacks(self, directory: PurePosixPath) -> bool:
        """Tell whether a mailbox has no directory, or one that is only around others; FileError as `is_absent`.

        An empty directory, or nothing but one around it, is no such proof: a disk may be mounted there at other times.
        """
        with failing("look for a mailbox directory"), ExitStack() as opened:
            fd, is_there = _reached(self.fd, directory, opened)
            names = _names_in(fd)
        if not is_there:
            return bool(names)
        if names & {*SUBDIRS}:
            return False
        return any(CUR in inside for _, inside in self.walk(directory))

    def is_bare(self, directory: PurePosixPath) -> bool:
        """Tell whether a directory is there and has nothing of a mailbox; FileError as `is_absent`."""
        with failing("look for a mailbox directory"), ExitStack() as opened:
            fd, is_there = _reached(self.fd, directory, opened)
            return is_there and not _names_in(fd) & {*SUBDIRS}

    def make(self, directory: PurePosixPath) -> None:
        """Make what is missing of a directory, durably and with mode 0700 whatever the umask; the root is there."""
        with failing("make a directory"), ExitStack() as opened:
            fd = self.fd
            for part in _parts(directory) if directory.parts else ():
                _make(part, fd)
                fd = _opened(part, fd, opened)

    @contextmanager
    def opened(self, directory: PurePosixPath, *, is_mailbox: bool = False) -> Iterator[int]:
        """Give a descriptor of a directory below the root, or of the root; OSError when there is none.

        is_mailbox: MailboxLostError then.
        """
        if not directory.parts:
            yield self.fd
            return
        fd = _walk_to_mailbox(self.fd, directory) if is_mailbox else _walk(self.fd, directory)
        try:
            yield fd
        finally:
            os.close(fd)

    def directories(self) -> tuple[PurePosixPath, ...]:
        """Return every directory below the root that has a cur/, whoever made it; links are not followed."""
        found = [directory for directory, inside in self.walk() if CUR in inside and directory.parts]
        return tuple(sorted(found, key=lambda directory: directory.parts))

    def walk(self, start: PurePosixPath = _ROOT) -> Iterator[tuple[PurePosixPath, frozenset[str]]]:
        """Yield each directory from `start` down and the names of those in it, but none inside cur/, new/, tmp/.

        Links are not followed; what cannot be opened, or is gone by then, is left out.
        """
        pending = [start]
        while pending:
            directory = pending.pop()
            inside = self._directories_in(directory)
            if inside is None:
                continue
            yield directory, inside
            if len(directory.parts) < _DEPTH_MAX:
                outer = f"{directory}/" if directory.parts else ""
                pending.extend(path_of(outer + name) for name in inside.difference(SUBDIRS))

    def _directories_in(self, directory: PurePosixPath) -> frozenset[str] | None:
        with failing("list the replica root"):
            try:
                fd = _walk(self.fd, directory) if directory.parts else self.fd
            except (FileNotFoundError, NotADirectoryError, PermissionError):
                return None
            try:
                with os.scandir(fd) as entries:
                    return frozenset([entry.name for entry in entries if entry.is_dir(follow_symlinks=False)])
            finally:
                if fd != self.fd:
                    os.close(fd)

    def read_control(self, directory: PurePosixPath, filename: str) -> bytes | None:
        """Return a small file of syncd's or Dovecot's own; None when there is none, no octets when it is no file."""
        with (
            failing("read a control file", is_of_root=not directory.parts),
            self.opened(directory, is_mailbox=True) as fd,
        ):
            try:
                found = os.stat(filename, dir_fd=fd, follow_symlinks=False)
                if not stat.S_ISREG(found.st_mode):
                    return b""
                file_fd = os.open(filename, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=fd)
            except FileNotFoundError:
                return None
            with open(file_fd, "rb") as file:  # noqa: PTH123
                return file.read(_CONTROL_FILE_MAX_BYTES)

    def write_control(self, directory: PurePosixPath, filename: str, octets: bytes, *, temporary: str) -> None:
        """Put a small file in place of the old one, at once, mode 0600, and durably."""
        with (
            failing("write a control file", is_of_root=not directory.parts),
            self.opened(directory, is_mailbox=True) as fd,
        ):
            try:
                os.unlink(temporary, dir_fd=fd)
            except FileNotFoundError:
                pass
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            file_fd = os.open(temporary, flags, 0o600, dir_fd=fd)
            try:
                with open(file_fd, "wb") as file:  # noqa: PTH123
                    os.fchmod(file_fd, 0o600)
                    file.write(octets)
                    file.flush()
                    os.fsync(file_fd)
                os.rename(temporary, filename, src_dir_fd=fd, dst_dir_fd=fd)
            except BaseException:
                os.unlink(temporary, dir_fd=fd)
                raise
            os.fsync(fd)

    def sync_all(self) -> bool:
        """Write the root's whole file system to disk; False where the system has no such call."""
        with failing("make a batch durable"):
            return syncfs(self.fd)

    def changed_ns(self, directory: PurePosixPath, *names: str) -> tuple[int, ...]:
        """Return the times of what a directory has by these names, 0 for what is not there, and open nothing."""
        with failing("examine a mailbox directory"):
            return tuple(at for name in names for at in self._times(f"{directory}/{name}"))

    def _times(self, path: str) -> Times:
        try:
            return times_of(os.stat(path, dir_fd=self.fd, follow_symlinks=False))
        except (FileNotFoundError, NotADirectoryError):
            return 0, 0

    def device_number(self) -> int:
        """Return which file system the root is on."""
        return self.place()[0]

    def place(self) -> tuple[int, int]:
        """Return which file system the root is on, and which directory of it the root is."""
        with failing("examine the replica root"):
            found = os.fstat(self.fd)
        return found.st_dev, found.st_ino

    def file_system(self) -> tuple[int, int]:
        """Return which file system the root is on, and by which mount: there are no links from one to another.

        The mount is 0 where the system does not tell.
        """
        try:
            info = Path(f"/proc/self/fdinfo/{self.fd}").read_text(encoding="ascii")
        except OSError:
            info = ""
        found = _MOUNT.search(info)
        return self.device_number(), int(found[1]) if found else 0


def _parts(directory: PurePosixPath) -> tuple[str, ...]:
    if directory.is_absolute() or not directory.parts or ".." in directory.parts:
        raise ValueError("not a directory below the replica root")
    return directory.parts


def _opened(name: str, parent_fd: int, opened: ExitStack) -> int:
    fd = os.open(name, _DIRECTORY, dir_fd=parent_fd)
    opened.callback(os.close, fd)
    return fd


def _opened_subdirs(fd: int) -> dict[str, int]:
    """Open cur/, new/ and tmp/ of a mailbox; MailboxLostError that names those that it lacks."""
    fds: dict[str, int] = {}
    lacking: list[str] = []
    try:
        for subdir in SUBDIRS:
            try:
                fds[subdir] = os.open(subdir, _DIRECTORY, dir_fd=fd)
            except FileNotFoundError:
                lacking.append(f"{subdir}/")
        if lacking:
            raise MailboxLostError(f"its directory has no {' and no '.join(lacking)}")
    except BaseException:
        for opened in fds.values():
            os.close(opened)
        raise
    return fds


def _reached(root_fd: int, directory: PurePosixPath, opened: ExitStack) -> tuple[int, bool]:
    """Open the directories on the way to one; return the innermost that is there, and whether that is the one."""
    fd = root_fd
    for part in _parts(directory):
        try:
            fd = _opened(part, fd, opened)
        except FileNotFoundError:
            return fd, False
    return fd, True


def _names_in(fd: int) -> frozenset[str]:
    with os.scandir(fd) as entries:
        return frozenset(entry.name for entry in entries)


def _walk_to_mailbox(root_fd: int, directory: PurePosixPath) -> int:
    """Do what `_walk` does; MailboxLostError where there is nothing."""
    try:
        return _walk(root_fd, directory)
    except FileNotFoundError as error:
        raise MailboxLostError("its directory is not there") from error


def _walk(root_fd: int, directory: PurePosixPath) -> int:
    """Open a directory below the root; the descriptor is the caller's, and no other stays open.

    NOTE: without what closes by itself, for a look opens each mailbox some times, and that took longer than opening.
    """
    fd = root_fd
    for part in _parts(directory):
        outer = fd
        try:
            fd = os.open(part, _DIRECTORY, dir_fd=outer)
        finally:
            if outer != root_fd:
                os.close(outer)
    return fd


def _make(name: str, parent_fd: int) -> None:
    try:
        os.mkdir(name, 0o700, dir_fd=parent_fd)
    except FileExistsError:
        return
    # NOTE: a umask may have taken our own rights to the new directory. Its descriptor for paths needs none, and
    # changing the mode through it cannot be led elsewhere by a link put in its place.
    fd = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
    try:
        if stat.S_IMODE(os.fstat(fd).st_mode) & 0o777 != 0o700:
            Path(f"/proc/self/fd/{fd}").chmod(0o700)
    finally:
        os.close(fd)
    os.fsync(parent_fd)
