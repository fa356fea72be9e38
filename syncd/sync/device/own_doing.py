"""Floor 4: what the watch of a device will tell of that is our own doing, so that nobody needs to look at it."""

import asyncio
import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from syncd.maildir.news.changes import ChangedFile, Changes
from syncd.maildir.news.observe import SeenFile
from syncd.values import Value, replace

Place = tuple[PurePosixPath, SeenFile]
"""A mailbox directory, and a file of it with its whole name."""
_PLACES_MAX = 20_000
_HEARD_OF_S = 10.0
"""By then the watch has told of what we did."""


class _Expected(Value):
    since: float
    is_gone: bool


class OwnDoing:
    """Know which files come and go because we deliver, rename or remove them; for the device's task."""

    def __init__(self) -> None:
        self._expected: OrderedDict[Place, _Expected] = OrderedDict()
        self._since: dict[PurePosixPath, dict[SeenFile, float]] = {}
        """Since when, by directory; what was expected last is at the end."""
        self._lost_at = -math.inf
        """When that was expected of which was forgotten before it was told."""

    def expect(self, place: Place, *, is_gone: bool = False) -> None:
        """Remember that a file is about to come, or to go."""
        self._taken(place)
        expected = self._expected[place] = _Expected(asyncio.get_running_loop().time(), is_gone)
        directory, file = place
        self._since.setdefault(directory, {})[file] = expected.since
        while len(self._expected) > _PLACES_MAX:
            oldest = next(iter(self._expected))
            self._lost_at = self._expected[oldest].since
            self._taken(oldest)

    def forget(self, places: Iterable[Place]) -> None:
        """Expect nothing of these any more: it was not done."""
        for place in places:
            self._taken(place)

    def is_awaited(self, directory: PurePosixPath, *, since: float) -> bool:
        """Tell whether the watch has yet to tell of anything that was expected in a directory since then.

        When it has told of all, one that listened all the time has told of what others did before our last change: it
        hears all of it in one queue, and hands on at once what it took from there at once. One that was made anew
        meanwhile names the mailbox beside it.
        """
        expected = self._since.get(directory)
        return self._lost_at >= since or (expected is not None and next(reversed(expected.values())) >= since)

    def unexpected(self, changes: Changes) -> Changes:
        """Return the changes without those that we made.

        That a file was written is somebody else's doing, and looked at; so is one that went where it should have come,
        or came where it should have gone. Whatever is heard of a place, what is heard of it next is not ours.
        """
        now, done = asyncio.get_running_loop().time(), set[ChangedFile]()
        for place, heard in _by_place(changes.files).items():
            expected = self._taken(place)
            if expected is None or len(heard) > 1 or now - expected.since > _HEARD_OF_S:
                continue
            if heard[0].is_gone is expected.is_gone and not heard[0].is_written:
                done.update(heard)
        return replace(changes, files=changes.files - done) if done else changes

    def _taken(self, place: Place) -> _Expected | None:
        """Return what was expected of a place, and expect it no more."""
        expected = self._expected.pop(place, None)
        if expected is not None:
            directory, file = place
            del self._since[directory][file]
            if not self._since[directory]:
                del self._since[directory]
        return expected


def _by_place(files: Iterable[ChangedFile]) -> dict[Place, Sequence[ChangedFile]]:
    found: dict[Place, list[ChangedFile]] = {}
    for changed in files:
        found.setdefault((changed.directory, changed.file), []).append(changed)
    return dict(found)
