"""Floor 5: syncd as a process: signals, event loop, and an end in time."""

import asyncio
import ctypes
import faulthandler
import gc
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from syncd.log import log

T = TypeVar("T")

_PRIVATE_UMASK = 0o077
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_CUT_SHORT_S = 4.5
_GC_THRESHOLD = 50_000
_M_ARENA_MAX, _M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -8, -3, -1  # malloc.h of glibc
_MMAP_THRESHOLD_BYTES = 384 * 1024
"""Above the 256 KiB that asyncio makes ready for each read of a socket, which cost twelve times as much as pages."""
_TRIM_THRESHOLD_BYTES = 4 * 1024 * 1024
_SWITCH_INTERVAL_S = 0.001


class Interrupted(Exception):  # noqa: N818 - no error: a person or the service manager asked for it
    """SIGTERM or SIGINT ended what was going on, in an orderly way."""


def run_interruptibly(work: Coroutine[Any, Any, T], *, code_if_cut_short: int) -> T:
    """Run `work` to its end; Interrupted when a signal cancelled it.

    What has not ended some seconds after the signal (a name that does not resolve, a database that does not answer)
    is cut short with the process: it may stop at any instant anyway (law 3).
    """
    os.umask(_PRIVATE_UMASK)
    resource.setrlimit(
        resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1])
    )  # it would hold passwords
    faulthandler.enable(file=2)  # a crash says where each thread was; it shows no values
    signal.signal(signal.SIGABRT, _say_where_and_end)
    _tune_interpreter()
    watchdog = threading.Timer(_CUT_SHORT_S, _cut_short, (code_if_cut_short,))
    watchdog.daemon = True
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_interruptible(work, on_signal=watchdog.start))
    finally:
        watchdog.cancel()


def _say_where_and_end(signum: int, _: object) -> None:
    """End as a watchdog wants it, and say where each thread is.

    NOTE: here, where no other thread runs Python, and not by what `faulthandler` has for this signal: that reads the
    frames of threads that go on, and may crash over it.
    """
    faulthandler.dump_traceback(file=2, all_threads=True)
    signal.signal(signum, signal.SIG_DFL)
    signal.raise_signal(signum)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes the event loop: uvloop where it is installed (the extra `fast`)."""
    try:
        import uvloop  # noqa: PLC0415  # optional
    except ImportError:
        return None
    return uvloop.new_event_loop


def _tune_interpreter() -> None:
    """Fit the process to threads that hand over often, values without cycles, and bodies that come and go."""
    try:
        # NOTE: without the first each thread's own heap keeps the largest batch that it has ever seen, and without the
        # others malloc takes ever larger blocks from its heaps, where they leave holes that are not given back.
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, 2)
        mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD_BYTES)
    except (OSError, AttributeError):
        pass  # another C library
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, 20, 50)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)


async def _interruptible(work: Coroutine[Any, Any, T], *, on_signal: Callable[[], None]) -> T:
    task = asyncio.create_task(work)
    is_interrupted = False

    def interrupt() -> None:
        nonlocal is_interrupted
        if not is_interrupted:
            is_interrupted = True
            on_signal()
            task.cancel()

    for signum in _SIGNALS:
        asyncio.get_running_loop().add_signal_handler(signum, interrupt)
    try:
        return await task
    except asyncio.CancelledError:
        if is_interrupted:
            raise Interrupted from None
        raise


def _cut_short(code: int) -> None:
    log.warning("end_cut_short")
    os._exit(code)
