"""Floor 5: the daemon in the foreground: an app, its control socket, and a service manager that is told how it is."""

import asyncio
import os
from contextlib import AbstractAsyncContextManager, nullcontext

from syncd.config.model import Config
from syncd.daemon import logs
from syncd.daemon.app import App, open_app
from syncd.daemon.control import control_socket
from syncd.daemon.process import Interrupted, run_interruptibly
from syncd.daemon.service import notify
from syncd.log import log

_STATUS_STEP_S = 10.0


def run_daemon(config: Config) -> None:
    """Serve the configuration until SIGTERM or SIGINT; SyncdError when that is not possible or not any more."""
    logs.configure(config.daemon)
    try:
        run_interruptibly(_daemon(config), code_if_cut_short=0)
    except Interrupted:
        log.info("daemon_stopped")


async def _daemon(config: Config) -> None:
    async with open_app(config) as app, _listener(app), control_socket(app):
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


def _listener(app: App) -> AbstractAsyncContextManager[None]:
    at = app.config.daemon.listen_at
    if at is None:
        return nullcontext()

    from syncd.daemon.listener import listening  # noqa: PLC0415  # for those who watch it, with all that it needs

    return listening(app, *at)


async def _tell_service_manager(app: App) -> None:
    while True:
        notify(f"STATUS={_summary(app)}")
        await asyncio.sleep(_STATUS_STEP_S)


def _summary(app: App) -> str:
    running = app.activities
    everybody = (*running.accounts.values(), *running.devices.values())
    failing = sum(activity.error is not None for activity in everybody)
    return f"{len(running.accounts)} accounts, {len(running.devices)} devices; {failing or 'none'} failing"
