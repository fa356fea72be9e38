"""What a device deletes is deleted everywhere: moved to Trash or expunged, and never on a guess."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from syncd.mail.tree import ReplicaState
from syncd.store import schema
from tests.contract.sync.house import House, imap
from tests.contract.sync.letters import key_of
from tests.contract.sync.provider import Provider
from tests.contract.sync.tap import Tap
from tests.servers.capabilities import NO_MOVE, NO_MOVE_NO_UIDPLUS, NO_UIDPLUS
from tests.servers.dovecot import Dovecot

SEEN, FLAGGED, DELETED = "\\Seen", "\\Flagged", "\\Deleted"
DEVICES = ("laptop", "phone", "nas")
NEVER = "1h"
NO_TRASH = "namespace inbox {\n  mailbox Trash {\n    auto = no\n    special_use =\n  }\n}\n"
MakeDovecot = Callable[..., Dovecot]


def house_of(directory: Path, provider: Provider, *, settle: str = "20ms", **more: Any) -> House:
    account = imap(provider.server, provider.user, **more)
    return House(directory, accounts={"work": account}, devices={name: {"settle": settle} for name in DEVICES})


def remove(house: House, device: str, *keys: str, mailbox: str = "INBOX") -> None:
    for key in keys:
        house.replica(device, mailbox).find(key).path.unlink()


def assert_everywhere(house: House, provider: Provider, mailbox: str, *keys: str) -> None:
    assert sorted(provider.flags(mailbox)) == list(keys)
    assert [one.keys() for one in house.replicas(mailbox)] == [list(keys)] * 3


async def states(house: House) -> dict[ReplicaState, int]:
    counted: dict[ReplicaState, int] = {}
    for row in await house.rows(select(schema.replica_message.c.state)):
        counted[ReplicaState(row.state)] = counted.get(ReplicaState(row.state), 0) + 1
    return counted


async def until_state(house: House, state: ReplicaState, count: int = 1) -> None:
    await house.until_read(lambda found: found.count(state) == count, select(schema.replica_message.c.state))


# What becomes of it.


async def test_deleted_message_is_in_trash_everywhere(tmp_path: Path, provider: Provider) -> None:
    """A file removed on one device is moved to Trash on the server, by itself, and on every other device."""
    provider.receive("a", "b")
    provider.receive("old", mailbox="Trash")
    async with house_of(tmp_path, provider) as house:
        await house.settle()

        remove(house, "laptop", "a")
        await house.until(lambda: sorted(provider.flags()) == ["b"])
        await house.until(lambda: all(one.keys() == ["b"] for one in house.replicas()))
        await house.until(lambda: all(one.keys() == ["a", "old"] for one in house.replicas("Trash")))
        await house.settle()

        assert_everywhere(house, provider, "INBOX", "b")
        assert_everywhere(house, provider, "Trash", "a", "old")
        assert await states(house) == {ReplicaState.PRESENT: 9}


async def test_sync_that_is_asked_for_concludes_and_deletes_at_once(tmp_path: Path, user: Provider) -> None:
    """Both listings are made inside of one request, however long they are apart."""
    user.receive("a", "b")
    house = house_of(tmp_path, user, settle="300ms")
    async with house:
        await house.settle()
    remove(house, "laptop", "a")
    async with house:
        await house.settle()

        assert_everywhere(house, user, "INBOX", "b")


async def test_deletion_is_for_good_where_the_account_says_so(tmp_path: Path, provider: Provider) -> None:
    """With delete = "expunge" nothing goes to Trash; the body stays in the store."""
    provider.receive("a", "b")
    async with house_of(tmp_path, provider, delete="expunge") as house:
        await house.settle()

        remove(house, "laptop", "a")
        await house.settle()

        assert_everywhere(house, provider, "INBOX", "b")
        assert provider.flags("Trash") == {}
        assert len(await house.rows(select(schema.body.c.id))) == 2


@pytest.mark.parametrize("mailbox", ["Trash", "Junk"])
async def test_deletion_in_trash_is_for_good(tmp_path: Path, user: Provider, mailbox: str) -> None:
    """What a device deletes out of Trash or Junk is expunged."""
    user.receive("kept")
    user.receive("a", "b", mailbox=mailbox)
    async with house_of(tmp_path, user) as house:
        await house.settle()

        remove(house, "phone", "a", mailbox=mailbox)
        await house.settle()

        assert_everywhere(house, user, mailbox, "b")
        assert_everywhere(house, user, "INBOX", "kept")


async def test_two_devices_delete_the_same_message(tmp_path: Path, provider: Provider) -> None:
    """One of them is enough, and both come to rest; it is once in Trash."""
    provider.receive("a", "b")
    async with house_of(tmp_path, provider) as house:
        await house.settle()

        remove(house, "laptop", "a")
        remove(house, "phone", "a")
        await house.settle()

        assert_everywhere(house, provider, "INBOX", "b")
        assert_everywhere(house, provider, "Trash", "a")


async def test_letter_t_deletes_nothing(tmp_path: Path, user: Provider) -> None:
    """A file marked with T is a message with a flag, on all sides."""
    user.receive("a")
    async with house_of(tmp_path, user) as house:
        await house.settle()

        house.replica("laptop").mark("a", add="T")
        await house.settle()

        assert user.flags() == {"a": {DELETED}}


async def test_server_deleted_it_as_well(tmp_path: Path, provider: Provider) -> None:
    """Where both sides deleted, nothing is left to do."""
    provider.receive("a", "b")
    house = house_of(tmp_path, provider)
    async with house:
        await house.settle()
    remove(house, "laptop", "a")
    provider.expunge("a")
    async with house:
        await house.settle()

        assert_everywhere(house, provider, "INBOX", "b")
        assert provider.flags("Trash") == {}


async def test_what_is_moved_to_trash_is_not_fetched_again(tmp_path: Path, provider: Provider) -> None:
    """The store has the body; equal messages are counted, and other mail of the Trash is not taken for it."""
    provider.receive("a", "a", "b")
    async with Tap(provider.server.imap_port) as tap, house_of(tmp_path, provider, port=tap.port) as house:
        await house.settle()
        tap.bodies.clear()

        for file in list(house.replica("laptop").files()):
            if key_of(file.octets) == "a":
                file.path.unlink()
        await house.until(lambda: all(len(one.keys()) == 2 for one in house.replicas("Trash")))
        await house.settle()

        assert tap.bodies == []
        assert [one.keys() for one in house.replicas("Trash")] == [["a", "a"]] * 3


# Against other changes.


async def test_deletion_wins_over_seen(tmp_path: Path, provider: Provider) -> None:
    """That somebody read it meanwhile keeps no message, on another device or in the web mail."""
    provider.receive("a", "b", "c")
    house = house_of(tmp_path, provider)
    async with house:
        await house.settle()
    remove(house, "laptop", "a", "b")
    house.replica("phone").mark("a", add="S")
    provider.store("b", f"+FLAGS ({SEEN})")
    async with house:
        await house.settle()

        assert_everywhere(house, provider, "INBOX", "c")
        assert sorted(provider.flags("Trash")) == ["a", "b"]


async def test_flag_of_another_device_wins_over_a_deletion(tmp_path: Path, provider: Provider) -> None:
    """A message flagged on the phone comes back to the laptop that deleted it."""
    provider.receive("a", "b")
    house = house_of(tmp_path, provider, settle="500ms")
    async with house:
        await house.settle()
    remove(house, "laptop", "a")
    house.replica("phone").mark("a", add="F")
    async with house:
        await house.settle()

        assert_everywhere(house, provider, "INBOX", "a", "b")
        assert {frozenset(one.flags()["a"]) for one in house.replicas()} == {frozenset({FLAGGED})}
        assert provider.flags("Trash") == {}
        assert await states(house) == {ReplicaState.PRESENT: 6}


async def test_flag_of_the_web_mail_wins_over_a_deletion(tmp_path: Path, provider: Provider) -> None:
    """So does a flag set or taken back on the server before it heard of the deletion."""
    provider.receive("a", "b")
    provider.receive("c", flags=(FLAGGED,))
    house = house_of(tmp_path, provider)
    async with house:
        await house.settle()
    remove(house, "laptop", "a", "c")
    provider.store("a", f"+FLAGS ({FLAGGED})")
    provider.store("c", f"-FLAGS ({FLAGGED})")
    async with house:
        await house.settle()

        assert provider.flags() == {"a": {FLAGGED}, "b": set(), "c": set()}
        assert [one.flags() for one in house.replicas()] == [provider.flags()] * 3


async def test_flag_set_when_the_deletion_is_on_its_way_wins(tmp_path: Path, user: Provider) -> None:
    """The server is asked once more just before; what changed since it was observed stays."""
    user.receive("a", "b")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        await house.settle()
        forestalled: list[bytes] = []

        async def forestall(line: bytes) -> None:
            if b"UID FETCH 1 (UID FLAGS" in line and not forestalled:
                forestalled.append(line)
                user.store("a", f"+FLAGS ({FLAGGED})")

        tap.before_line = forestall
        remove(house, "laptop", "a")
        await house.until(lambda: bool(forestalled))
        await house.settle()

        assert_everywhere(house, user, "INBOX", "a", "b")
        assert user.flags()["a"] == {FLAGGED}


# Never on a guess.


async def test_file_that_comes_back_in_time_was_never_deleted(tmp_path: Path, user: Provider) -> None:
    """What is there again within `settle` goes on being synced, and the server never hears of it."""
    user.receive("a", "b")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, settle="2s", port=tap.port) as house:
        await house.settle()
        path = house.replica("laptop").find("a").path
        path.rename(tmp_path / "away")
        await until_state(house, ReplicaState.MISSING)

        (tmp_path / "away").rename(path.parent.parent / "cur" / f"{path.name}:2,S")
        await house.settle()

        assert_everywhere(house, user, "INBOX", "a", "b")
        assert user.flags()["a"] == {SEEN}
        assert not any(b"MOVE" in line or b"EXPUNGE" in line for line in tap.lines)


async def test_killed_between_the_looks(tmp_path: Path, provider: Provider) -> None:
    """A file that is merely missing when syncd ends is looked for again, and deleted, by the next one."""
    provider.receive("a", "b")
    async with house_of(tmp_path, provider, settle=NEVER) as house:
        await house.ask("work", "nas")
        await house.until(lambda: [len(one.keys()) for one in house.replicas()] == [2, 2, 2])
        remove(house, "laptop", "a")
        await until_state(house, ReplicaState.MISSING)
        assert sorted(provider.flags()) == ["a", "b"]

    async with house_of(tmp_path, provider) as house:
        await house.settle()
        assert_everywhere(house, provider, "INBOX", "b")


@pytest.mark.parametrize("what", ["root", "marker", "cur", "mailbox"])
async def test_root_that_goes_between_the_looks_deletes_nothing(tmp_path: Path, user: Provider, what: str) -> None:
    """Unmounted, without its marker, or without cur/: nothing is concluded, and it goes on when it is back."""
    user.receive("a", "b", "c")
    async with house_of(tmp_path, user, settle="1s") as house:
        await house.settle()
        root, inbox = tmp_path / "laptop", house.replica("laptop").directory
        remove(house, "laptop", "a")
        await until_state(house, ReplicaState.MISSING)

        gone = {"root": root, "marker": root / ".syncd", "cur": inbox / "cur", "mailbox": inbox}[what]
        gone.rename(tmp_path / "away")
        if what == "root":
            root.mkdir()
        await house.until_read(any, select(schema.device.c.error))
        assert sorted(user.flags()) == ["a", "b", "c"]
        assert (await states(house)).get(ReplicaState.DELETED, 0) == 0

        if what == "root":
            root.rmdir()
        (tmp_path / "away").rename(gone)
        if what in {"root", "marker"}:
            await house.until_read(lambda found: not any(found), select(schema.device.c.error))
        await house.settle()
        assert_everywhere(house, user, "INBOX", "b", "c")


async def test_what_goes_from_a_mailbox_that_is_not_selected_is_not_deleted(tmp_path: Path, user: Provider) -> None:
    """Selected again, it gets back what its device removed while nobody looked."""
    user.receive("a", "b")
    user.receive("c", "d", mailbox="Other")
    house = house_of(tmp_path, user)
    async with house:
        await house.settle()
    less = House(
        tmp_path,
        accounts={"work": imap(user.server, user.user)},
        devices={name: {"settle": "20ms", "mailboxes": ["*", "!Other"]} for name in DEVICES},
    )
    async with less:
        await less.settle()
    remove(house, "laptop", "c", mailbox="Other")
    house.replica("laptop", "Other").mark("d", add="F")
    async with house:
        await house.settle()

        assert_everywhere(house, user, "Other", "c", "d")
        assert user.flags("Other")["d"] == {FLAGGED}


async def test_name_that_something_else_has_is_not_concluded(tmp_path: Path, user: Provider) -> None:
    """A file whose name a directory has now is neither there nor provably gone: nothing is deleted, nothing spins."""
    user.receive("a", "b")
    async with house_of(tmp_path, user) as house:
        await house.settle()
        path = house.replica("laptop").find("a").path
        path.rename(tmp_path / "away")
        path.mkdir()
        await house.settle()

        assert sorted(user.flags()) == ["a", "b"]
        path.rmdir()
        (tmp_path / "away").rename(path)
        await house.settle()
        assert_everywhere(house, user, "INBOX", "a", "b")


# Servers.


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
    async with house_of(tmp_path, provider, delete=delete) as house:
        await house.settle()

        remove(house, "laptop", "a", "b")
        await house.settle()

        assert_everywhere(house, provider, "INBOX", "c")
        assert_everywhere(house, provider, "Trash", *(("a", "b") if delete == "trash" else ()))


@pytest.mark.parametrize("capability", [NO_UIDPLUS, NO_MOVE_NO_UIDPLUS], ids=["uidplus", "neither"])
async def test_what_a_stranger_marked_as_deleted_is_never_expunged(
    tmp_path: Path, mail_user: str, make_dovecot: MakeDovecot, capability: str
) -> None:
    """Without UIDPLUS expunging is owed as long as there is another's \\Deleted; then all that is owed goes at once."""
    provider = Provider(make_dovecot(capability=capability), mail_user)
    provider.receive("a", "b", "stranger", "c")
    provider.store("stranger", f"+FLAGS ({DELETED})")
    delete = "trash" if capability == NO_MOVE_NO_UIDPLUS else "expunge"
    async with house_of(tmp_path, provider, delete=delete) as house:
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
    async with house_of(tmp_path, provider, delete="trash") as house:
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
    async with Tap(provider.server.imap_port) as tap, house_of(tmp_path, provider, port=tap.port) as house:
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
