"""Floor 4: the thread that writes: what it began it ends, whoever stops waiting for it."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar, TypeVarTuple

_Args = TypeVarTuple("_Args")
_Result = TypeVar("_Result")


async def to_its_end(write: Callable[[*_Args], _Result], *args: *_Args) -> _Result:
    """Run what writes in a thread; a cancellation passes when it has ended, so that no two write to one replica."""
    work = asyncio.get_running_loop().run_in_executor(None, write, *args)
    try:
        await asyncio.wait({work})
    except asyncio.CancelledError:
        while not work.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait({work})
        work.exception()  # nobody is left to hear of it
        raise
    return work.result()
