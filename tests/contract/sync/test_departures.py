"""Whatever a server offers or loses, what a device deletes departs from it once, and nothing else does."""

import re
from pathlib import Path

import pytest
from sqlalchemy import select

from syncd.mail.tree import ReplicaState
from syncd.store.tables import schema
from tests.contract.sync.house import MakeDovecot, states, until_state
from tests.contract.sync.provider import Provider
from tests.contract.sync.tap import Tap
from tests.contract.sync.three_devices import DEVICES, TWO, add, assert_everywhere, house_of, remove
from tests.servers.capabilities import NO_MOVE, NO_MOVE_NO_UIDPLUS, NO_UIDPLUS

SEEN, DELETED, FLAGGED = "\\Seen", "\\Deleted", "\\Flagged"
RETRY_S = 300.0
NO_TRASH = "namespace inbox {\n  mailbox Trash {\n    auto = no\n    special_use =\n  }\n}\n"


async def test_server_is_away_meanwhile(tmp_path: Path, mail_user: str, make_dovecot: MakeDovecot) -> None:
    """What three devices delete while the server is down is done when it is back."""
    server = make_dovecot()
    provider = Provider(server, mail_user)
    provider.receive("a", "b", "c", "d")
    async with house_of(tmp_path, provider) as house:
        await house.settle()
        server.stop()
        for device, key in zip(DEVICES, "abc", strict=True):
            remove(house, device, key)
        await house.ask(*DEVICES)
        assert (await states(house))[ReplicaState.DELETED] == 3

        server.start()
        await house.settle()
        assert_everywhere(house, provider, "INBOX", "d")
        assert_everywhere(house, provider, "Trash", "a", "b", "c")


@pytest.mark.parametrize("capability", [NO_MOVE, NO_UIDPLUS, NO_MOVE_NO_UIDPLUS], ids=["move", "uidplus", "neither"])
@pytest.mark.parametrize("delete", ["trash", "expunge"])
async def test_servers_without_move_or_uidplus(
    tmp_path: Path, mail_user: str, make_dovecot: MakeDovecot, capability: str, delete: str
) -> None:
    """Deletion is what it is on any server, and each message is in Trash once."""
    provider = Provider(make_dovecot(capability=capability), mail_user)
    provider.receive("a", "b", "c")
    async with house_of(tmp_path, provider, delete=delete, devices=TWO) as house:
        await house.settle()

        remove(house, "laptop", "a", "b")
        await house.settle()

        assert_everywhere(house, provider, "INBOX", "c")
        assert_everywhere(house, provider, "Trash", *(("a", "b") if delete == "trash" else ()))


async def test_message_that_is_flagged_after_it_was_looked_at_stays(tmp_path: Path, user: Provider) -> None:
    """How messages are that are to be expunged is asked while others are sent, which may be a while before."""
    user.receive("kept", "wanted", "gone")
    more = {"delete": "expunge", "settle": "1h"}
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port, **more, devices=TWO) as house:
        await house.settle()

        async def flag(line: bytes) -> None:
            if b"UID STORE" in line and rb"\Deleted" in line and FLAGGED not in user.flags()["wanted"]:
                user.store("wanted", rf"+FLAGS ({FLAGGED})")

        tap.before_line = flag
        add(house, "laptop", "added")
        remove(house, "laptop", "wanted", "gone")
        await house.settle()

        assert FLAGGED in user.flags()["wanted"]
        assert_everywhere(house, user, "INBOX", "added", "kept", "wanted")


@pytest.mark.parametrize("capability", [NO_UIDPLUS, NO_MOVE_NO_UIDPLUS], ids=["uidplus", "neither"])
async def test_what_a_stranger_marked_as_deleted_is_never_expunged(
    tmp_path: Path, mail_user: str, make_dovecot: MakeDovecot, capability: str
) -> None:
    """Without UIDPLUS expunging is owed as long as there is another's \\Deleted; then all that is owed goes at once."""
    provider = Provider(make_dovecot(capability=capability), mail_user)
    provider.receive("a", "b", "stranger", "c")
    provider.store("stranger", f"+FLAGS ({DELETED})")
    delete = "trash" if capability == NO_MOVE_NO_UIDPLUS else "expunge"
    async with house_of(tmp_path, provider, delete=delete, devices=TWO) as house:
        await house.settle()

        remove(house, "laptop", "a")
        await house.settle()
        remove(house, "phone", "b")
        await house.settle()
        assert sorted(provider.flags()) == ["a", "b", "c", "stranger"]
        assert len(await house.rows(select(schema.trouble.c.error))) == 2

        provider.store("stranger", f"-FLAGS ({DELETED})")
        house.shift_s += 3600
        await house.settle()
        assert_everywhere(house, provider, "INBOX", "c", "stranger")
        assert_everywhere(house, provider, "Trash", *(("a", "b") if delete == "trash" else ()))
        assert await house.rows(select(schema.trouble.c.error)) == []


async def test_trash_that_is_asked_for_and_not_there_destroys_nothing(
    tmp_path: Path, mail_user: str, make_dovecot: MakeDovecot
) -> None:
    """With delete = "trash" and no Trash on the server the message stays, is shown, and the rest goes on."""
    provider = Provider(make_dovecot(extra_config=NO_TRASH), mail_user)
    provider.receive("a", "b")
    async with house_of(tmp_path, provider, delete="trash", devices=TWO) as house:
        await house.settle()

        remove(house, "laptop", "a")
        house.replica("phone").mark("b", add="S")
        await house.settle()

        assert provider.flags() == {"a": set(), "b": {SEEN}}
        [row] = await house.rows(select(schema.trouble.c.error))
        assert row.error == "the server has no Trash mailbox"


