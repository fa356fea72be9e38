"""Floor 5: which tasks are overdue: they said how long they would be still at most, and are still after that.

Only what a task said itself is held against it. One that works is never overdue, however long it takes: what it waits
for has deadlines of its own (commands of a connection, statements of a database), and a file system that hangs is the
trouble of one device, which a restart would not end.
"""

from syncd.sync.activity import Activities
from syncd.values import Record, field

GRACE_S = 300.0


class Vigil(Record):
    """Remember since when each task has been still; ask it now and then.

    It measures by its own asking, since the time of day jumps: a machine that slept is not late.
    """

    _still: dict[tuple[str, str], tuple[float, float]] = field(default_factory=dict)
    """By task: since when it says that it rests, as it says it, and when that was first seen."""

    def overdue(self, activities: Activities, *, now: float) -> tuple[str, ...]:
        """Return the tasks that rest for longer than they said, by kind and name; now: of a clock that never jumps."""
        still: dict[tuple[str, str], tuple[float, float]] = {}
        overdue = []
        for kind, those in (("account", activities.accounts), ("device", activities.devices)):
            for name, one in those.items():
                if one.rests_s is None:
                    continue
                known = self._still.get((kind, name))
                seen_at = known[1] if known is not None and known[0] == one.since else now
                still[kind, name] = (one.since, seen_at)
                if now - seen_at > one.rests_s + GRACE_S:
                    overdue.append(f"{kind} {name}")
        self._still = still
        return tuple(overdue)
