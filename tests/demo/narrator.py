"""What the person sees: numbered steps, aligned figures, bars in a terminal and plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

_TEXT_WIDTH = 48
_FIGURE_WIDTH = 8
_BARS_EVERY_S = 0.2
_LINES_EVERY_S = 2.0


class Narrator:
    """Print the story; `places` are the columns of its figures."""

    def __init__(self, places: Sequence[str]) -> None:
        self._places = places
        self._console = Console(highlight=False, markup=False, soft_wrap=True)
        self._steps = 0
        self.step = "Setting up"

    def say(self, text: str = "") -> None:
        """Print a line as it is."""
        self._console.print(text)

    def headings(self) -> None:
        """Print what the figures below are."""
        columns = "".join(f"{place:>{_FIGURE_WIDTH}}" for place in self._places)
        self.say(f"{'':4}{'seconds until it is so on':{_TEXT_WIDTH}}{columns}")

    def begin(self, step: str) -> None:
        """Begin the next step."""
        self._steps += 1
        self.step = step
        self.say()
        self.say(f"{self._steps:>2}  {step}")

    def fact(self, text: str) -> None:
        """Print something that holds and has no time of its own."""
        self.say(f"    {text}")

    def took(self, text: str, seconds: float) -> None:
        """Print something that is done, and how long that took."""
        self.say(f"    {text:{_TEXT_WIDTH}}{seconds:>{_FIGURE_WIDTH}.2f} s")

    def held(self, text: str, seconds: Mapping[str, float]) -> None:
        """Print something that became so, and when it was so at each place."""
        cells = (f"{seconds[place]:.2f}" if place in seconds else "-" for place in self._places)
        self.say(f"    {text:{_TEXT_WIDTH}}" + "".join(f"{cell:>{_FIGURE_WIDTH}}" for cell in cells))

    @contextmanager
    def progress(self, counts: Mapping[str, Callable[[], int]], *, total: int) -> Iterator[Callable[[], None]]:
        """Yield a function that shows how far each place is: bars, or every two seconds a line."""
        if not self._console.is_terminal:

            def print_line() -> None:
                so_far = ", ".join(f"{place} {count():,}" for place, count in counts.items())
                self.fact(f"{so_far} of {total:,}")

            yield _Seldom(print_line, every_s=_LINES_EVERY_S)
            return
        columns = TextColumn("    {task.description:8}"), BarColumn(30), MofNCompleteColumn()
        with Progress(*columns, console=self._console, transient=True) as bars:
            tasks = {place: bars.add_task(place, total=total) for place in counts}

            def move_bars() -> None:
                for place, count in counts.items():
                    bars.update(tasks[place], completed=count())

            yield _Seldom(move_bars, every_s=_BARS_EVERY_S)


class _Seldom:
    """Do something at most every so many seconds, however often it is asked for."""

    def __init__(self, action: Callable[[], None], *, every_s: float) -> None:
        self._action = action
        self._every_s = every_s
        self._next = time.monotonic() + every_s

    def __call__(self) -> None:
        if time.monotonic() >= self._next:
            self._action()
            self._next = time.monotonic() + self._every_s