@pytest.mark.parametrize(
    ("capability", "after"),
    [(None, b"UID MOVE"), (NO_MOVE, b"UID COPY"), (NO_MOVE, b"UID EXPUNGE"), (NO_MOVE, b"\\Deleted")],
)
@pytest.mark.parametrize("octets", [0, 3])
async def test_wire_is_cut_when_a_message_departs(
    tmp_path: Path, mail_user: str, make_dovecot: MakeDovecot, capability: str | None, after: bytes, octets: int
) -> None:
    """Whatever answer is lost, the message is once in Trash and no longer in its mailbox."""
    provider = Provider(make_dovecot(capability=capability), mail_user)
    provider.receive("a", "b", "c")
    async with Tap(provider.server.imap_port) as tap, house_of(tmp_path, provider, port=tap.port, devices=TWO) as house:
        await house.settle()

        async def cut(line: bytes) -> None:
            if after in line and not tap.cuts:
                tap.cut_after_bytes = octets

        tap.before_line = cut
        remove(house, "laptop", "a", "b")
        await house.until(lambda: tap.cuts > 0)
        await house.until(lambda: sorted(provider.flags()) == ["c"])
        await house.settle()

        assert_everywhere(house, provider, "INBOX", "c")
        assert len(provider.bodies("Trash")) == 2
        assert_everywhere(house, provider, "Trash", "a", "b")


async def test_copy_that_the_server_has_made_though_it_refused_it_is_not_made_again(
    tmp_path: Path, mail_user: str, make_dovecot: MakeDovecot
) -> None:
    """A server in trouble says NO; the next try finds in Trash what is there."""
    provider = Provider(make_dovecot(capability=NO_MOVE), mail_user)
    provider.receive("a", "b", "c")
    async with Tap(provider.server.imap_port) as tap, house_of(tmp_path, provider, port=tap.port, devices=TWO) as house:
        await house.settle()
        done = re.compile(rb"(\w+) OK \[COPYUID .*")
        tap.says = lambda line: done.sub(rb"\1 NO [SERVERBUG] Internal error\r", line)
        remove(house, "laptop", "a", "b")
        await house.until(lambda: len(provider.bodies("Trash")) == 2)
        await house.settle()
        tap.says = None
        house.shift_s = RETRY_S
        await house.ask("work")
        await house.settle()

        assert_everywhere(house, provider, "INBOX", "c")
        assert len(provider.bodies("Trash")) == 2
        assert_everywhere(house, provider, "Trash", "a", "b")


async def test_mailbox_that_is_made_anew_while_copies_are_looked_for_loses_nothing(
    tmp_path: Path, mail_user: str, make_dovecot: MakeDovecot
) -> None:
    """Its UIDs name other messages by then, which nobody has deleted."""
    provider = Provider(make_dovecot(capability=NO_MOVE), mail_user)
    provider.receive("a", "b", "c", mailbox="Lists")
    async with Tap(provider.server.imap_port) as tap, house_of(tmp_path, provider, port=tap.port, devices=TWO) as house:
        await house.settle()
        said: list[bytes] = []
        is_anew = False

        async def hear(line: bytes) -> None:
            nonlocal is_anew
            if b" UID COPY " in line and not tap.cuts:
                tap.cut_after_bytes = 0
            said.append(line if tap.cuts else b"")
            if not is_anew and b'SELECT "Lists"' in line and any(b'SELECT "Trash"' in one for one in said[-6:]):
                is_anew = True
                with provider.server.imap(provider.user) as client:
                    client.delete("Lists")
                provider.receive("x", "y", "z", mailbox="Lists")

        tap.before_line = hear
        remove(house, "laptop", "a", "b", mailbox="Lists")
        await house.until(lambda: is_anew)
        await house.settle()

        assert sorted(provider.flags("Lists")) == ["x", "y", "z"]


async def test_files_that_are_back_before_the_server_hears_of_it_were_not_deleted(
    tmp_path: Path, make_dovecot: MakeDovecot, mail_user: str
) -> None:
    """However many they are: what the guard judges is what leaves, and what is there again does not."""
    server = make_dovecot()
    provider = Provider(server, mail_user)
    keys = [f"m{number:02}" for number in range(40)]
    provider.receive(*keys, "x")
    async with Tap(server.imap_port) as tap, house_of(tmp_path, provider, port=tap.port) as house:
        await house.settle()
        homes = [house.replica("laptop").find(key).path for key in keys]
        came_back: list[bytes] = []

        async def put_back(line: bytes) -> None:
            if b"UID STORE" in line and not came_back:
                came_back.append(line)
                for home in homes:
                    (tmp_path / home.name).rename(home)
                await until_state(house, ReplicaState.PRESENT, 3 * len(keys) + 3)

        server.stop()
        for home in homes:
            home.rename(tmp_path / home.name)
        await house.ask(*DEVICES)
        await until_state(house, ReplicaState.DELETED, len(keys))
        house.replica("phone").mark("x", add="S")
        await house.ask("phone")
        tap.before_line = put_back
        server.start()
        await house.until(lambda: bool(came_back))
        await house.settle()

        assert_everywhere(house, provider, "INBOX", *keys, "x")
        assert provider.flags("Trash") == {}
