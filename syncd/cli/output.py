"""Floor 6: the standard streams: names in any script can be written; output that cannot be is an error of its own.

Theory. Who asked for output has to hear that it is not whole. A complaint or a line of the log is another thing: who
writes one is in the midst of what has to be done, such as a round of a daemon whose log is a pipe that nobody reads any
more. So what standard error does not take is lost, and nothing else is.
"""

import io
import os
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class OutputError(Exception):
    """Standard output cannot be written; the text says why. Not for a reader that is gone: BrokenPipeError."""


class _Output(io.FileIO):
    # NOTE: here, for what is written may fail later, by a flush, and an OSError without a file may be of anything.
    def write(self, octets: "ReadableBuffer", /) -> int:
        try:
            return super().write(octets)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError((error.strerror or "unknown").lower()) from error


class _Complaints(io.FileIO):
    # NOTE: octets that were kept would be tried again at the end, where to fail changes the exit code.
    def write(self, octets: "ReadableBuffer", /) -> int:
        whole = memoryview(octets).nbytes
        try:
            return super().write(octets) or whole
        except OSError:
            return whole


def prepare() -> None:
    """Let whatever writes to `sys.stdout` from now on raise OutputError where it cannot, and have all three streams.

    What `sys.stderr` cannot take goes nowhere.
    """
    _occupy()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout = _text(_Output, sys.stdout)
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr = _text(_Complaints, sys.stderr)


def _text(kind: type[io.FileIO], stream: io.TextIOWrapper) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        io.BufferedWriter(kind(stream.fileno(), "wb", closefd=False)),
        encoding=stream.encoding,
        errors="backslashreplace",  # names of mailboxes are in any script
        line_buffering=stream.line_buffering,
    )


def give_up() -> None:
    """Let go of what is not written yet, and of all that is still to come."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def end(code: int) -> NoReturn:
    """End the process at once, with all that was written; for who has ended everything else by then.

    NOTE: to take all modules apart, which is what an interpreter does at its end, takes longer than to ask a server.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _occupy() -> None:
    """Have what is written to a stream that was closed before the start go nowhere."""
    # NOTE: else what is opened next has its number, and libuv aborts the process when it closes one of these three.
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # which takes the lowest number that is free
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", errors="backslashreplace", closefd=False)
