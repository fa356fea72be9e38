"""When a sweep is due: once a day by the store's own memory, whatever the clock does."""

import pytest

from syncd.sync.sweeper import EVERY_S, is_due


@pytest.mark.parametrize(
    ("since_s", "expected"),
    [(0.0, False), (EVERY_S - 1, False), (EVERY_S, True), (90 * EVERY_S, True), (-1.0, True)],
    ids=["just now", "not a day", "a day", "months off", "the clock was set back"],
)
def test_sweep_is_due_after_a_day(since_s: float, expected: bool) -> None:
    """Set back, the clock tells nothing; then it is done, for what it does depends on no earlier sweep."""
    assert is_due(1_000_000.0, now=1_000_000.0 + since_s) is expected
