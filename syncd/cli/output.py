"""Floor 6: standard output: names in any script can be written; what keeps it from that is an error of its own."""

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


def prepare() -> None:
    """Let whatever writes to `sys.stdout` from now on raise OutputError where it cannot, and have all three streams."""
    _occupy()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(_Output(sys.stdout.fileno(), "wb", closefd=False)),
            encoding=sys.stdout.encoding,
            errors="backslashreplace",  # names of mailboxes are in any script
            line_buffering=sys.stdout.line_buffering,
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
