"""Floor 1: the logger of every module; structlog is imported here and nowhere else.

NOTE: structlog takes rich, where it is installed, for tracebacks that show local variables. Ours never do, for they
would show secrets, and loading rich takes longer than all the rest of structlog: so it does not find it.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["log", "structlog"]


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


with _hidden("rich"):
    import structlog

log = structlog.get_logger()
