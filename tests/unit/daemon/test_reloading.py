"""A daemon's configuration and its file: what an edit alone may do, and what only a person who says so."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import structlog

from syncd.daemon.control.reloading import Reloads
from syncd.daemon.serving.app import App, open_app
from tests.unit.config.builders import LAPTOP, reading

DEADLINE_S = 20.0


@asynccontextmanager
async def followed(directory: Path, text: str, **more: Any) -> AsyncIterator[tuple[App, Reloads]]:
    """Yield an app that follows its file, and what reloads it."""
    was = reading(directory, text)
    async with asyncio.timeout(DEADLINE_S), open_app(was.config) as app:
        app.start()
        reloads = Reloads(app, was, asked=asyncio.Event(), summary=str, **more)
        running = asyncio.create_task(reloads.run())
        try:
            yield app, reloads
        finally:
            running.cancel()
            await asyncio.wait({running})


async def test_edit_that_leaves_nobody_waits_for_a_person(tmp_path: Path) -> None:
    """An empty file is what a full disk or a broken script leaves: mail goes on until that is meant."""
    file = tmp_path / "syncd.toml"
    async with followed(tmp_path, LAPTOP) as (app, reloads):
        file.write_text("")
        await until(lambda: app.config_state.problems)
        assert app.config_state.problems == (f"{file}: no device is left: syncd reload applies it if it is meant",)
        assert set(app.devices) == {"laptop"}

        report = await reloads.reload()

        assert (report.problems, report.devices.removed) == ((), ("laptop",))
        assert (app.config_state.problems, app.devices) == ((), {})


async def test_device_that_would_contain_the_store_that_runs_is_refused(tmp_path: Path) -> None:
    """Also where the file moves the store elsewhere, which counts after a restart only."""
    before, after = (f'[store]\nurl = "sqlite:///{tmp_path}/{name}/syncd.db"\n{LAPTOP}' for name in ("old", "new"))
    async with followed(tmp_path, before) as (app, reloads):
        file = reading(tmp_path, f'{after}[devices.phone]\npath = "old"\n').path

        report = await reloads.reload()

        assert report.problems == (f"{file}: devices.phone.path: contains the store that runs",)
        assert set(app.devices) == {"laptop"}


async def test_rotation_that_cannot_be_applied_is_tried_again_and_is_no_fault_of_the_file(tmp_path: Path) -> None:
    """A store that takes no write for a moment costs no password, and nobody has to reload."""
    passwords: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"+OK\r\n")
        while line := await reader.readline():
            verb, _, rest = line.rstrip().partition(b" ")
            passwords.extend([rest] if verb == b"PASS" else [])
            writer.write(b"+OK\r\n" if verb == b"USER" else b"-ERR [AUTH] no\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port, file = server.sockets[0].getsockname()[1], tmp_path / "password"
    write_secret(file, "old")
    text = f"""
        store.url = "sqlite:///{tmp_path}/s/syncd.db"
        [accounts.isp]
        type = "pop3"
        host = "127.0.0.1"
        port = {port}
        tls = "none"
        username = "ana"
        password_file = "password"
        """
    async with server, followed(tmp_path, text, retry_s=0.1) as (app, _):
        await until(lambda: passwords)
        with closing(sqlite3.connect(tmp_path / "s/syncd.db", isolation_level=None)) as store:
            store.execute("INSERT INTO hook (name, history_cursor) VALUES ('gone', 0)")
            store.execute("CREATE TRIGGER t BEFORE DELETE ON hook BEGIN SELECT RAISE(ABORT, 'not now'); END")
            with structlog.testing.capture_logs() as logged:
                write_secret(file, "new")
                await until(lambda: any(one["event"] == "passwords_not_applied" for one in logged))
            assert set(passwords) == {b"old"}
            assert app.config_state.problems == ()

            store.execute("DROP TRIGGER t")

            await until(lambda: passwords[-1] == b"new")


def write_secret(file: Path, text: str) -> None:
    file.write_text(text)
    file.chmod(0o600)


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - nothing signals what a test looks at
        await asyncio.sleep(0.01)
