"""Floor 3: one session with a server: TLS, login, capabilities, and what it reports without being asked."""

import asyncio
import base64
import binascii
import ssl
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from syncd.errors import (
    ConnectionLostError,
    LoginRefusedError,
    Reach,
    RefusedError,
    SyncdError,
    TooSlowError,
    TrustError,
)
from syncd.hosts import is_loopback
from syncd.imap.answers.collectors import Listing
from syncd.imap.answers.events import EventLog
from syncd.imap.answers.parse import words
from syncd.imap.answers.refusals import OF_THE_MOMENT, NotUnderstoodError, login_refusal, refusal, said, without
from syncd.imap.types import Capability, Enabled, Status, Tagged, Untagged
from syncd.imap.wire.arguments import Argument, command_line, string
from syncd.imap.wire.encryption import EncryptedTransport
from syncd.imap.wire.endpoint import Endpoint, check_plaintext, keep_alive, tls_context
from syncd.imap.wire.limits import Limits
from syncd.imap.wire.tokenizer import LiteralSink
from syncd.imap.wire.wire import WireProtocol
from syncd.imap.wire.wire_command import WireCommand
from syncd.log import log
from syncd.sasl.mechanisms import Mechanism, Secret, choose_mechanism
from syncd.tls import check_pin, opening_error

_IN_REV2 = frozenset({"MOVE", "UIDPLUS", "UNSELECT"})
_INITIAL_MAX_BYTES = 6000
"""Servers take lines of 8 KiB, and tokens may be longer."""
_DECLINED_MAX = 2
"""After so many NOs in a row an extension is not used over this connection any more."""


class Collector(Protocol):
    """What waits for certain responses while its commands run."""

    def take(self, response: Untagged) -> bool:
        """Take a response if it is an answer to what was asked; else it counts as an event."""
        ...


SinkFactory = Callable[[int], LiteralSink | None]


