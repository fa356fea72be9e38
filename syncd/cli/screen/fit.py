"""Floor 6: which blocks of a picture a screen has room for; pure arithmetic of lines."""

from collections.abc import Sequence

OF_A_SECTION = 2
"""Lines that a section takes beside its blocks: an empty one and its title."""


def fit(sections: Sequence[Sequence[int]], room: int) -> tuple[int, ...]:
    """Return how many blocks of each section are shown, each of so many lines and the most important first.

    The section that takes most gives first. One that is cut takes a line to say so, and all may be too much even then.
    """
    shown = [len(blocks) for blocks in sections]
    while _lines(sections, shown) > room and any(shown):
        heights = [sum(blocks[:number]) for blocks, number in zip(sections, shown, strict=True)]
        shown[heights.index(max(heights))] -= 1
    return tuple(shown)


def _lines(sections: Sequence[Sequence[int]], shown: Sequence[int]) -> int:
    return sum(
        OF_A_SECTION + sum(blocks[:number]) + (number < len(blocks))
        for blocks, number in zip(sections, shown, strict=True)
    )
