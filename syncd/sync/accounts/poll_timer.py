"""Floor 4: when the next poll is due: by the clock that nobody sets, and at once after the machine slept."""

import asyncio
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_JUMP_S = 60.0
_LOOK_S = 15.0


def share_of(name: str) -> float:
    """Return a number from 0 to below 1 that is always the same for a name, and spread evenly for many."""
    return zlib.crc32(name.encode()) / 2**32


class PollTimer:
    """Count the time since a poll began.

    Theory. The event loop's time neither jumps nor counts while the machine is suspended; the wall clock does both. So
    intervals are the loop's, and where the two drift apart by more than a minute nobody knows how long it really was.

    Many accounts are looked at in one moment when they are started, asked, or woken by a jump. So what follows such a
    poll comes after half of an interval to a whole one, by the share of each; from there on intervals are whole, and
    the polls stay as far apart as they are then.
    """

    def __init__(self, interval_s: float, *, clock: Callable[[], float], share: float = 0.0) -> None:
        """Read the wall clock by `clock`; share: from 0 to 1, another one for each of many that begin at once."""
        self._interval_s = interval_s
        self._clock = clock
        self._share = share
        self._part = 1.0
        """Of an interval that is counted up to."""
        self._began: tuple[float, float] | None = None

    def adjust(self, interval_s: float) -> None:
        """Count up to another interval; who waits already is to be woken."""
        self._interval_s = interval_s

    def begin(self) -> None:
        """Note that a poll begins now."""
        is_next_in_turn = self._elapsed_s is not None and self._elapsed_s >= self._part * self._interval_s
        self._part = 1.0 if is_next_in_turn else 1.0 - self._share / 2
        self._began = asyncio.get_running_loop().time(), self._clock()

    @property
    def left_s(self) -> float:
        """Return the time until the next poll is due, 0 when it is."""
        elapsed_s = self._elapsed_s
        return 0.0 if elapsed_s is None else max(self._part * self._interval_s - elapsed_s, 0.0)

    @property
    def is_due(self) -> bool:
        return self.left_s == 0.0

    @property
    def _elapsed_s(self) -> float | None:
        """Return the time since a poll began; None: there was none, or nobody knows how long it was."""
        if self._began is None:
            return None
        elapsed_s = asyncio.get_running_loop().time() - self._began[0]
        is_known = abs(self._clock() - self._began[1] - elapsed_s) <= _JUMP_S
        return elapsed_s if is_known else None

    @contextmanager
    def waking(self, wake: asyncio.Event) -> Iterator[None]:
        """Set `wake` when a poll becomes due inside, also when waits by the loop's time have still to end."""

        loop = asyncio.get_running_loop()
        handle: asyncio.TimerHandle

        def look() -> None:
            nonlocal handle
            if self.is_due:
                wake.set()
            else:
                handle = loop.call_at(_next_look_at(loop.time()), look)

        handle = loop.call_at(_next_look_at(loop.time()), look)
        try:
            yield
        finally:
            handle.cancel()


def _next_look_at(now: float) -> float:
    """Return the same time for all: many that wait then wake the process once, and not each for itself."""
    return (now // _LOOK_S + 1) * _LOOK_S
