"""Floor 2: the configuration: find the file, let variables and credentials override it, report all problems at once."""

import os
import re
import stat
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from syncd.config.accounts import ImapConfig, Pop3Config
from syncd.config.availability import unavailable
from syncd.config.checks import disagreements, without_login
from syncd.config.locate import KeyPlaces, key_lines
from syncd.config.model import Config, table_at
from syncd.config.places import config_files, existing
from syncd.config.problems import ConfigError, Problem, did_you_mean, dotted, unreadable
from syncd.config.sources import (
    SECRETS_DIRECTORY,
    FileIdentity,
    KeyPath,
    credential_files,
    default_values,
    from_credentials,
    from_environment,
    identity_of,
    merged,
)
from syncd.config.table import keys_of
from syncd.values import Value, replace

_POSITION = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_QUOTED = re.compile(r"\(.*\)|'[^']{2,}'|\"[^\"]{2,}\"")
_SUBJECT = re.compile(r"^(?:Value error, )?(?:Input |String |Tuple |Value |List )?")
_TEXTS = {
    "missing": "missing",
    "too_short": "should not be empty",
    "tuple_type": "should be a list",
    "model_type": "should be a table",
    "model_attributes_type": "should be a table",
    "dict_type": "should be a table",
}
FIRST = "syncd init makes a first one, or name yours with --config"
"""What to do where there is no configuration."""
_OF_TYPE = {"union_tag_not_found": 'missing: "imap" or "pop3"', "union_tag_invalid": 'should be "imap" or "pop3"'}


class Reading(Value):
    """Hold a configuration that can be used, its file, and what is worth a warning in it.

    keys: where each is. read: which files that was read from, and how they were. without_login: the accounts that
    nobody here can log in at, where that was allowed.
    """

    config: Config
    path: Path
    warnings: tuple[Problem, ...]
    keys: KeyPlaces
    read: Mapping[Path, FileIdentity]
    without_login: tuple[Problem, ...] = ()


def read(
    path: Path | None = None,
    *,
    needs_logins: bool,
    environ: Mapping[str, str] = os.environ,
    secrets_directory: Path = SECRETS_DIRECTORY,
) -> Reading:
    """Return the configuration with its file and warnings; ConfigError with all its problems.

    path: the file, None for $SYNCD_CONFIG, else /etc/syncd/syncd.toml, else syncd/syncd.toml of the XDG directory.
    needs_logins: false for who logs in nowhere. A password that only the daemon is given is no problem then, if it is
    the only one.
    """
    file = path if path is not None else existing(config_files(environ))
    if file is None:
        places = " or ".join(map(str, config_files(environ)))
        raise ConfigError((Problem("", "", f"no configuration found at {places}: {FIRST}"),))
    text, found = _content(file)
    reading = read_text(text, file, environ=environ, secrets_directory=secrets_directory, needs_logins=needs_logins)
    warnings = reading.warnings
    if found.st_mode & stat.S_IROTH and _holds_secret(_parsed(text, file)):
        what = "contains a password and can be read by every user (chmod o-r)"
        warnings = (*warnings, Problem(str(file), "", what))
    return replace(reading, warnings=warnings, read={file: identity_of(found), **reading.read})


def read_text(
    text: str,
    file: Path,
    *,
    needs_logins: bool,
    environ: Mapping[str, str] = os.environ,
    secrets_directory: Path = SECRETS_DIRECTORY,
) -> Reading:
    """Return the configuration that a text is, or would be, in a file; ConfigError with all its problems."""
    written = _parsed(text, file)
    report = _Report(file, key_lines(text))

    files = _identities(credential_files(environ, secrets_directory))
    values = merged(default_values(environ), written)
    for layer in (from_credentials(environ, secrets_directory), from_environment(environ)):
        values = merged(values, layer.values)
        report.keys.origins.update(layer.origins)
        report.problems += layer.problems
        report.warnings += layer.warnings

    config = _checked(values, file.absolute().parent, environ, report)
    is_sound = not report.problems
    for path, what in without_login(config) if config is not None else ():
        report.add(path, what)
    if config is None or (report.problems and (needs_logins or not is_sound)):
        raise ConfigError(report.in_order())
    return Reading(config, file, tuple(report.warnings), report.keys, files, report.in_order())


def _identities(files: Iterable[Path]) -> Mapping[Path, FileIdentity]:
    found = {}
    for path in files:
        try:
            found[path] = identity_of(path.stat())
        except OSError:
            continue
    return found


