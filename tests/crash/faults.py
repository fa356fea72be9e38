"""Points at which a process can be killed: before and after each commit, file call and octets sent, counted."""

import asyncio.selector_events
import os
import signal
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial, wraps
from typing import Any

from sqlalchemy import Connection, Engine, event

from syncd.maildir.disk import barrier, files

_OURS = f"{os.sep}syncd{os.sep}"
_FRAMES = 4
_FILE_CALLS = ("rename", "link", "unlink", "mkdir", "write", "fsync", "utime")


class Kind(StrEnum):
    """What is counted."""

    COMMIT = "commit"
    FILE = "file"
    SEND = "send"


@dataclass(frozen=True, slots=True)
class Fault:
    """Kill the process at the n-th point of a kind, counted from 1; site: of those whose site begins so."""

    kind: Kind
    number: int
    site: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.number} {self.site}".rstrip()


class Faults:
    """Count points, and end the process without a further instruction at the chosen one."""

    def __init__(self, fault: Fault | None) -> None:
        self.counted: Counter[Kind] = Counter()
        self.by_site: defaultdict[str, list[int]] = defaultdict(list)
        """The points of each kind, by what is called and by whom; those of one site do the same to another thing."""
        self._fault = fault
        self._left = 0 if fault is None else fault.number
        self._lock = threading.Lock()

    def install(self) -> None:
        """Wrap what is counted, for the rest of the process's life."""
        event.listen(Engine, "commit", self._on_commit)
        for name in _FILE_CALLS:
            setattr(os, name, self._wrapped(Kind.FILE, getattr(os, name)))
        for module, name in ((files, "rename_without_replacing"), (barrier, "syncfs")):
            setattr(module, name, self._wrapped(Kind.FILE, getattr(module, name)))
        transport = asyncio.selector_events._SelectorSocketTransport
        transport.write = self._wrapped(Kind.SEND, transport.write)

    def _on_commit(self, _: Connection) -> None:
        # NOTE: SQLAlchemy calls this before it commits; the point after it is the first of whatever comes next.
        if threading.current_thread().name == "store-writer":
            self._pass(Kind.COMMIT, "before it")

    def _wrapped(self, kind: Kind, call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def counted(*arguments: Any, **named: Any) -> Any:
            self._pass(kind, f"before {call.__name__}")
            result = call(*arguments, **named)
            self._pass(kind, f"after {call.__name__}")
            return result

        return counted

    def _pass(self, kind: Kind, what: str) -> None:
        with self._lock:
            self.counted[kind] += 1
            site = f"{kind} {what} {_callers()}"
            self.by_site[site].append(self.counted[kind])
            if self._fault is not None and self._fault.kind is kind and site.startswith(self._fault.site):
                self._left -= 1
                if not self._left:
                    os.kill(os.getpid(), signal.SIGKILL)


def _callers() -> str:
    """Return the innermost functions of syncd that are running in this thread, and what is written by a commit."""
    found: list[str] = []
    frame = sys._getframe(2)
    while frame is not None and len(found) < _FRAMES:
        if _OURS in frame.f_code.co_filename:
            found.append(frame.f_code.co_qualname)
            if frame.f_code.co_name == "_commit_once":
                found += [_name(write.function) for write in frame.f_locals["batch"]]
        frame = frame.f_back
    return " < ".join(found)


def _name(function: Any) -> str:
    while isinstance(function, partial):
        function = function.func
    return str(function.__qualname__)
