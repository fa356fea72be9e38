"""`syncd health`: whether a daemon runs and answers, for scripts and container health checks."""

from syncd.cli.client import Client
from syncd.cli.options import ConfigOption, say


def health(config: ConfigOption = None) -> None:
    """Check that the daemon and its store answer; exit code 1 if they do not."""
    from syncd.config.load import socket_path

    Client(socket_path(config)).get("/health", timeout_s=15.0)
    say("the daemon answers")
