"""Floor 6: how far a sync is: bars in a terminal, now and then a line elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from syncd.cli.terminal import complain

if TYPE_CHECKING:
    from rich.progress import TaskID

    from syncd.daemon.status.status import Going

_BARS_STEP_S = 1.0
_LINES_STEP_S = 10.0


class ProgressView(Protocol):
    """Show how far everybody is; to be called every `step_s` seconds."""

    step_s: float

    def show(self, going: "tuple[Going, ...]") -> None: ...


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

    def show(self, going: "tuple[Going, ...]") -> None:
        for one in going:
            complain(f"{one.name}: {said(one)}")


class _Bars:
    step_s = _BARS_STEP_S

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Display

        self.display = Display(
            TextColumn("{task.fields[who]}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[said]}", markup=False),
            console=Console(stderr=True),
            transient=True,
        )
        self._tasks: dict[tuple[str, str], TaskID] = {}

    def show(self, going: "tuple[Going, ...]") -> None:
        from syncd.cli.screen.words import share

        for one in going:
            key = one.kind, one.name
            if key not in self._tasks:
                self._tasks[key] = self.display.add_task("", who=one.name, said="", total=None)
            self.display.update(
                self._tasks[key],
                completed=share(one.progress),
                total=1.0 if one.progress.messages_total else None,
                said=said(one),
            )


def said(one: "Going") -> str:
    """Say what one does, how far it is, how fast it goes, and how long the rest takes."""
    from syncd.cli.screen.words import amounts, at_work, shown, speed

    doing = at_work(one.doing, one.progress) + ("" if one.error is None else f" ({shown(one.error)})")
    rest = "" if one.progress.is_done or one.doing == "idle" else f"; {speed(one.progress)}"
    return f"{doing}; {amounts(one.progress)}{rest}"
