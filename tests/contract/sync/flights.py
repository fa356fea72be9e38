"""Which commands a client sends without waiting for an answer."""

import asyncio
import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from syncd.imap.types import NEW_MAX
from tests.contract.sync.tap import Tap

COMMAND = re.compile(rb"[A-P]{4}\d+ (?:UID )?([A-Z]+)\b")
_ANSWER = re.compile(rb"^[A-P]{4}\d+ (?:OK|NO|BAD)\b", re.MULTILINE)
_ROWS = re.compile(rb"UID FETCH (\d+):(\d+) \(UID FLAGS [^)]*RFC822\.SIZE")
_TURNS = 50
"""Of the loop, and to a thread and back: many more than a client takes from one of its commands to the next."""


def _asks_for_new(line: bytes) -> bool:
    asked = _ROWS.search(line)
    return asked is not None and int(asked[2]) - int(asked[1]) == NEW_MAX - 1


@contextmanager
def flights(
    tap: Tap, *, apart_from: Collection[str] = frozenset({"LIST", "SELECT", "NEW", "IDLE"}), is_far: bool = False
) -> Iterator[list[list[str]]]:
    """Gather which commands a client sends without waiting for an answer, apart from those that ask what is new.

    NEW is a FETCH of the rows that are new since a mailbox was known. is_far: answers wait for as long as anything is
    sent.
    """
    found: list[list[str]] = []
    is_answered = True

    async def sent(line: bytes) -> None:
        nonlocal is_answered
        verb = COMMAND.match(line)
        if verb is not None:
            if is_answered:
                found.append([])
            found[-1].append("NEW" if _asks_for_new(line) else verb[1].decode())
            is_answered = False

    async def hold(octets: bytes) -> None:
        nonlocal is_answered
        count = -1
        while is_far and len(tap.lines) > count:
            count = len(tap.lines)
            for _ in range(_TURNS):
                await asyncio.sleep(0)
                await asyncio.to_thread(os.getpid)
        is_answered |= _ANSWER.search(octets) is not None

    tap.before_line, tap.before_answer = sent, hold
    yield found
    tap.before_line = tap.before_answer = None
    found[:] = [kept for flight in found if (kept := [verb for verb in flight if verb not in apart_from])]
