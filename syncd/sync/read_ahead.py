"""Floor 4: added files that are read before it is time to take them in, beside a look that the device waits for."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from syncd.errors import SyncdError
from syncd.store.added_files import AddedFile
from syncd.sync.intake_files import ReadFile


class ReadAhead:
    """Read some files of one device beside what else its task does; what is not asked for any more is let go of."""

    def __init__(self) -> None:
        self._reading: asyncio.Future[Sequence[ReadFile | SyncdError]] | None = None

    def begin(self, read: Callable[[], Sequence[ReadFile | SyncdError]]) -> None:
        """Begin to read, in a thread."""
        self.drop()
        self._reading = asyncio.get_running_loop().run_in_executor(None, read)

    async def take(self, wanted: Iterable[AddedFile]) -> Sequence[ReadFile]:
        """Return what was read of these files, if their rows are as they were; the others are let go of."""
        reading, self._reading = self._reading, None
        if reading is None:
            return ()
        try:
            outcomes = await asyncio.shield(reading)
        except BaseException:
            reading.add_done_callback(_close)
            raise
        mine = set(wanted)
        taken = [one for one in outcomes if isinstance(one, ReadFile) and one.file in mine]
        _close_all(one for one in outcomes if isinstance(one, ReadFile) and one.file not in mine)
        return taken

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
