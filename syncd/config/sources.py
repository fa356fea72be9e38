"""Floor 2: where values come from: the file, SYNCD_ variables, credentials, and the defaults for paths.

A variable names a key by joining its parts with `__`: SYNCD_ACCOUNTS__WORK__PASSWORD. A credential is a file of the
same name, in any case, in $CREDENTIALS_DIRECTORY or /run/secrets: syncd_accounts__work__password. Variables
override credentials, credentials override the file.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from syncd.config.model import Config
from syncd.config.places import CONFIG_VARIABLE, xdg
from syncd.config.problems import Problem, did_you_mean
from syncd.values import Record, field

PREFIX = "SYNCD_"
NESTED = "__"
_NO_KEYS = frozenset({CONFIG_VARIABLE, "SYNCD_WIRE_TRACE"})
"""The second is that of syncd.trace, which loads more than is needed to read a configuration."""
SECRETS_DIRECTORY = Path("/run/secrets")

KeyPath = tuple[str, ...]
FileIdentity = tuple[int, ...]


class Layer(Record):
    """Hold what one source says: nested values, which name said each, and what is wrong with the names."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[KeyPath, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


def default_values(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the values that depend on where the process runs: under systemd, else by the XDG directories."""
    state = _systemd(environ, "STATE_DIRECTORY") or xdg(environ, "XDG_STATE_HOME", ".local/state") / "syncd"
    runtime = _systemd(environ, "RUNTIME_DIRECTORY")
    if runtime is None and Path(environ.get("XDG_RUNTIME_DIR", "")).is_absolute():
        runtime = Path(environ["XDG_RUNTIME_DIR"]) / "syncd"
    return {
        "store": {"url": f"sqlite:///{state / 'syncd.db'}"},
        "daemon": {"socket": str((runtime or state) / "syncd.sock")},
    }


def from_environment(environ: Mapping[str, str]) -> Layer:
    """Return what SYNCD_ variables say."""
    given = {name: text for name, text in environ.items() if name not in _NO_KEYS}
    return _layer(given, {name: f"environment variable {name}" for name in given})


def identity_of(found: os.stat_result) -> FileIdentity:
    """Return what differs once a file was edited, or may be read by others than before."""
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size


def credential_files(
    environ: Mapping[str, str] = os.environ, secrets_directory: Path = SECRETS_DIRECTORY
) -> tuple[Path, ...]:
    """Return the credentials that there are, those of systemd last: they override the others."""
    directory = environ.get("CREDENTIALS_DIRECTORY")
    places = (secrets_directory, *((Path(directory),) if directory else ()))
    return tuple(path for place in places for path in _named_files(place))


def from_credentials(environ: Mapping[str, str], secrets_directory: Path = SECRETS_DIRECTORY) -> Layer:
    """Return what files of systemd's credentials directory, else of `secrets_directory`, say."""
    texts: dict[str, str] = {}
    places: dict[str, str] = {}
    problems: list[Problem] = []
    for path in credential_files(environ, secrets_directory):
        name = path.name.upper()
        places[name] = f"credential {path}"
        try:
            texts[name] = path.read_text("utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            problems.append(Problem(places[name], "", f"cannot be read ({type(error).__name__})"))
    layer = _layer(texts, places)
    layer.problems += problems
    return layer


def merged(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Return both, tables joined key by key, `upper` first."""
    both = dict(lower)
    for key, value in upper.items():
        below = both.get(key)
        both[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return both


def _layer(given: Mapping[str, str], places: Mapping[str, str]) -> Layer:
    texts = {name: text for name, text in given.items() if name.upper().startswith(PREFIX)}
    layer = Layer(values=_nested(texts))
    for name in texts:
        path = tuple(name.lower().removeprefix(PREFIX.lower()).split(NESTED))
        if path[0] in Config.model_fields:
            layer.origins[path] = places[name]
            layer.origins.update((path + leaf, places[name]) for leaf in _leaves(_at(path, layer.values)))
            continue
        # NOTE: Kubernetes sets SYNCD_PORT and the like for a service of that name; only `__` makes it surely ours.
        found = layer.problems if len(path) > 1 else layer.warnings
        found.append(Problem(places[name], ".".join(path), f"unknown key{did_you_mean(path[0], Config.model_fields)}"))
    return layer


def _nested(texts: Mapping[str, str]) -> dict[str, Any]:
    if not texts:
        return {}
    from syncd.config.named_values import nested_values  # noqa: PLC0415  # 35 ms that most configurations do not need

    return nested_values(texts, prefix=PREFIX, separator=NESTED)


def _at(path: KeyPath, values: object) -> object:
    for key in path:
        values = values.get(key) if isinstance(values, dict) else None
    return values


def _leaves(values: object) -> Iterator[KeyPath]:
    if isinstance(values, dict):
        for key, value in values.items():
            yield (key,)
            yield from ((key, *rest) for rest in _leaves(value))


def _named_files(directory: Path) -> Iterator[Path]:
    try:
        names = sorted(directory.iterdir())
    except OSError:
        return
    for path in names:
        # NOTE: `path.is_file()` raises for a link that leads where nobody may look.
        if path.name.upper().startswith(PREFIX) and os.path.isfile(path):  # noqa: PTH113
            yield path


def _systemd(environ: Mapping[str, str], name: str) -> Path | None:
    first = environ.get(name, "").split(":")[0]
    return Path(first) if first else None
