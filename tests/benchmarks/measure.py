"""What a program costs: time, processor and memory, of a process to its end or of a daemon over a stretch."""

import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_SAMPLE_S = 0.05
_TICKS = os.sysconf("SC_CLK_TCK")
_HIGH_WATER = re.compile(r"VmHWM:\s*(\d+) kB")
_RESIDENT = re.compile(r"Rss(Anon|File|Shmem):\s*(\d+) kB")


@dataclass(frozen=True, slots=True)
class Effort:
    """What a run took: seconds on the clock and on processors, and the most memory that its processes held together."""

    wall_s: float
    cpu_s: float
    peak_bytes: int

    def __add__(self, other: "Effort") -> "Effort":
        return Effort(self.wall_s + other.wall_s, self.cpu_s + other.cpu_s, max(self.peak_bytes, other.peak_bytes))

    def __str__(self) -> str:
        return f"{self.wall_s:8.3f} s wall {self.cpu_s:7.3f} s cpu {self.peak_bytes / 2**20:5.0f} MiB peak"


def run(command: Sequence[str | Path], log_file: Path, environment: Mapping[str, str] | None = None) -> Effort:
    """Run a program to its end and return what it took; RuntimeError with its last words if it fails."""
    os.sync()  # what others left to be written must not count here
    with log_file.open("ab") as log:
        began = time.monotonic()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | dict(environment or {})
        )
        with _sampled(process.pid) as memory:
            _, status, usage = os.wait4(process.pid, 0)
            wall_s = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        said = log_file.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {process.returncode}: {said}")
    return Effort(wall_s, usage.ru_utime + usage.ru_stime, memory.peak_bytes)


class Stretch:
    """What a running process and its children took while `over` was entered."""

    effort: Effort

    @classmethod
    @contextmanager
    def over(cls, pid: int) -> Iterator["Stretch"]:
        """Measure until left; `effort` is there afterwards."""
        stretch = cls()
        _forget_peaks(pid)
        with _sampled(pid) as memory:
            cpu_s, began = processor_s(pid), time.monotonic()
            yield stretch
            wall_s, cpu_s = time.monotonic() - began, processor_s(pid) - cpu_s
        stretch.effort = Effort(wall_s, cpu_s, memory.peak_bytes)


class _Memory:
    """The most that a process and its children held together, as far as looking now and then can tell.

    Files that are mapped, such as libraries, count once, for the process that has most of them. A child that is not
    another program yet has the memory of its parent, which counts once, too.
    NOTE: what each of them held at most is not missed, for the kernel keeps it (VmHWM); ru_maxrss will not do, it
    starts with the memory of the process that forked.
    """

    peak_bytes = 0

    def look(self, pid: int) -> None:
        own_kib, mapped_kib, programs = 0, 0, set[bytes]()
        for one in family_of(pid):
            try:
                status = Path(f"/proc/{one}/status").read_text()
                program = Path(f"/proc/{one}/cmdline").read_bytes()
            except OSError:
                continue
            if program in programs:
                continue
            programs.add(program)
            if highest := _HIGH_WATER.search(status):
                self.peak_bytes = max(self.peak_bytes, int(highest[1]) * 1024)
            kib = {kind: int(amount) for kind, amount in _RESIDENT.findall(status)}
            own_kib += kib.get("Anon", 0) + kib.get("Shmem", 0)
            mapped_kib = max(mapped_kib, kib.get("File", 0))
        self.peak_bytes = max(self.peak_bytes, (own_kib + mapped_kib) * 1024)


@contextmanager
def _sampled(pid: int) -> Iterator[_Memory]:
    memory, ended = _Memory(), threading.Event()

    def look_again() -> None:
        memory.look(pid)
        while not ended.wait(_SAMPLE_S):
            memory.look(pid)

    sampler = threading.Thread(target=look_again)
    sampler.start()
    try:
        yield memory
    finally:
        ended.set()
        sampler.join()
        memory.look(pid)


def family_of(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        children = {int(child) for child in found}
        for task in Path(f"/proc/{pid}/task").iterdir():
            children.update(int(child) for child in (task / "children").read_text().split())
    except OSError:
        return [pid]
    return [pid, *(one for child in sorted(children) for one in family_of(child))]


def processor_s(pid: int) -> float:
    """Return what a process and its children, also those that have ended, have used."""
    ticks = 0
    for one in family_of(pid):
        # NOTE: the second field is the name in parentheses, which may hold blanks.
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:15]))
    return ticks / _TICKS


def _forget_peaks(pid: int) -> None:
    for one in family_of(pid):
        Path(f"/proc/{one}/clear_refs").write_text("5")
