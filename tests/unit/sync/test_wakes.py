"""Wake-ups: whoever wants to hear of all at once waits until no more is to come."""

import asyncio

from syncd.sync.wakes import Wake

DEADLINE_S = 5.0


async def test_more_to_come_is_waited_for_until_a_wake_up_is_the_last() -> None:
    """A wake-up wakes at once, and says whether another follows."""
    wake = Wake()

    async with asyncio.timeout(DEADLINE_S):
        wake.set(is_more_coming=True)
        told = wake.is_set(), wake.is_more_coming
        gathering = asyncio.create_task(wake.gathered(3600.0))
        await asyncio.sleep(0)
        was_waiting = not gathering.done()
        wake.set()
        await gathering

    assert told == (True, True)
    assert was_waiting
    assert not wake.is_more_coming


async def test_who_is_away_is_not_waited_for() -> None:
    """Until there is somebody again who is to answer a wake-up, that of before as well."""
    wake = Wake()

    async with asyncio.timeout(DEADLINE_S):
        with wake.heard():
            wake.set()
        wake.clear()
        wake.set()
        await wake.rest()
        with wake.heard():
            resting = asyncio.create_task(wake.rest())
            await asyncio.sleep(0)
            was_waiting = not resting.done()
            wake.clear()
            wake.answered()
            await resting

    assert was_waiting


async def test_wake_up_for_more_takes_nothing_back() -> None:
    """Who was to come at once is to come at once, whatever else follows, until that was heard."""
    wake = Wake()
    wake.set()
    wake.set(is_more_coming=True)
    before = wake.is_more_coming

    wake.clear()
    wake.set(is_more_coming=True)

    assert [before, wake.is_more_coming] == [False, True]


async def test_more_that_does_not_come_is_not_waited_for_without_end() -> None:
    """Whoever was about to bring more may have failed."""
    wake = Wake()
    wake.set(is_more_coming=True)

    async with asyncio.timeout(DEADLINE_S):
        await wake.gathered(0.001)

    assert wake.is_set()
