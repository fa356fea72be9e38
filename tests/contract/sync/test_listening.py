"""A server with NOTIFY (RFC 5465) tells of every mailbox, over a connection that does nothing but listen.

Nobody asks for a pass in these tests, and the next poll is an hour away.
"""

import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from syncd.store.tables import schema
from tests.contract.sync.house import House, MakeDovecot, imap
from tests.contract.sync.provider import Provider
from tests.contract.sync.tap import Tap
from tests.servers.delivery import quoted

FLAGGED = "\\Flagged"
_RENEWED_S = 70.0
"""Twice as long as it takes at most until a second connection that may be deaf is made anew."""


def house_of(directory: Path, user: Provider, *, port: int | None = None, **more: Any) -> House:
    account = imap(user.server, user.user, port=port, **{"poll_interval": "1h", **more})
    devices = {"laptop": {"settle": "20ms"}, "phone": {}}
    return House(directory, accounts={"work": account}, devices=devices, listens=True)


async def _settle(house: House) -> None:
    """Wait until all is at rest, and the server tells of all mailboxes."""
    await house.settle()
    await house.until(lambda: house.activities["work"].heard is not None)


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


async def test_mailboxes_that_are_made_renamed_and_deleted_elsewhere_follow(tmp_path: Path, user: Provider) -> None:
    """Also where the server does not tell of a second name so soon after the first: Dovecot 2.3 forgets it often."""
    user.receive("a")
    async with house_of(tmp_path, user) as house:
        await _settle(house)

        user.receive("b", mailbox="Made")
        await house.until(lambda: house.replica("phone", "Made").keys() == ["b"])
        with user.server.imap(user.user) as client:
            client.rename("Made", "Renamed")
        await house.until(lambda: house.replica("phone", "Renamed").keys() == ["b"], within_s=_RENEWED_S)
        with user.server.imap(user.user) as client:
            client.delete("Renamed")
        await house.until(lambda: not house.replica("phone", "Renamed").directory.exists(), within_s=_RENEWED_S)


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


async def test_no_pass_is_made_for_what_devices_do_and_for_inbox(tmp_path: Path, user: Provider) -> None:
    """The server tells of that as well; for what devices did in another mailbox that one is read, and nothing else."""
    user.receive("a")
    user.receive("b", "c", mailbox="Archive")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        await _settle(house)
        laptop, phone = house.replica("laptop", "Archive"), house.replica("phone", "Archive")
        told = _Told(tap)
        before = _passes(tap)

        laptop.mark("b", add="F")
        await house.until(lambda: told.of == [b"Archive"])
        await house.until(lambda: FLAGGED in phone.flags()["b"])
        user.receive("d")
        await house.until(lambda: told.of == [b"Archive", b"INBOX"])
        await house.until(lambda: "d" in house.replica("phone").flags())
        user.receive("new", mailbox="Archive")  # what was told before is looked at by then
        await house.until(lambda: "new" in phone.flags())

        assert _passes(tap) == before, tap.lines


class _Told:
    """Know of which mailboxes the server has told without being asked."""

    def __init__(self, tap: Tap) -> None:
        self.of: list[bytes] = []
        tap.says = self._hear

    def _hear(self, line: bytes) -> bytes:
        if line.startswith(b"* STATUS "):
            self.of.append(line.split()[2])
        return line


async def test_server_that_tells_no_mod_sequences_is_listened_to(tmp_path: Path, user: Provider) -> None:
    """Then a change of flags has no count that differs; Cyrus does so where nobody has asked for mod-sequences."""
    user.receive("a")
    user.receive("b", mailbox="Archive")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        await _settle(house)
        tap.says = lambda line: re.sub(rb" ?HIGHESTMODSEQ \d+", b"", line) if line.startswith(b"* STATUS ") else line

        user.store("b", f"+FLAGS ({FLAGGED})", mailbox="Archive")

        await house.until(lambda: FLAGGED in house.replica("phone", "Archive").flags()["b"])


