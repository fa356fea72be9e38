"""An app that goes on with another configuration while somebody waits for a sync."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, event

from syncd.config.changes import changes_between
from syncd.daemon.people.completion import Syncs
from syncd.daemon.serving.app import App, open_app
from syncd.errors import FileError, SyncdError
from syncd.store.people.report import DeviceReport, device_reports
from syncd.store.trees import devices
from syncd.sync.device.attachment import Adopted
from syncd.values import replace
from tests.unit.config.builders import LAPTOP, reading

DEADLINE_S = 20.0
EMPTY = "# nothing\n"


@asynccontextmanager
async def silent_server() -> AsyncIterator[int]:
    """Yield the port of a server that takes connections and never says a word."""
    ending = asyncio.Event()

    async def keep(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ending.wait()
        writer.close()

    server = await asyncio.start_server(keep, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        ending.set()
        server.close()


@asynccontextmanager
async def closing_server() -> AsyncIterator[int]:
    """Yield the port of a server that hangs up on everybody."""
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def running(directory: Path, text: str) -> AsyncIterator[tuple[App, Callable[[str], "asyncio.Task[None]"]]]:
    """Yield an app and what edits its configuration."""
    async with asyncio.timeout(DEADLINE_S), open_app(reading(directory, text).config) as app:
        app.start()

        def edit(after: str) -> "asyncio.Task[None]":
            changes = changes_between(app.config, reading(directory, after).config)
            return asyncio.create_task(app.apply(changes))

        yield app, edit


def account(name: str, port: int, **keys: str) -> str:
    lines = [f'{key} = "{value}"' for key, value in keys.items()]
    head = f'[accounts.{name}]\ntype = "imap"\nhost = "127.0.0.1"\ntls = "none"\nport = {port}\n'
    return "\n".join([f'{head}username = "{name}"\npassword = "secret"', *lines, ""])


async def test_who_waits_for_an_account_that_is_removed_is_told_so(tmp_path: Path) -> None:
    """Nobody waits for ever for what is served no more, and the accounts beside it are synced all the same."""
    async with silent_server() as port, running(tmp_path, account("work", port) + LAPTOP) as (app, edit):
        whole = asyncio.create_task(Syncs(app).sync(["work"]))
        await until(lambda: app.activities.accounts["work"].doing == "connecting")

        await edit(LAPTOP)
        report = await whole

        assert [(one.kind, one.name, one.error) for one in report.failures] == [
            ("account", "work", "the account work is not in the configuration any more")
        ]
        assert (tuple(app.accounts), tuple(app.devices)) == ((), ("laptop",))


async def test_who_waits_for_a_device_that_is_changed_waits_for_what_it_becomes(tmp_path: Path) -> None:
    """An edit is no failure of what it is about."""
    async with running(tmp_path, LAPTOP) as (app, edit):
        whole = asyncio.create_task(Syncs(app).sync([]))
        await asyncio.sleep(0)
        before = app.devices["laptop"]

        await edit(f'{LAPTOP}settle = "2s"\n')
        report = await whole

        assert app.devices["laptop"] is not before
        assert report.is_complete, report


async def test_account_that_is_not_touched_keeps_its_task(tmp_path: Path) -> None:
    """What comes, goes and changes beside it is no matter of its connection; nor is its own poll interval."""
    async with silent_server() as port:
        work = account("work", port)
        async with running(tmp_path, work + account("other", port)) as (app, edit):
            supervisors = dict(app.accounts)

            await edit(account("work", port, poll_interval="1m") + account("new", port) + LAPTOP)
            await edit(account("work", port) + account("other", port, ca_file="/etc/ssl/cert.pem"))

            assert app.accounts["work"] is supervisors["work"]
            assert app.accounts["other"] is not supervisors["other"]
            assert set(app.accounts) == {"work", "other"}
            assert app.devices == {}


async def test_refused_login_is_not_tried_again_for_an_edit_that_does_not_concern_it(tmp_path: Path) -> None:
    """Servers lock out who insists; an edit of the account itself is another matter."""
    logins: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] ready\r\n")
        while line := await reader.readline():
            logins.append(line)
            writer.write(line.split()[0] + b" NO [AUTHENTICATIONFAILED] no\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, running(tmp_path, account("work", port) + LAPTOP) as (app, edit):
        await until(lambda: app.activities.accounts["work"].retry_at)
        tried = len(logins)

        await edit(f'{account("work", port)}{LAPTOP}max_age = "9d"\n')
        await edit(f"{account('work', port, poll_interval='1m')}{LAPTOP}")
        await Syncs(app).sync([])
        assert len(logins) == tried
        await edit(f"{account('work', port, ca_file='/etc/ssl/cert.pem')}{LAPTOP}")
        await until(lambda: len(logins) > tried)


async def test_who_fails_is_no_better_for_an_edit(tmp_path: Path) -> None:
    """Nobody hears of a recovery, and no counter begins anew, before its server has let it in again."""
    (tmp_path / "laptop").write_text("a file where a directory should be")
    async with closing_server() as port, running(tmp_path, account("work", port) + LAPTOP) as (app, edit):
        activities = app.activities
        await until(lambda: activities.accounts["work"].error and activities.devices["laptop"].error)
        before = replace(activities.accounts["work"]), replace(activities.devices["laptop"])
        app.devices["laptop"].task.requests.passes = 7

        editing = edit(f'{account("work", port, ca_file="/etc/ssl/cert.pem")}{LAPTOP}max_age = "9d"\n')
        while not editing.done():
            assert activities.accounts["work"].error is not None
            assert activities.devices["laptop"].error is not None
            await asyncio.sleep(0)
        await editing

        after = activities.accounts["work"], activities.devices["laptop"]
        assert all(new.failures >= old.failures >= 1 for old, new in zip(before, after, strict=True))
        assert app.devices["laptop"].task.requests.passes == 7


async def test_edit_counts_whole_although_the_store_fails_meanwhile(tmp_path: Path) -> None:
    """What was switched is not taken for what could not be applied."""

    def fail(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        if "work" in app.accounts and statement.startswith("BEGIN IMMEDIATE"):
            raise sqlite3.OperationalError("disk I/O error")

    async with silent_server() as port, running(tmp_path, EMPTY) as (app, edit):
        event.listen(Engine, "before_cursor_execute", fail)
        try:
            await edit(account("work", port))
        finally:
            event.remove(Engine, "before_cursor_execute", fail)

        await until(lambda: app.activities.accounts["work"].doing == "connecting")


async def test_device_whose_former_task_does_not_end_says_that_it_waits(tmp_path: Path) -> None:
    """A file system that hangs keeps a task; status says why the one in its place does not begin."""
    may_end = asyncio.Event()

    async def stubborn() -> None:
        while not may_end.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await may_end.wait()

    async with running(tmp_path, EMPTY) as (app, edit):
        app._tasks.start("device laptop", stubborn)
        await asyncio.sleep(0)

        try:
            await edit(LAPTOP)
            doing = app.activities.devices["laptop"].doing
        finally:
            may_end.set()

        assert doing == "waiting for what served it before to end"
        await Syncs(app).sync([])
        assert app.activities.devices["laptop"].doing == "idle"


async def test_adoption_that_is_waited_for_ends_with_its_device(tmp_path: Path) -> None:
    """Whoever asked hears what became of it, and never waits for what is not there."""
    async with running(tmp_path, LAPTOP) as (app, edit):
        await Syncs(app).sync([])
        asked = asyncio.create_task(app.adopt("laptop", leaves_others=False))
        await asyncio.sleep(0)

        await edit(EMPTY)

        outcome = (await asyncio.gather(asked, return_exceptions=True))[0]
        assert isinstance(outcome, Adopted | SyncdError), outcome


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - nothing signals what a test looks at
        await asyncio.sleep(0.01)


async def test_device_that_fails_amid_its_adoption_is_being_adopted_still(tmp_path: Path) -> None:
    """Nothing is fetched for mailboxes that nobody has looked at in its directory, whatever goes wrong meanwhile."""
    async with asyncio.timeout(DEADLINE_S), open_app(reading(tmp_path, LAPTOP).config) as app:
        device_id = await app.db.write(_laptop_that_is_being_adopted)
        fail = asyncio.Event()

        async def failing() -> None:
            fail.set()
            raise FileError("no space left")

        app.devices["laptop"].task.run = failing  # type: ignore[method-assign]
        app.start()
        await fail.wait()
        while (row := await app.db.read(lambda conn: _report_of(conn, device_id))).error is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    assert (row.state, row.error, row.cause) == ("adopting", "no space left", "files")


def _laptop_that_is_being_adopted(conn: Connection) -> int:
    row = devices.ensure_device(conn, "laptop", path="/srv/laptop", layout="maildir++")
    devices.record_device_state(conn, row.id, state=devices.ADOPTING, error=None)
    return row.id


def _report_of(conn: Connection, device_id: int) -> DeviceReport:
    return next(one for one in device_reports(conn) if one.id == device_id)
