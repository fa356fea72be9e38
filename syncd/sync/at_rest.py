"""Floor 4: at which state of the store a whole pass had nothing to do, so that the next one need not ask it again.

Theory (law 5). What there is to do follows from the store, the configuration, what is outside and, for what is set
aside, held or under way, from the time. Where nothing of the last kind is in the store, and nothing was written there
since before a pass that found nothing to do, another pass would find nothing in it. What is outside, and what a task
has in memory, its owner has to look at all the same.
"""

from syncd.store.due.pending import is_anything_pending
from syncd.store.engine.database import Database
from syncd.sync.remembered import Remembered


class AtRest:
    """Remember for one task that the store, as it is, gives it nothing to do."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._pending = Remembered(db, lambda conn, _: is_anything_pending(conn))
        self._began: int | None = None
        self._writes: int | None = None

    def __bool__(self) -> bool:
        return self._writes is not None and self._writes == self._db.writes

    async def is_anything_pending(self) -> bool:
        """Tell whether anything in the store waits for its time, for a person, or to be tried again."""
        return await self._pending.get(0)

    def begin(self) -> None:
        """Begin a pass; call it before anything is read."""
        self._began = self._db.writes

    async def end(self) -> None:
        """End a pass that found nothing left to do."""
        began = self._began
        if began == self._db.writes and not await self.is_anything_pending():
            self._writes = began

    def forget(self) -> None:
        """Let the next pass ask: what was concluded does not hold any more."""
        self._began = self._writes = None
