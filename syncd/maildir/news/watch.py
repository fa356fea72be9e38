"""Floor 3: watching a device root: which files changed, within tens of milliseconds, and when to list again in full.

Theory. A thread sleeps until inotify has something to tell, gathers until it has been silent for a moment, turns paths
into `Changes` and posts them to the event loop, where they are merged until somebody takes them. Directories are
watched one by one, found without following links, and without tmp/. When a directory appears the watcher is made anew,
and what was missed meanwhile is found by a sweep. Everything is to be listed at the start, when another root is in the
old one's place, and when the kernel's queue ran over. Where inotify cannot be had, or others than this kernel change
the files, there are sweeps only. Between events there is silence, of which anybody can be sure at once (`silence`).
"""

import asyncio
import os
import select
import stat
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import closing, nullcontext
from enum import StrEnum
from functools import partial
from pathlib import Path, PurePosixPath

from syncd.log import log
from syncd.maildir.disk.files import CUR, NEW
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.news.changes import NOTHING, OVERFLOW, Changes, Pending, changes_of
from syncd.maildir.news.silence import Ear, Silence
from syncd.maildir.news.sweep import Sweep
from syncd.maildir.system.inotify import Event, Inotify
from syncd.maildir.system.mounts import is_shared

_STEP_MS = 3
"""Once something happened it is told when so long nothing else has; what comes while it is looked at gathers anyway."""
_DEBOUNCE_S = 0.1
"""But it is not kept back for longer than this."""
_LOOK_MS = 1000
"""How often it is looked whether the root is still the same directory, of which inotify does not tell."""
_RESTART_DELAY_S = 0.1
_FAILURES_MAX = 5
_JOIN_S = 1.0


class WatchMode(StrEnum):
    """How to notice changes: by inotify where it hears of all of them, or by sweeps only."""

    AUTO = "auto"
    POLL = "poll"


async def watch(
    path: Path,
    *,
    stop: asyncio.Event,
    mode: WatchMode = WatchMode.AUTO,
    poll_interval_s: float = 2.0,
    names_files: Callable[[bool], None] = lambda _: None,
    on_silence: Callable[[Silence], None] = lambda _: None,
) -> AsyncGenerator[Changes, None]:
    """Yield changes below a device root until `stop` is set; the first is OVERFLOW, once nothing can be missed.

    Our own changes are among them. DeviceAwayError when the root is not there. Close it (contextlib.aclosing)
    when leaving early.

    names_files: told when files are named from now on, and when no more: sweeps name mailboxes. on_silence: given each
    silence that begins, once all that was before it has been taken; sweeps hear none.
    """
    if mode is WatchMode.AUTO and not await asyncio.to_thread(is_shared, path):
        pump = _Pump(path, stop, on_silence)
        names_files(True)
        try:
            while changes := await pump.taken():
                yield changes
        finally:
            names_files(False)
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


class _Watcher:
    """Listen to the directories that are there now."""

    def __init__(self, path: Path, halted_fd: int) -> None:
        """Listen from now on, until `halted_fd` is readable; OSError when that is not possible."""
        self.place = _identity(path)
        """Which directory is the root; another may be mounted or put in its place, and inotify stays with the old."""
        self._path = path
        self._watched = directories_to_watch(path)
        self.hears_all = True
        """Whether it listens to all there is."""
        self._inotify = Inotify()
        self._poll = select.poll()
        closed: set[str] = set()
        try:
            for directory in sorted(self._watched):  # outer ones first, so that what is moved within is heard of
                try:
                    self._inotify.add(directory, is_followed=directory == str(path))
                except (FileNotFoundError, NotADirectoryError):
                    self.hears_all = False  # it went this moment, or another thing is in its place
                except PermissionError:
                    closed.add(directory)
        except BaseException:
            self._inotify.close()
            raise
        self._heard = self._watched - closed
        """Those of them into which we may look; of the others it is told when we may."""
        for fd in (self._inotify.fileno(), halted_fd):
            self._poll.register(fd, select.POLLIN)
        self._halted_fd = halted_fd
        self._ear = Ear(self._inotify.fileno())
        self._silence: Silence | None = None
        self._before = NOTHING

    def silence(self) -> Silence:
        """Return the silence that lasts or begins, for all that was heard was handed on, while it `hears_all`."""
        if self._silence is None or self._silence.is_over:
            self._silence = Silence(self._ear, place=self.place, directories=self._heard)
        return self._silence

    def heard(self, *, waits: bool = True) -> Changes:
        """Return what changed since the last call, once something did; nothing if nothing does for a while."""
        events = list(self._gathered(_LOOK_MS if waits else 0))
        changes = self._before = changes_of(
            events,
            root=str(self._path),
            is_directory=self._is_directory,
            is_heard=self._is_heard,
            before=self._before,
        )
        self._ear.hears_nothing()
        is_mounted = self._ear.mounts > 0  # over a directory, maybe, of which it then hears no more
        if changes.mailboxes or changes.is_overflow or is_mounted or _identity(self._path) != self.place:
            self.hears_all = False
        return changes

    def look_for_others(self) -> None:
        """Find out whether directories were made between looking which there are and listening to them."""
        if directories_to_watch(self._path) != self._watched:
            self.hears_all = False

    def close(self) -> None:
        self._end_silence()
        self._ear.close()
        self._inotify.close()

    def _gathered(self, timeout_ms: int) -> Iterator[Event]:
        until = None
        while (ready := {fd for fd, _ in self._poll.poll(timeout_ms)}) and self._halted_fd not in ready:
            self._end_silence()
            yield from self._inotify.read()
            until = time.monotonic() + _DEBOUNCE_S if until is None else until
            if time.monotonic() > until:
                return
            timeout_ms = min(timeout_ms, _STEP_MS)

    def _end_silence(self) -> None:
        if self._silence is not None:
            self._silence.end()

    def _is_directory(self, relative: PurePosixPath) -> bool:
        path = self._path / relative
        return str(path) in self._watched or _is_directory(path)

    def _is_heard(self, relative: PurePosixPath) -> bool:
        return str(self._path / relative) in self._heard


