"""Floor 5: one sync without a daemon, for `syncd sync`; what only a daemon needs is not loaded, for it is short."""

import asyncio
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from syncd.config.model import Config, LogLevel
from syncd.daemon.people.completion import Syncs
from syncd.daemon.people.sync_report import SyncReport
from syncd.daemon.process import logs
from syncd.daemon.process.signals import run_interruptibly
from syncd.daemon.serving.app import App, open_app
from syncd.errors import text_of
from syncd.values import replace

if TYPE_CHECKING:
    from syncd.daemon.status.status import Going


def sync_once(
    config: Config,
    of_accounts: Collection[str],
    *,
    on_progress: Callable[["tuple[Going, ...]"], None],
    progress_step_s: float,
) -> SyncReport:
    """Own the store for one complete sync of these accounts; Interrupted by a signal, with nothing half done."""
    logs.configure(config.daemon, at_least=LogLevel.ERROR)
    return run_interruptibly(_sync_once(config, of_accounts, on_progress, progress_step_s), code_if_cut_short=1)


async def _sync_once(
    config: Config,
    of_accounts: Collection[str],
    on_progress: Callable[["tuple[Going, ...]"], None],
    progress_step_s: float,
) -> SyncReport:
    # NOTE: a watch would hear of little but our own deliveries; what devices change meanwhile the next sync sees.
    async with open_app(config, watches=False) as app:
        whole = asyncio.create_task(Syncs(app).sync(of_accounts))
        await asyncio.sleep(0)  # what is asked before a task starts is asked of its first run
        app.start(of_accounts)
        failure = asyncio.create_task(app.failure())
        try:
            while True:
                done, _ = await asyncio.wait(
                    (whole, failure), timeout=progress_step_s, return_when=asyncio.FIRST_COMPLETED
                )
                if failure in done:
                    raise failure.result()
                if whole in done:
                    break
                on_progress(await _progress(app))
            report = whole.result()
            error = await app.sweeper.try_to_sweep()  # else who has no daemon would keep everything for ever
            return report if error is None else replace(report, sweep_error=text_of(error))
        finally:
            failure.cancel()
            whole.cancel()


async def _progress(app: App) -> "tuple[Going, ...]":
    from syncd.daemon.people.reading import read_status  # noqa: PLC0415  # a short sync tells of none
    from syncd.daemon.status.status import progress_of  # noqa: PLC0415

    return progress_of(await read_status(app.db, app.config, now=app.clock(), activities=app.activities))
