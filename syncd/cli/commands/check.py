"""Floor 6: `syncd check-config`: every problem of the configuration at once, or one line that sums it up."""

from typing import TYPE_CHECKING, Annotated

import typer

from syncd.cli.client import Client
from syncd.cli.configured import configuration
from syncd.cli.options import ConfigOption
from syncd.cli.terminal import complain, patience, say

if TYPE_CHECKING:
    from syncd.config.load import Reading

_FAILED = 1
_ASK_S = 10.0

ProbeOption = Annotated[
    bool, typer.Option("--probe", help="Log in at the server of each account, too; exit code 1 if one cannot be.")
]


def check_config(config: ConfigOption = None, is_probing: ProbeOption = False) -> None:
    """Check the configuration; without --probe nothing is connected to."""
    from syncd.cli.screen.words import count
    from syncd.config.absences import absences
    from syncd.config.checks import what_providers_take
    from syncd.config.problems import Problem, dotted

    reading = configuration(config)
    _let_the_daemon_know_the_passwords(reading)
    for key, what in absences(reading.config):
        complain(f"warning: {Problem(reading.keys.where(key), dotted(key), what)}")
    for key, what, is_of_no_use in what_providers_take(reading.config):
        complain(f"{'warning' if is_of_no_use else 'note'}: {Problem(reading.keys.where(key), dotted(key), what)}")
    accounts, devices = len(reading.config.accounts), len(reading.config.devices)
    for kind, known in (("account", accounts), ("device", devices)):
        if not known:
            why = f"there is no {kind}, so nothing is synced; a daemon that has one takes it only by syncd reload"
            complain(f"warning: {reading.path}: {why}")
    say(f"{reading.path}: {count(accounts, 'account')}, {count(devices, 'device')}")
    if is_probing:
        _probe(reading)


def _let_the_daemon_know_the_passwords(reading: "Reading") -> None:
    """Say which passwords are not known here but to the daemon; ConfigError if it does not know them either."""
    if not reading.without_login:
        return

    from syncd.config.problems import ConfigError
    from syncd.daemon.doctor.examination import is_used_by_daemon

    ask = Client(reading.config.daemon.socket)
    if not is_used_by_daemon(reading, ask=lambda _: ask.get_if_running("/status", timeout_s=_ASK_S)):
        raise ConfigError(reading.without_login)
    for one in reading.without_login:
        complain(f"note: {one}; the daemon has it, from elsewhere")


def _probe(reading: "Reading") -> None:
    from syncd.cli.screen.findings import show
    from syncd.config.model import DaemonConfig, LogLevel
    from syncd.daemon.doctor.examination import probe
    from syncd.daemon.doctor.findings import Level
    from syncd.daemon.process import logs

    logs.configure(DaemonConfig.model_construct(log_level=LogLevel.ERROR), at_least=LogLevel.ERROR)
    with patience("logging in at the servers"):
        found = probe(reading)
    show(found, shows_all=True)
    if found.worst is Level.ERROR:
        raise typer.Exit(_FAILED)
