"""Floor 4: what was read of the store, for as long as nothing is written there that it follows from."""

from collections.abc import Callable, Collection
from typing import Generic, TypeVar

from sqlalchemy import Connection

from syncd.store.engine.changed_rows import ChangedRow, Topic
from syncd.store.engine.database import Database

T = TypeVar("T")
U = TypeVar("U")


class Remembered(Generic[T]):
    """Read once what is asked for again and again while a task looks what there is to do.

    NOTE: the daemon that owns a store is the only one to write there. What is remembered is a frozen value.
    """

    def __init__(
        self,
        db: Database,
        function: Callable[[Connection, int], T],
        *,
        reads: Callable[[int], Collection[Topic | ChangedRow]] | None = None,
    ) -> None:
        """Call `function` with the id that is asked for; reads: all that it reads then, None: it may be anything."""
        self._db = db
        self._function = function
        self._reads = reads
        self._known: tuple[tuple[int, int], T] | None = None

    async def get(self, id_: int) -> T:
        """Return what the function returns of the store as it is now."""
        known = self.known(id_)
        return known if known is not None else (await self.read(id_, lambda _, __: None))[0]

    def known(self, id_: int) -> T | None:
        """Return what is known, if nothing was written since that it follows from; None: it is to be read."""
        writes = self._db.writes
        if writes is None or self._known is None or not self._is_as_it_was(self._known[0], (writes, id_)):
            return None
        self._known = (writes, id_), self._known[1]
        return self._known[1]

    async def read(self, id_: int, also: Callable[[Connection, T], U]) -> tuple[T, U]:
        """Read it anew, and something else of the same state of the store."""
        # NOTE: counted before it is read, so that a write in between lets it be read again.
        writes = self._db.writes

        def both(conn: Connection) -> tuple[T, U]:
            value = self._function(conn, id_)
            return value, also(conn, value)

        value, other = await self._db.read(both)
        self.learn(id_, value, writes=writes)
        return value, other

    def learn(self, id_: int, value: T, *, writes: int | None) -> None:
        """Know what somebody else has read; writes: as they were counted before that."""
        if writes is not None:
            self._known = (writes, id_), value

    def _is_as_it_was(self, since: tuple[int, int], now: tuple[int, int]) -> bool:
        """Tell whether the same is asked for, and nothing was written since that it follows from."""
        if since == now:
            return True
        if self._reads is None or since[1] != now[1]:
            return False
        return not self._db.has_changed(self._reads(now[1]), since=since[0])
