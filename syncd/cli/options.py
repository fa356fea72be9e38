"""What several commands take on the command line, and how all of them speak to a person."""

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from syncd.cli.client import DaemonDownError
    from syncd.config.load import Reading

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="PATH", help="The configuration; else $SYNCD_CONFIG, else the usual places."),
]


def configuration(path: Path | None, *, needs_logins: bool = False) -> "Reading":
    """Return the configuration and print its warnings; ConfigError with all its problems.

    needs_logins: whether it is one that lacks a password, which a service manager may give to the daemon only.
    """
    from syncd.config.load import read

    reading = read(path, needs_logins=needs_logins)
    for warning in reading.warnings:
        complain(f"warning: {warning}")
    return reading


def socket(path: Path | None) -> Path:
    """Return where the daemon answers, also while its configuration cannot be used; ConfigError if that is not told."""
    from syncd.config.reachable import socket_of

    return socket_of(path) or configuration(path).config.daemon.socket


def nobody(path: Path | None) -> "DaemonDownError":
    """Return what to tell of a daemon that does not answer; ConfigError where the configuration has problems."""
    from syncd.cli.client import DaemonDownError
    from syncd.store.owner import owner_pid

    config = configuration(path).config
    if (pid := owner_pid(config.store.sqlite_path)) is None:
        return DaemonDownError("the daemon is not running")
    elsewhere = "if that is the daemon, [daemon] socket was changed, which counts after a restart"
    who = f"another syncd (pid {pid}) has the store: {elsewhere}"
    return DaemonDownError(f"nobody answers at {config.daemon.socket}, but {who}")


def say(text: str) -> None:
    """Print a line, with what could move the cursor or forge another line escaped."""
    from syncd.config.problems import printable

    typer.echo(printable(text))


def complain(text: str) -> None:
    """Print a line to standard error, escaped like `say`."""
    from syncd.config.problems import printable

    typer.echo(printable(text), err=True)


def patience(doing: str) -> AbstractContextManager[object]:
    """Say, to a person who waits, what may take some seconds."""
    if not sys.stderr.isatty():
        return nullcontext()

    from rich.console import Console

    return Console(stderr=True).status(doing)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of cells as lines in which each column has the width of its longest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
