"""People come from mbsync: what it has written into its Maildir tree is mail that the server has, and stays so."""

import datetime
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from sqlalchemy import select

from syncd.mail.tree import BodyForm, ReplicaState
from syncd.store import schema
from tests.benchmarks.peers.programs import find
from tests.contract.sync.adopting import adopt, house_of, inodes
from tests.contract.sync.house import House, states
from tests.contract.sync.letters import letter
from tests.contract.sync.provider import Provider
from tests.contract.sync.replica import Replica
from tests.contract.sync.tap import Tap
from tests.servers.identity import ServerUnavailable

LONG_AGO = datetime.datetime(2020, 5, 17, 9, 30, tzinfo=datetime.UTC)
LAYOUT_FS = {"laptop": {"layout": "fs"}}


class Mbsync:
    """The real program, over one tree that is laid out as a device of layout fs is."""

    def __init__(self, user: Provider, root: Path, directory: Path) -> None:
        try:
            self._program = find("mbsync", "isync")
        except ServerUnavailable as error:
            pytest.skip(f"no mbsync can be had: {error}")
        root.mkdir(parents=True)
        self._rc = directory / "mbsyncrc"
        self._rc.write_text(
            f"IMAPAccount it\nHost {user.server.host}\nPort {user.server.imap_port}\nUser {user.user}\n"
            f"Pass {user.server.password}\nSSLType None\nAuthMechs LOGIN\n\nIMAPStore server\nAccount it\n\n"
            f"MaildirStore device\nPath {root}/\nInbox {root}/INBOX\nSubFolders Verbatim\n\n"
            "Channel mail\nFar :server:\nNear :device:\nPatterns *\nCreate Both\nExpunge Both\n"
            "CopyArrivalDate yes\nSyncState *\n"
        )

    def sync(self) -> None:
        command = [*self._program.command, "-c", str(self._rc), "-q", "mail"]
        subprocess.run(command, env={**os.environ, **self._program.environment}, check=True, timeout=60)


def noted(octets: bytes, note: str) -> bytes:
    """Return a message as mbsync keeps it: with line ends of Unix, and one more line at the end of its header."""
    header, _, rest = octets.replace(b"\r\n", b"\n").partition(b"\n\n")
    return header + f"\nX-TUID: {note}\n\n".encode() + rest


def put(directory: Path, files: Mapping[str, bytes], *, date: datetime.datetime | None = LONG_AGO) -> None:
    for subdir in ("cur", "new", "tmp"):
        (directory / subdir).mkdir(parents=True, exist_ok=True)
    for name, octets in files.items():
        path = directory / "cur" / name
        path.write_bytes(octets)
        if date is not None:
            os.utime(path, (date.timestamp(), date.timestamp()))


async def forms(house: House) -> dict[str, str]:
    rows = await house.rows(select(schema.replica_message.c.name, schema.replica_message.c.form))
    return {row.name: row.form for row in rows}


async def test_tree_of_mbsync_is_adopted_and_nothing_is_sent_again(tmp_path: Path, user: Provider) -> None:
    """What it fetched is not fetched again, and what it sent once, with a line of its own, is compared once."""
    user.receive("a", "b", "c", flags=("\\Seen",), date=LONG_AGO)
    user.receive("twin", "twin", date=LONG_AGO)
    user.receive("p", "q", mailbox="job/plans", date=LONG_AGO)
    mbsync = Mbsync(user, tmp_path / "laptop" / "work", tmp_path)
    mbsync.sync()
    put(tmp_path / "laptop" / "work" / "INBOX", {"1700000009.1.host:2,S": letter("sent").replace(b"\r\n", b"\n")})
    mbsync.sync()
    assert sum(b"X-TUID" in octets for octets in user.bodies()) == 1
    bodies = [sorted(user.bodies(name)) for name in ("INBOX", "job/plans")]

    async with Tap(user.server.imap_port) as tap:
        house = house_of(tmp_path, user, port=tap.port, devices=LAYOUT_FS)
        replicas = [Replica(tmp_path / "laptop" / "work" / name) for name in ("INBOX", "job/plans")]
        before = [inodes(one) for one in replicas]
        async with house:
            await adopt(house, "laptop")
            await house.settle()

            assert [sorted(user.bodies(name)) for name in ("INBOX", "job/plans")] == bodies
            assert [inodes(one) for one in replicas] == before
            assert await states(house) == {ReplicaState.PRESENT: 8}
            assert set((await forms(house)).values()) == {BodyForm.OWN}
            assert sum(map(len, tap.bodies)) == 1


