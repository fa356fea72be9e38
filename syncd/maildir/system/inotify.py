"""Floor 3: inotify(7): Linux tells by a descriptor what happens in directories; three calls that Python has not."""

import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple, Self

IN_MODIFY = 0x0000_0002
IN_ATTRIB = 0x0000_0004
IN_CLOSE_WRITE = 0x0000_0008
IN_MOVED_FROM = 0x0000_0040
IN_MOVED_TO = 0x0000_0080
IN_CREATE = 0x0000_0100
IN_DELETE = 0x0000_0200
IN_DELETE_SELF = 0x0000_0400
IN_MOVE_SELF = 0x0000_0800
IN_UNMOUNT = 0x0000_2000
IN_Q_OVERFLOW = 0x0000_4000
IN_IGNORED = 0x0000_8000
IN_ISDIR = 0x4000_0000
_IN_ONLYDIR = 0x0100_0000
_IN_DONT_FOLLOW = 0x0200_0000

CAME = IN_CREATE | IN_MOVED_TO
WENT = IN_DELETE | IN_MOVED_FROM
WRITTEN = IN_MODIFY | IN_ATTRIB
CLOSED = IN_CLOSE_WRITE | IN_ATTRIB
"""As `WRITTEN`, but told when who wrote is done, and not of a file that stays open and is written all the time."""
ENDED = IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT
"""What happens to a watched directory itself."""

_EVENT = struct.Struct("iIII")
_READ_BYTES = 64 * 1024

_libc = ctypes.CDLL(None, use_errno=True)
_init = getattr(_libc, "inotify_init1", None)
_add_watch = getattr(_libc, "inotify_add_watch", None)
if _add_watch is not None:
    _add_watch.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)


class Event(NamedTuple):
    """Say what happened (a mask) in which watched directory, None for an overflow, and to which name in it.

    name: "" for the directory itself; octets that are no UTF-8 are escaped as Python does (os.fsdecode).
    """

    directory: str | None
    mask: int
    name: str


class Inotify:
    """Watch directories one by one; `fileno` is readable when there is something to `read`. Close it."""

    def __init__(self) -> None:
        """Raise OSError where there is none to be had."""
        if _init is None or _add_watch is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        self._fd = _checked(_init(os.O_NONBLOCK | os.O_CLOEXEC))
        self._directories: dict[int, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def fileno(self) -> int:
        return self._fd

    def add(self, directory: str, *, is_followed: bool = False, written: int = WRITTEN) -> None:
        """Watch a directory; OSError when there is none, when it is a link (unless followed), and at the limit."""
        mask = CAME | WENT | written | ENDED | _IN_ONLYDIR | (0 if is_followed else _IN_DONT_FOLLOW)
        assert _add_watch is not None  # noqa: S101  # else there is no object
        self._directories[_checked(_add_watch(self._fd, os.fsencode(directory), mask))] = directory

    def read(self) -> Iterator[Event]:
        """Yield what happened until now."""
        while True:
            try:
                octets = os.read(self._fd, _READ_BYTES)
            except BlockingIOError:
                return
            yield from self._events(octets)

    def close(self) -> None:
        """Watch nothing any more; a second call does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _events(self, octets: bytes) -> Iterator[Event]:
        at = 0
        while at < len(octets):
            watch, mask, _, size = _EVENT.unpack_from(octets, at)
            name = octets[at + _EVENT.size : at + _EVENT.size + size].rstrip(b"\0")
            at += _EVENT.size + size
            if mask & IN_Q_OVERFLOW:
                yield Event(None, mask, "")
            elif mask & IN_IGNORED:
                self._directories.pop(watch, None)
            elif watch in self._directories:
                yield Event(self._directories[watch], mask, os.fsdecode(name))


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
