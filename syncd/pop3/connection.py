"""Floor 3: one session as verbs: log in, list, retrieve, delete, quit; dropped at the first thing it cannot trust.

House rules. Everything except a well-formed -ERR ends the session without QUIT, so that the server forgets every DELE
of it (RFC 1939 §6): a client that goes on after an answer it did not understand is off by one, and deletes one
message for another. A body is handed on only when what follows it is in step, or nothing does: a server that
does not stuff dots "ends" a message in its middle.
"""

import asyncio
import base64
import binascii
import contextlib
import re
import ssl
import sys
from collections.abc import AsyncGenerator, Iterator, Sequence
from pathlib import Path
from typing import Self

from syncd import trace
from syncd.errors import (
    ConnectionLostError,
    LoginRefusedError,
    ProtocolError,
    Reach,
    RefusedError,
    SyncdError,
    Temper,
    TooSlowError,
    TrustError,
)
from syncd.hosts import is_loopback
from syncd.pop3.answers import AnswerReader, Challenge, Event, Piece, Status
from syncd.pop3.endpoint import Endpoint, Limits, Security
from syncd.pop3.listing import Listed, capabilities_of, count_of, join_listings, mechanisms_of
from syncd.pop3.spool import Body, BodySink
from syncd.pop3.window import Window
from syncd.pop3.wire import Wire
from syncd.sasl.mechanisms import Mechanism, Secret, choose_mechanism, temper_of_refusal
from syncd.values import Value

_CLOSE_S = 2.0
_CHALLENGES_MAX = 4
"""One more than SCRAM has."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BUSY = re.compile(rb"mail ?(drop|box)[^.]{0,40}\b(lock(ed)?|busy|in use)\b", re.IGNORECASE)
_SECRET = frozenset({"USER", "PASS"})
_GIVE_UP_CODES = frozenset({"SYS/PERM"})


class Fetched(Value):
    """Hold a message that was retrieved whole, as far as the server's framing tells."""

    listed: Listed
    body: Body


class Failed(Value):
    """Name the message that an error happened on; the session goes on only after a RefusedError."""

    listed: Listed
    error: SyncdError


