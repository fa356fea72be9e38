"""Watching a device root: which files changed, within tens of milliseconds, and when to list again in full.

Theory. watchfiles reads inotify in a thread of its own and hands over sets of paths; a second thread turns them into
`Changes` and posts them to the event loop, where they are merged until somebody takes them. What inotify may miss is
made good by asking for listings: at the start, when the watcher had to be made anew, when so much came at once that
the kernel's queue may have run over (watchfiles does not tell), and for a directory that appeared, because files may
have been put into it before it was watched. Where inotify hears nothing or cannot be had, directories are swept.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import structlog
import watchfiles
from watchfiles import Change

from syncd.maildir.files import CUR, NEW, TMP
from syncd.maildir.marker import MARKER
from syncd.maildir.mounts import is_shared
from syncd.maildir.observe import SeenFile
from syncd.maildir.sweep import Sweep

log = structlog.get_logger()

# NOTE: at lower levels watchfiles logs the paths that changed, which tell the names of mailboxes.
logging.getLogger("watchfiles").setLevel(logging.WARNING)

_STEP_MS = 20
_DEBOUNCE_MS = 100
_IDLE_MS = 100
_RESTART_DELAY_S = 1.0
_JOIN_S = 1.0
_PENDING_MAX = 20_000
_QUEUE_DEFAULT = 16_384
_CONTROL_FILES = (MARKER, "dovecot")


class WatchMode(StrEnum):
    """How to notice changes: by inotify where it hears of all of them, or by sweeps only."""

    AUTO = "auto"
    POLL = "poll"


class ChangedFile(NamedTuple):
    """Name a file in cur/ or new/ of a mailbox directory that appeared, went, or was written."""

    directory: PurePosixPath
    file: SeenFile


@dataclass(frozen=True, slots=True)
class Changes:
    """Say what changed since the last: these files, all of these mailboxes or what is inside them, or anything."""

    files: frozenset[ChangedFile] = frozenset()
    mailboxes: frozenset[PurePosixPath] = frozenset()
    is_overflow: bool = False

    def __bool__(self) -> bool:
        return bool(self.files or self.mailboxes or self.is_overflow)

    def __or__(self, other: "Changes") -> "Changes":
        if self.is_overflow or other.is_overflow or len(self.files) + len(other.files) > _PENDING_MAX:
            return OVERFLOW
        return Changes(self.files | other.files, self.mailboxes | other.mailboxes)


OVERFLOW = Changes(is_overflow=True)
"""List every mailbox."""


async def watch(
    path: Path, *, stop: asyncio.Event, mode: WatchMode = WatchMode.AUTO, poll_interval_s: float = 2.0
) -> AsyncGenerator[Changes, None]:
    """Yield changes below a device root until `stop` is set; the first is OVERFLOW, once nothing can be missed.

    Our own changes are among them. DeviceAwayError when the root is not there. Close it (contextlib.aclosing)
    when leaving early.
    """
    if mode is WatchMode.AUTO and not await asyncio.to_thread(is_shared, path):
        pump = _Pump(path, stop)
        try:
            while changes := await pump.taken():
                yield changes
        finally:
            await pump.end()
        if stop.is_set():
            return
        log.warning("watch_fell_back", reason=pump.failure)
    async for changes in _swept(path, stop, poll_interval_s):
        yield changes


async def _swept(path: Path, stop: asyncio.Event, interval_s: float) -> AsyncGenerator[Changes, None]:
    sweep = Sweep(path)
    await asyncio.to_thread(sweep.changed)
    yield OVERFLOW
    while not stop.is_set():
        changed = await asyncio.to_thread(sweep.changed)
        if changed:
            yield Changes(mailboxes=changed)
        try:
            async with asyncio.timeout(interval_s):
                await stop.wait()
        except TimeoutError:
            continue


def changes_of(found: Iterable[tuple[Change, str]], *, root: str, queue_bound: int) -> Changes:
    """Return what paths below `root` mean; tmp/, dot names and control files mean nothing.

    queue_bound: from this many on, some more may have been dropped by the kernel.
    """
    files: set[ChangedFile] = set()
    mailboxes: set[PurePosixPath] = set()
    directories: dict[str, PurePosixPath] = {}
    count = 0
    for change, path in found:
        count += 1
        relative = path[len(root) :].lstrip("/")
        head, _, filename = relative.rpartition("/")
        outer, _, subdir = head.rpartition("/")
        if not relative or count >= queue_bound:
            return OVERFLOW
        if outer and subdir in {CUR, NEW}:
            if not filename.startswith("."):
                directory = directories.setdefault(outer, PurePosixPath(outer))
                files.add(ChangedFile(directory, SeenFile.of(subdir, filename)))
        elif (outer and subdir == TMP) or change is Change.modified:
            continue
        elif head and filename in {CUR, NEW}:
            mailboxes.add(PurePosixPath(head))
        elif filename != TMP and not filename.startswith(_CONTROL_FILES):
            mailboxes.add(PurePosixPath(relative))
    return Changes(frozenset(files), frozenset(mailboxes))


class _Pump:
    """Run watchfiles in a thread and gather what it says in the event loop."""

    def __init__(self, path: Path, stop: asyncio.Event) -> None:
        self.failure = ""
        self._path = path
        self._stop = stop
        self._pending = Changes()
        self._is_over = False
        self._ready = asyncio.Event()
        self._halt = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._stopping = self._loop.create_task(stop.wait())
        self._stopping.add_done_callback(lambda _: self._ready.set())
        self._thread = threading.Thread(target=self._run, name="syncd-watch", daemon=True)
        self._thread.start()

    async def taken(self) -> Changes | None:
        """Return what came since the last call, waiting for some; None when stopped or when inotify failed."""
        while not self._stop.is_set():
            if self._pending:
                changes, self._pending = self._pending, Changes()
                return changes
            if self._is_over:
                return None
            await self._ready.wait()
            self._ready.clear()
        return None

    async def end(self) -> None:
        self._halt.set()
        self._stopping.cancel()
        await asyncio.to_thread(self._thread.join, _JOIN_S)

    def _run(self) -> None:
        """Watch until halted; a watcher that broke after it worked (a name that is no UTF-8, …) is made anew."""
        queue_bound = _queue_length() // 4
        try:
            while not self._halt.is_set():
                works = False
                try:
                    place = _identity(self._path)
                    for found in self._found():
                        self._post(changes_of(found, root=str(self._path), queue_bound=queue_bound))
                        if not works:
                            self._post(OVERFLOW)
                        works = True
                        # NOTE: inotify stays with the old directory when another is mounted or put in its place.
                        if _identity(self._path) != place:
                            break
                except (OSError, RuntimeError) as error:
                    self.failure = type(error).__name__  # its text may hold a path
                    if not works:
                        return
                    self._halt.wait(_RESTART_DELAY_S)
        finally:
            self._call(self._end_of_changes)

    def _found(self) -> Iterator[set[tuple[Change, str]]]:
        """Yield what changed, and an empty set now and then when nothing did."""
        return watchfiles.watch(
            self._path,
            watch_filter=None,
            debounce=_DEBOUNCE_MS,
            step=_STEP_MS,
            stop_event=self._halt,
            rust_timeout=_IDLE_MS,
            yield_on_timeout=True,
            debug=False,
            raise_interrupt=False,
            force_polling=False,
            ignore_permission_denied=False,
        )

    def _post(self, changes: Changes) -> None:
        if changes:
            self._call(lambda: self._gather(changes))

    def _call(self, function: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:
            # The loop is closed: nobody listens any more.
            self._halt.set()

    def _gather(self, changes: Changes) -> None:
        self._pending |= changes
        self._ready.set()

    def _end_of_changes(self) -> None:
        self._is_over = True
        self._ready.set()


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _queue_length() -> int:
    try:
        return int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    except (OSError, ValueError):
        return _QUEUE_DEFAULT
