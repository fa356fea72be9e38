"""TLS under a connection: what it costs for as long as the connection lives, and how it ends."""

import ctypes
import ssl
from pathlib import Path
from typing import NoReturn

import pytest

from syncd.errors import ConnectionLostError
from syncd.imap.bodies import Wanted
from syncd.imap.connection import ImapConnection
from syncd.imap.endpoint import Endpoint
from tests.servers.certificates import write_certificates
from tests.servers.ports import HOST
from tests.soak.scripted import scripted
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
        await connection.append(b"INBOX", body)
        with pytest.raises(ConnectionLostError, match="we restart"):
            await connection.idle(timeout_s=10)

        await connection.aclose()
        await served.finish()
    assert got.endswith(body)
