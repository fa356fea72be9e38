"""Floor 1: sets of UIDs as ranges: what IMAP calls a sequence-set, never expanded to be stored or sent."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator

from syncd.values import Value

UID_MAX = 2**32 - 1


class UidSet(Value):
    """Hold UIDs as ascending, disjoint, non-adjacent inclusive ranges within 1..4294967295 (RFC 3501 §2.3.1.1)."""

    ranges: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, uids: Iterable[int]) -> "UidSet":
        """Return the set of `uids`, in any order, repeated or not; ValueError outside the range of a UID."""
        return cls._joined((uid, uid) for uid in sorted(uids))

    @classmethod
    def union(cls, sets: Iterable["UidSet"]) -> "UidSet":
        """Return what is in any of these."""
        return cls._joined(sorted(pair for one in sets for pair in one.ranges))

    @classmethod
    def span(cls, first: int, last: int) -> "UidSet":
        """Return first..last, the empty set when last is below first."""
        return cls._joined([(first, last)] if first <= last else [])

    @classmethod
    def parse(cls, text: str) -> "UidSet":
        """Return the set of a sequence-set without `*` (`3,5:9,12`); ValueError for anything else.

        Ranges may come reversed and overlapping (RFC 3501 §9: 2:4 and 4:2 are equivalent).
        """
        if not text:
            return EMPTY
        ranges: list[tuple[int, int]] = []
        for part in text.split(","):
            low, colon, high = part.partition(":")
            if not low.isdecimal() or not low.isascii() or (colon and not (high.isdecimal() and high.isascii())):
                raise ValueError(f"not a UID set: {text[:80]!r}")
            pair = (int(low), int(high) if colon else int(low))
            ranges.append((min(pair), max(pair)))
        return cls._joined(sorted(ranges))

    @classmethod
    def _joined(cls, ascending: Iterable[tuple[int, int]]) -> "UidSet":
        joined: list[tuple[int, int]] = []
        for low, high in ascending:
            if low < 1 or high > UID_MAX:
                raise ValueError(f"not a UID: {low if low < 1 else high}")
            if joined and low <= joined[-1][1] + 1:
                joined[-1] = (joined[-1][0], max(joined[-1][1], high))
            else:
                joined.append((low, high))
        return cls(tuple(joined))

    def __str__(self) -> str:
        return ",".join(f"{low}" if low == high else f"{low}:{high}" for low, high in self.ranges)

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def __len__(self) -> int:
        return sum(high - low + 1 for low, high in self.ranges)

    def __iter__(self) -> Iterator[int]:
        for low, high in self.ranges:
            yield from range(low, high + 1)

    def __contains__(self, uid: object) -> bool:
        if not isinstance(uid, int):
            return False
        at = bisect_right(self.ranges, (uid, UID_MAX)) - 1
        return at >= 0 and self.ranges[at][0] <= uid <= self.ranges[at][1]

    def __or__(self, other: "UidSet") -> "UidSet":
        return UidSet.union((self, other))

    def __and__(self, other: "UidSet") -> "UidSet":
        common: list[tuple[int, int]] = []
        mine, theirs = list(self.ranges), list(other.ranges)
        i = j = 0
        while i < len(mine) and j < len(theirs):
            low, high = max(mine[i][0], theirs[j][0]), min(mine[i][1], theirs[j][1])
            if low <= high:
                common.append((low, high))
            if mine[i][1] < theirs[j][1]:
                i += 1
            else:
                j += 1
        return UidSet(tuple(common))

    def __sub__(self, other: "UidSet") -> "UidSet":
        left: list[tuple[int, int]] = []
        j = 0
        for low, high in self.ranges:
            at = low
            while j < len(other.ranges) and other.ranges[j][1] < at:
                j += 1
            k = j
            while k < len(other.ranges) and other.ranges[k][0] <= high:
                if other.ranges[k][0] > at:
                    left.append((at, other.ranges[k][0] - 1))
                at = max(at, other.ranges[k][1] + 1)
                k += 1
            if at <= high:
                left.append((at, high))
        return UidSet(tuple(left))

    @property
    def lowest(self) -> int:
        """Return the lowest UID; ValueError when empty."""
        if not self.ranges:
            raise ValueError("the empty UID set has no lowest UID")
        return self.ranges[0][0]

    @property
    def highest(self) -> int:
        """Return the highest UID; ValueError when empty."""
        if not self.ranges:
            raise ValueError("the empty UID set has no highest UID")
        return self.ranges[-1][1]

    def newest(self, count: int) -> "UidSet":
        """Return the `count` highest UIDs."""
        taken: list[tuple[int, int]] = []
        for low, high in reversed(self.ranges):
            if count <= 0:
                break
            low = max(low, high - count + 1)  # noqa: PLW2901
            taken.append((low, high))
            count -= high - low + 1
        return UidSet(tuple(reversed(taken)))

    def windows_newest_first(self, count: int) -> Iterator["UidSet"]:
        """Yield disjoint sets of `count` UIDs, the last of what is left, from the highest UIDs down."""
        if count < 1:
            raise ValueError("a window has at least one UID")
        window: list[tuple[int, int]] = []
        room = count
        for low, high in reversed(self.ranges):
            while low <= high:
                first = max(low, high - room + 1)
                window.append((first, high))
                room -= high - first + 1
                high = first - 1  # noqa: PLW2901
                if not room:
                    yield UidSet(tuple(reversed(window)))
                    window, room = [], count
        if window:
            yield UidSet(tuple(reversed(window)))

    def pieces(self, max_bytes: int) -> Iterator["UidSet"]:
        """Yield disjoint sets, ascending, whose text fits a command line of `max_bytes`."""
        piece: list[tuple[int, int]] = []
        length = 0
        for low, high in self.ranges:
            width = len(f"{low}:{high},")
            if piece and length + width > max_bytes:
                yield UidSet(tuple(piece))
                piece, length = [], 0
            piece.append((low, high))
            length += width
        if piece:
            yield UidSet(tuple(piece))


EMPTY = UidSet()
