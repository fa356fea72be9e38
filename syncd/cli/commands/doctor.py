"""Floor 6: `syncd doctor`: what is wrong around syncd, or soon will be, and what to do about each."""

from typing import TYPE_CHECKING, Annotated

import typer

from syncd.cli.client import Client
from syncd.cli.options import ConfigOption
from syncd.cli.terminal import patience, say_json

if TYPE_CHECKING:
    from syncd.daemon.doctor.findings import Diagnosis

_FAILED, _INVALID = 1, 2
_ASK_S = 10.0


def doctor(
    *,
    is_offline: Annotated[bool, typer.Option("--offline", help="Leave the servers of the accounts alone.")] = False,
    logs_in: Annotated[
        bool,
        typer.Option(
            "--login", help="Log in at each account as well, which may run a password_command or a token_command."
        ),
    ] = False,
    shows_all: Annotated[bool, typer.Option("--all", help="Show what is well, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object with everything.")] = False,
    config: ConfigOption = None,
) -> None:
    """Look for what is wrong, or soon will be: rights, disks, limits, clock, certificates, store and daemon.

    Nothing is changed. Exit code 1 if an error is found, 2 if the configuration cannot be used; warnings give 0.
    """
    if is_offline and logs_in:
        raise typer.BadParameter("--offline and --login exclude each other")

    from syncd.config.model import DaemonConfig, LogLevel
    from syncd.daemon.doctor.examination import examine
    from syncd.daemon.process import logs

    logs.configure(DaemonConfig.model_construct(log_level=LogLevel.ERROR), at_least=LogLevel.ERROR)
    with patience("looking at servers and store"):
        found = examine(
            config,
            ask=lambda socket: Client(socket).get_if_running("/status", timeout_s=_ASK_S),
            is_offline=is_offline,
            logs_in=logs_in,
        )
    if as_json:
        from syncd.daemon.doctor.findings_json import DIAGNOSIS_JSON, as_answer

        say_json(DIAGNOSIS_JSON, as_answer(found))
    else:
        from syncd.cli.screen.findings import show

        show(found, shows_all=shows_all)
    _exit(found)


def _exit(found: "Diagnosis") -> None:
    from syncd.daemon.doctor.findings import Level

    if not found.is_usable:
        raise typer.Exit(_INVALID)
    if found.worst is Level.ERROR:
        raise typer.Exit(_FAILED)
