"""Many accounts connect one after the other, and a few at once."""

import asyncio

from syncd.sync.accounts.connects import AT_ONCE, PER_S, Connects, Turns
from syncd.sync.activity import Activity


def test_a_few_go_at_once_and_then_one_after_the_other() -> None:
    """And after a while a few go at once again."""
    turns = Turns(at_once=3, per_s=2.0)

    waits = [turns.wait_s(10.0) for _ in range(6)]
    later = [turns.wait_s(20.0) for _ in range(4)]

    assert waits == [0.0, 0.0, 0.0, 0.5, 1.0, 1.5]
    assert later == [0.0, 0.0, 0.0, 0.5]


def test_who_comes_slower_than_that_never_waits() -> None:
    """However many there are."""
    turns = Turns(at_once=1, per_s=2.0)

    assert [turns.wait_s(at / 2) for at in range(50)] == [0.0] * 50


async def test_one_server_does_not_keep_accounts_of_another_waiting() -> None:
    """Nor does anybody wait of as many as a person has."""
    connects, loop = Connects(), asyncio.get_running_loop()
    waiting = [
        asyncio.ensure_future(connects.turn("busy.example", 993, activity=Activity(), now=0.0))
        for _ in range(AT_ONCE + int(PER_S) * 60)
    ]
    await asyncio.sleep(0)
    came = sum(one.done() for one in waiting)
    began = loop.time()

    await connects.turn("other.example", 993, activity=Activity(), now=0.0)

    assert AT_ONCE <= came < AT_ONCE + PER_S
    assert not all(one.done() for one in waiting)
    assert loop.time() - began < 30.0
    for one in waiting:
        one.cancel()


async def test_second_connections_wait_until_no_account_waits_for_its_first() -> None:
    """They are a help, and mail comes without them."""
    connects, came = Connects(), []

    async def first(number: int) -> None:
        await connects.turn("busy.example", 993, activity=Activity(), now=0.0)
        came.append(f"first {number}")

    async def second() -> None:
        await connects.turn_beside("busy.example", 993)
        came.append("second")

    firsts = [first(number) for number in range(AT_ONCE)]
    async with asyncio.timeout(30.0):
        await asyncio.gather(*firsts, second(), second(), first(AT_ONCE), first(AT_ONCE + 1))

    assert came[-2:] == ["second", "second"]
    assert len(came) == AT_ONCE + 4
