"""A server that says exactly what a test wrote, for what no real server will do."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from syncd.imap.connection import ImapConnection
from syncd.imap.wire.endpoint import Endpoint
from syncd.imap.wire.limits import Limits

GREETING = b"* OK ready\r\n"
WAIT_S = 10.0
_LITERAL = re.compile(rb"\{(\d+)(\+?)\}\r\n$")


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what happens on another thread or at the other end."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110  # a thread sets no event of ours
            await asyncio.sleep(0.002)


class Peer:
    """The server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.tag = b""

    async def command(self) -> bytes:
        """Return the next command without its tag, literals joined in, and remember the tag; b"" at the end."""
        line = await self.line()
        self.tag, _, rest = line.partition(b" ")
        return rest

    async def line(self) -> bytes:
        """Return the next line with literals joined in as they came, without the last line end."""
        joined = b""
        while True:
            line = await asyncio.wait_for(self.reader.readline(), WAIT_S)
            joined += line
            literal = _LITERAL.search(line)
            if literal is None:
                return joined.removesuffix(b"\r\n")
            if not literal[2]:
                await self.send(b"+ go on\r\n")
            joined += await asyncio.wait_for(self.reader.readexactly(int(literal[1])), WAIT_S)

    async def expect(self, start: bytes) -> bytes:
        """Return the next command, which must start with `start`."""
        command = await self.command()
        assert command.startswith(start), f"expected {start!r}, got {command[:200]!r}"
        return command

    async def send(self, octets: bytes) -> None:
        self.writer.write(octets)
        await self.writer.drain()

    async def ok(self, before: bytes = b"", text: bytes = b"done") -> None:
        """Send untagged data and the tagged OK of the last command."""
        await self.send(before + self.tag + b" OK " + text + b"\r\n")

    async def no(self, text: bytes = b"no") -> None:
        await self.send(self.tag + b" NO " + text + b"\r\n")

    async def answer(self, start: bytes, before: bytes = b"", text: bytes = b"done") -> bytes:
        """Expect a command and say OK to it."""
        command = await self.expect(start)
        await self.ok(before, text)
        return command

    async def log_in(self, capabilities: bytes = b"IMAP4rev1 IDLE ENABLE CONDSTORE QRESYNC ESEARCH LITERAL+") -> None:
        """Greet, take any LOGIN, and announce capabilities."""
        await self.send(GREETING)
        await self.answer(b"CAPABILITY", b"* CAPABILITY IMAP4rev1\r\n")
        await self.answer(b"LOGIN")
        await self.answer(b"CAPABILITY", b"* CAPABILITY " + capabilities + b"\r\n")

    async def gone(self) -> None:
        """Wait until the client has closed the connection."""
        try:
            while await asyncio.wait_for(self.reader.read(65536), WAIT_S):
                pass
        except ConnectionError:
            pass


Script = Callable[[Peer], Awaitable[None]]


class Served:
    """A running script; `finish` raises what went wrong in it."""

    def __init__(self) -> None:
        self.port = 0
        self.peers: list[Peer] = []
        self.scripts: list[asyncio.Task[None]] = []

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("127.0.0.1", self.port, "none")

    async def finish(self) -> None:
        """Wait until every script has ended."""
        await asyncio.wait_for(asyncio.gather(*self.scripts), WAIT_S)


@asynccontextmanager
async def serve(script: Script, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> AsyncIterator[Served]:
    """Run `script` for every client that connects, until the context ends."""
    served = Served()

    async def run(peer: Peer) -> None:
        try:
            await script(peer)
        except ConnectionError:
            pass  # the client left, as some tests want it to
        finally:
            peer.writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        served.peers.append(peer)
        served.scripts.append(asyncio.ensure_future(run(peer)))

    server = await asyncio.start_server(accept, host, 0, ssl=tls, limit=2**26)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()
        for task in served.scripts:
            task.cancel()
        await asyncio.gather(*served.scripts, return_exceptions=True)
        for peer in served.peers:
            if not peer.writer.transport.is_closing():  # CPython 3.11.2 cannot abort TLS that is closed
                peer.writer.transport.abort()


@asynccontextmanager
async def connected(script: Script, *, limits: Limits | None = None, **login: bytes) -> AsyncIterator[ImapConnection]:
    """Give a logged-in connection to a server that then runs `script`, and check at the end that it ran through."""

    async def whole(peer: Peer) -> None:
        await peer.log_in(**login)
        await script(peer)

    async with serve(whole) as served:
        connection = await ImapConnection.open(served.endpoint, limits)
        try:
            await connection.login("ana", "secret")
            yield connection
            await served.finish()
        finally:
            await connection.aclose()


SELECTED = (
    b"* FLAGS (\\Seen \\Flagged)\r\n* 3 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n* OK [UIDNEXT 4] ok\r\n"
    b"* OK [HIGHESTMODSEQ 10] ok\r\n* OK [PERMANENTFLAGS (\\Seen \\Flagged \\*)] ok\r\n"
)
