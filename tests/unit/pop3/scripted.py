"""A POP3 server that does what real ones will not: cut, stall, lie and inject, at a moment the test chooses.

It keeps its maildrop over sessions and deletes at QUIT as RFC 1939 says. A test gives it a `hook`, which sees each
command before it is answered and may return a `Reply` instead of None (answer properly).
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from types import TracebackType
from typing import Self

from syncd.pop3.endpoint import Endpoint, Limits, Security

HOST = "127.0.0.1"
QUICK = Limits(connect_s=5, command_s=5, inactivity_s=5)


class Then(Enum):
    """Say what the server does after a reply."""

    GO_ON = auto()
    CUT = auto()
    STALL = auto()


@dataclass(frozen=True, slots=True)
class Reply:
    """Hold octets to send instead of an answer."""

    octets: bytes = b""
    then: Then = Then.GO_ON


CUT = Reply(then=Then.CUT)
STALL = Reply(then=Then.STALL)


@dataclass(slots=True)
class Mail:
    """Hold a message of the maildrop; `size` is what LIST says of it, None the truth."""

    uidl: str
    octets: bytes
    size: int | None = None


@dataclass(slots=True)
class Session:
    """Hold what one client did."""

    number: int
    commands: list[str] = field(default_factory=list)
    deleted: set[int] = field(default_factory=set)
    unanswered: bytes = b""


Hook = Callable[[Session, str], Reply | None]


class ScriptedServer:
    """Serve one maildrop; `async with` starts and ends it."""

    def __init__(
        self,
        mails: Iterable[Mail] = (),
        *,
        capabilities: str = "PIPELINING UIDL USER STLS",
        eol: bytes = b"\r\n",
        greeting: bytes = b"+OK ready",
        hook: Hook | None = None,
        tls: ssl.SSLContext | None = None,
        security: Security = Security.PLAIN,
        is_stuffing: bool = True,
    ) -> None:
        self.mails = list(mails)
        self.sessions: list[Session] = []
        self.capabilities = capabilities
        self.deletes_without_quit = False
        self.hook: Hook = hook or (lambda session, line: None)
        self._eol = eol
        self._greeting = greeting
        self._tls = tls
        self._security = security
        self._is_stuffing = is_stuffing
        self._moved = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        context = self._tls if self._security is Security.TLS else None
        self._server = await asyncio.start_server(self._serve, HOST, 0, ssl=context, limit=2**20)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def endpoint(self, trust: ssl.SSLContext | None = None) -> Endpoint:
        """Return how to reach the server."""
        assert self._server
        port = self._server.sockets[0].getsockname()[1]
        return Endpoint(HOST, port, self._security, trust)

    @property
    def commands(self) -> list[str]:
        """Return the first words of all commands of the last session."""
        return [line.partition(" ")[0] for line in self.sessions[-1].commands]

    async def idle(self) -> None:
        """Wait until the server knows that its clients are gone."""
        async with asyncio.timeout(5):
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def seen(self, verb: str) -> None:
        """Wait until the last session got a command."""
        async with asyncio.timeout(5):
            while not self.sessions or verb not in self.commands:
                self._moved.clear()
                await self._moved.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        session = Session(len(self.sessions) + 1)
        self.sessions.append(session)
        try:
            with contextlib.suppress(ConnectionError, asyncio.CancelledError, ssl.SSLError):
                await self._talk(session, reader, writer)
        finally:
            if self.deletes_without_quit:
                self._expunge(session)
            writer.transport.abort()
            # NOTE: after a failed handshake the stream never hears that it was closed.
            with contextlib.suppress(ConnectionError, ssl.SSLError, TimeoutError, asyncio.CancelledError):
                async with asyncio.timeout(0.2):
                    await writer.wait_closed()
            self._tasks.discard(task)

    async def _talk(self, session: Session, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._greeting + self._eol)
        while octets := await reader.readline():
            line = octets.decode().rstrip("\r\n")
            session.commands.append(line)
            self._moved.set()
            reply = self.hook(session, line) or Reply(self.answer(session, line))
            writer.write(reply.octets)
            await writer.drain()
            while reply.then is Then.STALL and (unanswered := await reader.read(4096)):
                session.unanswered += unanswered
            if reply.then is not Then.GO_ON:
                break
            if line == "STLS" and reply.octets.startswith(b"+OK"):
                assert self._tls
                await writer.start_tls(self._tls)
            if line == "QUIT":
                break
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.drain()
            writer.close()
            await writer.wait_closed()

    def answer(self, session: Session, line: str) -> bytes:
        """Return the proper answer to a command, and do what it asks for."""
        verb, _, argument = line.partition(" ")
        there = [number for number in range(1, len(self.mails) + 1) if number not in session.deleted]
        match verb:
            case "CAPA":
                return self.lines(capability.encode() for capability in self.capabilities.split())
            case "STAT":
                return self.line(b"+OK %d %d" % (len(there), sum(map(self.size, there))))
            case "LIST":
                return self.lines(b"%d %d" % (number, self.size(number)) for number in there)
            case "UIDL":
                return self.lines(b"%d %s" % (number, self.mails[number - 1].uidl.encode()) for number in there)
            case "RETR":
                return self.body(self.mails[int(argument) - 1].octets)
            case "DELE":
                session.deleted.add(int(argument))
            case "QUIT":
                self._expunge(session)
        return self.line(b"+OK")

    def _expunge(self, session: Session) -> None:
        self.mails = [mail for at, mail in enumerate(self.mails, 1) if at not in session.deleted]
        session.deleted.clear()

    def size(self, number: int) -> int:
        """Return what LIST says of a message."""
        mail = self.mails[number - 1]
        return len(mail.octets) if mail.size is None else mail.size

    def line(self, text: bytes) -> bytes:
        """Return a line in the server's form."""
        return text + self._eol

    def lines(self, lines: Iterable[bytes]) -> bytes:
        """Return a multi-line answer."""
        return b"".join(line + self._eol for line in (b"+OK", *lines, b"."))

    def body(self, octets: bytes) -> bytes:
        """Return a RETR answer."""
        stuffed = (b"\n" + octets).replace(b"\n.", b"\n..")[1:] if self._is_stuffing else octets
        return self.line(b"+OK") + stuffed + self.line(b".")
