"""Floor 5: one account's or device's task, run again and again: its failures are recorded, waited out, and its own."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NoReturn, Protocol

from syncd.errors import Reach, StoreError, SyncdError, text_of
from syncd.log import log, structlog
from syncd.sync.activity import Activity
from syncd.sync.backoff import Backoff
from syncd.sync.requests import Requests

_STABLE_S = 10.0
"""A run that lasted this long and completed a pass was a success, so the next failure is a first one."""


class Supervised(Protocol):
    """A task that serves somebody until it is cancelled or an error ends it; then it is run again."""

    @property
    def requests(self) -> Requests: ...

    async def run(self) -> None: ...


class Supervisor:
    """Keep one task running; no failure of it reaches another, except that of the store they share."""

    def __init__(
        self,
        task: Supervised,
        *,
        kind: str,
        name: str,
        activity: Activity,
        on_failure: Callable[[Exception, str], Awaitable[None]],
        clock: Callable[[], float],
        backoff: Backoff | None = None,
    ) -> None:
        """Call `on_failure` with each error and its text for people; kind: account or device."""
        self.task = task
        self.kind = kind
        self.name = name
        self._activity = activity
        self._on_failure = on_failure
        self._clock = clock
        self._backoff = backoff or Backoff()

    async def run(self) -> NoReturn:
        """Run the task until cancelled. StoreError when the store cannot be used: nobody can go on."""
        structlog.contextvars.bind_contextvars(**{self.kind: self.name})  # for all that is logged in this task
        try:
            while True:
                error = await self._run_once()
                if isinstance(error, StoreError) and error.reach is Reach.STORE:
                    raise error
                await self._wait_after(error)
        finally:
            self.task.requests.fail(SyncdError("syncd is stopping"))

    async def _run_once(self) -> Exception:
        began, passes = self._clock(), self.task.requests.passes
        try:
            await self.task.run()
            error: Exception = SyncdError("the task ended by itself")
        except Exception as caught:
            error = caught
        except asyncio.CancelledError:
            if (ours := asyncio.current_task()) is None or ours.cancelling():
                raise
            # NOTE: nobody has ended us; what a library cancels inside of a task would else end it for good, unheard of.
            error = SyncdError("the task was cancelled from within")
        if self._clock() - began >= _STABLE_S and self.task.requests.passes > passes:
            self._backoff.succeeded()
        self.task.requests.end(error)  # NOTE: a task answers for errors that it knows; the others are answered here
        return error

    async def _wait_after(self, error: Exception) -> None:
        wait_s = self._backoff.failed(error)
        text = text_of(error)
        unexpected = None if isinstance(error, SyncdError) else error
        level = logging.WARNING if unexpected is None else logging.ERROR
        keys = {self.kind: self.name, "error": text, "retry_in_s": round(wait_s, 1), "exc_info": unexpected}
        if self.kind == "account":
            log.log(level, "account_failed", **keys)
        else:
            log.log(level, "device_failed", **keys)
        now = self._clock()
        self._activity.now("waiting to try again", now)
        self._activity.failed(error, text, retry_at=now + wait_s)
        await self._on_failure(error, text)
        try:
            with self._activity.resting("waiting to try again", now, at_most_s=wait_s):
                async with asyncio.timeout(wait_s):
                    await self.task.requests.arrived.wait()
        except TimeoutError:
            pass
