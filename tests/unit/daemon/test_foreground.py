"""What goes on in a daemon beside its accounts and devices."""

import asyncio
from pathlib import Path
from typing import NoReturn

import pytest

from syncd.daemon.control.reloading import Reloads
from syncd.daemon.foreground import serve
from syncd.daemon.serving.app import open_app
from syncd.errors import SyncdError
from tests.unit.config.builders import LAPTOP, reading

DEADLINE_S = 20.0


class Unlucky(Reloads):
    """Stand for a mistake of ours in following the file, as it might be in telling the service manager."""

    async def run(self) -> NoReturn:
        raise KeyError("a mistake")


async def test_mistake_beside_accounts_and_devices_ends_the_daemon(tmp_path: Path) -> None:
    """One that goes on without following its file, or unwatched, would leave whoever asks it waiting for ever."""
    was = reading(tmp_path, LAPTOP)
    async with asyncio.timeout(DEADLINE_S), open_app(was.config) as app:
        reloads = Unlucky(app, was, asked=asyncio.Event(), summary=str)
        waiting = asyncio.create_task(reloads.reload())

        with pytest.raises(SyncdError, match="could not be supervised any more"):
            await serve(app, reloads)

        with pytest.raises(SyncdError, match="is stopping"):
            await waiting
