"""Floor 3: back pressure: reading pauses while more of what was read waits to be taken than there is room for."""

from collections.abc import Callable


class BackPressure:
    """Count what was read and not yet taken, and for how long that kept us from reading.

    max_bytes: above this reading is to pause, below half of it to go on. clock: in seconds, never set back.
    """

    def __init__(self, max_bytes: int, *, clock: Callable[[], float]) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._held_bytes = 0
        self._paused_at: float | None = None
        self._paused_s = 0.0

    @property
    def is_paused(self) -> bool:
        return self._paused_at is not None

    @property
    def paused_s(self) -> float:
        """The time that reading was paused so far, this time included."""
        since = 0.0 if self._paused_at is None else self._clock() - self._paused_at
        return self._paused_s + since

    def hold(self, size_bytes: int) -> bool:
        """Count what was read; tell whether reading is to pause from now on."""
        self._held_bytes += size_bytes
        if self.is_paused or self._held_bytes <= self._max_bytes:
            return False
        self._paused_at = self._clock()
        return True

    def release(self, size_bytes: int) -> bool:
        """Count what was taken; tell whether reading is to go on from now on."""
        self._held_bytes -= size_bytes
        if not self.is_paused or self._held_bytes > self._max_bytes // 2:
            return False
        self._paused_s, self._paused_at = self.paused_s, None
        return True
