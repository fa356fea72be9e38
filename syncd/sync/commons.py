"""Floor 4: what devices on one file system of this machine have in common: files that one writes and all can link."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from syncd.log import log
from syncd.store.rounds.deliveries import LinkSource

FileSystem = tuple[int, int]
"""A file system as it is mounted: `maildir.disk.root.ReplicaRoot.file_system`."""

Content = tuple[int, int]
"""What two files must have in common to be links to one: `store.deliveries.Deliverable.content`."""

PATIENCE_S = 30.0


class Commons:
    """Share the writing: what one device claims the others leave to it, and link it afterwards.

    Everything happens on one event loop. Between a look for files to link and a claim nothing may be awaited if
    `finished` is to tell that the look was not overtaken.
    """

    def __init__(self) -> None:
        self.roots: set[str] = set()
        self.finished = 0
        """How often somebody has ended to write what was claimed, or to offer it: a look before that may lack it."""
        self.writer: str | None = None
        """The root of the device that was the last to write what all of them are to have."""
        self._claimed: set[Content] = set()
        self._offered: dict[Content, LinkSource] = {}
        self._news = asyncio.Event()

    def is_claimed(self, content: Content) -> bool:
        return content in self._claimed

    @contextmanager
    def claim(self, contents: Iterable[Content], *, by: str) -> Iterator[None]:
        """Let nobody but the device with this root write these contents meanwhile."""
        mine = set(contents) - self._claimed
        self.writer = by if mine else self.writer
        self._claimed |= mine
        try:
            yield
        finally:
            self._claimed -= mine
            self.finished += 1
            self._news.set()
            self._news = asyncio.Event()

    def offered(self, contents: Iterable[Content]) -> Mapping[Content, LinkSource]:
        """Return the files with these contents that somebody has just made durable, and is about to settle."""
        return {content: self._offered[content] for content in contents if content in self._offered}

    @contextmanager
    def offering(self) -> Iterator[Callable[[Mapping[Content, LinkSource]], None]]:
        """Yield what to tell files that others can link already; once this is left, they find them in the store."""
        mine: dict[Content, LinkSource] = {}

        def offer(files: Mapping[Content, LinkSource]) -> None:
            mine.update(files)
            self._offered.update(files)

        try:
            yield offer
        finally:
            for content, file in mine.items():
                if self._offered.get(content) == file:
                    del self._offered[content]
            # NOTE: who began to read before it was settled finds it neither there nor here.
            self.finished += bool(mine)

    async def wait(self) -> bool:
        """Wait until somebody has finished; False when that takes so long that its task may hang.

        Whose patience ends writes a batch that it cannot link: one device must not stop the others.
        """
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._news.wait()
        except TimeoutError:
            log.warning("neighbour_not_waited_for", waited_s=PATIENCE_S)
            return False
        return True


class FileSystems:
    """Tell each device of this machine with which others it can share files."""

    def __init__(self) -> None:
        self._commons: dict[FileSystem, Commons] = {}

    def leave(self, root: str) -> None:
        """Let nobody link the files below a root any more."""
        for commons in self._commons.values():
            commons.roots.discard(root)
            if commons.writer == root:
                commons.writer = None

    def join(self, root: str, file_system: FileSystem) -> Commons:
        """Return what the devices on this file system have in common, and leave what was joined before."""
        self.leave(root)
        joined = self._commons.setdefault(file_system, Commons())
        joined.roots.add(root)
        return joined
