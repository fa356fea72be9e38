"""Floor 4: the turns in which the accounts of one process connect to their servers: a few at once, then one by one.

Theory. At a start, when a server is back, and after a suspend all accounts want to connect in the same moment. A turn
is a moment, not a place that is held: a server that does not answer keeps nobody waiting for longer, least of all those
of another server.
"""

import asyncio
from collections import defaultdict

from syncd.sync.activity import Activity
from syncd.values import Record

AT_ONCE = 20
"""How many accounts of one server connect without waiting; more than most people have."""
PER_S = 20.0


class Turns(Record):
    """Say how long the next of many has to wait, so that some go at once, and then so many in a second."""

    at_once: int = AT_ONCE
    per_s: float = PER_S
    _next_at: float = float("-inf")

    def wait_s(self, now: float) -> float:
        """Return the time until the turn of whoever asks now, which is then taken."""
        at = max(self._next_at, now - (self.at_once - 1) / self.per_s)
        self._next_at = at + 1 / self.per_s
        return max(at - now, 0.0)

    def left_s(self, now: float) -> float:
        """Return how long one would have to wait who asked now."""
        return max(self._next_at - now, 0.0)


class Connects:
    """Let accounts connect to each server in turn."""

    def __init__(self) -> None:
        self._turns: defaultdict[tuple[str, int], Turns] = defaultdict(Turns)
        self._beside: defaultdict[tuple[str, int], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def turn(self, host: str, port: int, *, activity: Activity, now: float) -> None:
        """Return when an account may connect; now: by the clock of its activity."""
        if wait_s := self._wait_s(host, port):
            with activity.resting("waiting for its turn to connect", now, at_most_s=wait_s):
                await asyncio.sleep(wait_s)

    async def turn_beside(self, host: str, port: int) -> None:
        """Return when an account may connect once more, which is when no account waits for its first connection."""
        async with self._beside[host, port]:
            # Others may come while this waits, and go first.
            while wait_s := self._turns[host, port].left_s(asyncio.get_running_loop().time()):  # noqa: ASYNC110
                await asyncio.sleep(wait_s)
            self._wait_s(host, port)

    def _wait_s(self, host: str, port: int) -> float:
        return self._turns[host, port].wait_s(asyncio.get_running_loop().time())
