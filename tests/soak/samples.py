"""What a process holds at one moment: /proc; and whether it grows, by slopes that outliers do not move."""

import itertools
import json
import os
import re
import signal
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_ROLLUP = re.compile(r"^(Rss|Pss|Private_Clean|Private_Dirty):\s*(\d+) kB", re.MULTILINE)
_COUNT_S = 60.0


@dataclass(frozen=True, slots=True)
class Memory:
    """What a process has in memory, in KiB: all, its share of what others have as well, and what it alone has."""

    rss_kib: int
    pss_kib: int
    uss_kib: int


@dataclass(frozen=True, slots=True)
class Sample:
    """A daemon at rest after a round."""

    round: int
    messages: int
    """How many were delivered until then."""
    memory: Memory
    descriptors: int
    threads: int
    children: int
    tasks: int
    objects: int
    wal_bytes: int
    store_bytes: int
    log_bytes: int
    cpu_s: float
    counted: dict[str, Any] = field(repr=False, compare=False, default_factory=dict)


@dataclass(frozen=True, slots=True)
class Bound:
    """What a figure may do from sample to sample: `slope` is by 1,000 messages, `most` holds for each of them."""

    name: str
    unit: str
    slope: float | None = None
    most: float | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """How a figure behaved."""

    bound: Bound
    first: float
    last: float
    most: float
    slope: float
    is_flat: bool


def memory_of(pid: int) -> Memory:
    """Return what the kernel counts of a process."""
    found = {name: int(kib) for name, kib in _ROLLUP.findall(Path(f"/proc/{pid}/smaps_rollup").read_text())}
    return Memory(found["Rss"], found["Pss"], found["Private_Clean"] + found["Private_Dirty"])


def descriptors_of(pid: int) -> dict[int, str]:
    """Return what the descriptors of a process are."""
    found = {}
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found[int(entry.name)] = str(entry.readlink())
        except OSError:
            continue
    return found


def threads_of(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/task").iterdir())


def switches_of(pid: int) -> int:
    """Return how often the threads of a process waited for something, and so were woken."""
    return sum(
        int(line.split()[1])
        for task in Path(f"/proc/{pid}/task").iterdir()
        for line in (task / "status").read_text().splitlines()
        if line.startswith("voluntary_ctxt_switches")
    )


def count_inside(pid: int, counted: Path) -> dict[str, Any]:
    """Have a daemon count its own objects and tasks; see `inside/sitecustomize.py`."""
    counted.unlink(missing_ok=True)
    os.kill(pid, signal.SIGUSR2)
    deadline = time.monotonic() + _COUNT_S
    while not counted.exists():
        if time.monotonic() > deadline:
            raise RuntimeError("the daemon did not count what it holds")
        time.sleep(0.01)
    found: dict[str, Any] = json.loads(counted.read_text())
    return found


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the median of the slopes between all pairs of points (Theil and Sen), 0 for fewer than two.

    A third of the points may be anywhere without it going along.
    """
    slopes = [
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for earlier, later in itertools.combinations(points, 2)
        if later[0] != earlier[0]
    ]
    return statistics.median(slopes) if slopes else 0.0


def judge(bound: Bound, points: Sequence[tuple[float, float]]) -> Finding:
    """Say whether a figure stays within its bound; points: thousands of messages, and the figure."""
    values, rise = [value for _, value in points], slope(points)
    is_flat = (bound.slope is None or rise <= bound.slope) and (bound.most is None or max(values) <= bound.most)
    return Finding(bound, values[0], values[-1], max(values), rise, is_flat)
