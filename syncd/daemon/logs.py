"""Floor 5: the log: structlog for everything, libraries included; secrets and control characters never get through."""

import logging
import os
import sys
from collections.abc import Callable, MutableMapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

from syncd.config.model import DaemonConfig, LogFormat, LogLevel
from syncd.daemon import journal
from syncd.daemon.redaction import Secrets
from syncd.log import about, log

secrets = Secrets()
"""The secrets of this process; whoever learns one adds it before it can reach a log."""

_LEVELS = {
    LogLevel.DEBUG: logging.DEBUG,
    LogLevel.INFO: logging.INFO,
    LogLevel.WARNING: logging.WARNING,
    LogLevel.ERROR: logging.ERROR,
}


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
    log.configured(
        level, partial(_configure, form=_form(config.log_format, output), level=level, output=output, to=journal_socket)
    )
    logging.basicConfig(handlers=[_FromLibraries()], level=logging.WARNING, force=True)
    logging.captureWarnings(capture=True)


def _configure(structlog: ModuleType, *, form: LogFormat, level: int, output: TextIO, to: Path) -> None:
    is_journal = form is LogFormat.JOURNALD
    parameters = structlog.processors.CallsiteParameter
    callsite = structlog.processors.CallsiteParameterAdder(
        {parameters.PATHNAME, parameters.LINENO, parameters.FUNC_NAME}, additional_ignores=["syncd.log"]
    )
    timestamp = structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp")
    structlog.configure(
        processors=[
            _tell_about,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            callsite if is_journal else timestamp,  # the journal has a time of its own, and fields for the other
            structlog.processors.format_exc_info,
            _clean,
            _fields if is_journal else _renderer(structlog, form, output),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_journal_factory(to, output) if is_journal else structlog.WriteLoggerFactory(file=output),
        cache_logger_on_first_use=False,
    )


class _FromLibraries(logging.Handler):
    """Hand what libraries log to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        log.log(
            record.levelno,
            "library_logged",
            logger=record.name,
            message=record.getMessage(),
            exc_info=record.exc_info or None,
        )


def _tell_about(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {**about(), **event}


def _clean(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
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


def _renderer(structlog: ModuleType, form: LogFormat, output: TextIO) -> Callable[..., Any]:
    if form is LogFormat.JSON:
        renderer: Callable[..., Any] = structlog.processors.JSONRenderer()
        return renderer
    # NOTE: the default exception formatter of structlog shows local variables, and so secrets.
    console: Callable[..., Any] = structlog.dev.ConsoleRenderer(
        colors=output.isatty(), exception_formatter=structlog.dev.plain_traceback, sort_keys=False
    )
    return console


def _fields(_: object, __: str, event: MutableMapping[str, Any]) -> tuple[Any, ...]:
    return (journal.fields_of(event),), {}


def _journal_factory(path: Path, otherwise: TextIO) -> Callable[..., journal.Journal]:
    logger = journal.Journal(path, otherwise)
    return lambda *_: logger
