"""Floor 4: the turns in which the devices of one process begin: side by side they would only hinder each other.

Theory. A device begins with thousands of short calls of the system and of the database, and each of them lets go of
Python's lock. Where another thread wants it meanwhile, each is a hand-over from processor to processor, which takes
longer than the call; one after the other all have begun earlier. But one whose disk does not answer must not stop the
others: nobody waits for long.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

PATIENCE_S = 0.5


class DeviceTurns:
    """Let devices begin one by one."""

    def __init__(self, *, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Enter when nobody else is in, or when that takes too long."""
        is_taken = False
        try:
            async with asyncio.timeout(self._patience_s):
                is_taken = await self._lock.acquire()
        except TimeoutError:
            pass
        try:
            yield
        finally:
            if is_taken:
                self._lock.release()
