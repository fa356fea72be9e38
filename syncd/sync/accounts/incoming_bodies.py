"""Floor 4: what bodies pass on their way from any server into the store."""

from pathlib import Path

from syncd.store.bodies.encoder import Encoder
from syncd.sync.recent_bodies import RecentBodies
from syncd.values import Value


class IncomingBodies(Value):
    """Encode bodies, and keep those just committed for the devices; large ones lie in the directory meanwhile."""

    encoder: Encoder
    recent: RecentBodies
    spool_directory: Path

    def rest(self) -> None:
        """Give back what only a busy account needs."""
        self.encoder.rest()
        self.recent.rest()
