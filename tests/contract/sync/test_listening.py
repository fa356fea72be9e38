"""A server with NOTIFY (RFC 5465) tells of every mailbox, over a connection that does nothing but listen.

Nobody asks for a pass in these tests, and the next poll is an hour away.
"""

from pathlib import Path

import pytest

from tests.contract.sync.house import House, imap
from tests.contract.sync.provider import Provider
from tests.contract.sync.tap import Tap

FLAGGED = "\\Flagged"


def house_of(directory: Path, user: Provider, *, port: int | None = None) -> House:
    account = imap(user.server, user.user, port=port, poll_interval="1h")
    devices = {"laptop": {"settle": "20ms"}, "phone": {}}
    return House(directory, accounts={"work": account}, devices=devices, listens=True)


async def _settle(house: House) -> None:
    """Wait until all is at rest, and the server tells of all mailboxes."""
    await house.settle()
    await house.until(lambda: house.activities["work"].hears_all)


def _asked(tap: Tap) -> int:
    return sum(b" NOTIFY " in line for line in tap.lines)


def _passes(tap: Tap) -> int:
    return sum(b" LIST " in line for line in tap.lines)


async def test_what_happens_in_any_mailbox_is_everywhere_at_once(tmp_path: Path, user: Provider) -> None:
    """New mail, flags, what is deleted, and what is moved from one mailbox to another one."""
    user.receive("a")
    user.receive("b", "c", mailbox="Archive")
    async with house_of(tmp_path, user) as house:
        await _settle(house)
        inbox, archive = house.replica("phone"), house.replica("phone", "Archive")

        user.receive("new", mailbox="Archive")
        await house.until(lambda: "new" in archive.flags())
        user.store("b", f"+FLAGS ({FLAGGED})", mailbox="Archive")
        await house.until(lambda: FLAGGED in archive.flags()["b"])
        user.expunge("c", mailbox="Archive")
        await house.until(lambda: archive.keys() == ["b", "new"])
        user.move("b", mailbox="Archive", to="INBOX")
        await house.until(lambda: (archive.keys(), inbox.keys()) == (["new"], ["a", "b"]))
        assert FLAGGED in inbox.flags()["b"]


async def test_mailboxes_that_are_made_renamed_and_deleted_elsewhere_follow_at_once(
    tmp_path: Path, user: Provider
) -> None:
    user.receive("a")
    async with house_of(tmp_path, user) as house:
        await _settle(house)

        user.receive("b", mailbox="Made")
        await house.until(lambda: house.replica("phone", "Made").keys() == ["b"])
        with user.server.imap(user.user) as client:
            client.rename("Made", "Renamed")
        await house.until(lambda: house.replica("phone", "Renamed").keys() == ["b"])
        with user.server.imap(user.user) as client:
            client.delete("Renamed")
        await house.until(lambda: not house.replica("phone", "Renamed").directory.exists())


async def test_what_happened_before_the_server_was_asked_to_tell_is_not_missed(tmp_path: Path, user: Provider) -> None:
    """Between the last look at a mailbox and NOTIFY."""
    user.receive("a")
    user.receive("b", mailbox="Archive")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:

        async def meddle(line: bytes) -> None:
            if b" NOTIFY " in line:
                user.receive("late", mailbox="Archive")

        tap.before_line = meddle
        await house.settle()

        await house.until(lambda: house.replica("phone", "Archive").keys() == ["b", "late"])


async def test_what_is_known_already_is_no_cause_to_look_at_all_mailboxes(tmp_path: Path, user: Provider) -> None:
    """The server tells of what devices did and of INBOX as well: each of these would bring a pass."""
    user.receive("a")
    user.receive("b", mailbox="Archive")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        await _settle(house)
        before, said = _passes(tap), len(tap.lines)

        house.replica("laptop", "Archive").mark("b", add="F")
        await house.until(lambda: FLAGGED in user.flags("Archive")["b"])
        user.receive("b", "c")  # IDLE tells of that, and the listening connection behind it
        await house.until(lambda: "c" in house.replica("phone").flags())
        user.receive("new", mailbox="Archive")  # is told behind both
        await house.until(lambda: "new" in house.replica("phone", "Archive").flags())

        assert _passes(tap) == before + 1, tap.lines[said:]


@pytest.mark.parametrize("refused", [b" NOTIFY ", b" AUTHENTICATE "])
async def test_server_that_lets_nobody_listen_is_polled(tmp_path: Path, user: Provider, refused: bytes) -> None:
    """It refuses NOTIFY, or a second connection; that is tried once, and nothing else is worse for it."""
    user.receive("a")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        served: list[bytes] = []

        def refuses(line: bytes) -> bool:
            served.extend([line] if refused in line else [])
            return refused == b" NOTIFY " in line or (refused in line and len(served) > 1)

        tap.refuses = refuses
        await house.settle()
        await house.until(lambda: len(served) == (1 if refused == b" NOTIFY " else 2))
        for key in ("b", "c", "d"):
            user.receive(key)
            await house.until(lambda key=key: key in house.replica("phone").flags())
        activity, said = house.activities["work"], len(served)

        assert (activity.watched, activity.hears_all, activity.error, activity.logins) == ("INBOX", False, None, 1)
        user.receive("e", mailbox="Archive")
        await house.settle()
        assert house.replica("phone", "Archive").keys() == ["e"]
        assert len(served) == said


@pytest.mark.parametrize("how", ["overflow", "lost"])
async def test_what_comes_while_nobody_listens_is_heard_of_afterwards(tmp_path: Path, user: Provider, how: str) -> None:
    """The connection is lost, or the server has too much to tell (NOTIFICATIONOVERFLOW, RFC 5465 §5.8)."""
    user.receive("a")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        overflows = iter([b"* OK [NOTIFICATIONOVERFLOW] too much\r\n"] if how == "overflow" else [])
        losses = iter([True] if how == "lost" else [])
        tap.precedes = lambda line: next(overflows, b"") if b" NOTIFY " in line else b""
        tap.drops = lambda line: next(losses, False) if b" NOTIFY " in line else False

        async def meddle(line: bytes) -> None:
            if b" NOTIFY " in line and _asked(tap) == 2:
                user.receive("b", mailbox="Archive")

        tap.before_line = meddle
        await house.settle()

        await house.until(lambda: house.replica("phone", "Archive").keys() == ["b"])
        assert house.activities["work"].logins == 1


async def test_account_that_connects_anew_listens_anew(tmp_path: Path, user: Provider) -> None:
    user.receive("a")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        await _settle(house)
        losses = iter([True])
        tap.drops = lambda line: next(losses, False) if b" FETCH " in line else False

        user.receive("lost")
        await house.until(lambda: house.activities["work"].logins == 2)
        await _settle(house)
        user.receive("b", mailbox="Archive")

        await house.until(lambda: house.replica("phone", "Archive").keys() == ["b"])
        assert _asked(tap) == 2
