"""A mailbox that is renamed on the server is renamed on every device: the same files, and nothing fetched."""

import asyncio
import re
import shutil
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import select

from syncd.store.rounds import holds
from syncd.store.tables import schema
from tests.contract.sync.house import House, imap
from tests.contract.sync.letters import letter
from tests.contract.sync.provider import Provider
from tests.contract.sync.replica import Replica
from tests.contract.sync.tap import Tap

SEEN, FLAGGED, ANSWERED = "\\Seen", "\\Flagged", "\\Answered"
_STATUS = re.compile(rb'\* STATUS "?([^"(]+?)"? \(')
DEVICES = {"laptop": {"settle": "20ms"}, "phone": {"settle": "20ms", "layout": "fs"}}


async def test_renamed_mailbox_keeps_its_files_and_those_inside_go_along(tmp_path: Path, provider: Provider) -> None:
    """Into the Trash, as web mail does that deletes a mailbox; what devices and server changed meanwhile is merged."""
    provider.receive("a", "b", "c", mailbox="Work")
    provider.receive("x", mailbox="Work/2025/May")
    provider.receive("inbox")
    async with Tap(provider.server.imap_port) as tap:
        account = imap(provider.server, provider.user, port=tap.port)
        async with House(tmp_path, accounts={"work": account}, devices=DEVICES) as house:
            await house.settle()
            before = [_inodes(replica) for replica in (*house.replicas("Work"), *house.replicas("Work/2025/May"))]
            open_file = house.replica("laptop", "Work").find("b").path.open("rb")
            asked = len(tap.bodies)

            _rename(provider, "Work", "Trash/Job")
            provider.store("a", "+FLAGS (\\Flagged)", mailbox="Trash/Job")
            provider.receive("new", mailbox="Trash/Job")
            house.replica("phone", "Work").mark("a", add="S")
            house.replica("laptop", "Work").mark("c", add="R")
            await house.settle()

            for replica in house.replicas("Trash/Job"):
                assert replica.flags() == {"a": {SEEN, FLAGGED}, "b": set(), "c": {ANSWERED}, "new": set()}
            after = [
                _inodes(replica) for replica in (*house.replicas("Trash/Job"), *house.replicas("Trash/Job/2025/May"))
            ]
            assert all(now.items() >= then.items() for now, then in zip(after, before, strict=True))
            assert not any(replica.directory.exists() for replica in house.replicas("Work"))
            assert provider.flags("Trash/Job")["a"] == {SEEN, FLAGGED}
            with open_file:
                assert open_file.read()
            assert sum(map(len, tap.bodies[asked:])) == 1, "only the new message is fetched"
            assert await house.db.read(holds.holds) == ()

            house.replica("phone", "Trash/Job").mark("b", add="F")
            await house.settle()
            assert provider.flags("Trash/Job")["b"] == {FLAGGED}


async def test_directory_that_has_the_new_name_already_keeps_nothing_else_back(tmp_path: Path, user: Provider) -> None:
    """The mailbox keeps its old directory, which is shown; what is deleted in others is deleted."""
    user.receive("i", "j")
    user.receive("a", mailbox="Work")
    house = House(tmp_path, accounts={"work": imap(user.server, user.user)}, devices={"laptop": {"settle": "20ms"}})
    async with house:
        await house.settle()
    other = house.replica("laptop", "Job").directory
    for subdir in ("tmp", "new", "cur"):
        (other / subdir).mkdir(parents=True)
    (other / "cur" / "1700000000.1.laptop:2,S").write_bytes(letter("own"))
    _rename(user, "Work", "Job")
    async with house:
        await house.ask()
        house.replica("laptop").find("i").path.unlink()
        await house.until(lambda: sorted(user.flags("Trash")) == ["i"])

        assert (user.flags("Job"), sorted(user.flags())) == ({"a": set()}, ["j"])
        assert house.replica("laptop", "Work").keys() == ["a"]


