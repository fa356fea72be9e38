"""Floor 4: added files that are read before it is time to take them in, beside what else the task of a device does."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from functools import partial

from syncd.errors import SyncdError
from syncd.store.files.added_files import AddedFile
from syncd.sync.device.intake_files import ReadFile
from syncd.values import Value

_Outcomes = Sequence[ReadFile | SyncdError]


class _Reading(Value):
    """Where a file is read, among others, and as which of them."""

    of: "asyncio.Future[_Outcomes]"
    at: int


class ReadAhead:
    """Hold what is read of some files of one device until it is taken, or nobody wants it any more."""

    def __init__(self) -> None:
        self._readings: dict[AddedFile, _Reading] = {}

    @property
    def is_busy(self) -> bool:
        """Tell whether files are being read."""
        return any(not reading.of.done() for reading in self._readings.values())

    def begin(self, wanted: Collection[AddedFile], read: Callable[[Sequence[AddedFile]], _Outcomes]) -> None:
        """Begin to read, in a thread, what of these is not read yet, and let go of all others."""
        self.keep(wanted)
        if lacking := [file for file in wanted if file not in self._readings]:
            reading = asyncio.get_running_loop().run_in_executor(None, read, lacking)
            self._readings |= {file: _Reading(reading, at) for at, file in enumerate(lacking)}

    async def take(self, wanted: Iterable[AddedFile]) -> Sequence[ReadFile]:
        """Return what was read of these files, if their rows are as they were."""
        mine = [self._readings.pop(file) for file in wanted if file in self._readings]
        try:
            for reading in {one.of for one in mine}:
                with suppress(SyncdError):  # whoever reads them now is told why
                    await asyncio.shield(reading)
        except BaseException:
            _let_go(mine)
            raise
        outcomes = (one.of.result()[one.at] for one in mine if one.of.exception() is None)
        return [one for one in outcomes if isinstance(one, ReadFile)]

    def keep(self, wanted: Collection[AddedFile]) -> None:
        """Let go of what is none of these."""
        _let_go([self._readings.pop(file) for file in self._readings.keys() - wanted])

    def drop(self) -> None:
        """Let go of all of it."""
        self.keep(())


def _let_go(readings: Iterable[_Reading]) -> None:
    for one in readings:
        one.of.add_done_callback(partial(_close, at=one.at))


def _close(reading: "asyncio.Future[_Outcomes]", *, at: int) -> None:
    if not reading.cancelled() and reading.exception() is None and isinstance(one := reading.result()[at], ReadFile):
        one.body.close()