class Connection:
    """Drive one session. `async with` drops it unless it was ended by `quit`."""

    def __init__(self, wire: Wire, limits: Limits) -> None:
        self._wire = wire
        self.limits = limits
        self._reader = AnswerReader(line_bytes=limits.line_bytes)
        self._is_broken = False
        self._outgoing = bytearray()
        self._began = 0.0
        self._received = 0
        self._is_traced = trace.is_wanted()
        self.capabilities: frozenset[str] = frozenset()
        """First words of CAPA's lines, as last announced; empty where the server has no CAPA."""
        self._mechanisms: frozenset[str] = frozenset()
        self._server = ("", 0)

    @classmethod
    async def open(cls, endpoint: Endpoint, limits: Limits | None = None) -> Self:
        """Connect, encrypt as the endpoint demands, read the greeting and CAPA; nothing secret is sent."""
        limits = limits or Limits()
        connection = cls(await Wire.open(endpoint, limits), limits)
        try:
            await connection._greet(endpoint)
        except BaseException:
            connection.abort()
            raise
        return connection

    @property
    def encryption(self) -> ssl.SSLObject | None:
        """Return what encrypts the line, None where nothing does."""
        return self._wire.encryption

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.abort()
        await self._wire.closed(_CLOSE_S)

    def abort(self) -> None:
        """Drop the connection without QUIT, so that the server deletes nothing."""
        self._is_broken = True
        self._wire.abort()

    async def login(self, user: str, secret: Secret) -> None:
        """Log in by the best way offered; LoginRefusedError, or RefusedError for a maildrop that is busy or broken."""
        if _CONTROL.search(user) or (isinstance(secret, str) and _CONTROL.search(secret)):
            raise LoginRefusedError("a control character in user name or password was not sent")
        with self._in_step():
            mechanism = self._mechanism(user, secret)
            if mechanism is not None:
                await self._authenticate(mechanism, secret)
            elif isinstance(secret, str):
                for command, argument in (("USER", user), ("PASS", secret)):
                    self._send(f"{command} {argument}")
                    self._raise_if_login_refused(await self._status(), command, secret)
            if self.capabilities and not self._is_pipelining:
                # NOTE: what is announced may differ once logged in (RFC 2449 §5).
                await self._read_capabilities()

    async def listing(self) -> tuple[Listed, ...]:
        """Return what the server says is in the maildrop; not listed never means deleted."""
        with self._in_step():
            if self._is_pipelining:
                self._send("STAT")
                self._send_for_lines("LIST")
                self._send_for_lines("UIDL")
                stat, sizes, uidls = await self._status(), await self._lines(), await self._lines()
                self._raise_if_refused(stat, "STAT")
            else:
                stat = await self._ask("STAT")
                if count_of(stat.text) == 0:
                    return ()
                self._send_for_lines("LIST")
                sizes = await self._lines()
                self._send_for_lines("UIDL")
                uidls = await self._lines()
            listed, count = join_listings(sizes, uidls), count_of(stat.text)
            if count and not listed:
                raise ProtocolError(f"the server lists none of the {count:,} messages that it counts")
            return listed

    async def retrieve(self, wanted: Sequence[Listed], *, spool: Path) -> AsyncGenerator[Fetched | Failed, None]:
        """Yield each wanted message in order, as Fetched, or as Failed if the server refuses it.

        An error that is a message's fault is yielded as Failed, and raised. `spool`: directory for large bodies.
        Close the generator (`contextlib.aclosing`); leaving it early drops the connection.
        """
        limits = self.limits
        window = self._window(wanted, max_commands=limits.window_commands, max_bytes=limits.window_bytes)
        held: Fetched | None = None
        is_noop_sent = False
        try:
            with self._in_step():
                # The last step, without a message, is a NOOP: something must follow the last body.
                for current in (*wanted, None) if wanted else ():
                    for listed in window.to_send():
                        self._send_for_lines(f"RETR {listed.number}", self.limits.message_bytes)
                    if window.is_all_sent and not is_noop_sent and (current is None or self._is_pipelining):
                        is_noop_sent = True
                        self._send("NOOP")
                    try:
                        status = await self._status()
                    except SyncdError as error:
                        if held is not None and not (isinstance(error, ProtocolError) or self._reader.has_leftover):
                            fetched, held = held, None
                            yield fetched
                        culprit = held.listed if held is not None else current
                        if culprit is not None:
                            yield Failed(culprit, error)
                        raise
                    if held is not None:
                        fetched, held = held, None
                        yield fetched
                    if current is None:
                        return
                    if status.is_ok:
                        try:
                            held = Fetched(current, await self._body(spool))
                        except (ConnectionLostError, TooSlowError, ProtocolError) as error:
                            yield Failed(current, error)
                            raise
                    else:
                        yield Failed(current, _refusal(status, "RETR", reach=Reach.MESSAGE))
                    window.answered()
        finally:
            if held is not None:
                await held.body.discard()

    async def delete(self, listed: Sequence[Listed]) -> tuple[Listed, ...]:
        """Mark messages for deletion and return those the server marked; only `quit` deletes them."""
        marked: list[Listed] = []
        window = self._window(listed, max_commands=self.limits.window_marks)
        with self._in_step():
            for current in listed:
                for each in window.to_send():
                    self._send(f"DELE {each.number}")
                if (await self._status()).is_ok:
                    marked.append(current)
                window.answered()
        return tuple(marked)

    async def quit(self) -> None:
        """End the session so that what was marked is deleted.

        Any error, RefusedError included, means that it is unknown what the server deleted.
        """
        with self._in_step():
            await self._ask("QUIT")
        self._is_broken = True
        await self._wire.closed(_CLOSE_S)

    # One command

    async def _greet(self, endpoint: Endpoint) -> None:
        self._server = endpoint.host, endpoint.port
        self._reader.expect_line()
        self._raise_if_refused(await self._status(), "greeting")
        if endpoint.security is Security.STLS:
            # NOTE: no CAPA before: what is announced without TLS is worth nothing, the answer to STLS is what counts.
            try:
                await self._ask("STLS")
            except RefusedError as error:
                raise TrustError("the server does not offer encryption on this port") from error
            if self._reader.has_leftover:
                raise TrustError("the server sent data between STLS and TLS")
            await self._wire.start_tls(endpoint, self.limits)
        await self._read_capabilities()

    async def _read_capabilities(self) -> None:
        self._send_for_lines("CAPA")
        lines = await self._lines()
        self.capabilities, self._mechanisms = capabilities_of(lines), mechanisms_of(lines)

    def _mechanism(self, user: str, secret: Secret) -> Mechanism | None:
        is_private = self.encryption is not None or is_loopback(self._server[0])
        if is_private and isinstance(secret, str) and ("USER" in self.capabilities or not self._mechanisms):
            return None  # USER and PASS are PLAIN in two lines, and what servers have had for longest
        return choose_mechanism(self._mechanisms, user, secret, is_private=is_private, server=self._server)

    async def _authenticate(self, mechanism: Mechanism, secret: Secret) -> None:
        # NOTE: always in two steps: Outlook knows no other way (getmail6#256), and a command is a line of 255 octets.
        # On a thread, for SCRAM may take half a second of a processor.
        first = mechanism.first()
        challenges = 0
        self._reader.expect_login()
        self._write(f"AUTH {mechanism.name}")
        while isinstance(event := await self._answer(), Challenge):
            challenges += 1
            if challenges > _CHALLENGES_MAX:
                raise ProtocolError("the server goes on asking at login")
            answer: bytes | None = first
            if challenges > 1:
                try:
                    octets = base64.b64decode(event.text, validate=True)
                except binascii.Error:
                    answer = None
                else:
                    answer = await asyncio.to_thread(mechanism.answer, octets)
            self._outgoing += (b"*" if answer is None else base64.b64encode(answer)) + b"\r\n"
        self._raise_if_login_refused(event, f"AUTH {mechanism.name}", secret, complaint=mechanism.complaint)
        if not mechanism.is_proven():
            raise TrustError("the server did not prove itself at login")

    async def _ask(self, command: str) -> Status:
        self._send(command)
        status = await self._status()
        self._raise_if_refused(status, command)
        return status

    async def _lines(self) -> list[bytes]:
        """Return the lines of a listing, none when the server refuses it."""
        if not (await self._status()).is_ok:
            return []
        pieces: list[bytes] = []
        while isinstance(event := await self._event(), Piece):
            pieces.append(event.octets)
        return b"".join(pieces).splitlines()

    async def _body(self, spool: Path) -> Body:
        pieces: list[bytes] = []
        held_bytes = 0
        while held_bytes <= self.limits.spool_above_bytes:
            if not isinstance(event := await self._event(), Piece):
                return Body(held_bytes, pieces[0] if len(pieces) == 1 else b"".join(pieces))
            pieces.append(event.octets)
            held_bytes += len(event.octets)
        async with BodySink(spool) as sink:
            for piece in pieces:
                await sink.take(piece)
            pieces.clear()
            while isinstance(event := await self._event(), Piece):
                await sink.take(event.octets)
            return await sink.finish()

    def _window(self, wanted: Sequence[Listed], *, max_commands: int, max_bytes: int = sys.maxsize) -> Window:
        count = max(1, max_commands) if self._is_pipelining else 1
        return Window(wanted, max_commands=count, max_bytes=max_bytes)

    @property
    def _is_pipelining(self) -> bool:
        return "PIPELINING" in self.capabilities

    def _raise_if_refused(self, status: Status, command: str) -> None:
        if not status.is_ok:
            raise _refusal(status, command)

    def _raise_if_login_refused(self, status: Status, command: str, secret: Secret, *, complaint: str = "") -> None:
        if not status.is_ok:
            error = _refusal(status, command, is_credential_likely="AUTH-RESP-CODE" not in self.capabilities)
            if isinstance(error, LoginRefusedError):
                error.temper = temper_of_refusal(secret)
                error.args = (f"{error} ({complaint})",) if complaint else error.args
            raise error

    # Octets

    def _send(self, line: str) -> None:
        self._reader.expect_line()
        self._write(line)

    def _send_for_lines(self, line: str, max_bytes: int | None = None) -> None:
        self._reader.expect_lines(self.limits.listing_bytes if max_bytes is None else max_bytes)
        self._write(line)

    def _write(self, line: str) -> None:
        if self._is_traced:
            command, space, _ = line.partition(" ")
            trace.sent(f"{command}{space}…" if command in _SECRET else line)
        self._outgoing += line.encode() + b"\r\n"

    async def _status(self) -> Status:
        event = await self._answer()
        if isinstance(event, Status):
            return event
        raise ProtocolError("the server wants to be answered where a status line was due")

    async def _answer(self) -> Status | Challenge:
        """Send what is to be sent, and return what the server says to it."""
        if self._is_broken:
            raise ConnectionLostError("the session is over")
        if self._outgoing:
            self._wire.write(bytes(self._outgoing))
            self._outgoing.clear()
        self._began = asyncio.get_running_loop().time()
        self._received = 0
        event = await self._event()
        if not isinstance(event, Status | Challenge):
            raise ProtocolError("a multi-line answer where a status line was due")
        if self._is_traced and isinstance(event, Status):
            code = f" [{event.code}]" if event.code else ""
            trace.received(f"{'+OK' if event.is_ok else '-ERR'}{code} {trace.text_of(event.text)}")
        return event

    async def _event(self) -> Event:
        limits = self.limits
        while (event := self._reader.next()) is None:
            allowed_s = limits.command_s + self._received / limits.min_rate_bytes
            left_s = self._began + allowed_s - asyncio.get_running_loop().time()
            octets = await self._wire.read(max(0.0, min(left_s, limits.inactivity_s)))
            self._received += len(octets)
            self._reader.feed(octets)
        return event

    @contextlib.contextmanager
    def _in_step(self) -> Iterator[None]:
        try:
            yield
        except RefusedError:
            raise
        except BaseException:
            self.abort()
            raise


def _refusal(
    status: Status, command: str, *, is_credential_likely: bool = False, reach: Reach | None = None
) -> RefusedError:
    """Return the error of a -ERR; its text quotes nothing, as servers repeat names and addresses."""
    code = status.code
    if not code and _BUSY.search(status.text):
        # NOTE: servers without response codes say it in RFC 1939's own words (§4), and it is no wrong password.
        code = "IN-USE"
    because = f" ({code})" if code else ""
    if code == "AUTH" or (not code and is_credential_likely):
        return LoginRefusedError(f"login refused by the server{because}", code=code)
    text = f"the server refused {command}{because}"
    temper = Temper.GIVE_UP if code in _GIVE_UP_CODES else Temper.WAIT
    return RefusedError(text, code=code, reach=reach, temper=temper)
