"""Floor 3: the octets of one retrieved message: in memory while small, in a file of the caller's directory when not."""

import asyncio
import contextlib
import os
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Self

from syncd.errors import Reach, StoreError, no_room
from syncd.mail.message import BodyFacts, BodyReader

_WRITE_BYTES = 512 * 1024


@dataclass(frozen=True, slots=True)
class Body:
    """Hold a message as the server gave it: `octets`, or `path` of a file that has them; exactly one is None.

    The file belongs to whoever took the body; it is neither synced nor cleaned up after a crash. facts: of what is in a
    file, gathered as it was written; those of octets in memory are left to whoever stores them, a batch at a time.
    """

    size_bytes: int
    octets: bytes | None = field(repr=False)
    path: Path | None = field(default=None, repr=False)
    facts: BodyFacts | None = None

    def pieces(self, max_bytes: int = _WRITE_BYTES) -> Iterator[bytes]:
        """Yield the octets; reads a spooled body's file, so call it on a thread."""
        if self.octets is not None:
            yield self.octets
        elif self.path is not None:
            with self.path.open("rb") as file:
                while piece := file.read(max_bytes):
                    yield piece

    async def discard(self) -> None:
        """Remove the spool file, if there is one."""
        if self.path is not None:
            await asyncio.to_thread(self.path.unlink, missing_ok=True)


class BodySink:
    """Write the pieces of one large body to a file; `async with` removes that unless `finish` was called."""

    def __init__(self, spool: Path) -> None:
        self._spool = spool
        self._reader = BodyReader()
        self._pieces: list[bytes] = []
        self._held = 0
        self._is_finished = self._is_dropped = False
        self._lock = threading.Lock()
        self._file: BinaryIO | None = None
        self._path: Path | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self._is_finished:
            await asyncio.to_thread(self._drop)

    async def take(self, piece: bytes) -> None:
        """Keep the next octets; StoreError when they cannot be written."""
        self._pieces.append(piece)
        self._held += len(piece)
        if self._held > _WRITE_BYTES:
            await asyncio.to_thread(self._write)

    async def finish(self) -> Body:
        """Return the body; its file is the caller's from now on."""
        await asyncio.to_thread(self._close)
        self._is_finished = True
        facts = self._reader.facts()
        return Body(facts.size_bytes, None, self._path, facts)

    # On a thread. NOTE: a thread outlives the cancelled task that waited for it, hence the lock.

    def _write(self) -> None:
        with self._lock:
            if self._is_dropped:
                return
            try:
                if self._file is None:
                    handle, name = tempfile.mkstemp(prefix="pop3-", dir=self._spool)
                    self._path, self._file = Path(name), os.fdopen(handle, "wb")
                for piece in self._pieces:
                    self._reader.feed(piece)
                    self._file.write(piece)
            except OSError as error:
                raise StoreError(no_room(error), reach=Reach.ACCOUNT) from error
            self._pieces.clear()
            self._held = 0

    def _close(self) -> None:
        self._write()
        if self._file is not None:
            try:
                self._file.close()
            except OSError as error:
                raise StoreError(no_room(error), reach=Reach.ACCOUNT) from error

    def _drop(self) -> None:
        with self._lock:
            self._is_dropped = True
            if self._file is not None:
                with contextlib.suppress(OSError):
                    self._file.close()
            if self._path is not None:
                self._path.unlink(missing_ok=True)