class _Pump:
    """Run watchers in a thread and gather what they say in the event loop."""

    def __init__(self, path: Path, stop: asyncio.Event, on_silence: Callable[[Silence], None]) -> None:
        self.failure = ""
        self._on_silence = on_silence
        self._path = path
        self._stop = stop
        self._changes = Pending()
        self._silence: Silence | None = None
        self._is_over = False
        self._ready = asyncio.Event()
        self._halt = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._stopping = self._loop.create_task(stop.wait())
        self._stopping.add_done_callback(lambda _: self._ready.set())
        self._sweep = Sweep(path)
        self._place: tuple[int, int] | None = None
        # NOTE: each side closes its own end, and nobody else's: the number may be that of another file by then.
        self._halted_fd, self._halting_fd = os.pipe()
        self._thread = threading.Thread(target=self._run, name="syncd-watch", daemon=True)
        self._thread.start()

    async def taken(self) -> Changes | None:
        """Return what came since the last call, waiting for some; None when stopped or when inotify failed."""
        while not self._stop.is_set():
            if self._changes.pending:
                return self._changes.take()
            if self._silence is not None:
                self._on_silence(self._silence)
                self._silence = None
            if self._is_over:
                return None
            await self._ready.wait()
            self._ready.clear()
        return None

    async def end(self) -> None:
        """End the thread; call it once."""
        self._halt.set()
        os.close(self._halting_fd)
        self._stopping.cancel()
        await asyncio.to_thread(self._thread.join, _JOIN_S)

    def _run(self) -> None:
        """Watch until halted; a watcher that does not hear all, such as of a new directory, is made anew."""
        failures, watcher = 0, None
        try:
            while failures < _FAILURES_MAX and not self._halt.is_set():
                try:
                    with closing(watcher) if watcher else nullcontext() as old:
                        watcher = None
                        watcher = _Watcher(self._path, self._halted_fd)
                        self._relieve(old, watcher)
                    failures = 0
                    silence = None
                    while watcher.hears_all and not self._halt.is_set():
                        if silence is not watcher.silence():
                            silence = watcher.silence()
                            self._call(partial(self._fall_silent, silence))
                        self._post(watcher.heard())
                except OSError as error:
                    self.failure = type(error).__name__  # its text may hold a path
                    failures += 1
                self._halt.wait(_RESTART_DELAY_S)
        finally:
            if watcher:
                watcher.close()
            os.close(self._halted_fd)
            self._call(self._end_of_changes)

    def _relieve(self, old: "_Watcher | None", watcher: "_Watcher") -> None:
        """Post what came until a watcher listened, and what was missed between it and the one before.

        NOTE: the one before listens until the new one does: no sweep tells what was written in place meanwhile.
        """
        if old is not None:
            self._post(old.heard(waits=False))
        missed = self._sweep.changed()
        self._post(Changes(mailboxes=missed) if watcher.place == self._place else OVERFLOW)
        self._place = watcher.place
        watcher.look_for_others()

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
        self._changes.add(changes)
        self._ready.set()

    def _fall_silent(self, silence: Silence) -> None:
        self._silence = silence
        self._ready.set()

    def _end_of_changes(self) -> None:
        self._is_over = True
        self._ready.set()


def directories_to_watch(path: Path) -> frozenset[str]:
    """Return the directories that a watch of a device root watches; DeviceAwayError when it is not there."""
    watched: list[str] = []
    with ReplicaRoot(path) as root:
        for directory, inside in root.walk():
            watched.append(str(path / directory))
            if directory.parts:
                watched.extend(str(path / directory / subdir) for subdir in (NEW, CUR) if subdir in inside)
    return frozenset(watched)


def _is_directory(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino
