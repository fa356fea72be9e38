"""Floor 4: bodies that were just committed, for the device that writes them first: it need not read them again."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping

MAX_BYTES = 16 * 1024 * 1024


class RecentBodies:
    """Keep the octets of small bodies until somebody takes them, the newest 16 MB of them."""

    def __init__(self) -> None:
        self._octets: OrderedDict[int, bytes] = OrderedDict()
        self._size_bytes = 0

    def put(self, body_id: int, octets: bytes) -> None:
        """Keep a body that is durably in the store."""
        self._size_bytes += len(octets) - len(self._octets.pop(body_id, b""))
        self._octets[body_id] = octets
        while self._size_bytes > MAX_BYTES:
            _, oldest = self._octets.popitem(last=False)
            self._size_bytes -= len(oldest)

    def take(self, body_ids: Iterable[int]) -> Mapping[int, bytes]:
        """Return those of these bodies that are kept, and keep them no longer: other devices link the file."""
        taken = {body_id: octets for body_id in body_ids if (octets := self._octets.pop(body_id, None)) is not None}
        self._size_bytes -= sum(map(len, taken.values()))
        return taken
