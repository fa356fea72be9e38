"""Floor 5: the configuration of a running daemon follows its file; one that cannot be used changes nothing.

Theory. An edit, SIGHUP and `syncd reload` are three ways to the same: read the file, compare it with what runs, apply
the difference. That is done one after the other; whoever asks before the file is read gets the outcome. An edit alone
is not believed that takes away every account or every device: a file that is empty or cut says that, too.

Credential files belong to the configuration, and an edit of one is an edit of it. A `password_file` does not: that it
holds another password is of no concern to a configuration that cannot be used meanwhile, and only its account connects
anew. One that is empty or not there is on its way to be another: until then the old password counts. Where it could
not be applied, that is tried again, and the configuration is no worse for it.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn

from syncd.config.changes import changes_between, with_other_passwords
from syncd.config.checks import disagreements
from syncd.config.load import Reading, read
from syncd.config.model import Config
from syncd.config.problems import ConfigError, Problem, dotted
from syncd.config.sources import credential_files
from syncd.daemon.control.edits import Edits, listening
from syncd.daemon.people.answers import ReloadReport
from syncd.daemon.process import logs
from syncd.daemon.process.service import notify, notify_status
from syncd.daemon.serving.app import App
from syncd.daemon.status.config_status import ConfigStatus
from syncd.errors import SyncdError, text_of
from syncd.log import log
from syncd.values import replace

_RETRY_S = 30.0


class Reloads:
    """Keep an app at its file; `run` for as long as the app runs."""

    def __init__(
        self,
        app: App,
        reading: Reading,
        *,
        asked: asyncio.Event,
        summary: Callable[[], str],
        retry_s: float = _RETRY_S,
    ) -> None:
        """Take what was read at the start, and `asked`, which is set where nobody waits for the outcome.

        summary: what the service manager is told. retry_s: when passwords that could not be applied are tried again.
        """
        self._app = app
        self._path = path = reading.path
        self._asked = asked
        self._summary = summary
        self._retry_s = retry_s
        self._edits = Edits(lambda: (path, *credential_files()), known=reading.read)
        self._rotations = Edits(lambda: _password_files(app.config))
        self._turn = asyncio.Lock()
        self._again = asyncio.Event()
        self._waiting: list[asyncio.Future[ReloadReport]] = []
        app.config_state = ConfigStatus(app.clock(), str(path))

    def look_again(self) -> None:
        """Have what runs compared with the file soon, as if that had been edited: who was held may be served by now."""
        self._again.set()

    async def reload(self) -> ReloadReport:
        """Have the file read and applied, and return what became of that; SyncdError where it could not be applied."""
        outcome: asyncio.Future[ReloadReport] = asyncio.get_running_loop().create_future()
        self._waiting.append(outcome)
        self._asked.set()
        return await outcome

    async def run(self) -> NoReturn:
        """Reload whenever somebody asks or the file was edited, until cancelled."""
        async with listening(self._edits, self._rotations), asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_file())
            tasks.create_task(self._follow_passwords())
            tasks.create_task(self._look_again())
            while True:
                await self._asked.wait()
                self._asked.clear()
                async with self._turn:
                    await self._answer()

    async def _answer(self) -> None:
        """Reload for those who asked so far."""
        waiting, self._waiting = self._waiting, []
        try:
            report = await self._reload(is_asked=True)
        except Exception as error:
            self._fail(waiting, error)
        except BaseException:
            self._waiting += waiting
            raise
        else:
            for one in waiting:
                if not one.done():
                    one.set_result(report)

    def stop(self) -> None:
        """Tell whoever waits that nothing is reloaded any more."""
        for one in self._waiting:
            if not one.done():
                one.set_exception(SyncdError("syncd is stopping"))

    async def _follow_file(self) -> NoReturn:
        while True:
            await self._edits.wait()
            await self._reload_by_itself()

    async def _follow_passwords(self) -> NoReturn:
        while True:
            await self._rotations.wait()
            try:
                async with self._turn:
                    await self._take_passwords()
            except Exception as error:
                unexpected = None if isinstance(error, SyncdError) else error
                keys = {"error": text_of(error), "retry_in_s": self._retry_s, "exc_info": unexpected}
                log.error("passwords_not_applied", **keys)
                self._rotations.forget()
                await asyncio.sleep(self._retry_s)

    async def _look_again(self) -> NoReturn:
        while True:
            await self._again.wait()
            self._again.clear()
            await self._reload_by_itself()

    async def _reload_by_itself(self) -> None:
        async with self._turn:
            try:
                await self._reload(is_asked=False)
            except Exception as error:
                self._fail((), error)

    async def _take_passwords(self) -> None:
        """Let those accounts connect anew whose password files hold another password than the one they have."""
        await self._rotations.know()
        if names := await self._app.other_passwords():
            log.info("passwords_rotated", accounts=sorted(names))
            running = self._app.config
            await self._app.apply(with_other_passwords(changes_between(running, running), names))

    async def _reload(self, *, is_asked: bool) -> ReloadReport:
        notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            await self._edits.know()
            try:
                reading = await asyncio.to_thread(read, self._path, needs_logins=True)
                return await self._apply(reading, is_asked=is_asked)
            except ConfigError as error:
                return self._refuse(error)
        finally:
            notify_status(self._summary(), "READY=1")

    def _refuse(self, error: ConfigError) -> ReloadReport:
        """Go on with what runs, and say why."""
        state = self._app.config_state
        problems = tuple(map(str, error.problems))
        since_at = self._app.clock() if state.since_at is None else state.since_at
        self._app.config_state = replace(state, problems=problems, since_at=since_at)
        for problem in problems:
            log.error("config_refused", problem=problem)
        return ReloadReport(str(self._path), problems)

    def _fail(self, waiting: Iterable[asyncio.Future[ReloadReport]], error: Exception) -> None:
        """Tell everybody of an error that is not one of the file."""
        text = f"it could not be applied: {text_of(error)} (syncd reload tries again)"
        log.error("reload_failed", error=text, exc_info=None if isinstance(error, SyncdError) else error)
        self._app.config_state = replace(self._app.config_state, problems=(text,), since_at=self._app.clock())
        for one in waiting:
            if not one.done():
                one.set_exception(SyncdError(text))

    async def _apply(self, reading: Reading, *, is_asked: bool) -> ReloadReport:
        app = self._app
        changes = changes_between(app.config, reading.config)
        if problems := await asyncio.to_thread(self._objections, changes.config, is_asked=is_asked):
            raise ConfigError(problems)
        changes = with_other_passwords(changes, await app.other_passwords())
        report = ReloadReport(
            str(self._path),
            warnings=tuple(map(str, reading.warnings)),
            accounts=changes.accounts,
            devices=changes.devices,
            keys=changes.keys,
            at_restart=changes.at_restart,
        )
        if changes or app.is_any_held:
            await app.apply(changes)
            if any(key.startswith("daemon.log_") for key in changes.keys):
                logs.configure(app.config.daemon)
        app.config_state = ConfigStatus(app.clock(), str(self._path), at_restart=changes.at_restart)
        for warning in report.warnings:
            log.warning("config_doubted", warning=warning)
        _log(report)
        return report

    def _objections(self, wanted: Config, *, is_asked: bool) -> tuple[Problem, ...]:
        """Return what speaks against going on with this; blocks."""
        # NOTE: it is of two files: what counts at a restart only, such as the store, is still that of the old one.
        found = disagreements(wanted, accounts=wanted.accounts)
        problems = [Problem(str(self._path), dotted(key), f"{text} that runs") for key, text in found]
        running = self._app.config
        for kind, before, after in (
            ("account", running.accounts, wanted.accounts),
            ("device", running.devices, wanted.devices),
        ):
            if before and not after and not is_asked:
                text = f"no {kind} is left: syncd reload applies it if it is meant"
                problems.append(Problem(str(self._path), "", text))
        return tuple(problems)


def _password_files(config: Config) -> tuple[Path, ...]:
    return tuple(account.password_file for account in config.accounts.values() if account.password_file is not None)


def _log(report: ReloadReport) -> None:
    kinds = {"accounts": report.accounts, "devices": report.devices}
    found = {
        f"{kind}_{how}": getattr(one, how) for kind, one in kinds.items() for how in ("added", "removed", "changed")
    }
    found |= {"keys": report.keys, "at_restart": report.at_restart}
    level = logging.WARNING if report.accounts.removed or report.devices.removed else logging.INFO
    log.log(level, "config_reloaded", **{key: value for key, value in found.items() if value})
