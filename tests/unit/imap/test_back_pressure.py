"""When reading pauses, and for how long it did."""

from syncd.imap.wire.back_pressure import BackPressure


def test_reading_pauses_above_the_bound_and_goes_on_below_half_of_it() -> None:
    pressure = BackPressure(100, clock=lambda: 0.0)
    assert not pressure.hold(100)
    assert pressure.hold(1)
    assert not pressure.hold(50)  # it is paused already
    assert not pressure.release(100)
    assert pressure.is_paused
    assert pressure.release(1)
    assert not pressure.is_paused
    assert not pressure.release(50)


def test_time_of_pauses_adds_up_and_counts_while_one_lasts() -> None:
    now = 0.0
    pressure = BackPressure(1, clock=lambda: now)
    pressure.hold(2)
    now = 3.0
    assert pressure.paused_s == 3.0
    pressure.release(2)
    now = 10.0
    assert pressure.paused_s == 3.0
    pressure.hold(2)
    now = 11.0
    assert pressure.paused_s == 4.0
