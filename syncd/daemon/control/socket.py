"""Floor 5: the control socket: HTTP on a unix socket that only the owner of the store can use."""

import asyncio
import contextlib
import os
import socket
import stat
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from syncd.daemon.control.happening import Tail
from syncd.daemon.control.reloading import Reloads
from syncd.daemon.monitoring import health
from syncd.daemon.people.answers import AdoptReport, HoldsReport, SyncRequest
from syncd.daemon.people.answers_json import (
    ADOPT_JSON,
    ADOPTED_JSON,
    DECISION_JSON,
    EVENT_JSON,
    HISTORY_JSON,
    HOLD_JSON,
    HOLDS_JSON,
    LOGIN_JSON,
    PLAN_JSON,
    PURGE_JSON,
    PURGED_JSON,
    QUESTION_JSON,
    RELOADED_JSON,
    RENAME_JSON,
    REPORT_JSON,
    REQUEST_JSON,
    RESTORE_JSON,
    RESTORED_JSON,
    STATUS_JSON,
    encoded,
)
from syncd.daemon.people.completion import Syncs
from syncd.daemon.people.holding import UnknownHoldError, discard, read_hold, read_holds, release
from syncd.daemon.people.purging import purge, read_left
from syncd.daemon.people.reading import StatusReader, read_history, read_plan, this_daemon
from syncd.daemon.people.restoring import read_deleted, restore
from syncd.daemon.serving.app import App
from syncd.daemon.serving.identity import rename_account
from syncd.daemon.status.snapshot import brief
from syncd.errors import SyncdError, Temper
from syncd.log import log
from syncd.reconcile.recoveries import COMING
from syncd.store.engine.owner import DIRECTORY_MODE, FILE_MODE
from syncd.store.people.entries import LIMIT_MAX

T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_BODY_MAX_BYTES = 64 * 1024
_PEER = struct.Struct("3i")
"""Process, user and group of who connected (ucred of unix(7))."""
_PROBE_S = 1.0
_ANSWERS_END_S = 1.0
_LISTEN_STEP_S = 0.2


@asynccontextmanager
async def control_socket(app: App, reloads: Reloads) -> AsyncIterator[None]:
    """Answer on the socket of the configuration until left; SyncdError when it cannot be had."""
    path = app.config.daemon.socket
    listener = await asyncio.to_thread(_bound, path)
    inode = path.lstat().st_ino
    runner = web.AppRunner(
        _Control(app, reloads).application(), access_log=None, tcp_keepalive=False, shutdown_timeout=_ANSWERS_END_S
    )
    try:
        await runner.setup()
        await _Site(runner, listener).start()
        yield
    finally:
        await runner.cleanup()
        listener.close()
        await asyncio.to_thread(_unlink, path, inode)


class _Site(web.BaseSite):
    """Serve on a unix socket that is bound already, with the rights that it should have."""

    def __init__(self, runner: web.AppRunner, listener: socket.socket) -> None:
        super().__init__(runner)
        self._listener = listener

    @property
    def name(self) -> str:
        return "control socket"

    async def start(self) -> None:
        await super().start()
        protocols = self._runner.server
        if protocols is None:
            raise RuntimeError("the runner is not set up")
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(protocols, sock=self._listener)


