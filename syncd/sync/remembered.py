"""Floor 4: what was read of the store, for as long as nothing is written there."""

from collections.abc import Callable
from typing import Generic, TypeVar

from sqlalchemy import Connection

from syncd.store.database import Database

T = TypeVar("T")


class Remembered(Generic[T]):
    """Read once what is asked for again and again while a task looks what there is to do.

    NOTE: the daemon that owns a store is the only one to write there. What is remembered is a frozen value.
    """

    def __init__(self, db: Database, function: Callable[[Connection, int], T]) -> None:
        """Call `function` with the id that is asked for."""
        self._db = db
        self._function = function
        self._known: tuple[tuple[int, int], T] | None = None

    async def get(self, id_: int) -> T:
        """Return what the function returns of the store as it is now."""
        writes = self._db.writes
        if writes is None:
            return await self._db.read(lambda conn: self._function(conn, id_))
        if self._known is None or self._known[0] != (writes, id_):
            # NOTE: counted before it is read, so that a write in between lets it be read again.
            self._known = (writes, id_), await self._db.read(lambda conn: self._function(conn, id_))
        return self._known[1]