class _Report:
    """Gather problems, each with the file and line or the variable that its key is from."""

    def __init__(self, file: Path, lines: Mapping[KeyPath, int]) -> None:
        self.keys = KeyPlaces(str(file), lines)
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self._keys: set[KeyPath] = set()
        self._unavailable: Mapping[KeyPath, str] = {}

    def refuse(self, unavailable: Iterable[tuple[KeyPath, str]]) -> None:
        """Take which keys are not available, so that of their values, however they are wrong, only that is said."""
        self._unavailable = dict(unavailable)

    def add(self, path: KeyPath, text: str) -> None:
        """Add a problem of a key, unless the key has one already."""
        if path not in self._keys:
            self._keys.add(path)
            text = self._unavailable.get(path, text)
            self.problems.append(Problem(self.keys.where(path), dotted(path), text))

    def without_broken(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values without each account, device and other table that has a problem."""
        sound = {key: value for key, value in values.items() if (key,) not in self._keys}
        for path in self._keys:
            table = sound.get(path[0])
            if path[0] in ("accounts", "devices") and isinstance(table, dict):
                sound[path[0]] = {name: value for name, value in table.items() if name != path[1]}
            else:
                sound.pop(path[0], None)
        return sound

    def in_order(self) -> tuple[Problem, ...]:
        """Return the problems by their place in the file, those from elsewhere last."""
        return tuple(sorted(self.problems, key=lambda problem: _place(problem.where, self.keys.file)))


def _place(where: str, file: str) -> tuple[bool, int]:
    line = where.removeprefix(f"{file}:")
    return (False, int(line)) if line.isdecimal() else (where != file, 0)


def _content(file: Path) -> tuple[str, os.stat_result]:
    try:
        with file.open("rb") as stream:
            found = os.fstat(stream.fileno())
            return stream.read().decode("utf-8"), found
    except OSError as error:
        raise unreadable(file, error) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        where = f"{file}:{line}"
    # NOTE: raised here and in _parsed without a cause: the error below holds the whole text of the file.
    raise ConfigError((Problem(where, "", "not UTF-8"),))


def _parsed(text: str, file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        said = str(error)
    except RecursionError:
        said = "Nested too deeply"
    position = _POSITION.search(said)
    line = int(position[1]) if position and position[1] else text.count("\n") + 1
    # NOTE: tomllib quotes what it stumbled on, which is a piece of a secret when its quotes are wrong.
    reason = _QUOTED.sub("…", _POSITION.sub("", said)).rstrip()
    if reason == "Invalid value":
        reason += ' (text is in quotes, "like this")'
    raise ConfigError((Problem(f"{file}:{line}", "", f"not TOML: {_lowered(reason)}"),))


def _checked(values: dict[str, Any], base: Path, environ: Mapping[str, str], report: _Report) -> Config | None:
    report.refuse(unavailable(values))
    config = _validated(values, base, report)
    if config is None:
        # What is left without the broken tables goes through the same checks: one report names everything.
        config = _validated(merged(default_values(environ), report.without_broken(values)), base, report)
    for path, text in unavailable(values):
        report.add(path, text)
    if config is not None:
        accounts = values.get("accounts")
        for path, text in disagreements(config, accounts=accounts if isinstance(accounts, dict) else {}):
            report.add(path, text)
    return config


def _validated(values: dict[str, Any], base: Path, report: _Report) -> Config | None:
    try:
        return Config.model_validate(values, context=base)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False, include_context=False)
    for detail in details:
        path = _path(detail)
        match detail["type"]:
            case "default_factory_not_called":
                continue
            case "extra_forbidden":
                report.add(path, _unknown_key(path, values))
            case "union_tag_not_found" | "union_tag_invalid":
                report.add((*path, "type"), _OF_TYPE[detail["type"]])
                for key in _mapping_at(path, values):
                    if all(key not in keys_of(table) for table in table_at(path, values)):
                        report.add((*path, key), _unknown_key((*path, key), values))
            case kind:
                report.add(path, _TEXTS.get(kind) or _lowered(_SUBJECT.sub("", detail["msg"])))
    return None


def _path(detail: ErrorDetails) -> KeyPath:
    """Return the path of keys as the file has them, without pydantic's own steps: union tags, indexes, `[key]`."""
    path = tuple(step for step in detail["loc"] if isinstance(step, str) and step != "[key]")
    return path[:2] + path[3:] if path[0] == "accounts" else path


def _unknown_key(path: KeyPath, values: Mapping[str, Any]) -> str:
    tables = table_at(path[:-1], values)
    known = {key for table in tables for key in keys_of(table)}
    for other, kind in ((ImapConfig, "IMAP"), (Pop3Config, "POP3")):
        if path[0] == "accounts" and len(path) == 3 and path[2] in keys_of(other):
            return f"only accounts of {kind} have this key"
    return f"unknown key{did_you_mean(path[-1], known)}"


def _mapping_at(path: KeyPath, values: Mapping[str, Any]) -> Mapping[str, Any]:
    at: Any = values
    for key in path:
        at = at[key]
    return at if isinstance(at, dict) else {}


def _holds_secret(written: Mapping[str, Any]) -> bool:
    accounts = written.get("accounts")
    return isinstance(accounts, dict) and any("password" in account for account in accounts.values())


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]