class _Control:
    """Answer the requests; each is small, checked, and does what one command of the CLI asks for."""

    def __init__(self, app: App, reloads: Reloads) -> None:
        self._app = app
        self._reloads = reloads
        self._syncs = Syncs(app)
        self._daemon = this_daemon(started_at=app.clock())
        self._status = StatusReader(app.db)

    def application(self) -> web.Application:
        application = web.Application(client_max_size=_BODY_MAX_BYTES, middlewares=[_owned, _told])
        application.router.add_get("/health", self.health)
        application.router.add_get("/status", self.status)
        application.router.add_get("/plan", self.plan)
        application.router.add_get("/history", self.history)
        application.router.add_get("/events", self.events)
        application.router.add_post("/sync", self.sync)
        application.router.add_get("/holds", self.holds)
        application.router.add_get(r"/holds/{id:[0-9]{1,18}}", self.hold)
        application.router.add_post("/holds/release", self.release)
        application.router.add_post("/holds/discard", self.discard)
        application.router.add_post("/restore", self.restore)
        application.router.add_post("/adopt", self.adopt)
        application.router.add_post("/purge", self.purge)
        application.router.add_post("/account/rename", self.rename)
        application.router.add_post("/auth/login", self.login)
        application.router.add_post("/reload", self.reload)
        return application

    async def health(self, _: web.Request) -> web.Response:
        """Say that event loop and store answer."""
        await health.check(self._app.db)
        return web.json_response({"health": "ok"})

    async def status(self, request: web.Request) -> web.Response:
        """Tell how everybody is; `brief`: no mailboxes at rest, `watch`: it is asked again and again."""
        app = self._app
        status = await self._status.read(
            app.config,
            now=app.clock(),
            daemon=self._daemon,
            activities=app.activities,
            config_state=app.config_state,
            hooks=app.hooks.status() if app.hooks is not None else (),
            is_watched="watch" in request.query,
        )
        return _json(STATUS_JSON, brief(status) if "brief" in request.query else status)

    async def plan(self, _: web.Request) -> web.Response:
        return _json(PLAN_JSON, await read_plan(self._app.db, self._app.config, now=self._app.clock()))

    async def history(self, request: web.Request) -> web.Response:
        """Tell the newest of what happened, of that which the query names."""
        try:
            question = QUESTION_JSON.validate_python(dict(request.query))
        except ValidationError as error:
            raise web.HTTPBadRequest(text="the query should name what of the history is wanted") from error
        if not 1 <= question.limit <= LIMIT_MAX:
            raise web.HTTPBadRequest(text=f"the limit should be between 1 and {LIMIT_MAX}")
        return _json(HISTORY_JSON, await read_history(self._app.db, question))

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Tell what happens from now on, a line for each, until the listener goes or the daemon stops."""
        tail = await Tail.of(self._app)
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        with contextlib.suppress(ConnectionError, SyncdError):  # it has begun to answer: all it can do is to end
            # NOTE: without a transport the listener is gone, which nobody else would notice while nothing happens.
            while self._app.is_serving and request.transport is not None:
                if news := await tail.news():
                    await response.write(b"".join(encoded(EVENT_JSON, one) + b"\n" for one in news))
                else:
                    await asyncio.sleep(_LISTEN_STEP_S)
        return response

    async def sync(self, request: web.Request) -> web.Response:
        wanted = (
            await _wanted(REQUEST_JSON, request, "name accounts in a list") if request.body_exists else SyncRequest()
        )
        if unknown := set(wanted.accounts) - set(self._app.accounts):
            raise web.HTTPBadRequest(text=f"there is no account {min(unknown)}")
        return _json(REPORT_JSON, await self._syncs.sync(wanted.accounts or tuple(self._app.accounts)))

    async def holds(self, _: web.Request) -> web.Response:
        return _json(HOLDS_JSON, await self._app.db.read(partial(read_holds, config=self._app.config)))

    async def hold(self, request: web.Request) -> web.Response:
        find = partial(read_hold, config=self._app.config, hold_id=int(request.match_info["id"]))
        return _json(HOLD_JSON, await self._app.db.read(find))

    async def release(self, request: web.Request) -> web.Response:
        """Release what is named, and wake whoever does it, so that it happens at once."""
        report = await self._decide(request, partial(release, now=self._app.clock()))
        log.info("holds_released", ids=[one.id for one in report.holds])
        return _json(HOLDS_JSON, report)

    async def discard(self, request: web.Request) -> web.Response:
        """Put back what is named, and wake whoever does it, so that it happens at once."""
        report = await self._decide(request, partial(discard, now=self._app.clock()))
        log.info("holds_discarded", ids=[one.id for one in report.holds])
        return _json(HOLDS_JSON, report)

    async def _decide(self, request: web.Request, decide: Callable[..., HoldsReport]) -> HoldsReport:
        wanted = await _wanted(DECISION_JSON, request, "name holds by their numbers")
        if bool(wanted.ids) == wanted.is_all:
            raise web.HTTPBadRequest(text="the request should name holds, or all of them")
        report: HoldsReport = await self._app.db.write(partial(decide, config=self._app.config, wanted=wanted))
        self._app.wake_devices(self._app.config.devices.keys())
        self._app.wake_accounts({one.account for one in report.holds})
        return report

    async def restore(self, request: web.Request) -> web.Response:
        """Bring deleted messages back, or say what would be; their accounts are woken, so that it happens at once."""
        wanted = await _wanted(RESTORE_JSON, request, "name deleted messages")
        app = self._app
        if wanted.is_dry:
            return _json(RESTORED_JSON, await app.db.read(partial(read_deleted, config=app.config, wanted=wanted)))
        if not (wanted.messages or wanted.account or wanted.mailbox or wanted.since):
            raise web.HTTPBadRequest(text="the request should name messages, an account, a mailbox or a time")
        report = await app.db.write(partial(restore, config=app.config, wanted=wanted, now=app.clock()))
        app.wake_devices(app.config.devices.keys())
        app.wake_accounts(app.config.accounts.keys())
        log.info("messages_wanted_back", count=sum(report.counts.get(fate, 0) for fate in COMING))
        return _json(RESTORED_JSON, report)

    async def adopt(self, request: web.Request) -> web.Response:
        """Make a directory its device's as it is; what follows of that happens at once."""
        wanted = await _wanted(ADOPT_JSON, request, "name a device")
        name = wanted.device
        if name not in self._app.devices:
            raise web.HTTPBadRequest(text=f"the daemon has no device {name} yet: see syncd status, and syncd reload")
        adopted = await self._app.adopt(name, leaves_others=wanted.leaves_others)
        report = AdoptReport(name, adopted.found, adopted.is_empty, adopted.files, adopted.mailboxes, adopted.left)
        return _json(ADOPTED_JSON, report)

    async def purge(self, request: web.Request) -> web.Response:
        """Give up what the configuration does not have, or say what that would be; it is removed at once."""
        wanted = await _wanted(PURGE_JSON, request, "name accounts and devices")
        app = self._app
        if wanted.is_dry:
            return _json(PURGED_JSON, await app.db.read(partial(read_left, config=app.config, wanted=wanted)))
        if not (wanted.accounts or wanted.devices):
            raise web.HTTPBadRequest(text="the request should name accounts or devices")
        report = await app.db.write(partial(purge, config=app.config, wanted=wanted))
        app.sweeper.look_now()
        self._reloads.look_again()  # one that was held because of its old name is served then
        log.info("data_purged", names=[f"{one.kind} {one.name}" for one in report.lines])
        return _json(PURGED_JSON, report)

    async def rename(self, request: web.Request) -> web.Response:
        """Let an account go on under the name that it has in the configuration now."""
        wanted = await _wanted(RENAME_JSON, request, "name an account, and what it is called now")
        app = self._app
        await app.db.write(partial(rename_account, config=app.config, name=wanted.account, to=wanted.to))
        log.info("account_renamed", account=wanted.account, to=wanted.to)
        self._reloads.look_again()
        return web.json_response({})

    async def login(self, request: web.Request) -> web.Response:
        """Keep what a person was granted for an account, which logs in with it at once, or say whether it would be."""
        from syncd.daemon.people.logins import keep_grant  # noqa: PLC0415  # most have no account with tokens

        wanted = await _wanted(LOGIN_JSON, request, "name an account, and what was granted")
        app = self._app
        if wanted.account not in app.accounts:
            raise web.HTTPBadRequest(text=f"the daemon has no account {wanted.account} yet: syncd reload")
        if await keep_grant(app.db, app.config, wanted, now=app.clock()):
            app.is_granted(wanted.account)
            log.info("access_granted", account=wanted.account)
        return web.json_response({})

    async def reload(self, _: web.Request) -> web.Response:
        """Read the configuration again, and tell what of it counts now; that of a file with problems is as it was."""
        return _json(RELOADED_JSON, await self._reloads.reload())


