"""Who asks a task for a pass waits for one that begins after that, and is looked for once."""

import asyncio
from collections.abc import Callable

import pytest

from syncd.sync.requests import Asked, Requests


async def test_who_goes_on_with_a_pass_has_looked_already() -> None:
    """A pass that is put off goes on for who waits; it is news only as long as it has not begun."""
    requests = Requests(asyncio.Event())
    assert (requests.is_news, requests.are_awaited) == (False, False)

    asking = asyncio.create_task(requests.ask())
    await asyncio.wait_for(requests.arrived.wait(), 10)
    assert requests.is_news
    assert requests.take() is Asked.LOOK
    assert (requests.is_news, requests.are_awaited) == (False, True)
    assert requests.take() is Asked.LOOK

    requests.answer()
    await asking
    assert (requests.take(), requests.are_awaited) == (Asked.NOTHING, False)


async def test_what_is_hurried_during_a_pass_is_for_the_next_one() -> None:
    """The pass that has begun looked before, perhaps by another configuration."""
    requests = Requests(asyncio.Event())
    requests.take()
    requests.hurry()
    requests.answer()

    assert requests.take() is Asked.LOOK
    requests.answer()
    assert requests.take() is Asked.NOTHING


async def test_who_waits_for_a_task_waits_for_what_takes_its_place() -> None:
    """Whether its pass had begun or not: it begins anew, and is answered once it has ended."""
    wake = asyncio.Event()
    before, after = Requests(asyncio.Event()), Requests(wake)
    first = asyncio.create_task(before.ask(Asked.PASS))
    await asyncio.wait_for(before.arrived.wait(), 10)
    before.take()
    second = asyncio.create_task(before.ask(Asked.LOOK))
    await asyncio.wait_for(before.arrived.wait(), 10)

    after.inherit(before)
    before.fail(ValueError("ended"))

    assert wake.is_set()
    assert after.take() is Asked.LOOK
    after.answer()
    await asyncio.gather(first, second)
    assert after.take() is Asked.NOTHING


async def test_who_asks_while_a_task_fails_waits_for_its_next_run() -> None:
    """What was wrong may have been mended before the question: a disk is mounted, and then somebody asks."""
    requests = Requests(asyncio.Event())
    before = asyncio.create_task(requests.ask())
    await asyncio.wait_for(requests.arrived.wait(), 10)
    requests.begin()
    after = asyncio.create_task(requests.ask(Asked.PASS))
    await asyncio.sleep(0)
    requests.end(ValueError("away"))
    requests.end(ValueError("away"))
    with pytest.raises(ValueError, match="away"):
        await before

    assert requests.arrived.is_set()
    assert not after.done()
    requests.begin()
    assert requests.take() is Asked.LOOK
    requests.answer()
    await after


async def test_what_is_hurried_while_a_task_fails_is_for_its_next_run() -> None:
    """Else an adoption would wait for as long as failures do."""
    requests = Requests(asyncio.Event())
    requests.begin()
    requests.hurry()
    requests.end(ValueError("away"))

    assert requests.arrived.is_set()
    requests.begin()
    assert requests.take() is Asked.LOOK
    requests.end(ValueError("away"))
    assert not requests.arrived.is_set()


async def test_nobody_waits_for_what_is_only_hurried() -> None:
    """A pass that a command began by the way is no word of a person about what went."""
    requests = Requests(asyncio.Event())
    requests.hurry()

    assert requests.is_news
    assert requests.take() is Asked.LOOK
    assert not requests.are_awaited


async def test_who_joins_waits_for_the_pass_that_has_begun_and_wakes_nobody() -> None:
    """Who joins asks the store after it what it has left to do."""
    wake = asyncio.Event()
    requests = Requests(wake)
    requests.take()

    joining = asyncio.create_task(requests.ask(Asked.PASS, joins=True))
    await asyncio.sleep(0)

    assert (wake.is_set(), requests.is_news) == (False, False)
    assert requests.close()
    requests.answer()
    await joining


@pytest.mark.parametrize("end", [Requests.close, Requests.answer])
async def test_nobody_joins_a_pass_that_has_ended_or_is_about_to(end: Callable[[Requests], object]) -> None:
    """It would wait for one that nobody wakes the task for."""
    requests = Requests(asyncio.Event())
    requests.take()
    end(requests)

    asking = asyncio.create_task(requests.ask(Asked.PASS, joins=True))
    await asyncio.wait_for(requests.arrived.wait(), 10)

    requests.answer()
    assert requests.take() is Asked.PASS
    requests.answer()
    await asking
