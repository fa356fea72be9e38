"""When files appear in directories, as the kernel tells it (inotify)."""

import ctypes
import os
import select
import struct
import threading
import time
from collections.abc import Callable, Collection, Hashable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

_IN_MOVED_TO = 0x80
_IN_CREATE = 0x100
_EVENT = struct.Struct("iIII")
_TURN_S = 0.2

_libc = ctypes.CDLL(None, use_errno=True)


class Arrivals:
    """Watch the Maildirs of devices; `at` has the moment (monotonic) at which each sighting was first made in each.

    sighting: what is seen in the name of a file; so a message whose flags change can be seen again.
    """

    def __init__(self, maildirs: Sequence[Path], sighting: Callable[[str], Hashable]) -> None:
        self.at: list[dict[Hashable, float]] = [{} for _ in maildirs]
        self._maildirs = maildirs
        self._sighting = sighting
        self._news = threading.Condition()
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        self._fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        self._device_of: dict[int, int] = {}
        for number, maildir in enumerate(self._maildirs):
            for subdir in ("new", "cur"):
                path = os.fsencode(maildir / subdir)
                watch = _libc.inotify_add_watch(self._fd, path, _IN_MOVED_TO | _IN_CREATE)
                if watch < 0:
                    raise OSError(ctypes.get_errno(), "inotify_add_watch", str(maildir))
                self._device_of[watch] = number
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        os.close(self._fd)

    def wait(self, sighting: Hashable, devices: Collection[int], timeout_s: float) -> float:
        """Return when the last of these devices had it; RuntimeError if they do not in time."""
        with self._news:
            if not self._news.wait_for(lambda: all(sighting in self.at[one] for one in devices), timeout_s):
                where = [one for one in devices if sighting not in self.at[one]]
                raise RuntimeError(f"not within {timeout_s:g} s at devices {where}: {sighting}")
            return max(self.at[one][sighting] for one in devices)

    def _read(self) -> None:
        while not self._ended.is_set():
            if not select.select([self._fd], [], [], _TURN_S)[0]:
                continue
            now_s = time.monotonic()
            octets = os.read(self._fd, 1 << 16)
            with self._news:
                position = 0
                while position < len(octets):
                    watch, _, _, length = _EVENT.unpack_from(octets, position)
                    position += _EVENT.size + length
                    name = octets[position - length : position].rstrip(b"\0").decode(errors="surrogateescape")
                    self.at[self._device_of[watch]].setdefault(self._sighting(name), now_s)
                self._news.notify_all()
