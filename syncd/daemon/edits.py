"""Floor 5: edits of a file noticed, however an editor, a mount or Kubernetes makes them.

Theory. What counts is whether the file is another one: its inode, times and size, and those of what it is a symbolic
link to. That is looked at every few seconds, which finds everything, also on NFS, behind a bind mount and where a
directory above was exchanged (the ConfigMaps of Kubernetes). A watch of the directories in which the name and its
target are only says that it is time to look: it tells within a moment, where the kernel hears of the edit at all.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from syncd.config.load import FileIdentity, identity_of
from syncd.log import log

_POLL_S = 5.0
_SETTLE_S = 1.0
_STEP_MS = 200

Look = tuple[FileIdentity | None, FileIdentity | None]
"""What a name is, and what it leads to; None: nothing."""


class Edits:
    """Tell of edits of one file; enter `listening` to hear of them at once."""

    def __init__(
        self, path: Path, *, known: FileIdentity | None, poll_s: float = _POLL_S, settle_s: float = _SETTLE_S
    ) -> None:
        """Take the file as known that was read before, which may be another one by now; None: there was none."""
        self.path = path
        self._poll_s = poll_s
        self._settle_s = settle_s
        self._known: Look = _identity(path, is_followed=False), known
        self._heard = asyncio.Event()

    async def know(self) -> None:
        """Take the file as it is now as known: call it before the file is read."""
        self._known = await asyncio.to_thread(look, self.path)

    async def wait(self) -> None:
        """Return when the file is another one than is known, and has stayed so for a second."""
        while True:
            try:
                async with asyncio.timeout(self._poll_s):
                    await self._heard.wait()
            except TimeoutError:
                pass
            self._heard.clear()
            seen = await asyncio.to_thread(look, self.path)
            while seen != self._known:
                await asyncio.sleep(self._settle_s)
                before, seen = seen, await asyncio.to_thread(look, self.path)
                if seen == before and seen != self._known:  # nobody has read it meanwhile
                    return

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Hear of edits at once until left."""
        listening = asyncio.create_task(self._listen())
        try:
            yield
        finally:
            listening.cancel()
            await asyncio.wait({listening})

    async def _listen(self) -> None:
        from watchfiles import awatch  # noqa: PLC0415  # not for `syncd sync`

        # NOTE: at lower levels watchfiles logs the paths that changed.
        logging.getLogger("watchfiles").setLevel(logging.WARNING)
        directories = await asyncio.to_thread(_directories, self.path)
        try:
            async for _ in awatch(
                *directories, watch_filter=None, step=_STEP_MS, debounce=_STEP_MS, recursive=False, debug=False
            ):
                self._heard.set()
        except (OSError, RuntimeError) as error:
            log.warning("config_watch_fell_back", error=type(error).__name__)


def _directories(path: Path) -> set[Path]:
    return {path.absolute().parent, Path(os.path.realpath(path)).parent}


def look(path: Path) -> Look:
    """Return what differs after an edit."""
    return _identity(path, is_followed=False), _identity(path, is_followed=True)


def _identity(path: Path, *, is_followed: bool) -> FileIdentity | None:
    try:
        return identity_of(path.stat(follow_symlinks=is_followed))
    except OSError:
        return None
