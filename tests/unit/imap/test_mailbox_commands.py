"""Mailboxes are made with a use where a server takes one, and without it where it does not."""

import pytest

from syncd.errors import Reach, RefusedError
from syncd.mail.mailbox import SpecialUse
from tests.unit.imap.scripted import Peer, connected

WITH_USE = b"IMAP4rev1 CREATE-SPECIAL-USE"


async def test_use_is_told_where_it_is_offered() -> None:
    """A server that takes uses is told what the mailbox is for."""

    async def script(peer: Peer) -> None:
        assert await peer.command() == b'CREATE "Bin" (USE (\\Trash))'
        await peer.ok()

    async with connected(script, capabilities=WITH_USE) as connection:
        await connection.create(b"Bin", special_use=SpecialUse.TRASH)


async def test_use_that_is_not_offered_is_not_told() -> None:
    """A server that knows no uses gets the plain command, which it understands."""

    async def script(peer: Peer) -> None:
        assert await peer.command() == b'CREATE "Bin"'
        await peer.ok()

    async with connected(script, capabilities=b"IMAP4rev1 SPECIAL-USE") as connection:
        await connection.create(b"Bin", special_use=SpecialUse.TRASH)


async def test_declined_use_does_not_cost_the_mailbox() -> None:
    """A server that declines the use is asked for the mailbox without it."""

    async def script(peer: Peer) -> None:
        await peer.expect(b"CREATE")
        await peer.no(b"[USEATTR] there is one already")
        assert await peer.command() == b'CREATE "Bin"'
        await peer.ok()

    async with connected(script, capabilities=WITH_USE) as connection:
        await connection.create(b"Bin", special_use=SpecialUse.TRASH)


async def test_mailbox_that_may_not_be_made_is_refused() -> None:
    """A refusal other than that the mailbox exists is told with its code, and concerns that mailbox."""

    async def script(peer: Peer) -> None:
        await peer.expect(b"CREATE")
        await peer.no(b"[NOPERM] not here")

    async with connected(script) as connection:
        with pytest.raises(RefusedError) as refused:
            await connection.create(b"Bin")

    assert (refused.value.code, refused.value.reach) == ("NOPERM", Reach.MAILBOX)
