"""A run: its server, its directory, and what it has measured so far."""

import itertools
import os
import platform
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from tests.benchmarks.corpus import Corpus
from tests.benchmarks.measure import Effort
from tests.benchmarks.proxy import Traffic
from tests.benchmarks.report import Cost, Report, Row, Unit
from tests.benchmarks.settings import Options, Setting
from tests.servers.dovecot import Dovecot
from tests.servers.identity import ServerUnavailable

P = TypeVar("P")
T = TypeVar("T")


class Bench:
    """What works have in common.

    NOTE: nothing is removed while anything is measured: for minutes after, ext4 looks for inodes that are not of the
    removed files, one by one, and each new file then takes ten times as long.
    """

    def __init__(self, options: Options, server: Dovecot, home: Path) -> None:
        self.options = options
        self.server = server
        self._home = home
        self._numbers = itertools.count(1)
        self._rows: list[Row] = []
        self._costs: list[Cost] = []
        self._absent: dict[str, None] = {}

    def directory(self, name: str) -> Path:
        """Return a name for a directory that is not there yet."""
        return self._home / f"{next(self._numbers):03d}-{name}"

    def user(self, corpus: Corpus) -> str:
        """Return a new user, whose mail this is."""
        user = f"user{next(self._numbers)}"
        corpus.fill(self.server, user)
        return user

    def peer(self, name: str, make: Callable[[], P]) -> P | None:
        """Return a peer if it is wanted and can be had."""
        if not self.options.wants(name):
            return None
        try:
            return make()
        except ServerUnavailable as error:
            self.absent(name, error)
            return None

    def absent(self, name: str, error: Exception) -> None:
        """Note that a peer is not here, or did not do what it should."""
        reason = " ".join(f"{name}: {error}".split())[:300]
        self._absent[reason] = None
        self.say(reason)

    def row(
        self,
        work: str,
        setting: Setting,
        measure: str,
        values: Iterable[float],
        *,
        unit: Unit = "x",
        bound: float | None = None,
        goal: float | None = None,
        against: Setting | None = None,
    ) -> None:
        """Add a row to the table. against: the setting that it is compared with, if there is another one."""
        row = Row(
            work=work,
            setting=str(setting),
            measure=measure,
            values=tuple(values),
            unit=unit,
            bound=bound,
            goal=goal,
            command=self.options.command(work, setting, *([against] if against else [])),
        )
        self._rows.append(row)
        self.say(f"{work}, {setting}: {measure}: {row.value:.4g} {unit} ({row.verdict})")

    def cost(
        self, work: str, setting: Setting, contender: str, efforts: Iterable[Effort], traffic: Traffic | None = None
    ) -> None:
        """Add what a contender took."""
        cost = Cost(work=work, setting=str(setting), contender=contender, efforts=tuple(efforts), traffic=traffic)
        self._costs.append(cost)

    def say(self, text: str) -> None:
        """Tell a person how far it is."""
        print(text, file=sys.stderr, flush=True)

    def report(self) -> Report:
        """Return what was measured."""
        return Report(machine=_machine(), rows=tuple(self._rows), costs=tuple(self._costs), absent=tuple(self._absent))


def alternating(contenders: Sequence[T], pair: int) -> Sequence[T]:
    """Return them in an order that turns round with every pair, so that none always runs on another's warm caches."""
    return contenders if pair % 2 == 0 else tuple(reversed(contenders))


def _machine() -> str:
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    python = platform.python_version()
    return (
        f"{len(os.sched_getaffinity(0))} processors, {memory_gib:.0f} GiB, Linux {platform.release()}, Python {python}"
    )