async def test_renamed_mailbox_is_known_by_its_id_whatever_is_left_in_it(tmp_path: Path, user: Provider) -> None:
    """By MAILBOXID (RFC 8474), where too few of its messages are left to prove it, and another one has its name."""
    user.receive(*"abcdef", mailbox="Work")
    async with Tap(user.server.imap_port) as tap:
        ids = _tell_ids(tap)
        account = imap(user.server, user.user, port=tap.port)
        async with House(tmp_path, accounts={"work": account}, devices=DEVICES) as house:
            await house.settle()
            before = [_inodes(replica) for replica in house.replicas("Work")]
            rows = await house.rows(select(schema.mailbox.c.id).where(schema.mailbox.c.name == "Work"))
            asked = len(tap.bodies)
            await house.__aexit__()

            _rename(user, "Work", "Job")
            ids[b"Job"] = ids.pop(b"Work")
            user.expunge(*"abcd", mailbox="Job")
            user.receive("other", mailbox="Work")
            await house.__aenter__()
            await house.settle()
            for hold in await house.db.read(holds.holds):
                await house.db.write(partial(holds.release_hold, hold_id=hold.id))
            await house.settle()

            assert [one.keys() for one in house.replicas("Job")] == [["e", "f"]] * len(DEVICES)
            assert [one.keys() for one in house.replicas("Work")] == [["other"]] * len(DEVICES)
            after = [_inodes(replica) for replica in house.replicas("Job")]
            assert all(now.items() <= then.items() for now, then in zip(after, before, strict=True))
            assert sum(map(len, tap.bodies[asked:])) == 1, "only the new message is fetched"
            assert rows == await house.rows(select(schema.mailbox.c.id).where(schema.mailbox.c.name == "Job"))


async def test_swapped_and_replaced_mailboxes_each_keep_their_files(tmp_path: Path, user: Provider) -> None:
    """A and B change their names; D, deleted, leaves its own to C, and its messages are in the store."""
    for name in "ABCD":
        user.receive(*(f"{name}{number}" for number in range(3)), mailbox=name)
    async with House(tmp_path, accounts={"work": imap(user.server, user.user)}, devices=DEVICES) as house:
        await house.settle()
        before = {name: [_inodes(replica) for replica in house.replicas(name)] for name in "ABC"}

        for old, new in (("A", "X"), ("B", "A"), ("X", "B")):
            _rename(user, old, new)
        with user.server.imap(user.user) as client:
            client.delete("D")
            client.rename("C", "D")
        await house.settle()

        after = {name: [_inodes(replica) for replica in house.replicas(name)] for name in "ABD"}
        assert after == {"A": before["B"], "B": before["A"], "D": before["C"]}
        bodies = await house.rows(select(schema.body.c.id))
        assert len(bodies) == 12
        root = house.config.devices["laptop"].path
        assert not [path.name for path in root.iterdir() if "replaced" in path.name or ".syncd-" in path.name]


async def test_device_that_was_away_is_renamed_when_it_is_back(tmp_path: Path, user: Provider) -> None:
    """With what it did meanwhile; nothing that it deleted comes back, and a directory in the way is left alone."""
    user.receive("a", "b", mailbox="Work")
    user.receive("c", mailbox="Lists")
    async with House(tmp_path, accounts={"work": imap(user.server, user.user)}, devices=DEVICES) as house:
        await house.settle()
        root = house.config.devices["laptop"].path
        away = root.rename(tmp_path / "away")
        inodes = _inodes(Replica(away / ".work.Work"))

        _rename(user, "Work", "Job")
        _rename(user, "Lists", "Read")
        await house.settle("work", "phone")
        (away / ".work.Work" / "cur" / "1700000000.1.laptop:2,S").write_bytes(letter("own"))
        for subdir in ("cur", "new", "tmp"):
            (away / ".work.Read" / subdir).mkdir(parents=True)
        (away / ".work.Read" / "new" / "1700000000.2.laptop").write_bytes(letter("in the way"))
        away.rename(root)
        await house.settle()

        assert house.replica("laptop", "Job").keys() == ["a", "b", "own"]
        assert _inodes(house.replica("laptop", "Job")).items() >= inodes.items()
        assert sorted(user.flags("Job")) == ["a", "b", "own"]
        assert house.replica("laptop", "Lists").keys() == ["c"]
        assert house.replica("laptop", "Read").keys() == ["in the way"]
        house.replica("laptop", "Lists").mark("c", add="F")
        await house.settle()
        assert user.flags("Read") == {"c": {FLAGGED}}

        shutil.rmtree(house.replica("laptop", "Read").directory)
        await house.settle()
        assert house.replica("laptop", "Read").keys() == ["c"]


