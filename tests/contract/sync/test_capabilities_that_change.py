"""A server that takes capabilities back in the middle of a session: what it offers at that time is what is used."""

from pathlib import Path

from tests.contract.sync.provider import Provider
from tests.contract.sync.tap import Tap
from tests.contract.sync.three_devices import add, assert_everywhere, house_of

_FEWER = b"* CAPABILITY IMAP4rev1 IDLE\r\n"
_NO_MORE_OFFERED = (b" UID MOVE ", b" UID EXPUNGE ", b"+}")


async def test_capability_that_is_taken_back_is_not_used_any_more(tmp_path: Path, user: Provider) -> None:
    """Moved without MOVE, expunged without UIDPLUS, and sent without LITERAL+, with the same end."""
    user.receive("a", "b")
    user.receive("old", mailbox="Archive")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        await house.settle()
        tap.precedes = lambda line: _FEWER if b" SELECT " in line or b" LIST " in line else b""
        user.receive("heard")
        await house.settle()
        said = len(tap.lines)

        file = house.replica("laptop").find("a").path
        file.rename(house.replica("laptop", "Archive").directory / "cur" / file.name)
        add(house, "phone", "n")
        await house.settle()

        assert_everywhere(house, user, "INBOX", "b", "heard", "n")
        assert_everywhere(house, user, "Archive", "a", "old")
        assert any(b" UID COPY " in line for line in tap.lines[said:])
        assert [line for line in tap.lines[said:] if any(one in line for one in _NO_MORE_OFFERED)] == []
