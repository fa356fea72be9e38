"""Floor 4: work in groups of which each fits into memory."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

BATCH_BYTES = 8 * 1024 * 1024
BATCH_FILES = 500
"""Bounds of what one barrier covers: memory for the bodies, and work to repeat after a crash."""


def bounded(found: Iterable[T], size_of: Callable[[T], int], *, count: int, size_bytes: int) -> Iterator[list[T]]:
    """Yield all in their order, at most `count` and `size_bytes` at once; what is larger by itself stands alone."""
    group: list[T] = []
    group_bytes = 0
    for one in found:
        one_bytes = size_of(one)
        if group and (len(group) >= count or group_bytes + one_bytes > size_bytes):
            yield group
            group, group_bytes = [], 0
        group.append(one)
        group_bytes += one_bytes
    if group:
        yield group
