"""Floor 3: TLS between a socket and its protocol, in the memory of one record.

Theory. OpenSSL does all that makes TLS safe: versions, keys, certificates, names, alerts. What is here carries octets
between it and the socket, as asyncio and uvloop do too. But theirs makes 256 KiB ready for each connection, and what is
in front of OpenSSL (a memory BIO) keeps room for the largest read that there ever was: after one large mail half a
megabyte, for as long as a connection lives, and ours live for months. Here nothing passes but in slices.
"""

import asyncio
import ssl
from collections import deque
from contextlib import suppress
from typing import Any, cast

_SLICE_BYTES = 16 * 1024
"""What one record of TLS holds at most (RFC 8446 §5.1)."""


class EncryptedTransport(asyncio.Transport, asyncio.Protocol):
    """Be the transport of one protocol, and the protocol of the socket's transport; for clients.

    `ready` is done when the server has proven who it is, after `connection_made` of the protocol; else it raises why
    not, and the protocol hears nothing. Who no longer waits for it calls `abort`. NOTE: after `pause_reading` the
    protocol still gets what was read until then, at most what one read gives.
    """

    def __init__(self, protocol: asyncio.Protocol, context: ssl.SSLContext, host: str) -> None:
        super().__init__()
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._protocol = protocol
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._socket: asyncio.Transport | None = None
        self._unsent: deque[memoryview] = deque()
        self._is_socket_full = self._is_paused = False
        self._is_up = False
        self._cause: Exception | None = None

    # What the socket's transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake; also for who was connected before, and gives this its place (STARTTLS)."""
        self._socket = cast("asyncio.Transport", transport)
        self._go_on()

    def data_received(self, data: bytes) -> None:
        octets = memoryview(data)
        for at in range(0, len(octets), _SLICE_BYTES):
            if self.is_closing():
                return
            self._incoming.write(octets[at : at + _SLICE_BYTES])
            self._go_on()

    def eof_received(self) -> bool:
        self.abort()  # nobody takes what is still to be sent, and the socket would wait for that
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._unsent.clear()
        cause = self._cause or exc
        if self._is_up:
            self._protocol.connection_lost(cause)
        elif not self.ready.done():
            self.ready.set_exception(cause or ssl.SSLEOFError("the connection ended in the handshake"))
            self.ready.exception()  # nobody may be waiting for it

    async def proven(self) -> None:
        """Wait for `ready`; else nobody keeps the connection."""
        try:
            await self.ready
        except BaseException:
            self.abort()
            raise

    def pause_writing(self) -> None:
        self._is_socket_full = True
        self._tell_of_room()

    def resume_writing(self) -> None:
        self._is_socket_full = False
        self._tell_of_room()

    # What the protocol calls.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.is_closing():
            return
        octets = memoryview(bytes(data))
        self._unsent.extend(octets[at : at + _SLICE_BYTES] for at in range(0, len(octets), _SLICE_BYTES))
        self._go_on(reads=False)

    def pause_reading(self) -> None:
        if self._socket is not None:
            self._socket.pause_reading()

    def resume_reading(self) -> None:
        if self._socket is not None:
            self._socket.resume_reading()

    def is_closing(self) -> bool:
        return self._socket is None or self._socket.is_closing()

    def close(self) -> None:
        """Say that nothing more comes, and end; nothing is waited for, neither what is under way (RFC 8446 §6.1)."""
        if self._socket is None or self._socket.is_closing():
            return
        if self._is_up:
            with suppress(ssl.SSLError):  # it waits for what the server says to that
                self._tls.unwrap()
            self._flush(self._socket)
        self._socket.abort()

    def abort(self) -> None:
        if self._socket is not None:
            self._socket.abort()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "ssl_object":
            return self._tls
        return default if self._socket is None else self._socket.get_extra_info(name, default)

    # What OpenSSL has to do.

    def _go_on(self, *, reads: bool = True) -> None:
        """Do what can be done with what has come; an error ends the connection, once its alert is on the way."""
        assert self._socket is not None  # noqa: S101  # there is one before anything is read or written
        is_over = False
        try:
            if not self._is_up:
                self._tls.do_handshake()
                self._is_up = True
                self._protocol.connection_made(self)
                if not self.ready.done():
                    self.ready.set_result(None)
            is_over = reads and self._receive()
            # NOTE: a server that begins a new handshake in TLS 1.2 lets nothing be written before more of it was read.
            self._send(self._socket)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._cause = error
        self._flush(self._socket)
        if self._cause is not None:
            self._socket.abort()
        elif is_over:
            self.close()
        else:
            self._tell_of_room()

    def _receive(self) -> bool:
        """Hand over what has come, and tell whether the server says that nothing more does."""
        try:
            while octets := self._tls.read(_SLICE_BYTES):
                self._protocol.data_received(octets)
                if self.is_closing():
                    return False
        except ssl.SSLWantReadError:
            return False
        return True

    def _send(self, socket: asyncio.Transport) -> None:
        while self._unsent:
            octets = self._unsent[0]
            count = self._tls.write(octets)
            if count < len(octets):
                self._unsent[0] = octets[count:]
            else:
                self._unsent.popleft()
            self._flush(socket)

    def _tell_of_room(self) -> None:
        """Let the protocol write, or wait while the socket has no room, or OpenSSL has to read before it writes."""
        is_full = self._is_socket_full or bool(self._unsent)
        if self._is_up and is_full is not self._is_paused:
            self._is_paused = is_full
            (self._protocol.pause_writing if is_full else self._protocol.resume_writing)()

    def _flush(self, socket: asyncio.Transport) -> None:
        if self._outgoing.pending:
            socket.write(self._outgoing.read())
