"""Floor 6: `syncd run`: the daemon in the foreground."""

from syncd.cli.configured import configuration
from syncd.cli.options import ConfigOption


def run(config: ConfigOption = None) -> None:
    """Serve all accounts and devices until interrupted."""
    reading = configuration(config, needs_logins=True)

    from syncd.daemon.foreground import run_daemon

    run_daemon(reading)
