"""Who asks a task for a pass waits for one that begins after that, and is looked for once."""

import asyncio

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


async def test_nobody_waits_for_what_is_only_hurried() -> None:
    """A pass that a command began by the way is no word of a person about what went."""
    requests = Requests(asyncio.Event())
    requests.hurry()

    assert requests.is_news
    assert requests.take() is Asked.LOOK
    assert not requests.are_awaited
