"""Floor 4: when the next poll is due: by the clock that nobody sets, and at once after the machine slept."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_JUMP_S = 60.0
_LOOK_S = 15.0


class PollTimer:
    """Count the time since a poll began.

    Theory. The event loop's time neither jumps nor counts while the machine is suspended; the wall clock does both. So
    intervals are the loop's, and where the two drift apart by more than a minute nobody knows how long it really was.
    """

    def __init__(self, interval_s: float, *, clock: Callable[[], float]) -> None:
        """Read the wall clock by `clock`."""
        self._interval_s = interval_s
        self._clock = clock
        self._began: tuple[float, float] | None = None

    def adjust(self, interval_s: float) -> None:
        """Count up to another interval; who waits already is to be woken."""
        self._interval_s = interval_s

    def begin(self) -> None:
        """Note that a poll begins now."""
        self._began = asyncio.get_running_loop().time(), self._clock()

    @property
    def left_s(self) -> float:
        """Return the time until the next poll is due, 0 when it is."""
        if self._began is None:
            return 0.0
        elapsed_s = asyncio.get_running_loop().time() - self._began[0]
        if abs(self._clock() - self._began[1] - elapsed_s) > _JUMP_S:
            return 0.0
        return max(self._interval_s - elapsed_s, 0.0)

    @property
    def is_due(self) -> bool:
        return self.left_s == 0.0

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
                handle = loop.call_later(_LOOK_S, look)

        handle = loop.call_later(_LOOK_S, look)
        try:
            yield
        finally:
            handle.cancel()
