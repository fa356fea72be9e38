"""A wire tap between syncd and a server: it counts what is asked, holds commands back, and cuts the wire."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from syncd.mail.uidset import UidSet
from tests.servers.dovecot import HOST

_BODIES = re.compile(rb"(?i)UID FETCH ([\d:,]+) \(UID BODY\.PEEK\[\]\)")
_UNASKED = re.compile(rb"\{(\d+)\+\}\r\n$")
_LITERAL = re.compile(rb"\{(\d+)\+?\}\r\n$")
_NO_MORE = b" {0}\r\n"
"""An empty literal, by which a client takes back a MULTIAPPEND that it has begun (RFC 3502 6.3.11)."""
Hook = Callable[[bytes], Awaitable[None]]


def _never(_: bytes) -> bool:
    return False


def _nothing(_: bytes) -> bytes:
    return b""


class _Command:
    """Tell of the lines of a client which command they belong to; some go on after a literal, and some are of one."""

    def __init__(self) -> None:
        self.tag = b""
        self.goes_on = False
        """Whether the last line was no command's first."""
        self._literal_left = 0
        self._is_open = False

    def hear(self, line: bytes) -> None:
        self.goes_on = self._is_open
        if self._literal_left >= len(line):
            self._literal_left -= len(line)
            return
        rest = line[self._literal_left :]
        if not self._is_open:
            self.tag = rest.partition(b" ")[0].strip()
        announced = _LITERAL.search(rest)
        self._is_open, self._literal_left = announced is not None, int(announced[1]) if announced else 0

    def end(self) -> None:
        """Let the next line begin a command, whatever this one announced."""
        self._is_open, self._literal_left = False, 0


class Tap:
    """Forward every connection to a port of the server; one line of the client at a time."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.port = 0
        self.bodies: list[UidSet] = []
        """The UIDs of each command that asked for bodies, in order."""
        self.lines: list[bytes] = []
        """What clients said, the first words of each line."""
        self.before_line: Hook | None = None
        """Called with each line of a client before it is forwarded."""
        self.refuses: Callable[[bytes], bool] = _never
        """Tells which lines of a client the server never sees, with the literals that they announce.

        One that goes on with a command ends it: of that the server keeps nothing, as of any that it refuses.
        """
        self.refusal = b"NO not this"
        """What is answered to them."""
        self.alters: Callable[[bytes], bytes] = bytes
        """Gives what the server is asked instead of a line."""
        self.precedes: Callable[[bytes], bytes] = _nothing
        """Gives octets that the client gets before the server's answer to a line."""
        self.says: Callable[[bytes], bytes] | None = None
        """Gives what the client hears instead of a line of the server; nothing for no line."""
        self.before_answer: Hook | None = None
        """Called with each piece of what the server says before it is forwarded."""
        self.drops: Callable[[bytes], bool] = _never
        """Tells after which lines of a client, and what precedes the answer, the connection ends."""
        self.cut_after_bytes: int | None = None
        """Cut the connection after this many more octets of the server; None: never."""
        self.cuts = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._begin, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a connection, which ends with its task, also with one that is cancelled before it begins."""
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: writer.transport.abort())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            from_server, to_server = await asyncio.open_connection(HOST, self._target)
        except OSError:
            return
        refused: set[bytes] = set()  # the tags of commands that the server had begun to read
        upward = asyncio.create_task(self._forward_lines(reader, to_server, writer, refused))
        downward = asyncio.create_task(self._forward_octets(from_server, writer, refused))
        try:
            await asyncio.wait((upward, downward), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in (upward, downward):
                one.cancel()
            await asyncio.gather(upward, downward, return_exceptions=True)
            to_server.transport.abort()

    async def _forward_lines(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        client: asyncio.StreamWriter,
        refused: set[bytes],
    ) -> None:
        command = _Command()
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                line = await reader.readuntil(b"\n")
                command.hear(line)
                if found := _BODIES.search(line):
                    self.bodies.append(UidSet.parse(found[1].decode()))
                self.lines.append(line.strip())
                if self.before_line is not None:
                    await self.before_line(line)
                if octets := self.precedes(line):
                    client.write(octets)
                    await client.drain()
                if self.drops(line):
                    return
                if self.refuses(line):
                    rest = line
                    while found := _UNASKED.search(rest):  # MULTIAPPEND has several
                        await reader.readexactly(int(found[1]))
                        rest = await reader.readuntil(b"\n")
                    command.end()
                    if command.goes_on:
                        refused.add(command.tag)
                        writer.write(_NO_MORE)
                        await writer.drain()
                    else:
                        client.write(command.tag + b" " + self.refusal + b"\r\n")
                    continue
                writer.write(self.alters(line))
                await writer.drain()

    async def _forward_octets(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, refused: set[bytes]
    ) -> None:
        with suppress(OSError):
            while octets := await reader.read(65536):
                if self.says is not None or refused:
                    # NOTE: octets of a message are lines like others, so `says` should know what it is about.
                    octets += b"" if octets.endswith(b"\n") else await reader.readline()
                    lines = (self._refusing(line, refused) for line in octets.splitlines(keepends=True))
                    octets = b"".join(map(self.says or bytes, lines))
                if self.before_answer is not None:
                    await self.before_answer(octets)
                left = self.cut_after_bytes
                if left is not None:
                    self.cut_after_bytes = left - len(octets)
                    if left <= len(octets):
                        self.cut_after_bytes = None
                        self.cuts += 1
                        writer.write(octets[:left])
                        await writer.drain()
                        return
                writer.write(octets)
                await writer.drain()

    def _refusing(self, line: bytes, refused: set[bytes]) -> bytes:
        """Return what the client hears instead of the answer to a command that was taken back."""
        tag = line.partition(b" ")[0]
        if tag not in refused:
            return line
        refused.remove(tag)
        return tag + b" " + self.refusal + b"\r\n"
