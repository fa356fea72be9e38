"""Floor 5: the log: structlog for everything, libraries included; secrets and control characters never get through."""

import logging
import os
import sys
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any, TextIO

from syncd.config.model import DaemonConfig, LogFormat, LogLevel
from syncd.daemon.process import journal
from syncd.daemon.process.redaction import Secrets
from syncd.log import structlog

secrets = Secrets()
"""The secrets of this process; whoever learns one adds it before it can reach a log."""

_LEVELS = {
    LogLevel.DEBUG: logging.DEBUG,
    LogLevel.INFO: logging.INFO,
    LogLevel.WARNING: logging.WARNING,
    LogLevel.ERROR: logging.ERROR,
}
_TIMESTAMP = structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp")
_CALLSITE = structlog.processors.CallsiteParameterAdder(
    {
        structlog.processors.CallsiteParameter.PATHNAME,
        structlog.processors.CallsiteParameter.LINENO,
        structlog.processors.CallsiteParameter.FUNC_NAME,
    }
)
"""The journal has a time of its own, and fields for this."""


def configure(
    config: DaemonConfig,
    *,
    at_least: LogLevel = LogLevel.DEBUG,
    stream: TextIO | None = None,
    journal_socket: Path = journal.SOCKET,
) -> None:
    """Begin to log to `stream`, by default standard error, or to the journal.

    at_least: the least severity that is logged, unless the configuration asks for debug or for less.
    """
    output = stream or sys.stderr
    wanted = _LEVELS[config.log_level]
    level = wanted if config.log_level is LogLevel.DEBUG else max(wanted, _LEVELS[at_least])
    form = _form(config.log_format, output)
    is_journal = form is LogFormat.JOURNALD
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _CALLSITE if is_journal else _TIMESTAMP,
            structlog.processors.format_exc_info,
            _clean,
            _renderer(form, output),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_journal_factory(journal_socket, output)
        if is_journal
        else structlog.WriteLoggerFactory(file=output),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_FromLibraries()], level=logging.WARNING, force=True)
    logging.captureWarnings(capture=True)


class _FromLibraries(logging.Handler):
    """Hand what libraries log to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger()
        log.log(
            record.levelno,
            "library_logged",
            logger=record.name,
            message=record.getMessage(),
            exc_info=record.exc_info or None,
        )


def _clean(_: structlog.typing.WrappedLogger, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    trace = event.pop("exception", None)
    for key, value in tuple(event.items()):
        event[key] = secrets.cleaned(key, value)
    if trace is not None:
        event["exception"] = secrets.cleaned_lines(str(trace))
    return event


def _form(wanted: LogFormat, output: TextIO) -> LogFormat:
    if wanted is not LogFormat.AUTO:
        return wanted
    if output.isatty():
        return LogFormat.CONSOLE
    return LogFormat.JOURNALD if journal.is_journal(output, os.environ) else LogFormat.JSON


def _is_coloured(output: TextIO) -> bool:
    """Tell whether colours can be seen, and nobody has asked for none (https://no-color.org)."""
    return output.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _renderer(form: LogFormat, output: TextIO) -> structlog.typing.Processor:
    match form:
        case LogFormat.CONSOLE:
            # NOTE: the default exception formatter of structlog shows local variables, and so secrets.
            return structlog.dev.ConsoleRenderer(
                colors=_is_coloured(output), exception_formatter=structlog.dev.plain_traceback, sort_keys=False
            )
        case LogFormat.JOURNALD:
            return _fields
        case _:
            return structlog.processors.JSONRenderer()


def _fields(_: structlog.typing.WrappedLogger, __: str, event: MutableMapping[str, Any]) -> tuple[Any, ...]:
    return (journal.fields_of(event),), {}


def _journal_factory(path: Path, otherwise: TextIO) -> Callable[..., journal.Journal]:
    logger = journal.Journal(path, otherwise)
    return lambda *_: logger
