"""What the log looks like, and that everything goes through it."""

import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from syncd.config.model import DaemonConfig, LogFormat, LogLevel
from syncd.daemon.process import logs


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Leave logging as it was found."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root.handlers, root.level = handlers, level


def configured(log_format: LogFormat, **keys: object) -> io.StringIO:
    stream = io.StringIO()
    config = DaemonConfig(socket=Path("/run/syncd.sock"), log_format=log_format, **keys)
    logs.configure(config, stream=stream)
    return stream


@pytest.mark.parametrize("log_format", [LogFormat.CONSOLE, LogFormat.JSON, LogFormat.AUTO])
def test_traceback_is_shown_without_secrets_and_local_variables(log_format: LogFormat) -> None:
    """An unexpected error can be found in the source; what was in its variables and text cannot."""
    stream = configured(log_format)
    logs.secrets.add("pa55-of-this-test")
    local = "value of a local variable"

    try:
        raise ValueError(f"bad pa55-of-this-test {len(local)}")
    except ValueError as error:
        structlog.get_logger().error("account_failed", account="work", exc_info=error)

    shown = stream.getvalue()
    assert "test_logs.py" in shown
    assert "ValueError: bad [redacted]" in shown
    assert "pa55-of-this-test" not in shown
    assert "value of a local variable" not in shown.replace('local = "value of a local variable"', "")


def test_libraries_are_heard_from_warnings_on() -> None:
    """What aiohttp, SQLAlchemy and the others log goes the same way, cleaned, and not below warning."""
    stream = configured(LogFormat.JSON, log_level=LogLevel.DEBUG)
    logs.secrets.add("pa55-of-a-library")

    logging.getLogger("aioimaplib").info("sent a login")
    logging.getLogger("aiohttp.server").error("failed %s", "pa55-of-a-library\n")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)

    first, second = map(json.loads, stream.getvalue().splitlines())
    assert (first["event"], first["logger"], first["level"]) == ("library_logged", "aiohttp.server", "error")
    assert first["message"] == "failed [redacted]\\n"
    assert second["logger"] == "py.warnings"


@pytest.mark.parametrize(
    ("configured_level", "at_least", "shown"),
    [
        (LogLevel.INFO, LogLevel.DEBUG, ["info", "error"]),
        (LogLevel.INFO, LogLevel.ERROR, ["error"]),
        (LogLevel.ERROR, LogLevel.DEBUG, ["error"]),
        (LogLevel.DEBUG, LogLevel.ERROR, ["debug", "info", "error"]),
    ],
)
def test_least_severity_of_a_command_yields_to_debug_only(
    configured_level: LogLevel, at_least: LogLevel, shown: list[str]
) -> None:
    """A command that shows progress logs less than the daemon, unless somebody looks for a fault."""
    stream = io.StringIO()
    config = DaemonConfig(socket=Path("/run/syncd.sock"), log_format=LogFormat.JSON, log_level=configured_level)
    logs.configure(config, at_least=at_least, stream=stream)

    log = structlog.get_logger()
    log.debug("a_done")
    log.info("b_done")
    log.error("c_done")

    assert shown == [json.loads(line)["level"] for line in stream.getvalue().splitlines()]


class Terminal(io.StringIO):
    """Stand for a terminal, by which nothing is kept from being coloured."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "is_coloured"),
    [({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_colours_are_for_who_can_and_wants_to_see_them(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], is_coloured: bool
) -> None:
    """As in all that commands show: https://no-color.org, and a terminal that says of itself that it is dumb."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    stream = Terminal()

    logs.configure(DaemonConfig(socket=Path("/run/syncd.sock")), stream=stream)
    structlog.get_logger().warning("account_failed", account="work")

    assert ("\x1b[" in stream.getvalue()) == is_coloured
