"""Floor 5: syncd as a process: signals, event loop, the daemon in the foreground, and one sync without a daemon."""

import asyncio
import ctypes
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Collection, Coroutine
from typing import Any, TypeVar

import structlog

from syncd.config.model import Config, LogLevel
from syncd.daemon import logs
from syncd.daemon.answers import SyncReport
from syncd.daemon.app import App, open_app
from syncd.daemon.completion import sync
from syncd.daemon.control import control_socket
from syncd.daemon.reading import read_status
from syncd.daemon.service import notify
from syncd.daemon.status import Progress, progress_of

log = structlog.get_logger()

T = TypeVar("T")

_PRIVATE_UMASK = 0o077
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_CUT_SHORT_S = 4.5
_STATUS_STEP_S = 10.0
_GC_THRESHOLD = 50_000
_M_ARENA_MAX = -8  # malloc.h of glibc
_SWITCH_INTERVAL_S = 0.001


class Interrupted(Exception):  # noqa: N818 - no error: a person or the service manager asked for it
    """SIGTERM or SIGINT ended what was going on, in an orderly way."""


def run_daemon(config: Config) -> None:
    """Serve the configuration until SIGTERM or SIGINT; SyncdError when that is not possible or not any more."""
    logs.configure(config.daemon)
    try:
        run_interruptibly(_daemon(config), code_if_cut_short=0)
    except Interrupted:
        log.info("daemon_stopped")


def sync_once(
    config: Config,
    of_accounts: Collection[str],
    *,
    on_progress: Callable[[tuple[Progress, ...]], None],
    progress_step_s: float,
) -> SyncReport:
    """Own the store for one complete sync of these accounts; Interrupted by a signal, with nothing half done."""
    logs.configure(config.daemon, at_least=LogLevel.ERROR)
    return run_interruptibly(_sync_once(config, of_accounts, on_progress, progress_step_s), code_if_cut_short=1)


async def _daemon(config: Config) -> None:
    async with open_app(config) as app, control_socket(app):
        log.info("daemon_started", accounts=len(config.accounts), devices=len(config.devices), pid=os.getpid())
        app.start()
        notify("READY=1", f"STATUS={_summary(app)}")
        telling = asyncio.create_task(_tell_service_manager(app))
        try:
            raise await app.failure()
        finally:
            telling.cancel()
            notify("STOPPING=1")
            log.info("daemon_stopping")
            await app.stop()  # before the socket is closed, so that whoever waits for a sync is told


async def _sync_once(
    config: Config,
    of_accounts: Collection[str],
    on_progress: Callable[[tuple[Progress, ...]], None],
    progress_step_s: float,
) -> SyncReport:
    async with open_app(config) as app:
        whole = asyncio.create_task(sync(app, of_accounts))
        await asyncio.sleep(0)  # what is asked before a task starts is asked of its first run
        app.start(of_accounts)
        failure = asyncio.create_task(app.failure())
        try:
            while not whole.done():
                done, _ = await asyncio.wait(
                    (whole, failure), timeout=progress_step_s, return_when=asyncio.FIRST_COMPLETED
                )
                if failure in done:
                    raise failure.result()
                if whole in done:
                    break
                status = await read_status(app.db, config, now=app.clock(), activities=app.activities)
                on_progress(progress_of(status))
            return whole.result()
        finally:
            failure.cancel()
            whole.cancel()


async def _tell_service_manager(app: App) -> None:
    while True:
        notify(f"STATUS={_summary(app)}")
        await asyncio.sleep(_STATUS_STEP_S)


def _summary(app: App) -> str:
    running = app.activities
    everybody = (*running.accounts.values(), *running.devices.values())
    failing = sum(activity.error is not None for activity in everybody)
    return f"{len(running.accounts)} accounts, {len(running.devices)} devices; {failing or 'none'} failing"


def run_interruptibly(work: Coroutine[Any, Any, T], *, code_if_cut_short: int) -> T:
    """Run `work` to its end; Interrupted when a signal cancelled it.

    What has not ended some seconds after the signal (a name that does not resolve, a database that does not answer)
    is cut short with the process: it may stop at any instant anyway (law 3).
    """
    os.umask(_PRIVATE_UMASK)
    _tune_interpreter()
    watchdog = threading.Timer(_CUT_SHORT_S, _cut_short, (code_if_cut_short,))
    watchdog.daemon = True
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_interruptible(work, on_signal=watchdog.start))
    finally:
        watchdog.cancel()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes the event loop: uvloop where it is installed (the extra `fast`)."""
    try:
        import uvloop  # noqa: PLC0415  # optional
    except ImportError:
        return None
    return uvloop.new_event_loop


def _tune_interpreter() -> None:
    """Fit the process to threads that hand over often, values without cycles, and bodies that come and go."""
    try:
        # NOTE: without this each thread's own heap keeps the largest batch that it has ever seen.
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)
    except (OSError, AttributeError):
        pass  # another C library
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, 20, 50)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)


async def _interruptible(work: Coroutine[Any, Any, T], *, on_signal: Callable[[], None]) -> T:
    task = asyncio.create_task(work)
    is_interrupted = False

    def interrupt() -> None:
        nonlocal is_interrupted
        if not is_interrupted:
            is_interrupted = True
            on_signal()
            task.cancel()

    for signum in _SIGNALS:
        asyncio.get_running_loop().add_signal_handler(signum, interrupt)
    try:
        return await task
    except asyncio.CancelledError:
        if is_interrupted:
            raise Interrupted from None
        raise


def _cut_short(code: int) -> None:
    log.warning("end_cut_short")
    os._exit(code)
