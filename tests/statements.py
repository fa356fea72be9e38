"""What SQLAlchemy has made of each statement, kept for as long as the process lives: all stores are asked the same.

By itself each engine compiles everything anew, and most stores of tests live for a second: that was a tenth of it.
"""

from typing import Any

from sqlalchemy import Compiled, Connection, Engine, event
from sqlalchemy.util import LRUCache

_STATEMENTS = 2000


class _Shared(LRUCache[Any, Compiled]):
    """Find a statement whatever engine it was compiled for first, if that speaks to the same kind of database."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(_of_its_kind(key), default)

    def __setitem__(self, key: Any, compiled: Compiled) -> None:
        super().__setitem__(_of_its_kind(key), compiled)


def share_compiled() -> None:
    """Let all engines of this process find what one of them has compiled."""
    compiled = _Shared(_STATEMENTS)
    event.listen(Engine, "engine_connect", lambda connection: _use(connection, compiled))


def _use(connection: Connection, compiled: _Shared) -> None:
    connection.execution_options(compiled_cache=compiled)


def _of_its_kind(key: Any) -> Any:
    dialect, *statement = key
    return (type(dialect), *statement)
