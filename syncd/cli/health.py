"""`syncd health`: whether a daemon runs and answers, for scripts and container health checks."""

from syncd.cli.client import Client
from syncd.cli.options import ConfigOption, configuration, say


def health(config: ConfigOption = None) -> None:
    """Check that the daemon and its store answer; exit code 1 if they do not."""
    Client(configuration(config).config.daemon.socket).get("/health", timeout_s=15.0)
    say("the daemon answers")
