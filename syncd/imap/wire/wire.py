"""Floor 3: the aioimaplib protocol made fit for sync: pipelining, deadlines, and failing everything at once.

Theory. The tokenizer cuts octets into responses. An untagged one is parsed when it is complete and handed to the one
receiver, whatever command runs. Commands live in an ordered map by tag. A pipelined command may join others of its
kind; any other is a barrier: it waits until nothing is in flight, and everything waits for it; who waits is served
first come, first served. The connection ends at the first loss, missed deadline, abandoned command or malformed
response: every command gets the reason, and nothing is read or sent any more. So no answer can meet a wrong command.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing, contextmanager
from typing import Protocol

from aioimaplib.aioimaplib import IMAP4ClientProtocol

from syncd.errors import ConnectionLostError, ProtocolError, SyncdError, TooSlowError
from syncd.imap.answers.parse import parse_tagged, parse_untagged, said_again
from syncd.imap.types import Octets, Status, Tagged, Untagged
from syncd.imap.wire import trace
from syncd.imap.wire.arguments import Argument, pieces_of
from syncd.imap.wire.back_pressure import BackPressure
from syncd.imap.wire.limits import Limits
from syncd.imap.wire.outgoing import Outgoing
from syncd.imap.wire.tokenizer import LiteralSink, Tokenizer
from syncd.imap.wire.wire_command import WireCommand
from syncd.log import log
from syncd.tls import ending_error
from syncd.trace import is_wanted


class Receiver(Protocol):
    """What owns a wire: it takes every untagged response, and says where large literals go."""

    def on_response(self, response: Untagged) -> None: ...

    def on_answers(self, responses: Iterable[Untagged]) -> None:
        """Take what LIST or STATUS say, which is news of nothing."""
        ...

    def open_sink(self, size_bytes: int) -> LiteralSink | None: ...

    def on_failure(self, error: SyncdError) -> None:
        """Take the reason of the connection's end before anybody else does."""
        ...