class Session:
    """Own one wire: see `open`; `events` is what the server reported of the selected mailbox unasked."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.wire = WireProtocol(self, limits)
        self.capabilities: frozenset[str] = frozenset()
        self.enabled: frozenset[str] = frozenset()
        self.refused: frozenset[str] = frozenset()
        """What is announced, or even enabled, and was not understood when it was used: it is used no more."""
        self._declined: Counter[str] = Counter()
        self.append_limits: dict[bytes, int | None] = {}
        """What was asked of single mailboxes (RFC 7889), by their names."""
        self.is_authenticated = False
        self.events = EventLog()
        self.has_modseqs: bool | None = None
        """Whether the selected mailbox has mod-sequences, else a command that names them is BAD (RFC 7162 §3.1.2.2).

        None until SELECT is answered: what is sent together with it names them, and is refused where there are none.
        """
        self.listing: Listing | None = None
        """The last answer to LIST: mostly the next one says the very same."""
        self.behind_idle: WireCommand | None = None
        """The first command that was sent before the server had ended the last IDLE, if any was."""
        self._collectors: list[Collector] = []
        self._sink_factory: SinkFactory | None = None
        self._farewell = ""
        self._server = ("", 0)

    # Opening.

    @classmethod
    async def open(cls, endpoint: Endpoint, limits: Limits) -> "Session":
        """Connect, protect and greet.

        Raises UnreachableError, TrustError, TooSlowError, ConnectionLostError or ProtocolError; the socket is closed.
        """
        check_plaintext(endpoint)
        context = await asyncio.to_thread(tls_context, endpoint) if endpoint.tls != "none" else None
        session = cls(limits)
        try:
            await session._connect(endpoint, context if endpoint.tls == "implicit" else None)
            await session._greet(endpoint)
            if endpoint.tls == "starttls" and context is not None:
                await session._start_tls(endpoint, context)
            if not session.capabilities or endpoint.tls == "starttls":
                await session.refresh_capabilities()
        except BaseException:
            session.wire.fail_all(ConnectionLostError("the connection could not be opened"))
            raise
        return session

    async def _connect(self, endpoint: Endpoint, context: ssl.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.limits.connect_s):
                if context is None:
                    await loop.create_connection(lambda: self.wire, endpoint.host, endpoint.port)
                else:
                    encrypted = EncryptedTransport(self.wire, context, endpoint.host)
                    await loop.create_connection(lambda: encrypted, endpoint.host, endpoint.port)
                    await encrypted.proven()
        except (OSError, TimeoutError, UnicodeError) as error:
            raise opening_error(error) from error
        keep_alive(self.wire.transport.get_extra_info("socket"))
        if context is not None:
            self._check_pin(endpoint)

    async def _greet(self, endpoint: Endpoint) -> None:
        self._server = endpoint.host, endpoint.port
        try:
            async with asyncio.timeout(self.limits.connect_s):
                greeting = await asyncio.shield(self.wire.greeting)
        except TimeoutError as error:
            if isinstance(error, SyncdError):
                raise
            raise TooSlowError("the server did not greet in time") from error
        if greeting.kind == "PREAUTH":
            if endpoint.tls == "starttls":
                raise TrustError("the server skips login before encryption could begin")
            self.is_authenticated = True
            self.wire.trust()
        elif greeting.kind != "OK":
            raise ConnectionLostError(f"the server turned the connection away: {said(greeting.text)}")
        if greeting.text.code == "CAPABILITY":
            self._know(words(greeting.text.arguments))

    async def _start_tls(self, endpoint: Endpoint, context: ssl.SSLContext) -> None:
        if not self.capabilities:
            await self.refresh_capabilities()
        if "STARTTLS" not in self.capabilities:
            raise TrustError("the server does not offer encryption on this port")
        end = await self.wire.run("STARTTLS", deadline_s=self.limits.connect_s)
        if end.kind != "OK":
            raise TrustError(f"encryption refused by the server: {said(end.text)}")
        # NOTE: nothing that was said in the clear may outlive this line; the tokenizer refuses what came after the OK.
        self._know(frozenset())
        self.events.clear()
        if self.wire.failure is not None:
            raise self.wire.failure
        # NOTE: nothing is awaited from this check to the change of protocol; what comes after it is TLS, or ends it.
        self.wire.reopen()
        try:
            encrypted = EncryptedTransport(self.wire, context, endpoint.host)
            self.wire.transport.set_protocol(encrypted)
            encrypted.connection_made(self.wire.transport)
            async with asyncio.timeout(self.limits.connect_s):
                await encrypted.proven()
        except (OSError, TimeoutError, UnicodeError) as error:
            raise opening_error(error) from error
        self._check_pin(endpoint)

    def _check_pin(self, endpoint: Endpoint) -> None:
        check_pin(endpoint.pin_sha256, self.encryption)

    # Logging in.

    async def login(self, username: str, secret: Secret) -> None:
        """Authenticate by the best way offered; LoginRefusedError, or RefusedError where waiting may help."""
        if self.is_authenticated:
            return
        mechanism = choose_mechanism(
            {name.removeprefix("AUTH=") for name in self.capabilities if name.startswith("AUTH=")},
            username,
            secret,
            is_private=self.encryption is not None or is_loopback(self._server[0]),
            server=self._server,
        )
        try:
            if mechanism is not None:
                end = await self._authenticate(mechanism)
            elif "LOGINDISABLED" in self.capabilities or not isinstance(secret, str):
                raise LoginRefusedError("the server offers no way to log in that syncd knows", code="LOGINDISABLED")
            else:
                arguments = command_line(string(username.encode()), string(secret.encode()))
                end = await self.wire.run("LOGIN", arguments)
        except ConnectionLostError as error:
            error.args = (without(secret, str(error).encode()).decode(),)  # it may end with the words of a BYE
            raise
        if end.kind != "OK":
            raise login_refusal(end, secret, complaint="" if mechanism is None else mechanism.complaint)
        self.is_authenticated = True
        self.wire.trust()
        await self.refresh_capabilities()

    @property
    def encryption(self) -> ssl.SSLObject | None:
        """Return what encrypts the connection, None where nothing does."""
        found: ssl.SSLObject | None = self.wire.transport.get_extra_info("ssl_object")
        return found

    async def _authenticate(self, mechanism: Mechanism) -> Tagged:
        first = base64.b64encode(mechanism.first())
        is_initial = "SASL-IR" in self.capabilities and len(first) <= _INITIAL_MAX_BYTES

        async def converse(_: WireCommand) -> None:
            has_begun = is_initial
            while (challenge := await self.wire.continuation()) is not None:
                if has_begun:
                    try:
                        octets = base64.b64decode(challenge, validate=True)
                    except binascii.Error:
                        answer = None
                    else:
                        # NOTE: SCRAM may take half a second of a processor, and there are other accounts.
                        answer = await asyncio.to_thread(mechanism.answer, octets)
                    await self.wire.say((b"*" if answer is None else base64.b64encode(answer)) + b"\r\n")
                else:
                    has_begun = True
                    await self.wire.say(first + b"\r\n")

        arguments: tuple[Argument, ...] = (mechanism.name.encode(),)
        if is_initial:
            arguments = (mechanism.name.encode() + b" " + (first or b"="),)
        end = await self.wire.run("AUTHENTICATE", arguments, converse=converse)
        if end.kind == "OK" and not mechanism.is_proven():
            self.wire.fail_all(TrustError("the server did not prove itself at login"))
            raise TrustError("the server did not prove itself at login")
        return end

    @property
    def usable(self) -> frozenset[str]:
        """Return what is enabled and was not refused when it was used."""
        return frozenset(name for name in self.enabled if self.trusts(name))

    def trusts(self, name: str) -> bool:
        """Tell whether an extension was not refused when it was used."""
        return name not in self.refused and self._declined[name] < _DECLINED_MAX

    def refuse(self, names: Collection[str], error: RefusedError) -> None:
        """Use these extensions no more if the server does not understand them.

        A NO may be about something else: only those that it always says NO to are not used over this connection.
        """
        if error.code in OF_THE_MOMENT:
            return
        if isinstance(error, NotUnderstoodError):
            self.refused |= frozenset(names)
        else:
            self._declined.update(names)
            if any(self._declined[name] < _DECLINED_MAX for name in names):
                return
        log.warning("extension_refused", extensions=sorted(names), error=str(error))

    def grant(self, name: str) -> None:
        """Hear that the server has done what was asked by an extension."""
        self._declined.pop(name, None)

    async def refresh_capabilities(self) -> None:
        """Ask for the capabilities anew; what was known before is forgotten."""
        self._know(frozenset())
        await self.command("CAPABILITY")

    # Commands.

    def offers(self, name: str) -> bool:
        """Tell whether the server has an extension, by its name or as a part of IMAP4rev2 (RFC 9051 §E)."""
        return name in self.capabilities or (name in _IN_REV2 and "IMAP4REV2" in self.capabilities)

    async def command(
        self,
        name: str,
        *arguments: Argument,
        collector: Collector | None = None,
        reach: Reach | None = None,
        is_pipelined: bool = False,
    ) -> Tagged:
        """Send a command; RefusedError, of this reach, on NO or BAD."""
        end = await self.attempt(name, *arguments, collector=collector, is_pipelined=is_pipelined)
        if end.kind != "OK":
            raise refusal(name.lower(), end, reach=reach)
        return end

    async def attempt(
        self,
        name: str,
        *arguments: Argument,
        collector: Collector | None = None,
        is_pipelined: bool = False,
        deadline_s: float | None = None,
        is_in_turn: bool = False,
        on_turn: Callable[[], None] | None = None,
    ) -> Tagged:
        """Send a command and return its end, whatever it is.

        What is told behind its end, by answers to others, is nothing for its collector. is_in_turn: neither is what is
        told before its turn, which is about another mailbox; `on_turn` is called then.
        """
        line = command_line(*arguments)
        with self.collecting(collector, is_in_turn=is_in_turn) as end_collecting:

            def begin_turn() -> None:
                if on_turn is not None:
                    on_turn()
                if collector is not None:
                    self._collectors.append(collector)

            command = await self.wire.begin(
                name,
                line,
                is_pipelined=is_pipelined,
                deadline_s=deadline_s,
                on_turn=begin_turn if is_in_turn else None,
            )
            command.on_end = end_collecting
            return await self.wire.end_of(command)

    @contextmanager
    def collecting(self, collector: Collector | None, *, is_in_turn: bool = False) -> Iterator[Callable[[], None]]:
        """Let `collector` see responses before they count as events, until what this yields is called, or is left.

        is_in_turn: whoever calls this lets it do so, once it is its turn.
        """
        if collector is not None and not is_in_turn:
            self._collectors.append(collector)

        def end() -> None:
            if collector in self._collectors:
                self._collectors.remove(collector)

        try:
            yield end
        finally:
            end()

    @contextmanager
    def spooling(self, factory: SinkFactory) -> Iterator[None]:
        """Let literals too large for memory go to the sinks of `factory`."""
        self._sink_factory = factory
        try:
            yield
        finally:
            self._sink_factory = None

    # Ending.

    async def logout(self) -> None:
        """Say good-bye, without waiting long for the answer, and close."""
        if self.wire.failure is None:
            with suppress(SyncdError):
                await self.attempt("LOGOUT", deadline_s=self.limits.logout_s)
        await self.aclose()

    async def aclose(self) -> None:
        """Close at once; whoever waits for a command gets ConnectionLostError."""
        self.wire.fail_all(ConnectionLostError("the connection was closed"))
        try:
            async with asyncio.timeout(self.limits.logout_s):
                await self.wire.closed.wait()
        except TimeoutError:
            log.warning("socket_not_closed")

    def _know(self, capabilities: frozenset[str]) -> None:
        # NOTE: a server may say so at any time, unasked, and from then on it is so (RFC 9051 §7.2.2).
        self.capabilities = capabilities
        size = 4096 if "LITERAL-" in capabilities else -1
        self.wire.non_sync_max_bytes = self.limits.literal_max_bytes if "LITERAL+" in capabilities else size

    # What the wire calls.

    def on_response(self, response: Untagged) -> None:
        if isinstance(response, Capability):
            self._know(response.names)
        elif isinstance(response, Enabled):
            self.enabled |= response.names
        elif isinstance(response, Status) and response.kind == "BYE":
            self._farewell = said(response.text)
        for collector in self._collectors:
            if collector.take(response):
                return
        self.events.add(response)

    def on_answers(self, responses: Iterable[Untagged]) -> None:
        for response in responses:
            for collector in self._collectors:
                if collector.take(response):
                    break

    def open_sink(self, size_bytes: int) -> LiteralSink | None:
        return self._sink_factory(size_bytes) if self._sink_factory is not None else None

    def on_failure(self, error: SyncdError) -> None:
        if self._farewell and isinstance(error, ConnectionLostError):
            error.args = (f"{error}: {self._farewell}",)
