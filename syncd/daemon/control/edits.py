"""Floor 5: edits of files noticed, however an editor, a mount or Kubernetes makes them.

Theory. What counts is whether a file is another one: its inode, times and size, and those of what it is a symbolic
link to. That is looked at every few seconds, which finds everything, also on NFS, behind a bind mount and where a
directory above was exchanged (the ConfigMaps and Secrets of Kubernetes). A watch of the directories in which names and
their targets are only says that it is time to look: it tells at once, where the kernel hears of the edit at all.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from syncd.config.sources import FileIdentity, identity_of
from syncd.log import log
from syncd.maildir.system.inotify import CLOSED, Inotify

_POLL_S = 5.0
_SETTLE_S = 1.0
_STEP_S = 0.2

Look = tuple[FileIdentity | None, FileIdentity | None]
"""What a name is, and what it leads to; None: nothing."""


class Edits:
    """Tell of edits of some files; `listening` lets it hear of them at once."""

    def __init__(
        self,
        files: Callable[[], Iterable[Path]],
        *,
        known: Mapping[Path, FileIdentity | None] | None = None,
        poll_s: float = _POLL_S,
        settle_s: float = _SETTLE_S,
    ) -> None:
        """Ask `files` at each look which there are, and take them as known.

        known: those that were read before, as they were then (None: there was none); by now they may be others.
        """
        self._files = files
        self._poll_s = poll_s
        self._settle_s = settle_s
        self._known = self._look()
        for path, identity in (known or {}).items():
            self._known[path] = _identity(path, is_followed=False), identity
        self._heard = asyncio.Event()

    async def know(self) -> None:
        """Take the files as they are now as known: call it before they are read."""
        self._known = await asyncio.to_thread(self._look)

    def forget(self) -> None:
        """Take no file as known: what was read came to nothing, and is to be read again."""
        self._known = {}
        self.hear()

    async def wait(self) -> None:
        """Return when a file is another one than is known, and all have stayed so for a second."""
        while True:
            try:
                async with asyncio.timeout(self._poll_s):
                    await self._heard.wait()
            except TimeoutError:
                pass
            self._heard.clear()
            seen = await asyncio.to_thread(self._look)
            while seen != self._known:
                await asyncio.sleep(self._settle_s)
                before, seen = seen, await asyncio.to_thread(self._look)
                if seen == before and seen != self._known:  # nobody has read it meanwhile
                    return

    def _look(self) -> dict[Path, Look]:
        return {path: look(path) for path in self._files()}

    @property
    def names(self) -> Collection[Path]:
        """Return the files that are known."""
        return self._known.keys()

    def hear(self) -> None:
        """Look at once, and not only at the next poll."""
        self._heard.set()


@asynccontextmanager
async def listening(*edits: Edits) -> AsyncIterator[None]:
    """Let these hear of edits at once until left, in the directories that they have now."""
    try:
        inotify, names = await asyncio.to_thread(_watching, edits)
    except OSError as error:
        log.warning("config_watch_fell_back", error=type(error).__name__)
        yield
        return
    loop = asyncio.get_running_loop()
    telling: asyncio.TimerHandle | None = None

    def tell() -> None:
        nonlocal telling
        telling = None
        for one in edits:
            one.hear()

    def read() -> None:
        nonlocal telling
        # NOTE: others beside the file are written as well. A store or a log stays open, and is not even told of.
        events = list(inotify.read())
        if telling is None and any(one.name in names or not one.mask & CLOSED for one in events):
            telling = loop.call_later(_STEP_S, tell)

    loop.add_reader(inotify.fileno(), read)
    try:
        yield
    finally:
        loop.remove_reader(inotify.fileno())
        inotify.close()
        if telling is not None:
            telling.cancel()


def _watching(edits: Iterable[Edits]) -> tuple[Inotify, frozenset[str]]:
    """Watch the directories, and return how files in them are called; OSError when that is not possible."""
    names = {name for one in edits for path in one.names for name in (path.name, Path(os.path.realpath(path)).name)}
    inotify = Inotify()
    try:
        for place in _directories(edits):
            inotify.add(str(place), is_followed=True, written=CLOSED)
    except BaseException:
        inotify.close()
        raise
    return inotify, frozenset(names)


def _directories(edits: Iterable[Edits]) -> set[Path]:
    files = {path for one in edits for path in one.names}
    found = {place for path in files for place in (path.absolute().parent, Path(os.path.realpath(path)).parent)}
    # NOTE: one that cannot be watched, as that of a secret to come, would keep all the others from being watched.
    return {place for place in found if os.access(place, os.R_OK)} or found


def look(path: Path) -> Look:
    """Return what differs after an edit."""
    return _identity(path, is_followed=False), _identity(path, is_followed=True)


def _identity(path: Path, *, is_followed: bool) -> FileIdentity | None:
    try:
        return identity_of(path.stat(follow_symlinks=is_followed))
    except OSError:
        return None