class WireProtocol(IMAP4ClientProtocol):  # type: ignore[misc]  # aioimaplib has no types
    """One connection's octets; see the module's theory.

    non_sync_max_bytes: the largest literal that may be sent unasked (RFC 7888), -1 where not even an empty one may be;
    the owner sets it by capability.
    """

    def __init__(self, receiver: Receiver, limits: Limits) -> None:
        super().__init__(asyncio.get_running_loop())
        self.failure: SyncdError | None = None
        self.closed = asyncio.Event()
        self.greeting: asyncio.Future[Status] = self.loop.create_future()
        self.non_sync_max_bytes = -1
        self._receiver = receiver
        self._limits = limits
        self._tokenizer = Tokenizer(self, limits)
        self._is_trusted = False
        self.in_flight: dict[str, WireCommand] = {}  # in the order in which they are to be answered
        self._waiting: deque[tuple[WireCommand, asyncio.Future[None]]] = deque()
        self._speaker: WireCommand | None = None
        self._continuation: asyncio.Future[bytes | None] | None = None
        self._outgoing = Outgoing(self._write)
        self._pressure = BackPressure(limits.held_max_bytes, clock=self.loop.time)
        self._active_at = self.loop.time()
        self._watchdog: asyncio.TimerHandle | None = None
        self._is_traced = is_wanted()

    # What asyncio calls.

    def data_received(self, d: bytes) -> None:
        if self.failure is not None:
            return
        self._active_at = self.loop.time()
        try:
            self._tokenizer.feed(d)
        except SyncdError as error:
            self.fail_all(error)
        except Exception as error:  # asyncio would close the socket and wake nobody
            lost = ProtocolError("a response of the server could not be handled")
            lost.__cause__ = error
            self.fail_all(lost)

    def eof_received(self) -> bool:
        self.transport.abort()  # nobody takes what is still to be sent, and the socket would wait for that
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()
        self.fail_all(ending_error(exc))
        self._outgoing.resume()

    def pause_writing(self) -> None:
        self._outgoing.pause()

    def resume_writing(self) -> None:
        self._active_at = self.loop.time()
        self._outgoing.resume()

    # What the tokenizer calls.

    def on_untagged(self, pieces: tuple[Octets, ...]) -> None:
        if self._is_traced:
            trace.received(pieces)
        response = parse_untagged(pieces)
        if not self.greeting.done():
            if not isinstance(response, Status):
                raise ProtocolError("the server did not greet")
            self.greeting.set_result(response)
            return
        self._count(1)
        self._receiver.on_response(response)

    def on_lines(self, texts: list[bytes]) -> None:
        again = said_again(texts) if self.greeting.done() and not self._is_traced else [None] * len(texts)
        answers: list[Untagged] = []
        for text, response in zip(texts, again, strict=True):
            if response is not None:
                answers.append(response)
                continue
            self._hand_over(answers)
            self.on_untagged((text,))
        self._hand_over(answers)

    def _hand_over(self, answers: list[Untagged]) -> None:
        if answers:
            self._count(len(answers))
            self._receiver.on_answers(answers)
            answers.clear()

    def _count(self, responses: int) -> None:
        head = next(iter(self.in_flight.values()), None)
        if head is not None:
            head.responses += responses
            if head.responses > self._limits.untagged_max:
                raise ProtocolError("the server sent more responses than our limit")

    def on_tagged(self, line: bytes) -> None:
        if self._is_traced:
            trace.ended(line)
        end = parse_tagged(line)
        if end is None or not self.greeting.done():
            raise ProtocolError("the server sent a line that is no response")
        command = self.in_flight.pop(end.tag, None)
        if command is None:
            if self._was_issued(end.tag):
                return
            raise ProtocolError("the server answered a command that was not sent")
        if command.name == "STARTTLS" and end.kind == "OK":
            self._tokenizer.seal()
        if command.deadline is not None:
            command.deadline.cancel()
        command.finish(end)
        self._begin_turn()
        log.debug("command_finished", command=command.name, result=end.kind, code=end.text.code)
        if self._speaker is command:
            self._answer_speaker(None)
        self._admit()

    def on_continuation(self, text: bytes) -> None:
        if not self.greeting.done():
            raise ProtocolError("the server did not greet")
        # NOTE: a `+` that nobody waits for asks for nothing.
        self._answer_speaker(text)

    def open_literal(self, size_bytes: int) -> LiteralSink | None:
        return self._receiver.open_sink(size_bytes) if self._is_trusted else None

    # What the owner calls.

    async def run(
        self,
        name: str,
        arguments: tuple[Argument, ...] = (),
        *,
        is_pipelined: bool = False,
        deadline_s: float | None = None,
        converse: Callable[[WireCommand], Awaitable[None]] | None = None,
    ) -> Tagged:
        """Send a command as `begin` does and return its end; the connection dies with a command that is given up."""
        command = await self.begin(name, arguments, is_pipelined=is_pipelined, deadline_s=deadline_s, converse=converse)
        return await self.end_of(command)

    async def end_of(self, command: WireCommand) -> Tagged:
        """Wait for the end of a command that `begin` has sent."""
        with self._kept(command):
            await command.wait()
        assert command.end is not None  # noqa: S101  # wait() returned: it ended, or raised why not
        return command.end

    async def begin(
        self,
        name: str,
        arguments: tuple[Argument, ...] = (),
        *,
        is_pipelined: bool = False,
        deadline_s: float | None = None,
        converse: Callable[[WireCommand], Awaitable[None]] | None = None,
        on_turn: Callable[[], None] | None = None,
    ) -> WireCommand:
        """Send a command and all that `converse` says after its line, with `continuation` and `say`.

        deadline_s: from its being sent to its end, without the time in which reading was paused for our own sake.
        on_turn: see `WireCommand`.
        """
        if self.failure is not None:
            raise ConnectionLostError(f"the connection is closed: {self.failure}") from self.failure
        limit_s, tag = deadline_s or self._limits.command_s, self.new_tag()
        command = WireCommand(name, tag, arguments, is_pipelined=is_pipelined, deadline_s=limit_s, on_turn=on_turn)
        ready: asyncio.Future[None] = self.loop.create_future()
        self._waiting.append((command, ready))
        self._admit()
        with self._kept(command):
            await ready
            await self._speak(command, converse)
        return command

    async def continuation(self) -> bytes | None:
        """Return the text of the server's next `+` line, or None once the command is over."""
        if self._speaker is None or self._speaker.is_over:
            return None
        self._continuation = self.loop.create_future()
        try:
            return await self._continuation
        finally:
            self._continuation = None

    async def say(self, octets: bytes) -> None:
        """Write octets and wait until the transport has room again."""
        if self.failure is not None:
            raise self.failure
        self._active_at = self.loop.time()
        self._begin_to_watch()
        await self._outgoing.say(octets)

    def _write(self, octets: bytes | bytearray) -> None:
        self.transport.write(octets)  # after STARTTLS another one than before

    def trust(self) -> None:
        """Allow what only a server that we are logged in to has a use for: long lines and large literals."""
        self._is_trusted = True
        self._tokenizer.trust()

    def reopen(self) -> None:
        """Read again after the STARTTLS answer, from the moment the transport decrypts."""
        self._tokenizer.unseal()

    def hold(self, size_bytes: int) -> None:
        """Count what was read and not yet taken; reading pauses above the limit."""
        if self._pressure.hold(size_bytes) and self.failure is None:
            self.transport.pause_reading()

    def release(self, size_bytes: int) -> None:
        """Count what was taken; reading resumes below half the limit."""
        if self._pressure.release(size_bytes):
            self._active_at = self.loop.time()
            if self.failure is None:
                self.transport.resume_reading()

    def fail_all(self, error: SyncdError) -> None:
        """End the connection at once: every command, sent or waiting, gets `error`; only the first call counts."""
        if self.failure is not None:
            return
        self.failure = error
        self._outgoing.drop()
        self._receiver.on_failure(error)
        log.debug("connection_ended", error=type(error).__name__)
        for command in self.in_flight.values():
            if command.deadline is not None:
                command.deadline.cancel()
            command.fail(error)
        self.in_flight.clear()
        for _, ready in self._waiting:
            if not ready.done():
                ready.set_exception(error)
        self._waiting.clear()
        self._answer_speaker(None)
        if not self.greeting.done():
            self.greeting.set_exception(error)
            self.greeting.exception()  # nobody may be waiting for it
        if self._watchdog is not None:
            self._watchdog.cancel()
        if self.transport is not None:
            self.transport.abort()

    # Sending.

    @contextmanager
    def _kept(self, command: WireCommand) -> Iterator[None]:
        """End the connection where a command that is in flight is given up."""
        try:
            yield
        except BaseException:
            if command.tag in self.in_flight:
                self.fail_all(ConnectionLostError(f"the command {command.name.lower()} was given up"))
            raise

    def _admit(self) -> None:
        while self._waiting and self._speaker is None:
            command, ready = self._waiting[0]
            if not ready.done():
                head = next(iter(self.in_flight.values()), None)
                if head is not None and not (head.is_pipelined and command.is_pipelined):
                    return
                self.in_flight[command.tag] = command
                self._speaker = command
                if head is None:
                    command.begin_turn()
                ready.set_result(None)
            self._waiting.popleft()

    async def _speak(self, command: WireCommand, converse: Callable[[WireCommand], Awaitable[None]] | None) -> None:
        command.paused_s = self._pressure.paused_s
        command.deadline = self.loop.call_later(command.deadline_s, self._expire, command)
        try:
            if await self._send(command) and converse is not None:
                await converse(command)
        finally:
            self._speaker = None
            self._admit()

    async def _send(self, command: WireCommand) -> bool:
        if self._is_traced:
            trace.sent(command.tag, command.name, command.arguments)
        line = bytearray(f"{command.tag} {command.name}".encode())
        line += b" " if command.arguments else b""
        for argument in command.arguments:
            if isinstance(argument, bytes):
                line += argument
                continue
            # NOTE: a command may be over between two of its literals; what was sent of it is then ended as a line.
            if command.is_over:
                line = bytearray()
                break
            is_unasked = argument.size_bytes <= self.non_sync_max_bytes
            line += b"{%d+}\r\n" % argument.size_bytes if is_unasked else b"{%d}\r\n" % argument.size_bytes
            await self.say(bytes(line))
            line.clear()
            if not is_unasked and await self.continuation() is None:
                return False
            async with aclosing(pieces_of(argument)) as pieces:
                async for piece in pieces:
                    await self.say(piece)
        await self.say(bytes(line + b"\r\n"))
        return not command.is_over

    def _answer_speaker(self, text: bytes | None) -> None:
        if self._continuation is not None and not self._continuation.done():
            self._continuation.set_result(text)

    def _was_issued(self, tag: str) -> bool:
        count = tag.removeprefix(self.tagpre)
        return count != tag and count.isdigit() and len(count) < 19 and int(count) < self.tagnum

    # Deadlines.

    def _begin_turn(self) -> None:
        """Give the command that is answered next all its time; what was before it had a deadline of its own."""
        head = next(iter(self.in_flight.values()), None)
        if head is None:
            return
        head.begin_turn()
        if head.deadline is not None:
            head.deadline.cancel()
            head.paused_s = self._pressure.paused_s
            head.deadline = self.loop.call_later(head.deadline_s, self._expire, head)

    def _expire(self, command: WireCommand) -> None:
        head = next(iter(self.in_flight.values()), None)
        if head is None:
            return
        paused, command.paused_s = self._pressure.paused_s - command.paused_s, self._pressure.paused_s
        left = paused if command is head else command.deadline_s
        if left > 0:
            command.deadline = self.loop.call_later(left, self._expire, command)
            return
        self.fail_all(TooSlowError(f"the server did not end {command.name.lower()} in time"))

    def _begin_to_watch(self) -> None:
        if self._watchdog is None:
            self._watchdog = self.loop.call_later(self._limits.inactivity_s, self._watch)

    def _watch(self) -> None:
        """End a connection whose server fell silent; while only IDLE waits nobody looks, until its DONE is said."""
        self._watchdog = None
        waiting = [command for command in self.in_flight.values() if not command.is_silent]
        if waiting:
            left = self._active_at + self._limits.inactivity_s - self.loop.time()
            if left <= 0 and not self._pressure.is_paused:
                self.fail_all(TooSlowError(f"the server fell silent in {waiting[0].name.lower()}"))
                return
            self._watchdog = self.loop.call_later(max(left, self._limits.inactivity_s / 10), self._watch)
