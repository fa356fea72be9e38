"""Floor 4: the task that sweeps what the store keeps of what was deleted and purged, once a day and in small steps."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from syncd.errors import Reach, StoreError, SyncdError, text_of
from syncd.log import log
from syncd.store.bodies import sweeping
from syncd.store.bodies.sweeping import Swept, Unneeded
from syncd.store.due import carried_changes
from syncd.store.engine.database import Database
from syncd.store.people import purging
from syncd.sync.bounded import bounded

EVERY_S = 86400.0
_AFTER_START_S = 300.0
_LOOK_AGAIN_S = 3600.0
_PAUSE_S = 0.1
_LOOKED_AT = 5000
_BODIES = 200
_BYTES = 8 * 1024 * 1024
_PAGES = 256
_ROWS = 1000


class Sweeper:
    """Sweep a store; `run` for as long as a daemon has it, or once by the others."""

    def __init__(
        self, db: Database, *, retention_s: float, clock: Callable[[], float], pause_s: float = _PAUSE_S
    ) -> None:
        """Keep for that long what was deleted; between two steps everybody else has a turn."""
        self._db = db
        self._retention_s = retention_s
        self._clock = clock
        self._pause_s = pause_s
        self._is_wanted = asyncio.Event()

    def adjust(self, retention_s: float) -> None:
        """Keep for that long, from the next sweep on, what was deleted."""
        self._retention_s = retention_s

    async def run(self) -> None:
        """Sweep when it is due, until cancelled; what goes wrong is tried again later. StoreError if of the whole."""
        await self._rest(_AFTER_START_S)
        while True:
            error = await self.try_to_sweep()
            if isinstance(error, StoreError) and error.reach is Reach.STORE:
                raise error
            await self._rest(_LOOK_AGAIN_S)

    def look_now(self) -> None:
        """Sweep at once if it is due."""
        self._is_wanted.set()

    async def _rest(self, wait_s: float) -> None:
        try:
            async with asyncio.timeout(wait_s):
                await self._is_wanted.wait()
        except TimeoutError:
            pass
        self._is_wanted.clear()

    async def try_to_sweep(self) -> Exception | None:
        """Do what `sweep_if_due` does; log and return what went wrong, of whatever kind, for mail is synced."""
        try:
            await self.sweep_if_due()
        except Exception as error:
            is_expected = isinstance(error, SyncdError)
            level = logging.WARNING if is_expected else logging.ERROR
            log.log(level, "sweep_failed", error=text_of(error), exc_info=None if is_expected else error)
            return error
        return None

    async def sweep_if_due(self) -> None:
        """Remove what was purged, and sweep unless that was done less than a day ago."""
        await self._remove_purged()
        swept_at = await self._db.read(sweeping.swept_at)
        if swept_at is not None and is_due(swept_at, now=self._clock()):
            await self.sweep()

    async def sweep(self) -> Swept:
        """Go through all bodies once, and give back the space of those that are removed."""
        began_at = await self._db.read(sweeping.swept_at)
        await self._db.write(carried_changes.follow)
        before, after, swept = self._clock() - self._retention_s, 0, Swept()
        look = partial(sweeping.unneeded_page, before=before, count=_LOOKED_AT)
        while (page := await self._db.read(partial(look, after=after))).upto is not None:
            after = page.upto
            for group in bounded(page.unneeded, _size_of, count=_BODIES, size_bytes=_BYTES):
                ids = [one.body_id for one in group]
                swept += await self._db.write(partial(sweeping.sweep, body_ids=ids, before=before))
                await asyncio.sleep(self._pause_s)
        is_left = swept.bodies > 0
        while is_left:
            is_left = await self._db.write(partial(sweeping.give_back, pages=_PAGES))
            await asyncio.sleep(self._pause_s)
        await self._db.write(partial(sweeping.record_sweep, began_at=began_at, now=self._clock()))
        if swept.bodies:
            log.info("bodies_swept", bodies=swept.bodies, size_bytes=swept.size_bytes)
        return swept

    async def _remove_purged(self) -> None:
        while await self._db.read(purging.is_any_purged):
            await self._db.write(partial(purging.remove_purged, count=_ROWS))
            await asyncio.sleep(self._pause_s)


def is_due(swept_at: float, *, now: float) -> bool:
    """Tell whether a sweep is to be done; also where the clock was set back, for then nobody knows when."""
    return not 0 <= now - swept_at < EVERY_S


def _size_of(one: Unneeded) -> int:
    return one.size_bytes
