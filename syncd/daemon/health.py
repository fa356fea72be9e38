"""Floor 5: whether the daemon is well, as the control socket and the listener tell it."""

import asyncio

from syncd.daemon.app import App
from syncd.errors import SyncdError

_STORE_ANSWERS_S = 10.0


async def check(app: App) -> None:
    """Return when event loop and store have answered; SyncdError if the store does not."""
    try:
        async with asyncio.timeout(_STORE_ANSWERS_S):
            await app.db.write(lambda _: None)
    except TimeoutError as error:
        raise SyncdError("the store does not answer") from error
