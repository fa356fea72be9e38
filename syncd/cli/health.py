"""`syncd health`: whether a daemon runs and answers, for scripts and container health checks."""

from syncd.cli.client import Client, DaemonDownError
from syncd.cli.options import ConfigOption, configuration, say, socket


def health(config: ConfigOption = None) -> None:
    """Check that the daemon and its store answer; exit code 1 if they do not."""
    try:
        Client(socket(config)).get("/health", timeout_s=15.0)
    except DaemonDownError:
        configuration(config)  # whose problems, if it has any, say more
        raise
    say("the daemon answers")
