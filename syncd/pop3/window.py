"""Floor 3: how many commands may be on their way at once, bounded by number and by the octets they ask for."""

from collections.abc import Iterator, Sequence

from syncd.pop3.listing import Listed


class Window:
    """Hand out commands to send; at least one is always on its way until all are answered.

    It is filled up again when half empty, so that commands share packets.
    """

    def __init__(self, wanted: Sequence[Listed], *, max_commands: int, max_bytes: int) -> None:
        self._wanted = wanted
        self._max_commands = max_commands
        self._max_bytes = max_bytes
        self._sent = self._answered = self._bytes = 0

    def to_send(self) -> Iterator[Listed]:
        """Yield what to ask for now."""
        if self._sent - self._answered > self._max_commands // 2:
            return
        while self._sent < len(self._wanted) and self._sent - self._answered < self._max_commands:
            listed = self._wanted[self._sent]
            size = listed.size_bytes or 0
            if self._sent > self._answered and self._bytes + size > self._max_bytes:
                return
            self._sent += 1
            self._bytes += size
            yield listed

    def answered(self) -> None:
        """Say that the oldest command on its way was answered in full."""
        self._bytes -= self._wanted[self._answered].size_bytes or 0
        self._answered += 1

    @property
    def is_all_sent(self) -> bool:
        """Tell whether nothing is left to send."""
        return self._sent == len(self._wanted)
