"""Loaded by a daemon that is soaked: SIGUSR1 lets a day pass, SIGUSR2 has it count what it holds.

Python imports this by its name when the directory is on PYTHONPATH; nothing of syncd knows of it.
"""

import asyncio
import gc
import json
import os
import signal
import threading
import time
import tracemalloc
from collections import Counter
from pathlib import Path

_DAY_S = 86400.0
_PLACES = 40
_COUNTED = Path(os.environ["SOAK_COUNTED"]) if "SOAK_COUNTED" in os.environ else None

_time = time.time
_ahead_s = 0.0


def _later() -> float:
    return _time() + _ahead_s


def _let_a_day_pass(*_: object) -> None:
    global _ahead_s  # noqa: PLW0603
    _ahead_s += _DAY_S
    asyncio.get_running_loop().call_soon_threadsafe(_look_what_is_due)


def _look_what_is_due() -> None:
    """Let the sweeper look, which measures its hours by a clock that does not jump.

    NOTE: gc.get_objects() would find it as well, and break a tuple that another thread is making of an iterator
    (SystemError, bpo-15108): no way while a thread may be at work.
    """
    for task in asyncio.all_tasks():
        frame = getattr(task.get_coro(), "cr_frame", None)
        owner = getattr(frame and frame.f_locals.get("run"), "__self__", None)
        if owner is not None and type(owner).__name__ == "Sweeper":
            owner.look_now()


def _count(*_: object) -> None:
    tasks = asyncio.all_tasks(asyncio.get_running_loop())
    gc.collect()
    kinds = Counter(f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.get_objects())
    counted = {
        "tasks": len(tasks),
        "task_names": sorted(task.get_coro().__qualname__ for task in tasks),  # type: ignore[union-attr]
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "objects": sum(kinds.values()),
        "kinds": dict(kinds.most_common(400)),
        "places": {},
        "traced_bytes": 0,
    }
    if tracemalloc.is_tracing():
        found = tracemalloc.take_snapshot().statistics("lineno")
        counted["places"] = {str(one.traceback): one.size for one in found[: 10 * _PLACES]}
        counted["traced_bytes"] = sum(one.size for one in found)
    assert _COUNTED is not None
    new = _COUNTED.with_suffix(".new")
    new.write_text(json.dumps(counted))
    new.replace(_COUNTED)


if _COUNTED is not None:
    time.time = _later
    signal.signal(signal.SIGUSR1, _let_a_day_pass)
    signal.signal(signal.SIGUSR2, _count)
