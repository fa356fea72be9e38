"""How fast something goes, and how long the rest of it takes."""

import pytest

from syncd.sync.pace import WINDOW_S, Pace, Rate, eta_s


def paced(*done: tuple[float, int, int], began: float = 0.0) -> Pace:
    """Return the pace after what was done, each by time, messages and bytes."""
    pace = Pace()
    pace.begin(began)
    for at, messages, size_bytes in done:
        pace.add(at, messages, size_bytes)
    return pace


def test_rate_is_what_was_done_since_it_began() -> None:
    """The first seconds count from the beginning, whenever the first batch was done."""
    assert Rate(20.0, 2000.0) == paced((5.0, 100, 10_000), (10.0, 100, 10_000)).rate(10.0)


def test_rate_forgets_what_was_longer_ago_than_its_window() -> None:
    """A fast beginning does not promise a fast end."""
    pace = paced((1.0, 100_000, 0), *((float(at), 10, 0) for at in range(2, 101)))

    assert pace.rate(100.0) == Rate(10.0, 0.0)


def test_rate_does_not_waver_with_batches_that_come_seldom() -> None:
    """A batch every twenty seconds is the same rate whether one or two of them fall into the window."""
    pace = paced(*((20.0 * n, 1000, 0) for n in range(1, 6)))

    rates = [rate.messages_s for now in range(100, 120) if (rate := pace.rate(float(now)))]

    assert len(rates) == 20
    assert set(rates) == {50.0}


def test_rate_is_unknown_at_first_and_nought_once_it_has_stopped() -> None:
    """Neither is a time that anything takes."""
    assert Pace().rate(100.0) is None
    assert paced().rate(100.0) is None
    assert paced((0.1, 50, 0)).rate(0.2) is None
    assert paced((1.0, 50, 0)).rate(1.0 + 2 * WINDOW_S) == Rate(0.0, 0.0)


def test_rate_begins_anew_after_a_rest() -> None:
    """An hour without work is no slow work."""
    pace = paced((10.0, 500, 0))

    pace.begin(3600.0)
    pace.add(3605.0, 500)

    assert pace.rate(3605.0) == Rate(100.0, 0.0)


def test_clock_that_is_set_back_begins_anew() -> None:
    """It never goes by a time that is yet to come."""
    pace = paced((1000.0, 500, 0), (1010.0, 500, 0), began=990.0)

    pace.begin(10.0)
    pace.add(20.0, 100)

    assert pace.rate(20.0) == Rate(10.0, 0.0)


def test_pace_keeps_little_however_often_something_is_done() -> None:
    """It costs the same for a day of work as for a minute."""
    pace = paced(*((at / 10, 1, 1) for at in range(100_000)))

    assert len(pace._samples) <= WINDOW_S + 2
    assert pace.rate(9999.9) == Rate(pytest.approx(10.0, rel=0.05), pytest.approx(10.0, rel=0.05))


@pytest.mark.parametrize(
    ("rate", "messages", "size_bytes", "said"),
    [
        (Rate(100.0, 1000.0), 500, 20_000, 20.0),
        (Rate(100.0, 1000.0), 5000, 20_000, 50.0),
        (Rate(100.0, 0.0), 500, 20_000, 5.0),
        (Rate(0.0, 0.0), 500, 0, None),
        (None, 500, 0, None),
        (None, 0, 0, 0.0),
    ],
)
def test_rest_takes_as_long_as_its_count_or_size_does(
    rate: Rate | None, messages: int, size_bytes: int, said: float | None
) -> None:
    """Whichever is longer; nothing is promised at no rate."""
    assert said == eta_s(rate, messages=messages, size_bytes=size_bytes)