@web.middleware
async def _owned(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer nobody but the owner and root, whatever has become of the rights of the socket."""
    credentials = request.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    _, uid, _ = _PEER.unpack(credentials)
    if uid in (0, os.geteuid()):
        return await handler(request)
    answer = web.json_response({"error": "only the owner of the daemon may ask"}, status=HTTPStatus.FORBIDDEN)
    answer.force_close()
    return answer


@web.middleware
async def _told(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Tell what went wrong in words that may be shown."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        return web.json_response({"error": error.text}, status=error.status)
    except UnknownHoldError as error:
        return web.json_response({"error": str(error)}, status=404)
    except SyncdError as error:
        return web.json_response({"error": str(error)}, status=503)
    except ConnectionError:
        return web.Response()  # who asked is gone, and hears nothing of it
    except Exception as error:
        log.error("request_failed", path=request.path, exc_info=error)
        return web.json_response({"error": f"unexpected error: {type(error).__name__}"}, status=500)


async def _wanted(adapter: TypeAdapter[T], request: web.Request, what: str) -> T:
    """Return what a request asks for; HTTPBadRequest where it is something else, which says what it should do."""
    try:
        return adapter.validate_json(await request.read())
    except ValidationError as error:
        raise web.HTTPBadRequest(text=f"the request should {what}") from error


def _json(adapter: TypeAdapter[T], value: T) -> web.Response:
    return web.Response(body=encoded(adapter, value), content_type="application/json")


def _bound(path: Path) -> socket.socket:
    """Bind the socket with its rights; nobody can connect before it listens."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if not path.parent.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.parent.chmod(DIRECTORY_MODE)
        _remove_stale(path)
        listener.bind(str(path))
        path.chmod(FILE_MODE)
    except OSError as error:
        listener.close()
        # NOTE: a path of more than 107 octets has no errno, only this text.
        raise _unusable(f"the socket {path} cannot be made: {error.strerror or str(error).lower()}") from error
    except BaseException:
        listener.close()
        raise
    return listener


def _remove_stale(path: Path) -> None:
    """Remove a socket that a killed daemon left; nothing else is ever removed."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise _unusable(f"the socket {path} cannot be made: something else has that name")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
    raise _unusable(f"another daemon answers on the socket {path}")


def _unlink(path: Path, inode: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        if path.lstat().st_ino == inode:
            path.unlink()


def _unusable(text: str) -> SyncdError:
    return SyncdError(text, temper=Temper.GIVE_UP)
