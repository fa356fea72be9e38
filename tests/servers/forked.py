"""Processes that run syncd as `python -m syncd` does, without the second of importing with which that begins.

They are forks of a process that has imported everything, has worked out what all need (`tests.warmed`), and does
nothing else. What a command imports is not to be seen in them, nor how long that takes: a test of that starts Python
itself.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerContext
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

_IMPORTED = (
    "alembic.command",
    "syncd.cli.app",
    "syncd.cli.main",
    "syncd.cli.commands.syncing",
    "syncd.cli.screen.picture",
    "syncd.daemon.alone",
    "syncd.daemon.foreground",
    "syncd.daemon.people.logins",
    "syncd.daemon.people.restoring",
    "syncd.oauth.browser",
    "syncd.oauth.provider",
    "tests.crash.child",
    "tests.warmed",
)


def processes() -> ForkServerContext:
    """Return what makes forks: the same for all tests of a process, for what is imported is said once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*_IMPORTED])
    return context


class Forked:
    """Run syncd with these arguments; `stdout` and `stderr` are descriptors to write to, `stdin` one to read, or none.

    The methods are those of `subprocess.Popen`.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        directory: Path,
        environment: Mapping[str, str],
        stdout: int,
        stderr: int,
        stdin: int | None = None,
    ):
        self._arguments = tuple(arguments)
        nothing = os.open(os.devnull, os.O_RDONLY)
        try:
            streams = _Streams(nothing if stdin is None else stdin, stdout, stderr)
            self._process = processes().Process(
                target=_run, args=(self._arguments, directory, dict(environment), streams), daemon=True
            )
            self._process.start()
        finally:
            os.close(nothing)

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout_s: float | None = None) -> int:
        self._process.join(timeout_s)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired(self._arguments, timeout_s or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class _Streams:
    """Three descriptors on their way to a process that is about to begin."""

    def __init__(self, stdin: int, stdout: int, stderr: int):
        self._given = (stdin, stdout, stderr)

    def __getstate__(self) -> tuple[Any, ...]:
        return tuple(DupFd(fd) for fd in self._given)

    def __setstate__(self, given: tuple[Any, ...]) -> None:
        self._given = tuple(one.detach() for one in given)

    def take(self) -> None:
        """Let this process read and write them, as Python does it where no locale is set."""
        for number, fd in enumerate(self._given):
            os.dup2(fd, number)
            os.close(fd)
        sys.stdin = os.fdopen(0, encoding="utf-8", errors="surrogateescape", closefd=False)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)
        sys.stderr = os.fdopen(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _run(arguments: Sequence[str], directory: Path, environment: Mapping[str, str], streams: _Streams) -> None:
    from syncd.cli.main import main

    streams.take()
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    sys.argv = ["syncd", *arguments]
    main()
