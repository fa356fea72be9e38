"""Floor 3: large literals on their way from the event loop to a place that threads write to."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from syncd.errors import FileError, Reach, no_room
from syncd.imap.types import SpooledLiteral
from syncd.imap.wire.wire import WireProtocol


class Spool(Protocol):
    """A place for one large body; its methods are called on worker threads, one at a time."""

    def write(self, piece: bytes) -> None:
        """Take the next octets, in order; OSError ends the fetch."""
        ...

    def discard(self) -> None:
        """Forget a body that will not be handed over."""
        ...


class SpoolWriter:
    """Write a literal to a spool on threads; octets on the way count against the wire's limit."""

    def __init__(self, wire: WireProtocol, make: Callable[[], Spool], on_finished: Callable[[], None]) -> None:
        self.error: FileError | None = None
        self.spool: Spool | None = None
        self.is_finished = False
        self._wire = wire
        self._make = make
        self._on_finished = on_finished
        self._pieces: deque[bytes] = deque()
        self.size_bytes = 0
        self._is_working = False
        self._is_complete = False
        self._is_abandoned = False

    def write(self, piece: bytes) -> None:
        self.size_bytes += len(piece)
        if self.error is None:
            self._pieces.append(piece)
            self._wire.hold(len(piece))
            self._work()

    def done(self) -> SpooledLiteral:
        self._is_complete = True
        self._work()
        return SpooledLiteral(self, self.size_bytes)

    def abandon(self) -> None:
        """Discard what was and will be written, unless it was handed over."""
        self._is_abandoned = True
        self._work()

    def _work(self) -> None:
        if self._is_working:
            return
        if self._is_abandoned:
            self._wire.release(sum(map(len, self._pieces)))
            self._pieces.clear()
            if self.spool is not None:
                spool, self.spool = self.spool, None
                asyncio.get_running_loop().run_in_executor(None, spool.discard)
            return
        if self.is_finished or not (self._pieces or self._is_complete):
            return
        pieces = tuple(self._pieces)
        self._pieces.clear()
        self._is_working = True
        work = asyncio.get_running_loop().run_in_executor(None, self._write, pieces)
        work.add_done_callback(lambda done: self._worked(done, sum(map(len, pieces))))

    def _write(self, pieces: tuple[bytes, ...]) -> None:
        if self.spool is None:
            self.spool = self._make()
        for piece in pieces:
            self.spool.write(piece)

    def _worked(self, work: "asyncio.Future[None]", size_bytes: int) -> None:
        self._is_working = False
        self._wire.release(size_bytes)
        error = None if work.cancelled() else work.exception()
        if error is not None and self.error is None:
            self.error = FileError(no_room(error), reach=Reach.ACCOUNT)
            self.error.__cause__ = error
        if self._is_complete and not self._pieces and not self.is_finished:
            self.is_finished = True
            self._on_finished()
        self._work()