async def test_mailboxes_of_any_name_are_heard_of(tmp_path: Path, user: Provider) -> None:
    """Dovecot tells their names in UTF-8 here, and in modified UTF-7 elsewhere."""
    name = "B\N{LATIN SMALL LETTER U WITH DIAERESIS}cher & mehr"
    user.receive("a")
    user.receive("b", mailbox=name)
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        await _settle(house)
        before = _passes(tap)

        user.store("b", f"+FLAGS ({FLAGGED})", mailbox=name)
        await house.until(lambda: FLAGGED in house.replica("phone", name).flags()["b"])
        assert _passes(tap) == before
        with user.server.imap(user.user) as client:
            client.delete(quoted(name))
        await house.until(lambda: not house.replica("phone", name).directory.exists())


async def test_mailbox_that_is_not_synced_is_passed_over(tmp_path: Path, user: Provider) -> None:
    name = "Sp\N{LATIN SMALL LETTER A WITH DIAERESIS}m"
    user.receive("a", mailbox=name)
    user.receive("b", mailbox="Archive")
    async with Tap(user.server.imap_port) as tap:
        more = {"mailboxes": ["*", f"!{name}"]}
        async with house_of(tmp_path, user, port=tap.port, **more) as house:
            await _settle(house)
            told, before, said = _Told(tap), _passes(tap), len(tap.lines)

            user.receive("c", mailbox=name)
            await house.until(lambda: len(told.of) == 1)
            user.receive("d", mailbox="Archive")
            await house.until(lambda: house.replica("phone", "Archive").keys() == ["b", "d"])

            assert _passes(tap) == before
            assert not any(b"SELECT" in line and b"Sp&" in line for line in tap.lines[said:]), tap.lines[said:]


async def test_mailbox_that_was_only_a_name_so_far_is_heard_of(tmp_path: Path, user: Provider) -> None:
    """It could not be selected, and had others inside of it."""
    user.receive("a", mailbox="Work/Inside")
    async with house_of(tmp_path, user) as house:
        await _settle(house)

        user.receive("b", mailbox="Work")

        await house.until(lambda: house.replica("phone", "Work").keys() == ["b"])


async def test_server_that_could_not_tell_all_is_asked(tmp_path: Path, user: Provider) -> None:
    user.receive("a")
    user.receive("b", mailbox="Archive")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        await _settle(house)
        lost = b"* NO NOTIFY error, some events may have got lost\r\n"
        tap.says = lambda line: lost if line.startswith(b"* STATUS ") and b"LIST" not in tap.lines[-1] else line

        user.receive("c", mailbox="Archive")

        await house.until(lambda: house.replica("phone", "Archive").keys() == ["b", "c"])


async def test_mailboxes_of_other_namespaces_are_polled_and_said_to_be(
    tmp_path: Path, make_dovecot: MakeDovecot, mail_user: str
) -> None:
    """What is told is of a person's own mailboxes."""
    namespace = "type = public\n separator = /\n prefix = Public/\n list = yes\n location = sdbox:~/public\n"
    user = Provider(make_dovecot(extra_config=f"namespace public {{\n {namespace} subscriptions = no\n}}\n"), mail_user)
    user.receive("a")
    user.receive("b", mailbox="Public/Team")
    async with house_of(tmp_path, user) as house:
        await house.settle()

        await house.until(lambda: house.activities["work"].heard is not None)
        named = select(schema.mailbox.c.name, schema.mailbox.c.id).where(schema.mailbox.c.is_selectable)
        unheard = {name for name, id_ in await house.rows(named) if id_ not in house.activities["work"].heard}
        assert unheard == {"Public/Team"}
        assert house.replica("phone", "Public/Team").keys() == ["b"]


