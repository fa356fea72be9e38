"""A server with NOTIFY (RFC 5465) tells of every mailbox, and what it tells reaches the devices at once.

Nobody asks for a pass in these tests, and the next poll is an hour away.
"""

from pathlib import Path

from tests.contract.sync.house import House, imap
from tests.contract.sync.provider import Provider
from tests.contract.sync.tap import Tap

FLAGGED = "\\Flagged"


def house_of(directory: Path, user: Provider, *, port: int | None = None) -> House:
    account = imap(user.server, user.user, port=port, poll_interval="1h")
    return House(directory, accounts={"work": account}, devices={"laptop": {"settle": "20ms"}, "phone": {}})


def _rests(tap: Tap) -> bool:
    return b"IDLE" in tap.lines[-1] and any(b" NOTIFY " in line for line in tap.lines)


def _passes(tap: Tap) -> int:
    return sum(b" LIST " in line for line in tap.lines)


async def test_what_happens_in_any_mailbox_is_everywhere_at_once(tmp_path: Path, user: Provider) -> None:
    """New mail, flags, what is deleted, and what is moved from one mailbox to another one."""
    user.receive("a")
    user.receive("b", "c", mailbox="Archive")
    async with house_of(tmp_path, user) as house:
        await house.settle()
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
        await house.settle()

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


async def test_what_devices_do_is_no_cause_to_look_at_all_mailboxes(tmp_path: Path, user: Provider) -> None:
    """The server tells of that as well; and so each of our own changes would bring a pass."""
    user.receive("a")
    user.receive("b", mailbox="Archive")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        await house.settle()
        await house.until(lambda: _rests(tap))
        before, said = _passes(tap), len(tap.lines)

        house.replica("laptop", "Archive").mark("b", add="F")
        await house.until(lambda: FLAGGED in user.flags("Archive")["b"])
        user.receive("new", mailbox="Archive")  # is told behind it
        await house.until(lambda: "new" in house.replica("phone", "Archive").flags())

        assert _passes(tap) == before + 1, tap.lines[said:]


async def test_server_that_refuses_to_tell_is_polled(tmp_path: Path, user: Provider) -> None:
    """It is asked twice at most over a connection, and INBOX is heard of by IDLE as ever."""
    user.receive("a")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        tap.refuses = lambda line: b" NOTIFY " in line
        await house.settle()
        for key in ("b", "c", "d"):
            user.receive(key)
            await house.until(lambda key=key: key in house.replica("phone").flags())

        assert sum(b" NOTIFY " in line for line in tap.lines) == 2
        assert house.activities["work"].watched in {"INBOX", None}


async def test_server_that_tells_too_much_is_connected_to_anew(tmp_path: Path, user: Provider) -> None:
    """NOTIFICATIONOVERFLOW: it tells nothing more from then on (RFC 5465 §5.8)."""
    user.receive("a")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        await house.settle()
        await house.until(lambda: _rests(tap))
        overflows = iter([b"* OK [NOTIFICATIONOVERFLOW] too much\r\n"])
        tap.precedes = lambda line: next(overflows, b"") if b" IDLE" in line else b""

        user.receive("b")  # so that IDLE begins anew
        await house.until(lambda: house.activities["work"].logins == 2)
        user.receive("c", mailbox="Archive")

        await house.until(lambda: house.replica("phone", "Archive").keys() == ["c"])
        assert house.replica("phone").keys() == ["a", "b"]
