"""The rests of a walk: all that is broken is mended, everything is synced, and what is to be true then is checked."""

import asyncio
import random
from collections.abc import Callable
from functools import partial

from sqlalchemy import select

from syncd.errors import SyncdError
from syncd.mail.tree import ReplicaState
from syncd.reconcile.guard import Reason
from syncd.store.due import discards
from syncd.store.rounds import holds
from syncd.store.tables import schema
from tests.walk.faults import Faults
from tests.walk.ledger import Ledger
from tests.walk.mailboxes import Mailboxes
from tests.walk.world import World

_SETTLE_S = 60.0
_EDITED_S = 60.0
_WINDOW_S = 601.0
_OF_MAILBOXES = {Reason.MAILBOX_EMPTIED, Reason.MAILBOXES_EMPTIED}
_RELEASED = 0.7
"""How much of what is held of mailboxes a person releases; the rest is put back."""


class Rest:
    """Come to rest, and compare with the ledgers. edited: the messages of files that were edited in place."""

    def __init__(
        self,
        world: World,
        faults: Faults,
        ledger: Ledger,
        mailboxes: Mailboxes,
        rng: random.Random,
        *,
        releases: bool,
        tell: Callable[[str], None],
    ) -> None:
        """Release all that the guard holds; else it is to hold nothing but mailboxes that lose all their messages."""
        self.edited: set[str] = set()
        self._world = world
        self._house = world.house
        self._faults = faults
        self._ledger = ledger
        self._mailboxes = mailboxes
        self._rng = rng
        self._releases = releases
        self._tell = tell
        self._known: set[str] = set()
        self._is_put_back = False

    async def come(self) -> None:
        """Mend all that is broken, let everything be synced, and check what is to be true then."""
        await self._faults.mend()
        self._tell("rest")
        await self._settle()
        if self.edited:
            # NOTE: an edit in place changes no name, so that the engine hears of it and no listing tells it.
            await self._house.until(
                lambda: self.edited <= {one.key for one in self._world.on_server()}, within_s=_EDITED_S
            )
            self.edited.clear()
            await self._settle()
        left = await self._left()
        assert not left, f"not at rest: {left}"
        places = self._world.assert_equal()
        is_interrupted, is_put_back = self._faults.take_broken(), self._is_put_back
        self._is_put_back = False
        met = self._ledger.met_in()
        wrong = self._ledger.rest(places, self._mailboxes, is_interrupted=is_interrupted, is_put_back=is_put_back)
        is_disturbed = is_interrupted or is_put_back
        wrong += self._mailboxes.rest(self._world.mailboxes_of_server(), disturbed=met, is_disturbed=is_disturbed)
        assert not wrong, "\n".join(wrong)
        self._known |= places.keys()
        lost = await self._without_body()
        assert not lost, f"the store has no body of {lost}"
        self._house.shift_s += _WINDOW_S

    async def _settle(self) -> None:
        async with asyncio.timeout(_SETTLE_S):
            while True:
                try:
                    await self._house.settle()
                except SyncdError:
                    continue  # what is left of a fault
                waiting = await self._house.db.read(holds.holds)
                waiting = [one for one in waiting if self._releases or one.reason in _OF_MAILBOXES]
                if not waiting:
                    return
                for hold in waiting:
                    await self._decide(hold)

    async def _decide(self, hold: holds.Hold) -> None:
        """Release what is held, or put it back."""
        if self._releases or self._rng.random() < _RELEASED:
            self._tell(f"release {len(hold.effects)}")
            await self._house.db.write(partial(holds.release_hold, hold_id=hold.id))
        else:
            self._tell(f"put back {len(hold.effects)}")
            self._is_put_back = True
            await self._house.db.write(partial(discards.discard_hold, one=hold, now=self._house.clock()))

    async def _left(self) -> list[str]:
        """Return what is not as it is to be at rest."""
        file, journal, change, device = (
            table.c for table in (schema.replica_message, schema.journal, schema.mailbox_change, schema.device)
        )
        queries = (
            select(schema.trouble),
            select(schema.hold),
            select(file.name, file.state).where(file.state != ReplicaState.PRESENT),
            select(change.kind, change.name, change.state),
            select(journal.kind, journal.error).where(journal.kind != "filed"),
            select(device.name, device.error).where(device.error.is_not(None)),
        )
        return [str(tuple(row)) for query in queries for row in await self._house.rows(query)]

    async def _without_body(self) -> list[str]:
        """Return the messages of former rests of which the store has no body."""
        stored = {row.digest for row in await self._house.rows(select(schema.body.c.digest))}
        return [key for key in sorted(self._known) if not stored & self._world.octets.digests(key)]
