"""The turns in which devices begin: one by one, but nobody waits for long."""

import asyncio

import pytest

from syncd.sync.device.turns import DeviceTurns

DEADLINE_S = 5.0


async def test_devices_begin_one_by_one() -> None:
    """Who asks for a turn meanwhile gets it when the one before has ended, also by an error."""
    turns, order = DeviceTurns(patience_s=DEADLINE_S), list[str]()
    has_begun, may_end = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        async with turns.turn():
            order.append("first")
            has_begun.set()
            await may_end.wait()
            order.append("first ended")
            raise OSError("away")

    async def second() -> None:
        async with turns.turn():
            order.append("second")

    async with asyncio.timeout(DEADLINE_S):
        tasks = [asyncio.create_task(first()), asyncio.create_task(second())]
        await has_begun.wait()
        may_end.set()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)

    assert order == ["first", "first ended", "second"]
    assert isinstance(outcomes[0], OSError)


async def test_nobody_waits_long_for_a_device_that_does_not_answer() -> None:
    """Whose patience ends begins beside the other, and takes no turn away from who comes after."""
    turns, hung = DeviceTurns(patience_s=0.0), asyncio.Event()

    async def begin() -> None:
        async with turns.turn():
            hung.set()
            await asyncio.Event().wait()

    async def begin_later() -> None:
        async with turns.turn():
            is_in.set()

    is_in = asyncio.Event()
    async with asyncio.timeout(DEADLINE_S):
        holder = asyncio.create_task(begin())
        await hung.wait()
        async with turns.turn():
            assert not holder.done()
        turns._patience_s = DEADLINE_S
        later = asyncio.create_task(begin_later())
        for _ in range(5):
            await asyncio.sleep(0)
        assert not is_in.is_set()
        holder.cancel()
        with pytest.raises(asyncio.CancelledError):
            await holder
        await later