@pytest.mark.parametrize("layout", ["maildir++", "fs"])
async def test_directory_that_somebody_has_renamed_before_loses_nothing(
    tmp_path: Path, user: Provider, layout: str
) -> None:
    """Nobody knows who it was: what is there is compared, and what is not is delivered."""
    user.receive(*(f"m{number}" for number in range(12)), mailbox="Work")
    user.receive("x", mailbox="Work/Sub")
    devices = {"laptop": {"settle": "1h", "layout": layout}}
    house = House(tmp_path, accounts={"work": imap(user.server, user.user)}, devices=devices)
    async with house:
        await house.settle()
    old, new = house.replica("laptop", "Work").directory, house.replica("laptop", "Job").directory
    _rename(user, "Work", "Job")
    old.rename(new)
    house.replica("laptop", "Job").find("m3").path.unlink()

    async with house:
        await house.ask("work")  # else the device may be first, and say that a person has deleted one as well
        await house.settle()

        assert house.replica("laptop", "Job").keys() == sorted(f"m{number}" for number in range(12))
        assert house.replica("laptop", "Job/Sub").keys() == ["x"]
        assert len(user.flags("Job")) == 12
        assert await house.db.read(holds.holds) == ()


def _tell_ids(tap: Tap) -> dict[bytes, bytes]:
    """Let the server tell a MAILBOXID of each mailbox, as none does that we test with; return them by name."""
    ids: dict[bytes, bytes] = {}
    numbers = count(1)

    def says(line: bytes) -> bytes:
        line = line.replace(b"CAPABILITY IMAP4rev1 ", b"CAPABILITY IMAP4rev1 OBJECTID ")
        if (found := _STATUS.match(line)) is None:
            return line
        id_ = ids.setdefault(found[1], b"F%d" % next(numbers))
        return found[0] + b"MAILBOXID (" + id_ + b") " + line[found.end() :]

    tap.alters = lambda line: line.replace(b" MAILBOXID", b"").replace(b" EMAILID", b"")
    tap.says = says
    return ids


def _rename(user: Provider, old: str, new: str) -> None:
    with user.server.imap(user.user) as client:
        assert client.rename(old, new)[0] == "OK"


def _inodes(replica: Replica) -> dict[str, int]:
    return {file.stem: file.inode for file in replica.files()}


async def test_letters_of_keywords_go_along_with_their_mailbox(tmp_path: Path, user: Provider) -> None:
    """A mailbox that takes the name of another has its own letters, also before anybody looks at its directory."""
    user.receive("a", mailbox="Work", flags=("first",))
    user.receive("b", mailbox="Next", flags=("other",))
    account = imap(user.server, user.user)
    async with House(tmp_path, accounts={"work": account}, devices=DEVICES, watches_devices=False) as house:
        await house.settle()
        _rename(user, "Work", "Done")
        await house.settle()

        _rename(user, "Next", "Work")
        user.receive("c", mailbox="Work", flags=("first",))
        await house.ask("work")
        await house.until(lambda: all("c" in replica.keys() for replica in house.replicas("Work")))  # noqa: SIM118
        await house.settle()

        assert user.flags("Work") == {"b": {"other"}, "c": {"first"}}
        for replica in house.replicas("Work"):
            assert replica.flags() == user.flags("Work")


async def test_selected_mailbox_is_read_beside_one_that_is_renamed(tmp_path: Path, user: Provider) -> None:
    """What counts say of the mailbox that was selected when they were told is old, whatever is selected by now."""
    user.receive("m0")
    user.receive("a", "b", mailbox="Work")
    async with House(tmp_path, accounts={"work": imap(user.server, user.user)}) as house:
        await house.settle()
        for number, (old, new) in enumerate([("Work", "Job"), ("Job", "Work"), ("Work", "Done")], start=1):
            await asyncio.to_thread(_rename, user, old, new)
            await asyncio.to_thread(user.receive, f"m{number}")
            await house.ask("work")

            found = await house.rows(select(schema.mailbox.c.exists_count).where(schema.mailbox.c.name == "INBOX"))
            assert found == [(number + 1,)]
