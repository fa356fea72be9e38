"""People come from mbsync: what it has written into its Maildir tree is mail that the server has, and stays so."""

import datetime
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from sqlalchemy import select

from syncd.errors import DeviceAwayError
from syncd.mail.tree import BodyForm, ReplicaState
from syncd.store.tables import schema
from tests.benchmarks.peers.programs import find
from tests.contract.sync.adopting import adopt, house_of, inodes
from tests.contract.sync.house import House, states
from tests.contract.sync.letters import letter
from tests.contract.sync.provider import Provider
from tests.contract.sync.replica import Replica
from tests.contract.sync.tap import Tap
from tests.servers.identity import ServerUnavailable

LONG_AGO = datetime.datetime(2020, 5, 17, 9, 30, tzinfo=datetime.UTC)
PLACES = {
    "job/plans": "job/plans",
    "Entw\u00fcrfe & Co": "Entw&APw-rfe &- Co",
    "Caf\u00e9/men\u00fc": "Caf&AOk-/men&APw-",
    "\u00fcber/mir": "&APw-ber/mir",
}
"""Mailboxes, and how mbsync 1.4 calls their directories: as a server does."""
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
    for name in PLACES:
        user.receive("p", "q", mailbox=name, date=LONG_AGO)
    mbsync = Mbsync(user, tmp_path / "laptop" / "work", tmp_path)
    mbsync.sync()
    put(tmp_path / "laptop" / "work" / "INBOX", {"1700000009.1.host:2,S": letter("sent").replace(b"\r\n", b"\n")})
    mbsync.sync()
    assert sum(b"X-TUID" in octets for octets in user.bodies()) == 1
    before = {Path(name): inodes(Replica(tmp_path / "laptop" / "work" / name)) for name in ("INBOX", *PLACES.values())}
    assert all(before.values())
    bodies, names = {name: sorted(user.bodies(name)) for name in PLACES}, user.mailboxes()

    async with Tap(user.server.imap_port) as tap:
        house = house_of(tmp_path, user, port=tap.port, devices=LAYOUT_FS)
        async with house:
            await adopt(house, "laptop")
            await house.settle()

            assert len(user.bodies()) == 6
            assert {name: sorted(user.bodies(name)) for name in PLACES} == bodies
            assert user.mailboxes() == names
            assert inodes(house.replica("laptop")) == before[Path("INBOX")]
            for name, on_wire in PLACES.items():
                assert inodes(house.replica("laptop", name)) == before[Path(on_wire)]
            assert await states(house) == {ReplicaState.PRESENT: 6 + 2 * len(PLACES)}
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


async def test_mail_that_mbsync_sent_is_known_though_the_device_takes_none_so_old(
    tmp_path: Path, user: Provider
) -> None:
    """Its server's copy is longer than the file by the line of mbsync, and is compared all the same."""
    user.receive_raw([noted(letter("sent"), "theirstheirs").replace(b"\n", b"\r\n")], date=LONG_AGO)
    put(tmp_path / "laptop" / "work" / "INBOX", {"1.1.host,U=1:2,S": letter("sent").replace(b"\r\n", b"\n")})
    async with house_of(tmp_path, user, devices={"laptop": {"layout": "fs", "max_age": "30d"}}) as house:
        await adopt(house, "laptop")
        await house.settle()
        assert len(user.bodies()) == 1
        assert (await states(house)).keys() <= {ReplicaState.PRESENT}


async def test_directory_in_the_spelling_of_mbsync_beside_the_right_one_is_told(tmp_path: Path, user: Provider) -> None:
    """It is no new mailbox, and neither is delivered into nor sent, until a person has made one of the two."""
    user.receive("a", mailbox="Caf\u00e9", date=LONG_AGO)
    root = tmp_path / "laptop" / "work"
    put(root / "Caf&AOk-", {"1.1.host:2,": noted(letter("a"), "abcdefghijkl")})
    put(root / "Caf\u00e9", {"2.1.host:2,": letter("mine").replace(b"\r\n", b"\n")})
    names = user.mailboxes()
    async with house_of(tmp_path, user, devices=LAYOUT_FS) as house:
        await adopt(house, "laptop")
        await house.ask("work")
        await house.ask("laptop")
        (error,) = await house.rows(select(schema.device.c.error))
        assert "work/Caf&AOk- and work/Caf\u00e9 are both there and one mailbox" in error.error
        assert user.mailboxes() == names
        assert len(user.bodies("Caf\u00e9")) == 1

        for path in (root / "Caf&AOk-" / "cur").iterdir():
            path.rename(root / "Caf\u00e9" / "cur" / path.name)
        shutil.rmtree(root / "Caf&AOk-")
        await house.settle()

        assert house.replica("laptop", "Caf\u00e9").keys() == ["a", "mine"]
        assert len(user.bodies("Caf\u00e9")) == 2
        assert user.mailboxes() == names


@pytest.mark.parametrize("layout", ["maildir++", "fs"])
async def test_tree_in_another_layout_is_not_adopted(tmp_path: Path, user: Provider, layout: str) -> None:
    """Nothing is done to it before a person says that its files are to be in no mailbox."""
    user.receive("a", "b")
    top = "work" if layout == "maildir++" else ".work.INBOX"
    directory = "work/INBOX" if layout == "maildir++" else ".work.INBOX"
    put(tmp_path / "laptop" / directory, {"1.1.host:2,": letter("a"), "2.1.host:2,": letter("b")})
    async with house_of(tmp_path, user, devices={"laptop": {"layout": layout}}) as house:
        other = "fs" if layout == "maildir++" else r"maildir\+\+"
        with pytest.raises(DeviceAwayError, match=f'2 below {top}/; is layout = "{other}" meant'):
            await adopt(house, "laptop")
        assert [path.name for path in (tmp_path / "laptop").iterdir()] == [top]

        found = await house.devices["laptop"].adopt(leaves_others=True)
        await house.settle()
        assert (found.files, len(user.bodies())) == (0, 2)
        assert len(list((tmp_path / "laptop" / directory / "cur").iterdir())) == 2


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
