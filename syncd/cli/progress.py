"""How far a sync is: bars in a terminal, now and then a line elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from syncd.cli.options import complain
from syncd.daemon.status import Progress

if TYPE_CHECKING:
    from rich.progress import TaskID

_BARS_STEP_S = 1.0
_LINES_STEP_S = 10.0


class ProgressView(Protocol):
    """Show how far everybody is; to be called every `step_s` seconds."""

    step_s: float

    def show(self, progress: tuple[Progress, ...]) -> None: ...


@contextmanager
def progress_view() -> Iterator[ProgressView]:
    """Show progress on standard error while inside."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    bars = _Bars()
    with bars.display:
        yield bars


class _Lines:
    step_s = _LINES_STEP_S

    def show(self, progress: tuple[Progress, ...]) -> None:
        for one in progress:
            complain(f"{one.name}: {one.doing}, {one.done:,} of {max(one.total, one.done):,} messages")


class _Bars:
    step_s = _BARS_STEP_S

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Display

        self.display = Display(
            TextColumn("{task.fields[who]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[doing]}", markup=False),
            console=Console(stderr=True),
            transient=True,
        )
        self._tasks: dict[tuple[str, str], TaskID] = {}

    def show(self, progress: tuple[Progress, ...]) -> None:
        from syncd.config.problems import printable

        for one in progress:
            key = one.kind, one.name
            if key not in self._tasks:
                self._tasks[key] = self.display.add_task("", who=one.name, doing="", total=None)
            self.display.update(
                self._tasks[key],
                completed=one.done,
                total=max(one.total, one.done) or None,
                doing=printable(one.doing if one.error is None else f"{one.doing} ({one.error})"),
            )
