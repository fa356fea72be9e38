"""Floor 5: the listener: /metrics, /healthz and /readyz over TCP, for who watches the daemon; nothing else.

Theory. Unlike the control socket it knows nobody and changes nothing: whoever reaches it may read what it answers, and
no more. So it takes few connections, says nothing of what it is made of, and what a stranger sends is not logged.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus

from aiohttp import web

from syncd.daemon.monitoring import health
from syncd.daemon.monitoring.figures import Meter
from syncd.daemon.monitoring.metrics import CONTENT_TYPE, exposition
from syncd.daemon.serving.app import App
from syncd.errors import SyncdError, Temper, why_unreachable
from syncd.hosts import is_loopback
from syncd.log import log

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

_CONNECTIONS_MAX = 64
_FIRST_REQUEST_S = 10.0
_IDLE_S = 120.0
_ANSWERS_END_S = 1.0
_READABLE = "names of accounts and devices, how they are, and how much mail comes and goes"


@asynccontextmanager
async def listening(app: App, host: str, port: int) -> AsyncIterator[None]:
    """Answer on this address until left; SyncdError when it cannot be had."""
    runner = web.ServerRunner(_Server(_Answers(app, await Meter.of(app))), shutdown_timeout=_ANSWERS_END_S)
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            text = f"daemon.listen: {address} cannot be listened on: {why_unreachable(error)}"
            raise SyncdError(text, temper=Temper.GIVE_UP) from error
        log.info("listener_opened", address=address)
        if not is_loopback(host):
            log.warning("listener_exposed", address=address, whoever_reaches_it_can_read=_READABLE)
        yield
    finally:
        await runner.cleanup()


class _Answers:
    """Answer the requests; each is of one of three paths."""

    def __init__(self, app: App, meter: Meter) -> None:
        self._app = app
        self._meter = meter
        self._paths: Mapping[str, Answer] = {"/metrics": self.metrics, "/healthz": self.healthz, "/readyz": self.readyz}

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        answer = self._paths.get(request.path)
        if answer is None or request.method not in ("GET", "HEAD"):
            return _plain(HTTPStatus.NOT_FOUND)
        return await answer(request)

    async def metrics(self, _: web.BaseRequest) -> web.Response:
        """Tell the figures; a store that does not answer has none."""
        try:
            async with health.answering():
                figures = await self._meter.read()
        except SyncdError as error:
            return _plain(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        body = await asyncio.to_thread(exposition, figures)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE, "Server": "syncd"})

    async def healthz(self, _: web.BaseRequest) -> web.Response:
        """Say that event loop and store answer: who does not hear that should start the daemon again."""
        try:
            await health.check(self._app.db)
        except SyncdError as error:
            return _plain(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        return _plain(HTTPStatus.OK)

    async def readyz(self, _: web.BaseRequest) -> web.Response:
        """Say that accounts and devices are served: the store is open, and the configuration is applied."""
        if not self._app.is_serving:
            return _plain(HTTPStatus.SERVICE_UNAVAILABLE, "starting or stopping")
        return _plain(HTTPStatus.OK)


class _Server(web.Server):
    """Take connections, but never so many that none are left for accounts and the store.

    Of too many the one goes that asks for nothing and came first, so whoever keeps some open shuts nobody out.
    """

    def __init__(self, answers: Answer) -> None:
        super().__init__(self._answer)
        self._answers = answers
        self._open: dict[web.RequestHandler, asyncio.Transport] = {}
        self._silent: dict[web.RequestHandler, asyncio.TimerHandle] = {}
        """Those that have asked for nothing yet, and what ends them."""
        self._answering: set[web.RequestHandler] = set()

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._open[handler] = transport
        # NOTE: aiohttp ends by itself only what is idle after a first request.
        self._silent[handler] = asyncio.get_running_loop().call_later(_FIRST_REQUEST_S, transport.abort)
        if len(self._open) > _CONNECTIONS_MAX:
            idle = next(one for one in self._open if one not in self._answering)
            self._open.pop(idle).abort()

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self._open.pop(handler, None)
        self._is_heard(handler)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        handler = request.protocol
        self._is_heard(handler)
        self._answering.add(handler)
        try:
            return await self._answers(request)
        finally:
            self._answering.discard(handler)

    def _is_heard(self, handler: web.RequestHandler) -> None:
        if handler in self._silent:
            self._silent.pop(handler).cancel()

    def __call__(self) -> web.RequestHandler:
        loop = asyncio.get_running_loop()
        # NOTE: with a lingering time it would read on what nobody asked for.
        return _Connection(self, loop=loop, keepalive_timeout=_IDLE_S, lingering_time=0.0)


class _Connection(web.RequestHandler):
    """Speak HTTP; what is none ends it."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,  # what aiohttp would say, which quotes the request
    ) -> web.StreamResponse:
        """Return what is answered in place of an error, and nothing of what went wrong."""
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            log.error("request_failed", path=request.path, exc_info=exc)
        answer = _plain(HTTPStatus(status))
        answer.force_close()
        return answer


def _plain(status: HTTPStatus, text: str | None = None) -> web.Response:
    # NOTE: aiohttp would name its own version and that of Python.
    return web.Response(status=status, text=f"{text or status.phrase.lower()}\n", headers={"Server": "syncd"})
