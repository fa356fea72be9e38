"""Floor 6: `syncd health`: whether a daemon runs and answers, for scripts and container health checks."""

from syncd.cli.client import Client, DaemonDownError
from syncd.cli.configured import nobody, socket
from syncd.cli.options import ConfigOption
from syncd.cli.terminal import say


def health(config: ConfigOption = None) -> None:
    """Check that the daemon and its store answer; exit code 1 if they do not."""
    try:
        Client(socket(config)).get("/health", timeout_s=15.0)
    except DaemonDownError as error:
        raise nobody(config) from error
    say("the daemon answers")
