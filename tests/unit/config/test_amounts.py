"""Durations and sizes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.config.amounts import parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("1s", 1),
        ("5m", 300),
        ("12h", 43200),
        ("1.5h", 5400),
        ("30d", 2592000),
        ("2w", 1209600),
        ("0d", 0),
        (" 1 s ", 1),
    ],
)
def test_duration_is_read_in_seconds(text: str, seconds: float) -> None:
    """Every unit of the contract counts what it says."""
    assert seconds == parse_duration(text)


@pytest.mark.parametrize("text", ["", "5", "m", "-1s", "5M", "5 minutes", "1h30m", "1e3s", "٣s", "inf", "s5", "5s\n5s"])
def test_other_duration_is_refused(text: str) -> None:
    """A duration without a known unit is an error, not a guess."""
    with pytest.raises(ValueError, match="should be a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("0B", 0), ("500kB", 500_000), ("25MB", 25_000_000), ("25mb", 25_000_000), ("1GiB", 2**30), ("1.5KiB", 1536)],
)
def test_size_is_read_in_bytes(text: str, size: int) -> None:
    """Units of 1000 and of 1024 are told apart, in any case."""
    assert size == parse_size(text)


@pytest.mark.parametrize("text", ["", "25", "MB", "-1MB", "1 megabyte", "1MB extra", "0x10MB"])
def test_other_size_is_refused(text: str) -> None:
    """A size without a known unit is an error, not a guess."""
    with pytest.raises(ValueError, match="should be a size"):
        parse_size(text)


@given(st.text(max_size=20))
def test_any_text_is_an_amount_or_a_value_error(text: str) -> None:
    """No text makes the parsers fail in another way, or gives a negative amount."""
    for parse in (parse_duration, parse_size):
        try:
            amount = parse(text)
        except ValueError:
            continue
        assert amount >= 0
