"""A daemon's configuration and its file: what an edit alone may do, and what only a person who says so."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from syncd.daemon.app import App, open_app
from syncd.daemon.reloading import Reloads
from tests.unit.config.builders import LAPTOP, reading

DEADLINE_S = 20.0


@asynccontextmanager
async def followed(directory: Path, text: str) -> AsyncIterator[tuple[App, Reloads]]:
    """Yield an app that follows its file, and what reloads it."""
    was = reading(directory, text)
    async with asyncio.timeout(DEADLINE_S), open_app(was.config) as app:
        app.start()
        reloads = Reloads(app, was, asked=asyncio.Event(), summary=str)
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


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - nothing signals what a test looks at
        await asyncio.sleep(0.01)
