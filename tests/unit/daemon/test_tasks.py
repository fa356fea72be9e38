"""Tasks by name: one at a time, ended in time."""

import asyncio

import pytest

from syncd.daemon.serving.tasks import Tasks
from syncd.errors import StoreError, SyncdError

DEADLINE_S = 10.0


async def test_second_of_a_name_begins_when_the_first_has_ended() -> None:
    """Two never serve the same, however long the first takes to end, and whatever comes in between (law 7)."""
    tasks, may_end, ran = Tasks(), asyncio.Event(), list[str]()

    async def first() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            while not may_end.is_set():
                try:
                    await may_end.wait()
                except asyncio.CancelledError:
                    ran.append("was told to end")
            ran.append("first ended")

    async def later(name: str) -> None:
        ran.append(name)
        await asyncio.Event().wait()

    tasks.start("device laptop", first)
    await asyncio.sleep(0)
    ending = asyncio.create_task(tasks.end(["device laptop"]))
    await asyncio.sleep(0)
    tasks.start("device laptop", lambda: later("second"))
    tasks.start("device phone", lambda: later("another"))
    await asyncio.sleep(0)
    also = asyncio.create_task(tasks.end(["device laptop"]))
    await asyncio.sleep(0)
    tasks.start("device laptop", lambda: later("third"))
    await asyncio.sleep(0)
    may_end.set()
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.gather(ending, also)
        while "third" not in ran:  # noqa: ASYNC110 - nothing signals what a test looks at
            await asyncio.sleep(0)
        await tasks.stop()

    assert ran == ["another", "was told to end", "first ended", "third"]


async def test_error_that_a_task_could_not_keep_is_the_failure() -> None:
    """Also of a task that was started later; what was ended is none."""
    tasks = Tasks()

    async def fails(error: Exception) -> None:
        raise error

    tasks.start("account work", asyncio.Event().wait)  # type: ignore[arg-type]
    await tasks.end(["account work"])
    failing = asyncio.create_task(tasks.failure())
    await asyncio.sleep(0)
    tasks.start("account work", lambda: fails(StoreError("the disk is full")))
    async with asyncio.timeout(DEADLINE_S):
        error = await failing

    assert str(error) == "the disk is full"


async def test_unexpected_error_ends_everything_without_its_text() -> None:
    """Only our own texts are free of secrets."""
    tasks = Tasks()

    async def fails() -> None:
        raise ValueError("s3cret")

    tasks.start("account work", fails)
    async with asyncio.timeout(DEADLINE_S):
        error = await tasks.failure()

    assert isinstance(error, SyncdError)
    assert "s3cret" not in str(error)


async def test_nothing_begins_once_all_is_stopped() -> None:
    """An edit that is being applied meanwhile starts nothing that nobody would end."""
    tasks, ran = Tasks(), list[str]()

    async def run() -> None:
        ran.append("ran")

    await tasks.stop()
    tasks.start("device laptop", run)
    await asyncio.sleep(0)

    assert ran == []


@pytest.mark.parametrize("name", ["device laptop", "nobody"])
async def test_ending_what_does_not_run_is_done_at_once(name: str) -> None:
    """Nothing is waited for."""
    async with asyncio.timeout(DEADLINE_S):
        await Tasks().end([name])
