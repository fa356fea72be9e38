"""Sets of UIDs."""

import time

import pytest

from syncd.mail.uidset import EMPTY, UID_MAX, UidSet


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("1", "1"),
        ("3,5:9,12", "3,5:9,12"),
        ("9:5", "5:9"),
        ("5:5", "5"),
        ("1,2,3", "1:3"),
        ("1:4,3:8", "1:8"),
        ("1:4,5", "1:5"),
        ("12,3,5:9", "3,5:9,12"),
        ("4294967295", "4294967295"),
        ("0005", "5"),
        ("", ""),
    ],
)
def test_sequence_set_has_one_canonical_text(text: str, canonical: str) -> None:
    """However a server writes a set, equal sets are equal."""
    assert str(UidSet.parse(text)) == canonical
    assert UidSet.parse(text) == UidSet.parse(canonical)


@pytest.mark.parametrize(
    "text",
    [
        "*",
        "1:*",
        "0",
        "0:5",
        "4294967296",
        "1:4294967296",
        "a",
        "1,",
        ",1",
        "1::2",
        "1:2:3",
        "-1",
        "+1",
        " 1",
        "1 ",
        "1:",
        ":1",
        "1,,2",
        "٣",
        "1.5",
        "0x1",
        "1_0",
        "9" * 5000,
    ],
)
def test_what_is_no_set_of_uids_is_refused(text: str) -> None:
    """A UID is a number from 1 to 2^32-1 in ASCII digits; `*` means nothing without a mailbox."""
    with pytest.raises(ValueError, match=r"UID|digits"):
        UidSet.parse(text)


@pytest.mark.parametrize("uid", [0, -1, UID_MAX + 1])
def test_number_that_is_no_uid_is_refused(uid: int) -> None:
    """No set can be built around a number that no message has."""
    with pytest.raises(ValueError, match="not a UID"):
        UidSet.of([1, uid])
    with pytest.raises(ValueError, match="not a UID"):
        UidSet.span(min(uid, 1), max(uid, 1))


def test_span_that_ends_before_it_begins_is_empty() -> None:
    """The UIDs above the last known one of a mailbox without news are none."""
    assert UidSet.span(5, 4) == EMPTY
    assert UidSet.span(5, 5) == UidSet.of([5])


def test_whole_range_costs_nothing() -> None:
    """A set is never expanded: 4 billion UIDs are one range."""
    whole = UidSet.span(1, UID_MAX)

    assert len(whole) == UID_MAX
    assert str(whole - UidSet.of([7])) == "1:6,8:4294967295"
    assert (whole & UidSet.of([7])).highest == 7
    assert UID_MAX in whole
    assert 0 not in whole
    assert UID_MAX + 1 not in whole
    assert "7" not in whole


def test_empty_set_has_no_ends() -> None:
    """Asking for the highest UID of nothing is a mistake, not zero."""
    assert not EMPTY
    assert list(EMPTY) == []
    with pytest.raises(ValueError, match="no highest"):
        _ = EMPTY.highest
    with pytest.raises(ValueError, match="no lowest"):
        _ = EMPTY.lowest


@pytest.mark.parametrize(
    ("count", "newest"), [(0, ""), (1, "20"), (2, "19:20"), (4, "10,18:20"), (99, "1:3,10,18:20"), (-1, "")]
)
def test_newest_are_the_highest(count: int, newest: str) -> None:
    """The newest messages are those that a person wants first."""
    assert str(UidSet.parse("1:3,10,18:20").newest(count)) == newest


def test_windows_come_newest_first() -> None:
    """Each window is full but the last, across gaps too."""
    windows = UidSet.parse("1:3,10,18:20").windows_newest_first(3)

    assert list(map(str, windows)) == ["18:20", "2:3,10", "1"]


def test_window_of_nothing_is_refused() -> None:
    """Windows without UIDs would never end."""
    with pytest.raises(ValueError, match="at least one"):
        next(UidSet.of([1]).windows_newest_first(0))


def test_windows_of_a_scattered_mailbox_are_linear() -> None:
    """Half a million UIDs without neighbours are cut in seconds, not in minutes."""
    scattered = UidSet(tuple((uid, uid) for uid in range(1, 1_000_000, 2)))

    began = time.process_time()
    windows = list(scattered.windows_newest_first(100))

    assert len(windows) == 5000
    assert time.process_time() - began < 10


def test_pieces_fit_a_command_line() -> None:
    """A set longer than a line is sent in several; a single range always goes."""
    pieces = list(UidSet.of(range(1, 200, 2)).pieces(40))

    assert max(len(str(piece)) for piece in pieces) <= 40
    assert len(pieces) < 25
    assert list(map(str, UidSet.parse("1:4294967295").pieces(1))) == ["1:4294967295"]
