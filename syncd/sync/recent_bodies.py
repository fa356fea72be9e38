"""Floor 4: bodies that were just committed, for the device that writes them: it need not read them again."""

from collections.abc import Iterable, Mapping

MAX_BYTES = 16 * 1024 * 1024


class RecentBodies:
    """Keep the octets of small bodies until somebody takes them, at most 16 MB.

    What was committed first is written first, so what comes when they are full is left to the store.
    """

    def __init__(self) -> None:
        self._octets: dict[int, bytes] = {}
        self._size_bytes = 0

    def put(self, body_id: int, octets: bytes) -> None:
        """Keep a body that is durably in the store, if there is room."""
        if body_id not in self._octets and self._size_bytes + len(octets) <= MAX_BYTES:
            self._octets[body_id] = octets
            self._size_bytes += len(octets)

    def take(self, body_ids: Iterable[int]) -> Mapping[int, bytes]:
        """Return those of these bodies that are kept, and keep them no longer: other devices link the file."""
        taken = {body_id: octets for body_id in body_ids if (octets := self._octets.pop(body_id, None)) is not None}
        self._size_bytes -= sum(map(len, taken.values()))
        return taken

    def clear(self) -> None:
        """Let go of what nobody took: its devices are away, or have it already."""
        self._octets.clear()
        self._size_bytes = 0
