"""Floor 5: whether the daemon is well, as the control socket and the listener tell it."""

import asyncio

from syncd.errors import SyncdError
from syncd.store.engine.database import Database

_STORE_ANSWERS_S = 10.0


async def check(db: Database) -> None:
    """Return when event loop, writer and database have answered; SyncdError if the store does not."""
    # NOTE: on PostgreSQL a write of nothing counts as one, and who is at rest would look what it was.
    try:
        async with asyncio.timeout(_STORE_ANSWERS_S):
            await db.answered()
            await db.read(lambda conn: conn.exec_driver_sql("SELECT 1").scalar_one())
    except TimeoutError as error:
        raise SyncdError("the store does not answer") from error
