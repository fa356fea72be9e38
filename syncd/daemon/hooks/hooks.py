"""Floor 5: the hooks: commands of the configuration that are told what happened, each one run at a time.

Theory. Each hook is a task that looks for news, lets it gather for a moment, and runs its command with all of it as one
JSON document. Only when that ended well, or was tried in vain often enough, is it recorded; so news is told at least
once, a kill at any instant included, and a command that fails, hangs or floods holds up nobody but itself. There are
four hooks, so no more than four commands run at once.
"""

import asyncio
import json
import os
import time
from collections.abc import Callable, Hashable, Mapping
from typing import NoReturn

from syncd.config.model import HooksConfig
from syncd.daemon.hooks.commands import Ended, environment_of, run_command
from syncd.daemon.hooks.news import AuthErrors, Holds, NewMailSource, News, OtherErrors, Outside, Source
from syncd.daemon.status.status import HookStatus
from syncd.errors import Reach, StoreError, SyncdError, text_of
from syncd.log import log
from syncd.values import Record

_SOURCES: Mapping[str, Callable[[str, Outside], Source]] = {
    "on_new_mail": NewMailSource,
    "on_auth_error": AuthErrors,
    "on_hold": Holds,
    "on_error": OtherErrors,
}
_RETRIES_S = (10.0, 60.0, 300.0, 900.0)
"""How long to wait after each failure; after one more is given up what the first of them was told."""
_STEP_S = 1.0
_GATHER_S = 10.0


class Gathering(Record):
    """Say when news that gathers is to be told: once nothing was added for a moment, or after a while."""

    step_s: float = _STEP_S
    at_most_s: float = _GATHER_S
    _mark: Hashable = None
    _first_at: float = 0.0
    _last_at: float = 0.0

    def is_over(self, mark: Hashable, *, now: float) -> bool:
        """Take the mark of what there is now, None for nothing, and tell whether that is to be told."""
        if mark is None:
            self._mark = None
            return False
        if self._mark is None:
            self._first_at = now
        if mark != self._mark:
            self._mark, self._last_at = mark, now
        return now - self._last_at >= self.step_s or now - self._first_at >= self.at_most_s


class HookState(Record):
    """Say how a hook fares. error: why its last run was no good one; given_up: news that it was told in vain.

    is_lasting: waiting does not help.
    """

    command: tuple[str, ...]
    is_running: bool = False
    runs: int = 0
    failures: int = 0
    given_up: int = 0
    error: str | None = None
    retry_at: float | None = None
    is_lasting: bool = False


class Hooks:
    """Serve the hooks of an app, each by `serve` in a task of its own."""

    def __init__(self, app: Outside, *, retries_s: tuple[float, ...] = _RETRIES_S, step_s: float = _STEP_S) -> None:
        """Use `adjust` before `serve`."""
        self._app = app
        self._retries_s = retries_s
        self._step_s = step_s
        self.states: dict[str, HookState] = {}
        """How each hook of the configuration fares, by name."""

    def adjust(self, config: HooksConfig) -> None:
        """Know the hooks that there are from now on; one with another command begins anew."""
        before = self.states
        self.states = {
            name: before[name] if name in before and before[name].command == command else HookState(command)
            for name, command in config.commands.items()
        }

    def status(self) -> tuple[HookStatus, ...]:
        """Return how each hook fares, for people; what it runs is nobody's business but the configuration's."""
        return tuple(
            HookStatus(
                name, one.is_running, one.runs, one.failures, one.given_up, one.error, one.retry_at, one.is_lasting
            )
            for name, one in self.states.items()
        )

    async def serve(self, name: str) -> NoReturn:
        """Tell a hook what happens, until cancelled; StoreError where the store cannot be used."""
        while True:
            try:
                await self._follow(name, _SOURCES[name](name, self._app))
            except Exception as error:  # whatever it is: nobody's mail depends on it
                if isinstance(error, StoreError) and error.reach is Reach.STORE:
                    raise
                unexpected = None if isinstance(error, SyncdError) else error
                log.warning("hook_look_failed", hook=name, error=text_of(error), exc_info=unexpected)
            await asyncio.sleep(self._retries_s[0])

    async def _follow(self, name: str, source: Source) -> NoReturn:
        gathering, now = Gathering(self._step_s), asyncio.get_running_loop().time
        in_vain: tuple[News, ...] = ()
        while True:
            news = await source.look()
            is_gathered = gathering.is_over(news.mark if news is not None else None, now=now())
            if news is None:
                self._rest(name)
                in_vain = ()
            if news is None or not (is_gathered or in_vain):
                await asyncio.sleep(self._step_s)
                continue
            wait_s = await self._tell(name, news, in_vain)
            gathering, in_vain = Gathering(self._step_s), (*in_vain, news) if wait_s else ()
            await asyncio.sleep(wait_s)

    def _rest(self, name: str) -> None:
        """Know that nothing is to be told: what was about to be told again was over before that."""
        state = self.states[name]
        if state.retry_at is not None:
            state.error = state.retry_at = None
            state.is_lasting = False

    async def _tell(self, name: str, news: News, in_vain: tuple[News, ...]) -> float:
        """Run the command once, and return how long to wait before it is told the same again; 0: it is not.

        in_vain: what it was told so far, each time with what had come meanwhile.
        """
        began = time.monotonic()
        state = self.states[name]
        state.is_running = True
        try:
            ended = await self._run(name, state.command, news, attempt=len(in_vain) + 1)
        finally:
            state.is_running = False
        state.runs += 1
        state.error, state.retry_at, state.is_lasting = ended.problem, None, ended.is_lasting
        log.debug("hook_output_received", hook=name, stdout=ended.stdout, stderr=ended.stderr)
        if ended.problem is None:
            log.info("hook_succeeded", hook=name, count=news.count, took_s=round(time.monotonic() - began, 3))
            await news.settle()
            return 0.0
        state.failures += 1
        keys = {"hook": name, "error": ended.problem, "stderr": ended.stderr}
        if len(in_vain) < len(self._retries_s):
            wait_s = self._retries_s[len(in_vain)]
            state.retry_at = self._app.clock() + wait_s
            log.warning("hook_failed", attempt=len(in_vain) + 1, count=news.count, retry_in_s=wait_s, **keys)
            return wait_s
        given_up, *_ = (*in_vain, news)  # what came since was not told as often
        state.given_up += given_up.count
        log.error("hook_given_up", attempts=len(in_vain) + 1, count=given_up.count, **keys)
        await given_up.settle()
        return 0.0

    async def _run(self, name: str, command: tuple[str, ...], news: News, *, attempt: int) -> Ended:
        app = self._app
        document = {"hook": name, "at": app.clock(), "attempt": attempt, **news.document}
        added = {"SYNCD_HOOK": name, "SYNCD_CONFIG": app.config_state.path}
        return await run_command(
            command,
            json.dumps(document).encode() + b"\n",
            environment=environment_of(os.environ, **{key: value for key, value in added.items() if value}),
            timeout_s=app.config.hooks.timeout_s,
        )
