"""Floor 5: the running tasks of an app by name: of two with one name, the second begins when the first has ended."""

import asyncio
from collections.abc import Awaitable, Callable, Collection

from syncd.errors import SyncdError
from syncd.log import log

_END_S = 2.5
_LAST_WORDS_S = 0.5


class Tasks:
    """Start and end tasks that run for ever; `failure` tells of one that could not."""

    def __init__(self) -> None:
        self._alive: set[asyncio.Task[None]] = set()
        self._failure: asyncio.Future[SyncdError] = asyncio.get_running_loop().create_future()
        self._is_stopped = False

    def start(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run this until it is ended, from when nothing else of that name runs any more (law 7)."""
        if self._is_stopped:
            return
        task = asyncio.create_task(_run_after(self._named((name,)), run), name=name)
        self._alive.add(task)
        task.add_done_callback(self._done)

    async def end(self, names: Collection[str]) -> tuple[str, ...]:
        """End what has these names, and return when it has ended, or after three seconds with the names of the rest."""
        return _told(await self._end(self._named(names)))

    async def stop(self) -> None:
        """End everything within three seconds, and start nothing any more."""
        self._is_stopped = True
        pending = await self._end(set(self._alive))
        _told(pending)
        self._alive -= pending

    async def failure(self) -> SyncdError:
        """Return, once there is one, the error that a task could not keep."""
        return await asyncio.shield(self._failure)

    async def _end(self, pending: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
        for patience_s in (_END_S, _LAST_WORDS_S):
            for task in pending:
                task.cancel()
            if pending:
                _, pending = await asyncio.wait(pending, timeout=patience_s)
        return pending

    def _named(self, names: Collection[str]) -> set[asyncio.Task[None]]:
        return {task for task in self._alive if task.get_name() in names}

    def _done(self, task: asyncio.Task[None]) -> None:
        self._alive.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is None or self._failure.done():
            return
        if not isinstance(error, SyncdError):
            log.error("supervisor_failed", task=task.get_name(), exc_info=error)
            error = SyncdError("a task could not be supervised any more; the log says why")
        self._failure.set_result(error)


def _told(abandoned: Collection[asyncio.Task[None]]) -> tuple[str, ...]:
    names = tuple(sorted(task.get_name() for task in abandoned))
    if names:
        log.warning("tasks_abandoned", tasks=names)
    return names


async def _run_after(before: Collection[asyncio.Task[None]], run: Callable[[], Awaitable[None]]) -> None:
    if before:
        await asyncio.wait(before)
    await run()
