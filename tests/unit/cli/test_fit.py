"""Which blocks a screen has room for."""

from hypothesis import given
from hypothesis import strategies as st

from syncd.cli.screen.fit import OF_A_SECTION, fit


def test_all_is_shown_where_there_is_room() -> None:
    """To the last line."""
    assert fit([[1, 1, 1], [2, 2]], room=11) == (3, 2)


def test_section_that_takes_most_gives_first() -> None:
    """So that a long list leaves the others what they need, and says that it was cut."""
    assert fit([[1] * 20, [2, 2]], room=16) == (7, 2)


@given(st.lists(st.lists(st.integers(1, 5), max_size=30), max_size=5), st.integers(0, 100))
def test_what_is_shown_has_room_or_is_nothing(sections: list[list[int]], room: int) -> None:
    """With the line that says what is missing."""
    shown = fit(sections, room)

    lines = sum(
        OF_A_SECTION + sum(blocks[:number]) + (number < len(blocks))
        for blocks, number in zip(sections, shown, strict=True)
    )
    assert lines <= room or not any(shown)
    assert all(0 <= number <= len(blocks) for number, blocks in zip(shown, sections, strict=True))
