"""Floor 5: the daemon in the foreground: an app, its control socket, and a service manager that is told how it is."""

import asyncio
import os
from contextlib import AsyncExitStack

from syncd.config.model import Config
from syncd.daemon import logs
from syncd.daemon.app import App, open_app
from syncd.daemon.control import control_socket
from syncd.daemon.process import Interrupted, run_interruptibly
from syncd.daemon.service import feed_watchdog, keep_told, notify, notify_status, starting
from syncd.errors import SyncdError
from syncd.log import log


def run_daemon(config: Config) -> None:
    """Serve the configuration until SIGTERM or SIGINT; SyncdError when that is not possible or not any more."""
    logs.configure(config.daemon)
    try:
        run_interruptibly(_daemon(config), code_if_cut_short=0)
    except Interrupted:
        log.info("daemon_stopped")


async def _daemon(config: Config) -> None:
    try:
        async with AsyncExitStack() as stack:
            async with starting():
                app = await stack.enter_async_context(open_app(config))
                await stack.enter_async_context(control_socket(app))
            await _serve(app)
    except SyncdError as error:
        notify_status(f"failed: {error}")
        raise


async def _serve(app: App) -> None:
    config = app.config
    log.info("daemon_started", accounts=len(config.accounts), devices=len(config.devices), pid=os.getpid())
    app.start()
    notify("READY=1")
    telling = asyncio.create_task(keep_told(app.activities))
    feeding = asyncio.create_task(feed_watchdog(app.db, app.activities))
    try:
        raise await app.failure()
    finally:
        telling.cancel()
        feeding.cancel()
        notify_status("stopping", "STOPPING=1")
        log.info("daemon_stop_began")
        await app.stop()  # before the socket is closed, so that whoever waits for a sync is told
