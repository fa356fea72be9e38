"""When a poll is due, whatever is done to the wall clock."""

import asyncio

import pytest

from syncd.sync import poll_timer
from syncd.sync.poll_timer import PollTimer

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
