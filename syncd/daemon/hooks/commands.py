"""Floor 5: a command that is handed a document and a time to end in; whatever it does, syncd goes on.

Theory. No shell: what is in the document is data to it (S22). Its standard input is a file in memory, so that nobody
waits for a command that does not read. What it says is read as it comes and only its end is kept; a program that it
leaves running keeps nobody waiting. It is a process group, which is ended as a whole.
"""

import asyncio
import contextlib
import errno
import os
import re
import signal
from collections.abc import Mapping, Sequence
from typing import BinaryIO, Self

from syncd.values import Value

_KEPT_BYTES = 4096
_SHOWN = 500
_READ_BYTES = 64 * 1024
_END_S = 5.0
_LAST_WORDS_S = 1.0
_NO_PROGRAM = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ENOEXEC})
_ADDRESS = re.compile(r"\S*@\S*")
_PASSED_ON = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_[A-Z]+|TZ|TMPDIR|DISPLAY|WAYLAND_DISPLAY"
    r"|DBUS_SESSION_BUS_ADDRESS|XDG_[A-Z_]+"
)


class Ended(Value):
    """Say how a command ended: why not well, or None, and the end of what it said, without addresses.

    is_lasting: there is no such program, which waiting does not change.
    """

    problem: str | None
    stdout: str = ""
    stderr: str = ""
    is_lasting: bool = False


def environment_of(ours: Mapping[str, str], **added: str) -> Mapping[str, str]:
    """Return what a command finds in its environment: of ours what says where it is, and nothing that may be secret."""
    return {name: value for name, value in ours.items() if _PASSED_ON.fullmatch(name)} | added


async def run_command(
    command: Sequence[str],
    document: bytes,
    *,
    environment: Mapping[str, str],
    timeout_s: float,
    patience_s: float = _END_S,
) -> Ended:
    """Run a command to its end, or end it: after the timeout, or shortly after we are cancelled.

    patience_s: between being asked to end, by SIGTERM, and being ended.
    """
    try:
        with os.fdopen(os.memfd_create("syncd-hook"), "w+b") as stdin, _Heard() as stdout, _Heard() as stderr:
            stdin.write(document)
            stdin.seek(0)
            process = await _started(command, stdin, stdout, stderr, environment)
            problem = await _end_of(process, timeout_s, patience_s)
            return Ended(problem, stdout.text(), stderr.text())
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
        is_lasting = isinstance(error, OSError) and error.errno in _NO_PROGRAM
        return Ended(f"{command[0]} cannot be run: {reason.lower()}", is_lasting=is_lasting)


class _Heard:
    """A pipe to write to, of which the last octets are kept."""

    def __enter__(self) -> Self:
        self._reading, self.writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(self.writing, True)
        self._kept = b""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._reading, self._read)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.remove_reader(self._reading)
        os.close(self._reading)
        # NOTE: held open until here, or the pipe would be readable for ever once the command has ended.
        os.close(self.writing)

    def text(self) -> str:
        """Return the end of what was said so far, without addresses."""
        self._read()
        return _ADDRESS.sub("<address>", self._kept.decode(errors="replace")).strip()[-_SHOWN:]

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._kept = (self._kept + os.read(self._reading, _READ_BYTES))[-_KEPT_BYTES:]


async def _started(
    command: Sequence[str], stdin: BinaryIO, stdout: _Heard, stderr: _Heard, environment: Mapping[str, str]
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=stdin,
        stdout=stdout.writing,
        stderr=stderr.writing,
        cwd="/",
        env=environment,
        start_new_session=True,
    )


async def _end_of(process: asyncio.subprocess.Process, timeout_s: float, patience_s: float) -> str | None:
    """Wait for the end of a process, bring it about if need be, and return why it was no good one."""
    try:
        async with asyncio.timeout(timeout_s):
            status = await process.wait()
    except TimeoutError:
        await _end(process, patience_s=patience_s)
        return f"it did not end within {timeout_s:g} s"
    except asyncio.CancelledError:
        await _wait_a_moment(process, _LAST_WORDS_S)  # most are about to end by themselves
        await _end(process, patience_s=_LAST_WORDS_S)
        raise
    if status < 0:
        return f"it was ended by signal {-status}"
    return f"it ended with status {status}" if status else None


async def _end(process: asyncio.subprocess.Process, *, patience_s: float) -> None:
    """End a process and all that it has started, which is not asked twice."""
    try:
        if process.returncode is None:
            _signal(process, signal.SIGTERM)
            await _wait_a_moment(process, patience_s)
    finally:
        _signal(process, signal.SIGKILL)
    await process.wait()


async def _wait_a_moment(process: asyncio.subprocess.Process, patience_s: float) -> None:
    # NOTE: no `asyncio.timeout`: before Python 3.11.3, in a task that was cancelled, it ends in CancelledError.
    waiting = asyncio.create_task(process.wait())
    try:
        await asyncio.wait({waiting}, timeout=patience_s)
    finally:
        waiting.cancel()


def _signal(process: asyncio.subprocess.Process, signum: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signum)
