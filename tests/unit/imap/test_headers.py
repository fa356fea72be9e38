"""Each wanted header has an outcome of its own, bounded whatever the server sends."""

import pytest

from syncd.imap.commands.bodies import Lack, NoBody
from syncd.imap.commands.headers import Header
from syncd.imap.connection import ImapConnection
from syncd.imap.wire.limits import Limits
from syncd.mail.message import HEADER_MAX_BYTES
from syncd.mail.uidset import UidSet
from tests.unit.imap.scripted import SELECTED, Peer, connected


def header(uid: int, octets: bytes, *, origin: bytes = b"<0>") -> bytes:
    return b"* 1 FETCH (UID %d BODY[HEADER]%b {%d}\r\n%b)\r\n" % (uid, origin, len(octets), octets)


async def fetched(connection: ImapConnection, *uids: int) -> dict[int, bytes | Lack]:
    await connection.select(b"INBOX")
    outcomes = [one async for one in connection.fetch_headers(UidSet.of(uids))]
    assert len(uids) == len(outcomes)
    return {one.uid: one.octets if isinstance(one, Header) else one.lack for one in outcomes}


async def test_nil_absent_and_refused_headers() -> None:
    """A header that does not come says why, and the others come."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)
        assert await peer.command() == b"UID FETCH 1:4 (UID BODY.PEEK[HEADER]<0.262144>)"
        await peer.send(header(1, b"a: b\r\n\r\n") + b"* 2 FETCH (UID 2 BODY[HEADER]<0> NIL)\r\n")
        await peer.no(b"some failed")
        await peer.answer(b"UID FETCH 3 ")
        await peer.expect(b"UID FETCH 4 ")
        await peer.no(b"not this one")

    async with connected(script) as connection:
        found = await fetched(connection, 1, 2, 3, 4)

    assert found == {1: b"a: b\r\n\r\n", 2: Lack.NIL, 3: Lack.ABSENT, 4: Lack.REFUSED}


@pytest.mark.parametrize("memory_literal_max_bytes", [1000, 1024 * 1024])
async def test_server_that_ignores_the_bound_is_cut_to_it(memory_literal_max_bytes: int) -> None:
    """A header that comes whole, however large, is the beginning that was asked for."""
    whole = b"a: b\r\n" + b"x: %s\r\n" % (b"y" * 2 * HEADER_MAX_BYTES) + b"\r\n"

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)
        await peer.answer(b"UID FETCH 1:2 ", header(1, whole, origin=b"") + header(2, b"c: d\r\n\r\n"))

    limits = Limits(memory_literal_max_bytes=memory_literal_max_bytes)
    async with connected(script, limits=limits) as connection:
        found = await fetched(connection, 1, 2)

    assert {1: whole[:HEADER_MAX_BYTES], 2: b"c: d\r\n\r\n"} == found


async def test_body_that_nobody_asked_for_is_no_header() -> None:
    """Only the header of a message is taken for its header."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)
        body = b"* 1 FETCH (UID 1 BODY[] {1}\r\nx BODY[HEADER]<5> {1}\r\ny)\r\n"
        await peer.answer(b"UID FETCH 1 ", body)

    async with connected(script) as connection:
        await connection.select(b"INBOX")
        found = [one async for one in connection.fetch_headers(UidSet.of([1]))]

    assert [NoBody(1, Lack.ABSENT)] == found
