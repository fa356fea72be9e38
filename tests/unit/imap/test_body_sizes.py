"""Bodies whose announced size is not that of their octets."""

import pytest

from syncd.errors import ProtocolError, SyncdError, TooSlowError
from syncd.imap.commands.bodies import Wanted
from syncd.imap.wire.limits import Limits
from syncd.values import replace
from tests.unit.imap.scripted import SELECTED, Peer, connected, until

MESSAGE = b"Subject: whole\r\n\r\nits text (all of it)\r\n"
LIMITS = Limits(memory_literal_max_bytes=1000)
IMPATIENT = replace(LIMITS, inactivity_s=0.3)


class Spool:
    """A place for a large body that remembers only whether it was given up."""

    def __init__(self) -> None:
        self.is_discarded = False

    def write(self, piece: bytes) -> None:
        pass

    def discard(self) -> None:
        self.is_discarded = True


@pytest.mark.parametrize("announced", [0, 5, len(MESSAGE) - 1])
async def test_size_below_the_octets_hands_on_nothing(announced: int) -> None:
    """What follows a literal that ended too early is no response, so the connection ends without a body."""
    await assert_no_body(announced, ProtocolError)


@pytest.mark.parametrize("more", [20, 2000])
async def test_size_above_the_octets_hands_on_nothing(more: int) -> None:
    """A literal that swallows the end of its own response is waited for, never taken as far as it came."""
    await assert_no_body(len(MESSAGE) + more, TooSlowError)


async def assert_no_body(announced: int, kind: type[SyncdError]) -> None:
    spools: list[Spool] = []

    def spool(_: int) -> Spool:
        spools.append(Spool())
        return spools[-1]

    async def script(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)
        await peer.expect(b"UID FETCH 1 ")
        await peer.ok(b"* 1 FETCH (UID 1 BODY[] {%d}\r\n%b)\r\n" % (announced, MESSAGE))
        await peer.gone()

    async with connected(script, limits=IMPATIENT if kind is TooSlowError else LIMITS) as connection:
        await connection.select(b"INBOX")
        with pytest.raises(kind):
            await anext(connection.fetch_bodies([Wanted(1, len(MESSAGE))], spool=spool))
        assert not connection.is_usable
        await until(lambda: all(one.is_discarded for one in spools))
