"""Floor 3: octets on their way to the server, gathered while one thing is said after the other, sent as one."""

import asyncio
from collections.abc import Callable

_AT_ONCE = 256 * 1024
_TURNS = 3
"""How many turns of the event loop others have to speak as well: what begins beside a command speaks in its third."""


class Outgoing:
    """Hand octets to a transport, and keep whoever says more than it takes waiting.

    NOTE: what is said in one go, such as DONE and what follows it, are one packet and one system call: to send one over
    loopback costs more than to make ten commands. So whoever is about to speak comes first.
    """

    def __init__(self, write: Callable[[bytes | bytearray], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._write = write
        self._unsent = bytearray()
        self._writable = asyncio.Event()
        self._writable.set()

    async def say(self, octets: bytes) -> None:
        """Take octets, and return when the transport has room again."""
        if not self._unsent:
            self._loop.call_soon(self._wait, _TURNS - 1)
        self._unsent += octets
        if len(self._unsent) >= _AT_ONCE:
            self._flush()
        await self._writable.wait()

    def pause(self) -> None:
        """Let whoever speaks wait: the transport has no room."""
        self._writable.clear()

    def resume(self) -> None:
        """Let whoever waits go on."""
        self._writable.set()

    def drop(self) -> None:
        """Forget what was not handed to the transport."""
        self._unsent = bytearray()

    def _wait(self, turns: int) -> None:
        if turns:
            self._loop.call_soon(self._wait, turns - 1)
        else:
            self._flush()

    def _flush(self) -> None:
        if self._unsent:
            unsent, self._unsent = self._unsent, bytearray()
            self._write(unsent)
