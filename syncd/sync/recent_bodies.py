"""Floor 4: bodies that were just committed, as files have them, for the device that writes them.

Theory. It need not read them again. Fetching and writing share processors. Who fetches runs ahead of who writes by no
more than what is kept here: further on, each body would be read from the store and decoded again, and everything would
be in memory twice.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping

from syncd.sync.bounded import BATCH_BYTES

MAX_BYTES = 10 * 1024 * 1024
PATIENCE_S = 2.0


class RecentBodies:
    """Keep the octets of small bodies until somebody takes them, at most 10 MB.

    A part of a larger piece of memory counts as all of it, once, for as long as any part is kept. What was committed
    first is written first, so what comes when they are full is left to the store.
    """

    def __init__(self) -> None:
        self._octets: dict[int, bytes | memoryview] = {}
        self._parts: Counter[object] = Counter()
        """How many of the bodies each piece of memory has."""
        self._size_bytes = 0
        self._taken = asyncio.Event()
        self._is_patient = True
        self._rest: asyncio.TimerHandle | None = None

    def put(self, body_id: int, octets: bytes | memoryview) -> None:
        """Keep what a file of a body has that is durably in the store, if there is room."""
        piece, size_bytes = _piece_of(body_id, octets)
        more_bytes = 0 if piece in self._parts else size_bytes
        if body_id not in self._octets and self._size_bytes + more_bytes <= MAX_BYTES:
            self._octets[body_id] = octets
            self._parts[piece] += 1
            self._size_bytes += more_bytes

    def take(self, body_ids: Iterable[int]) -> Mapping[int, bytes | memoryview]:
        """Return those of these bodies that are kept, and keep them no longer: other devices link the file."""
        taken = {body_id: octets for body_id in body_ids if (octets := self._octets.pop(body_id, None)) is not None}
        for body_id, octets in taken.items():
            piece, size_bytes = _piece_of(body_id, octets)
            self._parts[piece] -= 1
            if not self._parts[piece]:
                del self._parts[piece]
                self._size_bytes -= size_bytes
        if taken:
            self._taken.set()
        return taken

    async def room(self, size_bytes: int = BATCH_BYTES) -> None:
        """Wait until there is room for so much; not for long, and then not again before all was let go of.

        The devices may be away, or slower than anybody would wait for.
        """
        while self._is_patient and self._size_bytes > max(MAX_BYTES - size_bytes, 0):
            self._taken.clear()
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await self._taken.wait()
            except TimeoutError:
                self._is_patient = False

    def rest(self) -> None:
        """Let go soon of what nobody takes: its devices are away, or have it already."""
        if self._rest is None:
            self._rest = asyncio.get_running_loop().call_later(PATIENCE_S, self.clear)

    def clear(self) -> None:
        """Let go of everything."""
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        self._octets.clear()
        self._parts.clear()
        self._size_bytes = 0
        self._is_patient = True
        self._taken.set()


def _piece_of(body_id: int, octets: bytes | memoryview) -> tuple[object, int]:
    """Return what tells a piece of memory from others while a part of it is kept, and its size."""
    if isinstance(octets, memoryview):
        return id(octets.obj), memoryview(octets.obj).nbytes
    return (body_id,), len(octets)
