"""Floor 6: `syncd reload`: the daemon reads its configuration now, and says what of it counts."""

from typing import TYPE_CHECKING

import typer

from syncd.cli.client import Client, DaemonDownError, decoded
from syncd.cli.configured import nobody, socket
from syncd.cli.options import ConfigOption
from syncd.cli.terminal import complain, say

if TYPE_CHECKING:
    from syncd.config.changes import Difference
    from syncd.daemon.people.answers import ReloadReport

_FAILED, _INVALID = 1, 2


def reload(config: ConfigOption = None) -> None:
    """Apply the configuration as it is now; exit code 2, and nothing is changed, if it cannot be used."""
    from syncd.daemon.people.answers_json import RELOADED_JSON

    try:
        report = decoded(RELOADED_JSON, Client(socket(config)).post("/reload", b""))
    except DaemonDownError as error:
        raise nobody(config) from error
    for warning in report.warnings:
        complain(f"warning: {warning}")
    for problem in report.problems:
        complain(problem)
    if report.problems:
        complain("syncd: nothing is changed: the daemon goes on with the configuration that it had")
        raise typer.Exit(_INVALID)
    for line in told(report):
        say(line)


def told(report: "ReloadReport") -> list[str]:
    """Return the lines that say what of an edit counts now, and what later."""
    lines = [*_of("account", report.accounts), *_of("device", report.devices)]
    lines += [f"{key}: changed" for key in report.keys]
    if not lines:
        lines = [f"{report.path}: nothing to change, what it says runs already"]
    return lines + [f"{key}: counts after a restart" for key in report.at_restart]


def _of(noun: str, difference: "Difference") -> list[str]:
    return [
        *(f"{noun} {name}: added" for name in difference.added),
        *(f"{noun} {name}: removed, its mail is kept" for name in difference.removed),
        *(f"{noun} {name}: changed {', '.join(keys)}" for name, keys in difference.changed.items()),
    ]
