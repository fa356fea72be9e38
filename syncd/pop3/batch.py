"""Floor 3: what one commit of a POP3 session is of, from the first body that comes until it is durable."""

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from syncd.pop3.custody import Candidate, Known, Matcher, Retrieved
from syncd.pop3.spool import Body


class Encoded(Protocol):
    """A body as it is going to be stored; it may hold a file until it is closed."""

    def close(self) -> None: ...


E = TypeVar("E", bound=Encoded)


class Batch(Generic[E]):
    """Gather what one commit is of: `bodies` that came, and in `encoded`, in their order, those that came before."""

    def __init__(self) -> None:
        self.candidates: list[Candidate] = []
        self.sizes: list[int] = []
        self.size_bytes = 0
        self.bodies: list[Body] = []
        self.encoded: list[E] = []

    def has_room(self, body: Body, *, max_bytes: int, max_messages: int) -> bool:
        """Tell whether a body does not take it over its bounds; one body may."""
        # NOTE: full before it goes over its bound. Devices write as much at a time: of more, each of them would write
        # and link the rest as a batch of its own.
        is_full = self.size_bytes + body.size_bytes > max_bytes or len(self.sizes) >= max_messages
        return not (self.sizes and is_full)

    def add(self, candidate: Candidate, body: Body) -> None:
        """Take what came."""
        self.candidates.append(candidate)
        self.sizes.append(body.size_bytes)
        self.size_bytes += body.size_bytes
        self.bodies.append(body)

    def take_bodies(self) -> Sequence[Body]:
        """Return what is not encoded, for which whoever asks cares from now on."""
        bodies, self.bodies = self.bodies, []
        return bodies

    def decide(self, matcher: Matcher, digests: Sequence[bytes], rows: Sequence[Known]) -> Sequence[Retrieved]:
        """Return what to commit."""
        copies: dict[bytes, list[Known]] = {}
        for row in rows:
            copies.setdefault(row.digest, []).append(row)
        each = zip(self.candidates, self.sizes, digests, strict=True)
        return [matcher.decide(candidate, size, digest, copies.get(digest, ())) for candidate, size, digest in each]

    def close(self) -> None:
        """Let go of what is encoded."""
        for one in self.encoded:
            one.close()
