"""Floor 6: the configuration as commands take it: all of it, or where the daemon is to be reached."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from syncd.cli.terminal import complain

if TYPE_CHECKING:
    from syncd.cli.client import DaemonDownError
    from syncd.config.load import Reading


class UnknownAccountError(LookupError):
    """The configuration has no account of a name that was given; the text says which it has."""


def configuration(path: Path | None, *, needs_logins: bool = False) -> "Reading":
    """Return the configuration and print its warnings; ConfigError with all its problems.

    needs_logins: whether it is one that lacks a password, which a service manager may give to the daemon only.
    """
    from syncd.config.load import read

    reading = read(path, needs_logins=needs_logins)
    for warning in reading.warnings:
        complain(f"warning: {warning}")
    return reading


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Say that the configuration has no account or device of a name that was given, and which it has."""
    return f"there is no {kind} {name!r}; known are: {', '.join(known) or 'none'}"


def socket(path: Path | None) -> Path:
    """Return where the daemon answers, also while its configuration cannot be used; ConfigError if that is not told."""
    from syncd.config.reachable import socket_of

    return socket_of(path) or configuration(path).config.daemon.socket


def nobody(path: Path | None) -> "DaemonDownError":
    """Return what to tell of a daemon that does not answer; ConfigError where the configuration has problems."""
    from syncd.cli.client import DaemonDownError
    from syncd.store.engine.owner import owner_pid

    config = configuration(path).config
    if (pid := owner_pid(config.store.sqlite_path)) is None:
        return DaemonDownError("the daemon is not running")
    elsewhere = "if that is the daemon, its [daemon] socket was changed, which counts after a restart"
    who = f"another syncd (pid {pid}) has the store: {elsewhere}"
    return DaemonDownError(f"nobody answers at {config.daemon.socket}, but {who}")
