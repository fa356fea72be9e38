"""Floor 3: where a browser comes back to on this machine once a person has granted access (RFC 8252 §7.3)."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from syncd.errors import SyncdError, Temper

_SILENT = logging.getLogger("syncd.oauth.browser")
"""What is wrong with a request is nobody's business, and it may hold a code."""
_SILENT.disabled = True
_HOST = "127.0.0.1"
_THANKS = "That is all: you can close this page. How it went is told where you called syncd.\n"


@asynccontextmanager
async def came_back(addresses: "asyncio.Queue[str]", *, host: str = _HOST, port: int = 0) -> AsyncIterator[str]:
    """Listen until left, and put the addresses that browsers come to into a queue; yield the one to come back to.

    host: how that one names this machine. port: of this machine, 0 for any; SyncdError where it cannot be had.
    """

    async def answer(request: web.Request) -> web.Response:
        if not request.query:
            raise web.HTTPNotFound
        if not addresses.full():
            addresses.put_nowait(f"{place()}{request.path_qs}")
        return web.Response(text=_THANKS, headers={"Cache-Control": "no-store"})

    def place() -> str:
        return f"http://{host}:{runner.addresses[0][1]}"

    application = web.Application()
    application.router.add_get("/", answer)
    runner = web.AppRunner(application, access_log=None, logger=_SILENT, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, _HOST, port)
        try:
            await site.start()
        except OSError as error:
            why = (error.strerror or "unknown").lower()
            raise SyncdError(f"port {port} of this machine cannot be had: {why}", temper=Temper.GIVE_UP) from error
        yield place()
    finally:
        await runner.cleanup()