@pytest.mark.parametrize("is_dated", [True, False], ids=["with dates", "without dates"])
async def test_files_with_the_line_of_mbsync_are_those_of_their_messages(
    tmp_path: Path, user: Provider, is_dated: bool
) -> None:
    """Each is bound to one message of the same octets but for that line; what differs otherwise stays two."""
    user.receive("a", "b", date=LONG_AGO)
    user.receive("twin", "twin", date=LONG_AGO)
    user.receive_raw([noted(letter("sent"), "theirstheirs").replace(b"\n", b"\r\n")], date=LONG_AGO)
    user.receive_raw([noted(letter("sent2"), "theirstheirs").replace(b"\n", b"\r\n")], date=LONG_AGO)
    other = letter("b").replace(b"line 1", b"line one")
    directory = tmp_path / "laptop" / "work" / "INBOX"
    files = {
        "1.1_1.host,U=1:2,S": noted(letter("a"), "abcdefghijkl"),
        "2.1_2.host,U=2:2,": noted(other, "bcdefghijklm"),
        "3.1_3.host,U=3:2,": noted(letter("twin"), "cdefghijklmn"),
        "4.1_4.host,U=4:2,": noted(letter("twin"), "defghijklmno"),
        "5.1_5.host,U=5:2,": noted(letter("sent"), "oursoursours"),
        "6.1_6.host,U=6:2,": letter("sent2").replace(b"\r\n", b"\n"),
        "7.1_7.host,U=7:2,": noted(letter("new"), "efghijklmnop"),
    }
    put(directory, files, date=LONG_AGO if is_dated else None)

    async with house_of(tmp_path, user, devices={"laptop": {"layout": "fs"}, "phone": {}}) as house:
        laptop = house.replica("laptop")
        before = inodes(laptop)
        await adopt(house, "laptop")
        await house.settle()

        assert set(before) <= set(inodes(laptop))
        assert laptop.keys() == ["a", "b", "b", "new", "sent", "sent2", "twin", "twin"]
        assert len(user.bodies()) == 8
        assert await states(house) == {ReplicaState.PRESENT: 16}
        own = {name for name, form in (await forms(house)).items() if form == BodyForm.OWN}
        assert own == {name.partition(":")[0] for name in files if name[0] in "13456"}
        # NOTE: with those lines it would be the file of one device that another got.
        assert sum(b"X-TUID" in file.octets for file in house.replica("phone").files()) == 4


async def test_edit_of_a_file_with_the_line_of_mbsync_is_noticed(tmp_path: Path, user: Provider) -> None:
    """Its size is its own; rewritten it is a new message, and touched it stays the one that it was."""
    user.receive("a", "b", date=LONG_AGO)
    directory = tmp_path / "laptop" / "work" / "INBOX"
    put(directory, {f"{n}.1.host:2,": noted(letter(key), "abcdefghijkl") for n, key in enumerate("ab")})
    async with house_of(tmp_path, user, devices=LAYOUT_FS) as house:
        await adopt(house, "laptop")
        await house.settle()
        assert len(user.bodies()) == 2
    os.utime(directory / "cur" / "0.1.host:2,")
    (directory / "cur" / "1.1.host:2,").write_bytes(noted(letter("b", lines=9), "abcdefghijkl"))

    async with house_of(tmp_path, user, devices=LAYOUT_FS) as house:
        await house.settle()
        assert len(user.bodies()) == 3
        assert house.replica("laptop").keys() == ["a", "b", "b"]
        assert (await forms(house))["0.1.host"] == BodyForm.OWN

    shutil.rmtree(tmp_path / "store")
    async with house_of(tmp_path, user, devices=LAYOUT_FS) as house:
        await adopt(house, "laptop")
        await house.settle()
        assert len(user.bodies()) == 3
        assert await states(house) == {ReplicaState.PRESENT: 3}
