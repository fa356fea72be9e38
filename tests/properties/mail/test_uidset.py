"""Sets of UIDs behave as sets of numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.mail.uidset import UID_MAX, UidSet

numbers = st.one_of(st.integers(1, 40), st.integers(1, 40), st.integers(UID_MAX - 5, UID_MAX))
sets = st.frozensets(numbers, max_size=30)


def is_canonical(uids: UidSet) -> bool:
    """Tell whether the ranges are ascending, disjoint and not adjacent, which makes equal sets equal values."""
    inside = all(1 <= low <= high <= UID_MAX for low, high in uids.ranges)
    return inside and all(before[1] + 1 < after[0] for before, after in zip(uids.ranges, uids.ranges[1:], strict=False))


@given(st.lists(numbers, max_size=30))
def test_set_holds_exactly_its_uids(uids: list[int]) -> None:
    """Order and repetition do not matter; iteration ascends."""
    built = UidSet.of(uids)

    assert list(built) == sorted(set(uids))
    assert len(built) == len(set(uids))
    assert bool(built) == bool(uids)
    assert is_canonical(built)
    assert all((uid in built) == (uid in uids) for uid in [*range(50), UID_MAX - 6, UID_MAX, UID_MAX + 1])


@given(sets, sets)
def test_algebra_is_that_of_sets(one: frozenset[int], other: frozenset[int]) -> None:
    """Union, intersection and difference agree with Python's, and stay canonical."""
    a, b = UidSet.of(one), UidSet.of(other)

    for result, expected in ((a | b, one | other), (a & b, one & other), (a - b, one - other)):
        assert result == UidSet.of(expected)
        assert is_canonical(result)


@given(sets)
def test_text_is_read_again(uids: frozenset[int]) -> None:
    """What is sent or stored as text is the same set when it comes back."""
    built = UidSet.of(uids)

    assert UidSet.parse(str(built)) == built


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=10))
def test_any_order_of_ranges_is_read(pairs: list[tuple[int, int]]) -> None:
    """Reversed, overlapping and unordered ranges are one set."""
    pairs = [(low, low + (high - low) % 50) for low, high in pairs if low + (high - low) % 50 <= UID_MAX]
    parsed = UidSet.parse(",".join(f"{high}:{low}" for low, high in pairs))

    assert set(parsed) == {uid for low, high in pairs for uid in range(low, high + 1)}
    assert is_canonical(parsed)


@given(st.text(st.sampled_from("0123456789:,* "), max_size=15))
def test_any_text_is_a_set_or_a_value_error(text: str) -> None:
    """A server's nonsense ends in one kind of error."""
    try:
        parsed = UidSet.parse(text)
    except ValueError:
        return
    assert is_canonical(parsed)


@given(sets, st.integers(-1, 40))
def test_newest_are_the_last_of_the_sorted(uids: frozenset[int], count: int) -> None:
    """The newest so many are the highest so many."""
    newest = UidSet.of(uids).newest(count)

    assert list(newest) == (sorted(uids)[-count:] if count > 0 else [])
    assert is_canonical(newest)


@given(sets, st.integers(1, 12))
def test_windows_cover_everything_once_newest_first(uids: frozenset[int], count: int) -> None:
    """Every UID is in one window, windows descend, all but the last are full."""
    windows = list(UidSet.of(uids).windows_newest_first(count))

    assert [uid for window in windows for uid in reversed(list(window))] == sorted(uids, reverse=True)
    assert all(len(window) == count for window in windows[:-1])
    assert all(is_canonical(window) and window for window in windows)


@given(sets, st.integers(1, 60))
def test_pieces_cover_everything_once_within_their_limit(uids: frozenset[int], max_bytes: int) -> None:
    """Pieces put together are the set; a piece over the limit is a single range that cannot be cut."""
    pieces = list(UidSet.of(uids).pieces(max_bytes))

    assert [uid for piece in pieces for uid in piece] == sorted(uids)
    assert all(piece for piece in pieces)
    assert all(len(str(piece)) <= max_bytes or len(piece.ranges) == 1 for piece in pieces)


@given(st.one_of(st.integers(max_value=0), st.integers(min_value=UID_MAX + 1)), sets)
def test_no_set_holds_what_is_no_uid(number: int, uids: frozenset[int]) -> None:
    """A number outside of 1 to 2^32-1 is refused wherever it would enter."""
    with pytest.raises(ValueError, match="not a UID"):
        UidSet.of([*uids, number])
    assert number not in UidSet.of(uids)
