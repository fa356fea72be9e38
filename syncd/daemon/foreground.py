"""Floor 5: the daemon in the foreground: an app, its control socket, and a service manager that is told how it is."""

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from functools import partial
from typing import Any, NoReturn

from syncd.config.load import Reading
from syncd.daemon import preloaded  # noqa: F401  # which is all that it is for
from syncd.daemon.control.reloading import Reloads
from syncd.daemon.control.socket import control_socket
from syncd.daemon.process import logs
from syncd.daemon.process.service import feed_watchdog, keep_told, notify, notify_status, starting, summary_of
from syncd.daemon.process.signals import Interrupted, run_interruptibly
from syncd.daemon.serving.app import App, open_app
from syncd.daemon.serving.tasks import Tasks
from syncd.errors import SyncdError
from syncd.log import log


def run_daemon(reading: Reading) -> None:
    """Serve the configuration, and what becomes of it, until SIGTERM or SIGINT; SyncdError when that is not possible.

    SIGHUP reads the file again; where it says that our terminal is gone, it ends us like SIGTERM.
    """
    logs.configure(reading.config.daemon)
    try:
        run_interruptibly(_daemon(reading), code_if_cut_short=0)
    except Interrupted:
        log.info("daemon_stopped")


async def _daemon(reading: Reading) -> None:
    hangups = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, partial(_hang_up, hangups, sys.stderr.isatty()))
    try:
        async with AsyncExitStack() as stack:
            async with starting():
                app = await stack.enter_async_context(open_app(reading.config))
                await stack.enter_async_context(_listener(app))
                reloads = Reloads(app, reading, asked=hangups, summary=partial(_summary, app))
                await stack.enter_async_context(control_socket(app, reloads))
            await serve(app, reloads)
    except SyncdError as error:
        notify_status(f"failed: {error}")
        raise


async def serve(app: App, reloads: Reloads) -> NoReturn:
    """Serve everybody until cancelled, and end in an orderly way; SyncdError where we cannot go on."""
    config = app.config
    log.info("daemon_started", accounts=len(config.accounts), devices=len(config.devices), pid=os.getpid())
    app.start()
    notify("READY=1")
    beside = Tasks()
    beside.start("status line", partial(keep_told, partial(_summary, app)))
    beside.start("watchdog", partial(feed_watchdog, app.db, app.activities))
    beside.start("reloads", reloads.run)
    try:
        raise await _first(app.failure(), beside.failure())
    finally:
        await beside.stop()
        reloads.stop()
        notify_status("stopping", "STOPPING=1")
        log.info("daemon_stop_began")
        await app.stop()  # before the socket is closed, so that whoever waits for a sync is told


async def _first(*failures: Coroutine[Any, Any, SyncdError]) -> SyncdError:
    waiting = {asyncio.create_task(one) for one in failures}
    try:
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()
    finally:
        for one in waiting:
            one.cancel()


def _hang_up(hangups: asyncio.Event, had_terminal: bool) -> None:
    if had_terminal and not sys.stderr.isatty():
        signal.raise_signal(signal.SIGTERM)
    else:
        hangups.set()


def _listener(app: App) -> AbstractAsyncContextManager[None]:
    at = app.config.daemon.listen_at
    if at is None:
        return nullcontext()

    from syncd.daemon.monitoring.listener import listening  # noqa: PLC0415  # for those who watch it, with all that it needs

    return listening(app, *at)


def _summary(app: App) -> str:
    return summary_of(app.activities, app.config_state.problems)
