"""One task, run again and again."""

import asyncio
from collections.abc import Callable

import pytest

from syncd.daemon.serving.supervisor import Supervisor
from syncd.errors import LoginRefusedError, Reach, StoreError, SyncdError, UnreachableError
from syncd.sync.activity import Activity
from syncd.sync.backoff import Backoff
from syncd.sync.requests import Requests

DEADLINE_S = 5.0


class Scripted:
    """Do in each run what the script says: raise, or serve requests until cancelled."""

    def __init__(self, *script: BaseException | None) -> None:
        self.requests = Requests(asyncio.Event())
        self.runs = 0
        self._script = list(script)

    async def run(self) -> None:
        self.runs += 1
        step = self._script.pop(0) if self._script else None
        if step is not None:
            raise step
        while True:
            await self.requests.arrived.wait()
            self.requests.take()
            self.requests.answer()


def supervised(task: Scripted, *, wait_s: float = 1000.0) -> tuple[Supervisor, Activity, list[str]]:
    activity, recorded = Activity(), list[str]()

    async def record(error: Exception, text: str) -> None:
        recorded.append(text)

    supervisor = Supervisor(
        task,
        kind="account",
        name="work",
        activity=activity,
        on_failure=record,
        clock=lambda: 5000.0,
        backoff=Backoff(uniform=lambda low, high: wait_s),
    )
    return supervisor, activity, recorded


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - nothing signals what a test looks at
            await asyncio.sleep(0)


async def test_failure_is_recorded_shown_and_waited_out() -> None:
    """The reason and the next try are known; the task is not run again before its time."""
    task = Scripted(UnreachableError("no route"))
    supervisor, activity, recorded = supervised(task)
    running = asyncio.create_task(supervisor.run())

    await until(lambda: recorded)

    assert recorded == ["no route"]
    assert (activity.error, activity.retry_at, activity.doing) == ("no route", 6000.0, "waiting to try again")
    await asyncio.sleep(0)
    assert task.runs == 1
    await ended(running)


async def test_task_that_was_cancelled_by_nobody_of_ours_is_run_again() -> None:
    """What a library cancels inside of it would else be the end of an account, and nobody would hear of it."""
    task = Scripted(asyncio.CancelledError())
    supervisor, _, recorded = supervised(task, wait_s=0.0)
    running = asyncio.create_task(supervisor.run())

    await until(lambda: task.runs == 2)

    assert recorded == ["the task was cancelled from within"]
    await ended(running)


async def test_request_ends_the_wait_and_is_answered_by_the_next_run() -> None:
    """Whoever asks need not wait for the retry."""
    task = Scripted(LoginRefusedError("refused"))
    supervisor, _, recorded = supervised(task)
    running = asyncio.create_task(supervisor.run())
    await until(lambda: recorded)

    async with asyncio.timeout(DEADLINE_S):
        await task.requests.ask()

    assert task.runs == 2
    await ended(running)


@pytest.mark.parametrize("error", [UnreachableError("no route"), ValueError("s3cret of somebody")])
async def test_failing_run_fails_its_request_at_once(error: Exception) -> None:
    """A request never waits for a retry, also when the task itself did not expect the error."""
    task = Scripted(error)
    supervisor, _, _ = supervised(task)
    asking = asyncio.create_task(task.requests.ask())
    await asyncio.sleep(0)
    running = asyncio.create_task(supervisor.run())

    with pytest.raises(type(error)):
        async with asyncio.timeout(DEADLINE_S):
            await asking
    await ended(running)


async def test_text_of_an_unexpected_error_is_not_shown() -> None:
    """Only our own texts are free of secrets."""
    task = Scripted(ValueError("s3cret of somebody"))
    supervisor, activity, recorded = supervised(task)
    running = asyncio.create_task(supervisor.run())

    await until(lambda: recorded)

    assert recorded == ["unexpected error: ValueError"] == [activity.error]
    await ended(running)


async def test_task_that_ends_by_itself_is_run_again() -> None:
    """A run has no good end but cancellation."""
    task = Scripted(SyncdError("one"), SyncdError("two"), SyncdError("three"))
    supervisor, _, recorded = supervised(task, wait_s=0.0)
    running = asyncio.create_task(supervisor.run())

    await until(lambda: task.runs == 4)

    assert recorded == ["one", "two", "three"]
    await ended(running)


@pytest.mark.parametrize(
    ("run_s", "passes", "waits"), [(0.0, 1, [1, 2, 4]), (60.0, 0, [1, 2, 4]), (60.0, 1, [1, 1, 1])]
)
async def test_wait_grows_with_failures_in_a_row_and_not_with_those_after_a_good_run(
    run_s: float, passes: int, waits: list[int]
) -> None:
    """A server that drops us once an hour is connected to again within a second; a run that got nowhere is not good."""
    now, longest = [0.0], list[float]()

    class Timed(Scripted):
        async def run(self) -> None:
            now[0] += run_s
            for _ in range(passes):
                self.requests.answer()
            await super().run()

    def uniform(low: float, high: float) -> float:
        longest.append(high)
        return 0.0

    async def record(error: Exception, text: str) -> None:
        pass

    supervisor = Supervisor(
        task := Timed(*(UnreachableError("no route") for _ in range(3))),
        kind="account",
        name="work",
        activity=Activity(),
        on_failure=record,
        clock=lambda: now[0],
        backoff=Backoff(uniform=uniform),
    )
    running = asyncio.create_task(supervisor.run())

    await until(lambda: task.runs == 4)

    assert longest == waits
    await ended(running)


async def test_store_that_cannot_be_used_ends_everything() -> None:
    """Nobody can go on without it, so its error is not kept here."""
    task = Scripted(StoreError("the disk of the store is full"))
    supervisor, _, recorded = supervised(task)

    with pytest.raises(StoreError, match="the disk of the store is full"):
        async with asyncio.timeout(DEADLINE_S):
            await supervisor.run()
    assert recorded == []


async def test_store_error_that_reaches_a_mailbox_only_is_this_tasks_own() -> None:
    """A value that the store refuses stops nobody else."""
    task = Scripted(StoreError("the store refuses a value", reach=Reach.MAILBOX))
    supervisor, _, recorded = supervised(task)
    running = asyncio.create_task(supervisor.run())

    await until(lambda: recorded)

    assert not running.done()
    await ended(running)


@pytest.mark.parametrize("script", [(), (UnreachableError("no route"),)])
async def test_cancelled_supervisor_ends_at_once_and_answers_who_waits(script: tuple[Exception, ...]) -> None:
    """Running or waiting, it ends, and a request is told that syncd is stopping."""
    task = Scripted(*script)
    supervisor, _, _ = supervised(task)
    running = asyncio.create_task(supervisor.run())
    await until(lambda: task.runs)
    asking = asyncio.create_task(task.requests.ask())
    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running
    outcome = (await asyncio.gather(asking, return_exceptions=True))[0]
    assert outcome is None or str(outcome) == "syncd is stopping"


async def ended(running: "asyncio.Task[object]") -> None:
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
