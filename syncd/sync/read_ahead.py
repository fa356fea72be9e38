"""Floor 4: added files that are read before it is time to take them in, beside a look that the device waits for."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

from syncd.errors import SyncdError
from syncd.store.added_files import AddedFile
from syncd.sync.intake_files import ReadFile

Outcomes = Mapping[AddedFile, ReadFile | SyncdError]


class ReadAhead:
    """Read some files of one device beside what else its task does; what is not asked for any more is let go of."""

    def __init__(self) -> None:
        self._reading: asyncio.Future[Sequence[ReadFile | SyncdError]] | None = None
        self._files: Sequence[AddedFile] = ()

    def begin(self, files: Sequence[AddedFile], read: Callable[[], Sequence[ReadFile | SyncdError]]) -> None:
        """Begin to read files, in a thread."""
        self.drop()
        self._files = tuple(files)
        self._reading = asyncio.get_running_loop().run_in_executor(None, read)

    async def take(self, wanted: Iterable[AddedFile]) -> Outcomes:
        """Return what was read of these files, if they are as they were; the others are let go of."""
        reading, self._reading = self._reading, None
        if reading is None:
            return {}
        try:
            outcomes = dict(zip(self._files, await asyncio.shield(reading), strict=True))
        except BaseException:
            reading.add_done_callback(_close)
            raise
        found = {file: outcomes.pop(file) for file in wanted if file in outcomes}
        _close_all(outcomes.values())
        return found

    def drop(self) -> None:
        """Let go of what is read."""
        if self._reading is not None:
            self._reading.add_done_callback(_close)
            self._reading = None


def _close(reading: "asyncio.Future[Sequence[ReadFile | SyncdError]]") -> None:
    if not reading.cancelled() and reading.exception() is None:
        _close_all(reading.result())


def _close_all(outcomes: Iterable[ReadFile | SyncdError]) -> None:
    for one in outcomes:
        if isinstance(one, ReadFile):
            one.body.close()