@pytest.mark.parametrize("refused", [b" NOTIFY ", b" AUTHENTICATE "])
async def test_server_that_lets_nobody_listen_is_polled(tmp_path: Path, user: Provider, refused: bytes) -> None:
    """It refuses NOTIFY, or a second connection; that is tried once, and nothing else is worse for it."""
    user.receive("a")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        served: list[bytes] = []

        def refuses(line: bytes) -> bool:
            if refused not in line:
                return False
            served.append(line)
            return line != served[0] or refused == b" NOTIFY "

        tap.refuses = refuses
        await house.settle()
        await house.until(lambda: len(served) == (1 if refused == b" NOTIFY " else 2))
        for key in ("b", "c", "d"):
            user.receive(key)
            await house.until(lambda key=key: key in house.replica("phone").flags())
        activity, said = house.activities["work"], len(served)

        assert (activity.watched, activity.heard, activity.error, activity.logins) == ("INBOX", None, None, 1)
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


async def test_mailbox_that_goes_while_nobody_listens_is_missed(tmp_path: Path, user: Provider) -> None:
    user.receive("a")
    user.receive("b", mailbox="Archive")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        overflows = iter([b"* OK [NOTIFICATIONOVERFLOW] too much\r\n"])
        tap.precedes = lambda line: next(overflows, b"") if b" NOTIFY " in line else b""

        async def meddle(line: bytes) -> None:
            if b" NOTIFY " in line and _asked(tap) == 2:
                with user.server.imap(user.user) as client:
                    client.delete("Archive")

        tap.before_line = meddle
        await house.settle()

        await house.until(lambda: not house.replica("phone", "Archive").directory.exists())


async def test_mailbox_that_cannot_be_read_for_a_moment_is_read_after_it(tmp_path: Path, user: Provider) -> None:
    user.receive("a")
    user.receive("b", mailbox="Archive")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        await _settle(house)
        before = len(tap.lines)
        tap.refusal = b"NO [INUSE] not now"
        tap.refuses = lambda line: b" SELECT " in line and b"Archive" in line

        user.receive("c", mailbox="Archive")
        await house.until(lambda: any(map(tap.refuses, tap.lines[before:])))
        tap.refuses = lambda line: False

        await house.until(lambda: house.replica("phone", "Archive").keys() == ["b", "c"])


async def test_server_that_went_deaf_is_listened_to_anew(tmp_path: Path, user: Provider) -> None:
    """A poll finds what it has not told."""
    user.receive("a")
    user.receive("b", mailbox="Archive")
    often = {"poll_interval": "2s"}
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port, **often) as house:
        await _settle(house)
        tap.says = lambda line: b"" if line.startswith(b"* STATUS Archive") and b"UNSEEN" in line else line

        user.receive("c", mailbox="Archive")
        await house.until(lambda: house.replica("phone", "Archive").keys() == ["b", "c"])

        await house.until(lambda: _asked(tap) == 2)


@pytest.mark.parametrize(("refusal", "asked"), [(b"", 2), (b"BAD what is that?", 1)])
async def test_account_that_connects_anew_listens_anew(
    tmp_path: Path, user: Provider, refusal: bytes, asked: int
) -> None:
    """But where the server does not know how."""
    user.receive("a")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        tap.refusal, tap.refuses = refusal, lambda line: bool(refusal) and b" NOTIFY " in line
        await (house.settle() if refusal else _settle(house))
        await house.until(lambda: _asked(tap) == 1)
        losses = iter([True])
        tap.drops = lambda line: next(losses, False) if b" FETCH " in line else False

        user.receive("lost")
        await house.until(lambda: house.activities["work"].logins == 2)
        await (house.settle() if refusal else _settle(house))
        assert _asked(tap) == asked
        user.receive("b", mailbox="Archive")
        if refusal:
            await house.settle()

        await house.until(lambda: house.replica("phone", "Archive").keys() == ["b"])
        # NOTE: the mailbox is new, and who hears of another name asks once more after a while.
        assert not refusal or _asked(tap) == asked
