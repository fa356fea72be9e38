"""When a poll is due, whatever is done to the wall clock."""

import asyncio

import pytest

from syncd.sync.accounts import poll_timer
from syncd.sync.accounts.poll_timer import PollTimer, share_of

DEADLINE_S = 5.0


class Wall:
    """A clock that runs like the loop's, and jumps when it is told to."""

    def __init__(self) -> None:
        self.ahead_s = 1_000_000.0

    def __call__(self) -> float:
        return asyncio.get_running_loop().time() + self.ahead_s


async def test_poll_is_due_at_first_and_after_its_interval() -> None:
    """Nothing has been polled at the start; then an interval passes first."""
    wall = Wall()
    at_once, later = PollTimer(0.0, clock=wall), PollTimer(300.0, clock=wall)
    assert later.is_due

    at_once.begin()
    later.begin()

    assert at_once.is_due
    assert 299.0 < later.left_s <= 300.0


@pytest.mark.parametrize("jump_s", [-86400.0, 3600.0])
async def test_wall_clock_that_jumps_makes_one_poll_due(jump_s: float) -> None:
    """A clock set back does not stop polling, and after a suspend it begins at once; then intervals go on as ever."""
    wall = Wall()
    timer = PollTimer(300.0, clock=wall)
    timer.begin()

    wall.ahead_s += jump_s

    assert timer.is_due
    timer.begin()
    assert timer.left_s > 299.0


async def test_jump_ends_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for news is woken when the machine slept meanwhile."""
    monkeypatch.setattr(poll_timer, "_LOOK_S", 0.01)
    wall, wake = Wall(), asyncio.Event()
    timer = PollTimer(300.0, clock=wall)
    timer.begin()

    with timer.waking(wake):
        wall.ahead_s += 3600.0
        async with asyncio.timeout(DEADLINE_S):
            await wake.wait()


async def test_many_who_wait_look_at_the_same_moments() -> None:
    """A thousand accounts wake the process once in a while, however far apart they began to wait."""
    first = poll_timer._next_look_at(1000.0)

    assert 1000.0 < first <= 1000.0 + poll_timer._LOOK_S
    assert {poll_timer._next_look_at(first - late_s) for late_s in (0.001, 1.0, 14.9)} == {first}
    assert first < poll_timer._next_look_at(first)


async def test_polls_of_many_that_begin_at_once_are_spread() -> None:
    """Over half of an interval, none later than it says, and each where it is after a restart."""
    wall = Wall()
    timers = [PollTimer(300.0, clock=wall, share=share_of(f"a{number:03d}")) for number in range(300)]

    for timer in timers:
        timer.begin()

    left_s = [timer.left_s for timer in timers]
    assert max(left_s) <= 300.0
    tenths = [sum(150.0 + 15.0 * tenth <= one < 165.0 + 15.0 * tenth for one in left_s) for tenth in range(10)]
    assert min(tenths) > 10
    assert share_of("work") == share_of("work")


async def test_interval_after_a_poll_in_its_turn_is_a_whole_one() -> None:
    """So they stay apart, and none is looked at more often than it says; one that was asked in between begins anew."""
    wall = Wall()
    timer = PollTimer(0.4, clock=wall, share=0.5)
    timer.begin()
    asked = timer.left_s
    await asyncio.sleep(asked)
    assert timer.is_due

    timer.begin()
    in_turn = timer.left_s
    timer.begin()

    assert asked <= 0.3 < in_turn <= 0.4
    assert timer.left_s <= 0.3
