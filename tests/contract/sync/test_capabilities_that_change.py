"""A server that takes capabilities back, or never had what it announces: what works at that time is what is used."""

from contextlib import suppress
from pathlib import Path

import pytest

from syncd.errors import SyncdError
from tests.contract.sync.provider import Provider
from tests.contract.sync.tap import Tap
from tests.contract.sync.three_devices import TWO, add, assert_everywhere, house_of

_FEWER = b"* CAPABILITY IMAP4rev1 IDLE\r\n"
_NO_MORE_OFFERED = (b" UID MOVE ", b" UID EXPUNGE ", b"+}")


async def test_capability_that_is_taken_back_is_not_used_any_more(tmp_path: Path, user: Provider) -> None:
    """Moved without MOVE, expunged without UIDPLUS, and sent without LITERAL+, with the same end."""
    user.receive("a", "b")
    user.receive("old", mailbox="Archive")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port, devices=TWO) as house:
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


async def test_server_that_says_no_to_qresync_is_asked_for_it_by_another_connection(
    tmp_path: Path, user: Provider
) -> None:
    """What was of the moment is so for one connection at most."""
    user.receive("a")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port, devices=TWO) as house:
        await house.settle()
        said, tap.refuses = len(tap.lines), _asks_for_qresync
        for key in ("b", "c", "d"):
            user.receive(key)
            await house.settle()
        assert len(list(filter(_asks_for_qresync, tap.lines[said:]))) == 2
        assert set(house.activities["work"].demoted.values()) == {"condstore"}
        before, said, tap.refuses = house.activities["work"].logins, len(tap.lines), lambda line: False
        tap.drops = lambda line: b" LIST " in line and house.activities["work"].logins == before
        with suppress(SyncdError):
            await house.ask("work")
        user.receive("e")
        await house.settle()

        assert_everywhere(house, user, "INBOX", "a", "b", "c", "d", "e")
        assert any(map(_asks_for_qresync, tap.lines[said:]))
        assert house.activities["work"].demoted == {}


@pytest.mark.parametrize("command", [b" ENABLE ", b"(QRESYNC ("])
async def test_qresync_that_is_announced_and_refused_is_asked_for_once(
    tmp_path: Path, user: Provider, command: bytes
) -> None:
    """Changes are learnt one rung lower then, by the connections that follow as well, and status says so."""
    user.receive("a", "b")
    async with Tap(user.server.imap_port) as tap:
        tap.refuses, tap.refusal = (lambda line: command in line), b"BAD no such thing"
        async with house_of(tmp_path, user, port=tap.port, devices=TWO) as house:
            await house.settle()
            user.receive("c")
            user.expunge("a")
            await house.settle()
            before = house.activities["work"].logins
            tap.drops = lambda line: b" LIST " in line and house.activities["work"].logins == before
            with suppress(SyncdError):
                await house.ask("work")
            user.store("b", "+FLAGS (\\Flagged)")
            await house.settle()

            assert_everywhere(house, user, "INBOX", "b", "c")
            assert len([line for line in tap.lines if command in line]) == 1
            link = house.activities["work"].link
            assert link is not None
            assert (house.activities["work"].logins, link.rung) == (before + 1, "condstore")


async def test_server_that_takes_no_parameter_of_select_is_synced_without(tmp_path: Path, user: Provider) -> None:
    """What was searched behind a SELECT that it did not understand is not taken for its mailbox; status says how."""
    user.receive("a", "b")
    user.receive(*"cdefg", mailbox="Archive")
    async with Tap(user.server.imap_port) as tap:
        tap.refuses, tap.refusal = (lambda line: b" SELECT " in line and b"(" in line), b"BAD no parameters"
        async with house_of(tmp_path, user, port=tap.port, devices=TWO) as house:
            await house.settle()
            user.receive("h")
            user.expunge("a")
            add(house, "phone", "n")
            await house.settle()

            assert_everywhere(house, user, "INBOX", "b", "h", "n")
            assert_everywhere(house, user, "Archive", *"cdefg")
            link = house.activities["work"].link
            assert link is not None
            assert (house.activities["work"].logins, link.rung) == (1, "listing")
            assert len([line for line in tap.lines if tap.refuses(line)]) <= 2


def _asks_for_qresync(line: bytes) -> bool:
    return b"(QRESYNC (" in line
