"""TLS under a connection: what it costs for as long as the connection lives, and how it ends."""

import asyncio
import ctypes
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NoReturn

import pytest

from syncd.errors import ConnectionLostError
from syncd.imap.commands.bodies import Wanted
from syncd.imap.connection import ImapConnection
from syncd.imap.wire.encryption import EncryptedTransport
from syncd.imap.wire.endpoint import Endpoint
from tests.servers.certificates import write_certificates
from tests.servers.ports import HOST
from tests.soak.scripted import scripted
from tests.unit.imap.appending import append
from tests.unit.imap.scripted import Peer, serve

_CONNECTIONS = 8
_MESSAGES = 400
_EACH_MAX_KIB = 96


class _Mallinfo(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keep",
        )
    ]


def _in_use_kib() -> float:
    """Return what malloc has given out, however it is spread; small objects of Python come from elsewhere."""
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = _Mallinfo
    found = mallinfo2()
    return float(found.uordblks + found.hblkhd) / 1024


def _no_spool(_: int) -> NoReturn:
    raise AssertionError("no body is large")


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="not the GNU C library")
async def test_connection_keeps_no_room_for_the_most_that_ever_came(tmp_path: Path) -> None:
    """After half a megabyte of mail a connection with TLS is small again; asyncio's and uvloop's keep as much."""
    write_certificates(tmp_path)
    kept: list[ImapConnection] = []

    async def read_all(port: int) -> None:
        connection = await ImapConnection.open(Endpoint(HOST, port, "implicit", ca_file=tmp_path / "ca.pem"))
        kept.append(connection)
        await connection.login(f"a{len(kept)}", "secret")
        await connection.select(b"INBOX")
        wanted = [Wanted(uid, 1000) for uid in range(1, _MESSAGES + 1)]
        assert len([one async for one in connection.fetch_bodies(wanted, spool=_no_spool)]) == _MESSAGES

    with scripted(_MESSAGES, certificates=tmp_path) as server:
        await read_all(server.port)
        before_kib = _in_use_kib()

        for _ in range(_CONNECTIONS):
            await read_all(server.port)

        each_kib = (_in_use_kib() - before_kib) / _CONNECTIONS
        for connection in kept:
            await connection.aclose()
    assert each_kib < _EACH_MAX_KIB


async def test_large_message_is_sent_whole_and_a_goodbye_is_heard(tmp_path: Path) -> None:
    """What is written waits for room and arrives in its order; what a server says before it ends TLS counts."""
    write_certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    body = b"".join(b"line %d of many\r\n" % number for number in range(200_000))
    got = b""

    async def script(peer: Peer) -> None:
        nonlocal got
        await peer.log_in()
        got = await peer.answer(b"APPEND")
        await peer.expect(b"IDLE")
        await peer.send(b"+ idling\r\n* BYE we restart\r\n")

    async with serve(script, tls=context) as served:
        connection = await ImapConnection.open(Endpoint(HOST, served.port, "implicit", ca_file=tmp_path / "ca.pem"))
        await connection.login("ana", "secret")
        await append(connection, b"INBOX", body)
        with pytest.raises(ConnectionLostError, match="we restart"):
            await connection.idle(timeout_s=10)

        await connection.aclose()
        await served.finish()
    assert got.endswith(body)


class _Heard(asyncio.Protocol):
    """Remember what a transport says."""

    def __init__(self) -> None:
        self.may_write, self.lost = asyncio.Event(), asyncio.Event()
        self.may_write.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()

    def pause_writing(self) -> None:
        self.may_write.clear()

    def resume_writing(self) -> None:
        self.may_write.set()


@asynccontextmanager
async def _encrypted(directory: Path, port: int) -> AsyncIterator[tuple[EncryptedTransport, _Heard]]:
    heard = _Heard()
    context = ssl.create_default_context(cafile=directory / "ca.pem")
    transport = EncryptedTransport(heard, context, HOST)
    await asyncio.get_running_loop().create_connection(lambda: transport, HOST, port)
    try:
        await transport.ready
        yield transport, heard
    finally:
        transport.abort()


@pytest.mark.parametrize("says_so", [True, False])
async def test_end_is_heard_of_a_server_that_takes_nothing_more(tmp_path: Path, *, says_so: bool) -> None:
    """Who waits for an answer then hears at once that none comes, and no socket stays behind."""
    write_certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    is_full, is_over = threading.Event(), threading.Event()

    def end(listening: socket.socket) -> None:
        with context.wrap_socket(listening.accept()[0], server_side=True) as tls:
            is_full.wait(10)
            if says_so:
                tls.setblocking(False)
                with suppress(ssl.SSLError):
                    tls.unwrap()
            else:
                tls.shutdown(socket.SHUT_WR)
            is_over.wait(10)

    with socket.create_server((HOST, 0)) as listening:
        server = asyncio.create_task(asyncio.to_thread(end, listening))
        async with _encrypted(tmp_path, listening.getsockname()[1]) as (transport, heard):
            transport.write(bytes(32 * 1024 * 1024))
            assert not heard.may_write.is_set()

            is_full.set()
            try:
                await asyncio.wait_for(heard.lost.wait(), 5)
            finally:
                is_over.set()
        await server


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl, which can begin a handshake anew, is not there")
async def test_who_writes_waits_while_a_new_handshake_lets_nothing_be_written(tmp_path: Path) -> None:
    """Else a server could have all that we ever want to say wait in memory."""
    write_certificates(tmp_path)
    files = ("-cert", str(tmp_path / "server.pem"), "-key", str(tmp_path / "server.key"))
    openssl = await asyncio.create_subprocess_exec(
        "openssl", "s_server", "-accept", f"{HOST}:0", "-tls1_2", *files, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert openssl.stdin is not None
    assert openssl.stdout is not None
    is_asked, has_begun, may_end = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_of_server: bool) -> None:
        while octets := await reader.read(65536):
            if is_of_server and has_begun.is_set():
                await may_end.wait()
            elif not is_of_server and is_asked.is_set():
                has_begun.set()
            writer.write(octets)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(HOST, port)
        with suppress(ConnectionError):
            both = (relay(reader, to_server, is_of_server=False), relay(from_server, writer, is_of_server=True))
            await asyncio.gather(*both)
        for one in (to_server, writer):
            one.close()

    try:
        while not (line := await asyncio.wait_for(openssl.stdout.readline(), 10)).startswith(b"ACCEPT"):
            assert line
        port = int(line.rpartition(b":")[2])
        between = await asyncio.start_server(accept, HOST, 0)
        async with between, _encrypted(tmp_path, between.sockets[0].getsockname()[1]) as (transport, heard):
            is_asked.set()
            openssl.stdin.write(b"r\n")
            await asyncio.wait_for(has_begun.wait(), 10)

            transport.write(b"all that we have to say")
            assert not heard.may_write.is_set()

            may_end.set()
            await asyncio.wait_for(heard.may_write.wait(), 10)
    finally:
        openssl.kill()
        await openssl.wait()
