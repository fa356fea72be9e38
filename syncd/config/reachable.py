"""Floor 2: where a daemon answers, also while its configuration cannot be used: people ask it why then."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from syncd.config.model import DaemonConfig
from syncd.config.places import CONFIG_VARIABLE, config_files, existing
from syncd.config.problems import unreadable
from syncd.config.sources import (
    SECRETS_DIRECTORY,
    default_values,
    from_credentials,
    from_environment,
    merged,
)


def socket_of(
    path: Path | None = None, *, environ: Mapping[str, str] = os.environ, secrets_directory: Path = SECRETS_DIRECTORY
) -> Path | None:
    """Return the socket that a configuration names, whatever else is wrong in it; None if that cannot be told.

    ConfigError if it was named, and cannot be read: the daemon that would answer is that of another one.
    """
    files = config_files(environ)
    file = path or existing(files) or files[0]
    is_named = path is not None or bool(environ.get(CONFIG_VARIABLE))
    values = merged(default_values(environ), _written(file, is_named=is_named))
    for layer in (from_credentials(environ, secrets_directory), from_environment(environ)):
        values = merged(values, layer.values)
    try:
        return DaemonConfig.model_validate(
            {"socket": values["daemon"]["socket"]}, context=file.absolute().parent
        ).socket
    except (ValidationError, KeyError, TypeError):
        return None


def _written(file: Path, *, is_named: bool) -> dict[str, Any]:
    """Return what a file says of the socket; of one that is not TOML, by the line that does."""
    try:
        text = file.read_text("utf-8")
    except OSError as error:
        if is_named:
            raise unreadable(file, error) from error
        return {}
    except UnicodeDecodeError:
        return {}
    for piece in (text, f"[daemon]\n{_line_of_socket(text)}"):
        try:
            daemon = tomllib.loads(piece).get("daemon")
        except (tomllib.TOMLDecodeError, RecursionError):
            continue
        return {"daemon": {"socket": daemon["socket"]}} if isinstance(daemon, dict) and "socket" in daemon else {}
    return {}


def _line_of_socket(text: str) -> str:
    table = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            table = line.partition("#")[0].strip()
        elif table == "[daemon]" and line.partition("=")[0].strip() == "socket":
            return line
    return ""
