"""Floor 1: the log of every module; structlog is imported here and nowhere else, for the first event that counts.

A `syncd sync` has mostly nothing to tell, and to load structlog takes a thirtieth of it.

NOTE: structlog takes rich, where it is installed, for tracebacks that show local variables. Ours never do, for they
would show secrets, and loading rich takes longer than all the rest of structlog: so it does not find it.
"""

import logging
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Any

_about: ContextVar[Mapping[str, str]] = ContextVar("about", default={})  # noqa: B039 - nobody changes it
_loading = threading.Lock()


class Log:
    """Hand events, each with its fields, to structlog; what is less severe than `least` ends here."""

    def __init__(self) -> None:
        self.least = logging.NOTSET
        self._configure: Callable[[ModuleType], None] | None = None
        self._structlog: ModuleType | None = None

    def configured(self, least: int, configure: Callable[[ModuleType], None]) -> None:
        """Call `configure` with structlog, now or when it is loaded; least: the least severity that is logged."""
        self.least, self._configure, self._structlog = least, configure, None
        if "structlog" in sys.modules:
            self._loaded()

    def is_enabled_for(self, level: int) -> bool:
        return level >= self.least

    def debug(self, event: str, **fields: Any) -> None:
        self.log(logging.DEBUG, event, **fields)

    def info(self, event: str, **fields: Any) -> None:
        self.log(logging.INFO, event, **fields)

    def warning(self, event: str, **fields: Any) -> None:
        self.log(logging.WARNING, event, **fields)

    def error(self, event: str, **fields: Any) -> None:
        self.log(logging.ERROR, event, **fields)

    def exception(self, event: str, **fields: Any) -> None:
        self.log(logging.ERROR, event, exc_info=True, **fields)

    def log(self, level: int, event: str, **fields: Any) -> None:
        if level >= self.least:
            (self._structlog or self._loaded()).get_logger().log(level, event, **fields)

    def _loaded(self) -> ModuleType:
        with _loading:
            with _hidden("rich"):
                import structlog  # noqa: PLC0415
            if self._configure is not None:
                self._configure(structlog)
            self._structlog = structlog
        return structlog


log = Log()


def tell_about(**fields: str) -> None:
    """Have every event that the running task logs from now on say what it is about."""
    _about.set({**_about.get(), **fields})


def about() -> Mapping[str, str]:
    """Return what the running task's events are about."""
    return _about.get()


@contextmanager
def _hidden(name: str) -> Iterator[None]:
    """Let the import of a library fail inside, as if it were not installed."""
    there = sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment]  # that is what the import system takes for "not there"
    try:
        yield
    finally:
        del sys.modules[name]
        if there is not None:
            sys.modules[name] = there
