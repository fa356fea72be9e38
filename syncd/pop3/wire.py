"""Floor 3: the octets of one POP3 connection: TCP, TLS, backpressure, deadlines; knows nothing of what they say."""

import asyncio
import ssl
from functools import partial
from typing import Self, cast

from syncd.errors import ConnectionLostError, PinError, SyncdError, TooSlowError, TrustError, UnreachableError
from syncd.pop3.endpoint import Endpoint, Limits, Security
from syncd.tls import check_pin, ending_error, opening_error

_HIGH_WATER_BYTES = 1024 * 1024
_HAPPY_EYEBALLS_S = 0.25


class Wire(asyncio.Protocol):
    """Hold what came from the server until it is read, and stop it from sending more than that."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._waiting = 0
        self._is_paused = False
        self._loss: Exception | None = None
        self._wake = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._closed = asyncio.Event()

    @classmethod
    async def open(cls, endpoint: Endpoint, limits: Limits) -> Self:
        """Connect, with TLS if the endpoint is so; TrustError, UnreachableError or TooSlowError."""
        context = endpoint.tls_context if endpoint.security is Security.TLS else None
        loop = asyncio.get_running_loop()
        connect = partial(loop.create_connection, cls, endpoint.host, endpoint.port, ssl=context)
        try:
            async with asyncio.timeout(limits.connect_s):
                # NOTE: uvloop takes no such delay, and tries one address after the other.
                is_stock = isinstance(loop, asyncio.BaseEventLoop)
                _, wire = await (connect(happy_eyeballs_delay=_HAPPY_EYEBALLS_S) if is_stock else connect())
        except (OSError, ValueError) as error:
            raise opening_error(error) from error
        if context is not None:
            wire._check_pin(endpoint)
        return cast("Self", wire)

    async def start_tls(self, endpoint: Endpoint, limits: Limits) -> None:
        """Encrypt from here on; TrustError if anything is there that was sent before it."""
        if self._waiting:
            raise TrustError("the server sent data between STLS and TLS")
        if self._transport is None or endpoint.tls_context is None or self._loss is not None:
            raise ConnectionLostError("the connection was lost before TLS")
        try:
            # NOTE: nothing is awaited between the check above and the change of protocol inside start_tls, and what is
            # read off the socket after it goes to the handshake.
            transport = await asyncio.get_running_loop().start_tls(
                self._transport,
                self,
                endpoint.tls_context,
                server_hostname=endpoint.host,
                ssl_handshake_timeout=limits.connect_s,
            )
        except (OSError, ValueError) as error:
            raise opening_error(error) from error
        if transport is None:
            raise UnreachableError("the connection was lost in the TLS handshake")
        self._transport = transport
        self._check_pin(endpoint)

    def _check_pin(self, endpoint: Endpoint) -> None:
        try:
            check_pin(endpoint.pin_sha256, self.encryption)
        except PinError:
            self.abort()
            raise

    async def read(self, timeout_s: float) -> bytes:
        """Return what has come, at least one octet; ConnectionLostError, TooSlowError."""
        if not self._waiting:
            if self._loss is not None:
                raise self._lost() from self._loss
            self._wake.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._wake.wait()
            except TimeoutError as error:
                raise TooSlowError("the server did not answer in time") from error
            if not self._waiting:
                raise self._lost() from self._loss
        octets = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._waiting = 0
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()
        return octets

    def _lost(self) -> SyncdError:
        error = ending_error(self._loss)
        return ConnectionLostError("the server closed the connection") if type(error) is ConnectionLostError else error

    @property
    def encryption(self) -> ssl.SSLObject | None:
        """Return what encrypts the line, None where nothing does."""
        return self._transport.get_extra_info("ssl_object") if self._transport is not None else None

    def write(self, octets: bytes) -> None:
        """Send octets; commands are short, so there is nothing to wait for. ConnectionLostError."""
        if self._transport is None or self._loss is not None or self._transport.is_closing():
            raise ConnectionLostError("the connection is closed") from self._loss
        self._transport.write(octets)

    def abort(self) -> None:
        """Drop the connection at once, without a word."""
        self._loss = self._loss or ConnectionAbortedError("abandoned by us")
        self._chunks.clear()
        self._waiting = 0
        self._wake.set()
        # NOTE: CPython 3.11.2 (Debian 12) raises AttributeError when TLS is aborted after it was closed.
        if self._transport is not None and not self._closed.is_set():
            self._transport.abort()

    async def closed(self, timeout_s: float) -> None:
        """Close in good order and wait until it is done, at most `timeout_s`; then abort."""
        if self._transport is None:
            return
        self._transport.close()
        try:
            async with asyncio.timeout(timeout_s):
                await self._closed.wait()
        except TimeoutError:
            self._transport.abort()

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._loss is not None:
            return
        self._chunks.append(data)
        self._waiting += len(data)
        if self._waiting > _HIGH_WATER_BYTES and not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()
        self._wake.set()

    def eof_received(self) -> None:
        self._loss = self._loss or ConnectionResetError("end of stream")
        self._wake.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._loss = self._loss or exc or ConnectionResetError("closed")
        self._wake.set()
        self._closed.set()
