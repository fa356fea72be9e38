"""What a search does not list is gone only if the answer is whole."""

from syncd.imap.news.presence import still_there
from syncd.mail.uidset import UidSet
from tests.unit.imap.scripted import SELECTED, Peer, connected


async def there(uids: UidSet, *script: tuple[bytes, bytes]) -> UidSet:
    """Ask a server that lists these UIDs to each expected command."""

    async def whole(peer: Peer) -> None:
        await peer.answer(b"SELECT", SELECTED)
        for expected, listed in script:
            assert await peer.command() == expected
            await peer.send(b"* SEARCH" + listed + b"\r\n" + peer.tag + b" OK done\r\n")

    async with connected(whole, capabilities=b"IMAP4rev1") as connection:
        await connection.select(b"INBOX")
        return await still_there(connection, uids)


async def test_answer_that_is_cut_short_proves_nothing_of_what_it_leaves_out() -> None:
    """What is not listed beside others is asked for again."""
    found = await there(
        UidSet.span(1, 4),
        (b"UID SEARCH UID 1:4", b" 1"),
        (b"UID SEARCH UID 2:4", b" 3"),
        (b"UID SEARCH UID 2,4", b""),
    )

    assert found == UidSet.parse("1,3")


async def test_more_is_asked_than_some_servers_list_in_several_searches() -> None:
    """There are servers that list a thousand and say that this is all."""
    found = await there(
        UidSet.span(1, 1100),
        (b"UID SEARCH UID 601:1100", b""),
        (b"UID SEARCH UID 101:600", b""),
        (b"UID SEARCH UID 1:100", b""),
    )

    assert not found
