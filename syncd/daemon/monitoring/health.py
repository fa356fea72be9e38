"""Floor 5: whether the daemon is well, as the control socket and the listener tell it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from syncd.errors import SyncdError
from syncd.store.engine.database import Database

STORE_ANSWERS_S = 10.0


async def check(db: Database) -> None:
    """Return when event loop, writer and database have answered; SyncdError if the store does not."""
    # NOTE: on PostgreSQL a write of nothing counts as one, and who is at rest would look what it was.
    async with answering():
        await db.answered()
        await db.read(lambda conn: conn.exec_driver_sql("SELECT 1").scalar_one())


@asynccontextmanager
async def answering() -> AsyncIterator[None]:
    """Ask the store for something inside; SyncdError if it does not answer in time, however long it hangs."""
    try:
        async with asyncio.timeout(STORE_ANSWERS_S):
            yield
    except TimeoutError as error:
        raise SyncdError("the store does not answer") from error
