"""`syncd status`: what accounts, devices and mailboxes are doing; with the daemon down, what the store remembers."""

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from syncd.cli.client import Client
from syncd.cli.options import ConfigOption, configuration, socket

if TYPE_CHECKING:
    from syncd.config.model import Config
    from syncd.daemon.status import Status

_WATCH_STEP_S = 1.0

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")]
WatchOption = Annotated[bool, typer.Option("--watch", help="Show it again and again, until interrupted.")]


def status(config: ConfigOption = None, as_json: JsonOption = False, watch: WatchOption = False) -> None:
    """Show accounts, devices and mailboxes: what each is doing, how far it is behind, and its last error."""
    ask = partial(current, config)
    if as_json:
        from syncd.daemon.answers_json import STATUS_JSON

        typer.echo(STATUS_JSON.dump_json(ask(), indent=2, ensure_ascii=True))
        return

    from syncd.cli.view import Screen

    screen = Screen()
    if not watch:
        screen.show(ask())
        return
    try:
        while True:
            screen.show_again(ask())
            time.sleep(_WATCH_STEP_S)
    except KeyboardInterrupt:
        raise typer.Exit from None


def current(config: Path | None) -> "Status":
    """Return the status from the daemon, else from the store, which is opened for reading only.

    A configuration that cannot be used hides no daemon that runs: it tells what is wrong.
    """
    answer = Client(socket(config)).get_if_running("/status")
    if answer is None:
        return _from_store(configuration(config).config)

    from syncd.daemon.answers_json import STATUS_JSON

    return STATUS_JSON.validate_json(answer)


def _from_store(config: "Config") -> "Status":
    import asyncio

    from syncd.daemon.reading import read_status
    from syncd.store.database import Database

    with Database.open_readonly(config.store.url.get_secret_value()) as db:
        return asyncio.run(read_status(db, config, now=time.time()))
