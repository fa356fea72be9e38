"""Floor 4: messages that a device's selection has left behind, too old or too large by now, and when their files go.

Theory. A configuration changes with a restart, so everything is looked for once; after that messages only grow older,
and once an hour those of that hour are looked for by their dates. A file that comes to be outside in another way, such
as an old message that a person has just filed on the device, is left there for an hour: nothing goes under anybody's
hands. So is one of which the server has not heard everything yet.
"""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from itertools import islice

from syncd.config.model import DeviceConfig
from syncd.store.engine.database import Database
from syncd.store.rounds import leaving
from syncd.sync.policies import selection_of

_EVERY_S = 3600.0
_AT_ONCE = 1000


class Outgrown:
    """Know which files of one device are outside of its selection; its task uses it."""

    def __init__(self, db: Database, config: DeviceConfig, *, clock: Callable[[], float]) -> None:
        self._db = db
        self._config = config
        self._clock = clock
        self._looked_at: float | None = None
        self._due_at: dict[int, dict[int, float]] = {}

    def begin_anew(self) -> None:
        """Look for everything at the next look."""
        self._looked_at = None

    async def look(self, device_id: int) -> None:
        """Look for what is outside, if it is time for that; nothing where nothing can be."""
        now = self._clock()
        then = self._looked_at
        selection = selection_of(self._config, now=now)
        if not selection.is_limited or (then is not None and 0.0 <= now - then < _EVERY_S):
            return
        before = None if then is None or then > now else selection_of(self._config, now=then).not_before
        if then is None or then > now:
            found = await self._db.read(partial(leaving.outside, device_id=device_id, selection=selection))
        elif before is not None and selection.not_before is not None:
            aged = partial(leaving.aged, device_id=device_id, since=before, before=selection.not_before)
            found = await self._db.read(aged)
        else:
            found = {}
        self._looked_at = now
        for replica_id, message_ids in found.items():
            self._due_at.setdefault(replica_id, {}).update(dict.fromkeys(message_ids, now))

    def is_any_due(self) -> bool:
        """Tell whether it is time to look, or for files of any replica to go."""
        now = self._clock()
        selection = selection_of(self._config, now=now)
        is_time = self._looked_at is None or not 0.0 <= now - self._looked_at < _EVERY_S
        return (selection.is_limited and is_time) or bool(self.due())

    def due(self) -> Sequence[int]:
        """Return the replicas of which files are to go now."""
        return [replica_id for replica_id in self._due_at if self.is_due(replica_id)]

    def is_due(self, replica_id: int) -> bool:
        """Tell whether files of a replica are to go now."""
        now = self._clock()
        return any(at <= now for at in self._due_at.get(replica_id, {}).values())

    def take(self, replica_id: int) -> frozenset[int]:
        """Return the next messages whose files are to go; those that stay are due again in an hour."""
        now, mine = self._clock(), self._due_at.get(replica_id, {})
        taken = frozenset(islice((id_ for id_, at in mine.items() if at <= now), _AT_ONCE))
        mine.update(dict.fromkeys(taken, now + _EVERY_S))
        return taken

    def note(self, replica_id: int, *, tried: Collection[int], outside: Collection[int]) -> None:
        """Remember what a round saw: of the messages that it tried, those whose files stayed, and others outside."""
        if tried or outside:
            mine = self._due_at.setdefault(replica_id, {})
            for message_id in tried:
                if message_id not in outside:
                    mine.pop(message_id, None)
            later = self._clock() + _EVERY_S
            for message_id in outside:
                mine.setdefault(message_id, later)
