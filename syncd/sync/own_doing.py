"""Floor 4: what the watch of a device will tell of that is our own doing, so that nobody needs to look at it."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from syncd.maildir.observe import SeenFile
from syncd.maildir.watch import ChangedFile, Changes

Place = tuple[PurePosixPath, SeenFile]
"""A mailbox directory, and a file of it with its whole name."""
_PLACES_MAX = 20_000
_HEARD_OF_S = 10.0
"""By then the watch has told of what we did."""


@dataclass(frozen=True, slots=True)
class _Expected:
    since: float
    is_gone: bool


class OwnDoing:
    """Know which files come and go because we deliver, rename or remove them; for the device's task."""

    def __init__(self) -> None:
        self._expected: OrderedDict[Place, _Expected] = OrderedDict()

    def expect(self, place: Place, *, is_gone: bool = False) -> None:
        """Remember that a file is about to come, or to go."""
        self._expected[place] = _Expected(asyncio.get_running_loop().time(), is_gone)
        while len(self._expected) > _PLACES_MAX:
            self._expected.popitem(last=False)

    def forget(self, places: Iterable[Place]) -> None:
        """Expect nothing of these any more: it was not done."""
        for place in places:
            self._expected.pop(place, None)

    def is_awaited(self, directory: PurePosixPath, *, since: float) -> bool:
        """Tell whether the watch has yet to tell of anything that was expected in a directory since then.

        When it has told of all, it has told of what others did before our last change, for it tells in that order.
        """
        return any(place[0] == directory and one.since >= since for place, one in self._expected.items())

    def unexpected(self, changes: Changes) -> Changes:
        """Return the changes without those that we made.

        That a file was written is somebody else's doing, and looked at; so is one that went where it should have come,
        or came where it should have gone. Whatever is heard of a place, what is heard of it next is not ours.
        """
        now, done = asyncio.get_running_loop().time(), set[ChangedFile]()
        for place, heard in _by_place(changes.files).items():
            expected = self._expected.pop(place, None)
            if expected is None or len(heard) > 1 or now - expected.since > _HEARD_OF_S:
                continue
            if heard[0].is_gone is expected.is_gone and not heard[0].is_written:
                done.update(heard)
        return replace(changes, files=changes.files - done) if done else changes


def _by_place(files: Iterable[ChangedFile]) -> dict[Place, Sequence[ChangedFile]]:
    found: dict[Place, list[ChangedFile]] = {}
    for changed in files:
        found.setdefault((changed.directory, changed.file), []).append(changed)
    return dict(found)
