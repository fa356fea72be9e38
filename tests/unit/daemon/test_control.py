"""Who may ask on the control socket."""

import asyncio
import os
import socket
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import structlog

from syncd.cli.client import Client
from syncd.daemon.control.reloading import Reloads
from syncd.daemon.control.socket import control_socket
from syncd.daemon.people.answers_json import STATUS_JSON
from syncd.daemon.serving.app import open_app
from syncd.daemon.status.config_status import ConfigStatus
from tests.unit.config.builders import reading

DEADLINE_S = 30.0
NOBODY = 65534
ASK = """
import os, socket, sys
os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
channel = socket.socket(socket.AF_UNIX); channel.connect(sys.argv[1])
channel.sendall(b"GET /health HTTP/1.1\\r\\nHost: x\\r\\n" + sys.argv[3].encode() + b"\\r\\n")
answer = b""
while piece := channel.recv(4096): answer += piece
print(answer.decode())
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
async def test_nobody_but_owner_and_root_is_answered() -> None:
    """Also where a person has given the socket to everybody; and the connection is over."""
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        os.chmod(place, 0o755)  # noqa: PTH101
        path = Path(place, "sock")
        was = reading(Path(place), f'[daemon]\nsocket = "{path}"\n')
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(asyncio.timeout(DEADLINE_S))
            app = await stack.enter_async_context(open_app(was.config))
            reloads = Reloads(app, was, asked=asyncio.Event(), summary=str)
            await stack.enter_async_context(control_socket(app, reloads))
            os.chmod(path, 0o666)  # noqa: PTH101
            refused = await asked(path, NOBODY, "")
            answered = await asked(path, os.getuid(), "Connection: close\r\n")

    assert refused.startswith("HTTP/1.1 403")
    assert "only the owner of the daemon may ask" in refused
    assert answered.startswith("HTTP/1.1 200")


async def test_configuration_whose_path_is_no_utf8_takes_no_answer_away() -> None:
    """The daemon runs with it, so its status is told, with the octet escaped."""
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        path = Path(place, "sock")
        (directory := Path(place, os.fsdecode(b"odd\xff"))).mkdir()
        was = reading(directory, f'[daemon]\nsocket = "{path}"\n')
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(asyncio.timeout(DEADLINE_S))
            app = await stack.enter_async_context(open_app(was.config))
            reloads = Reloads(app, was, asked=asyncio.Event(), summary=str)
            await stack.enter_async_context(control_socket(app, reloads))
            told = STATUS_JSON.validate_json(await asyncio.to_thread(Client(path).get, "/status"))

    assert "/odd\\udcff/" in (told.config or ConfigStatus(0)).path


async def test_who_goes_before_the_answer_is_no_error() -> None:
    """A command that was killed, in the midst of what it asks or right behind that, is no line of the log."""
    half = b'POST /sync HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"acc'
    with tempfile.TemporaryDirectory(dir="/tmp") as place, structlog.testing.capture_logs() as logged:
        path = Path(place, "sock")
        was = reading(Path(place), f'[daemon]\nsocket = "{path}"\n')
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(asyncio.timeout(DEADLINE_S))
            app = await stack.enter_async_context(open_app(was.config))
            reloads = Reloads(app, was, asked=asyncio.Event(), summary=str)
            await stack.enter_async_context(control_socket(app, reloads))
            for request in (half, b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n"):
                with socket.socket(socket.AF_UNIX) as channel:
                    channel.connect(str(path))
                    channel.sendall(request)
            answered = await asyncio.to_thread(Client(path).get, "/health")

    assert answered == b'{"health": "ok"}'
    assert [one for one in logged if one["event"] == "request_failed"] == []


async def asked(path: Path, uid: int, header: str) -> str:
    """Return all that this user is told before the connection is closed."""
    asking = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ASK, str(path), str(uid), header, stdout=asyncio.subprocess.PIPE
    )
    return (await asking.communicate())[0].decode()
