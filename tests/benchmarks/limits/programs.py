"""How limit programs are run: to their end, or step by step."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.benchmarks import measure
from tests.benchmarks.measure import Effort, Stretch
from tests.benchmarks.peers import Account


class Once:
    """Run a limit program to its end, as a contender; `directory` gets its store and a Maildir tree for each device."""

    name = "limit"

    def __init__(self, program: str, directory: Path, devices: int) -> None:
        directory.mkdir()
        self._program = program
        self._directory = directory
        self.roots = tuple(directory / f"device{number}" for number in range(1, devices + 1))

    def configure(self, account: Account) -> None:
        self._account = account

    def sync(self) -> Effort:
        command = _command(self._program, self._directory, self._account, self.roots)
        return measure.run(command, self._directory / "log")


class Limit:
    """Run a limit program that waits to be asked; entering starts it, leaving ends it."""

    def __init__(self, program: str, directory: Path, account: Account, devices: int = 0) -> None:
        directory.mkdir()
        self.roots = tuple(directory / f"device{number}" for number in range(1, devices + 1))
        self._command = _command(program, directory, account, self.roots)

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answer()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._process:
            self._process.kill()

    def step(self) -> Effort:
        """Have one step done, and return what it took; the seconds are those of the program itself."""
        assert self._process.stdin is not None
        with Stretch.over(self._process.pid) as stretch:
            self._process.stdin.write("step\n")
            self._process.stdin.flush()
            wall_s = float(self._answer())
        return Effort(wall_s, stretch.effort.cpu_s, stretch.effort.peak_bytes)

    def _answer(self) -> str:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"a limit program ended: {self._command}")
        return answer


def _command(program: str, directory: Path, account: Account, roots: Sequence[Path]) -> list[str]:
    words = [account.host, str(account.port), account.user, account.password, ",".join(account.mailboxes)]
    return [sys.executable, "-m", f"tests.benchmarks.limits.{program}", *words, str(directory), *map(str, roots)]
