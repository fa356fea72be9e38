"""A directory that syncd was about to rename when it was killed: its own doing, and nothing is concluded from that.

What a program did between the kill and the next start is done as at any other time.
"""

import shutil
from functools import partial
from pathlib import Path, PurePosixPath

import pytest
from sqlalchemy import select

from syncd.store.engine.database import Database
from syncd.store.mailboxes import directories
from syncd.store.tables import schema
from tests.contract.sync.house import House, imap
from tests.contract.sync.letters import letter
from tests.contract.sync.provider import Provider
from tests.contract.sync.tap import Tap
from tests.servers.dovecot_conf import FEW_SPECIAL_USE

KEYS = [f"m{number:02}" for number in range(5)]
STANDARD = {"INBOX", *FEW_SPECIAL_USE}
SUBDIRS = ("tmp", "new", "cur")


class Killed:
    """A house whose device was about to rename `Work`, with `Work/Sub` inside, to `Job`, as its server had done."""

    def __init__(self, tmp_path: Path, user: Provider, tap: Tap, *, layout: str = "maildir++") -> None:
        devices = {"laptop": {"settle": "20ms", "layout": layout}}
        self.house = House(tmp_path, accounts={"work": imap(user.server, user.user, port=tap.port)}, devices=devices)
        self.inodes: set[int] = set()
        self._user = user
        self._tap = tap

    async def prepare(self) -> "Killed":
        """Let it come to that."""
        self._user.receive("i")
        self._user.receive(*KEYS, mailbox="Work")
        self._user.receive("x", mailbox="Work/Sub")
        async with self.house:
            await self.house.settle()
        self.inodes = {file.inode for file in self.house.replica("laptop", "Work").files()}
        await self.rename_on_server("Work", "Job")
        self._announce("Work", "Job")
        self._tap.bodies.clear()
        return self

    async def rename_on_server(self, old: str, new: str) -> None:
        """Rename a mailbox while the device is away."""
        with self._user.server.imap(self._user.user) as client:
            assert client.rename(old, new)[0] == "OK"
        root = self.house.config.devices["laptop"].path
        away = root.rename(root.with_name("away"))
        async with self.house:
            await self.house.settle("work")
        away.rename(root)

    def directory(self, name: str) -> Path:
        return self.house.replica("laptop", name).directory

    def rename(self, old: str, new: str) -> None:
        """Do to the directory of a mailbox what we had announced, or what a program does."""
        self.directory(old).rename(self.directory(new))

    def make(self, name: str, *, text: str | None = None) -> None:
        """Make a directory as a program does, with a letter in it or none."""
        for subdir in SUBDIRS:
            (self.directory(name) / subdir).mkdir(parents=True)
        if text is not None:
            (self.directory(name) / "cur" / "1700000000.1.laptop:2,S").write_bytes(letter(text))

    def _announce(self, old: str, new: str) -> None:
        root = self.house.config.devices["laptop"].path
        source, target = (PurePosixPath(self.directory(name).relative_to(root)) for name in (old, new))
        with Database.open(self.house.config.store.url.get_secret_value()) as db:
            device_id = db.read_now(lambda conn: conn.execute(select(schema.device.c.id)).scalar_one())
            db.write_now(partial(directories.announce_move, device_id=device_id, source=source, target=target))


async def rest(killed: Killed, user: Provider, wanted: dict[str, list[str]]) -> None:
    """Start again, and demand that this and nothing else is on the server and on the device, and nothing under way."""
    async with killed.house as house:
        await house.settle()
        await house.settle()

        assert user.mailboxes() == {*STANDARD, *wanted}
        for name, keys in {"Trash": [], **wanted}.items():
            assert sorted(user.flags(name)) == keys, name
            assert len(user.bodies(name)) == len(keys), name
            assert house.replica("laptop", name).keys() == keys, name
        assert await house.rows(select(schema.replica.c.id).where(schema.replica.c.moving_to.is_not(None))) == []
        assert await house.rows(select(schema.replica.c.id).where(schema.replica.c.listed_at.is_(None))) == []
        assert await house.rows(select(schema.device.c.error).where(schema.device.c.error.is_not(None))) == []


@pytest.mark.parametrize("layout", ["maildir++", "fs"])
@pytest.mark.parametrize("is_done", [True, False], ids=["renamed", "not yet"])
async def test_what_went_from_it_is_gone(tmp_path: Path, user: Provider, layout: str, is_done: bool) -> None:
    """Whether it was renamed by then or not; what is inside is where the directory is."""
    async with Tap(user.server.imap_port) as tap:
        killed = await Killed(tmp_path, user, tap, layout=layout).prepare()
        if is_done:
            killed.rename("Work", "Job")
        here = killed.house.replica("laptop", "Job" if is_done else "Work")
        here.find("m01").path.unlink()
        moved = here.find("m02").path
        moved.rename(killed.directory("INBOX") / "cur" / moved.name)

        left = ["m00", "m03", "m04"]
        await rest(killed, user, {"INBOX": ["i", "m02"], "Job": left, "Job/Sub": ["x"], "Trash": ["m01"]})
        assert {file.inode for file in killed.house.replica("laptop", "Job").files()} < killed.inodes
        assert tap.bodies == []


async def test_renamed_by_a_program_since(tmp_path: Path, user: Provider) -> None:
    """The mailbox has that name then, on the server as well; no mail is sent, and none comes again."""
    async with Tap(user.server.imap_port) as tap:
        killed = await Killed(tmp_path, user, tap, layout="fs").prepare()
        killed.rename("Work", "Job")
        killed.rename("Job", "Done")
        killed.house.replica("laptop", "Done").find("m01").path.unlink()
        asked = len(tap.lines)

        left = [key for key in KEYS if key != "m01"]
        await rest(killed, user, {"INBOX": ["i"], "Done": left, "Done/Sub": ["x"], "Trash": ["m01"]})
        assert not any(b" APPEND " in line for line in tap.lines[asked:])
        assert tap.bodies == []


async def test_removed_by_a_program_since(tmp_path: Path, user: Provider) -> None:
    """It is nowhere: its mail goes to the Trash, as that of any directory; it comes back empty around the other one."""
    async with Tap(user.server.imap_port) as tap:
        killed = await Killed(tmp_path, user, tap).prepare()
        killed.rename("Work", "Job")
        shutil.rmtree(killed.directory("Job"))

        await rest(killed, user, {"INBOX": ["i"], "Job": [], "Job/Sub": ["x"], "Trash": KEYS})


async def test_renamed_once_more_on_the_server(tmp_path: Path, user: Provider) -> None:
    """It is where it was announced to be, and goes on from there."""
    async with Tap(user.server.imap_port) as tap:
        killed = await Killed(tmp_path, user, tap, layout="fs").prepare()
        killed.rename("Work", "Job")
        killed.house.replica("laptop", "Job").find("m01").path.unlink()
        await killed.rename_on_server("Job", "Done")

        left = [key for key in KEYS if key != "m01"]
        await rest(killed, user, {"INBOX": ["i"], "Done": left, "Done/Sub": ["x"], "Trash": ["m01"]})
        assert tap.bodies == []


@pytest.mark.parametrize("layout", ["maildir++", "fs"])
async def test_old_name_that_a_program_gave_to_another_is_a_new_mailbox(
    tmp_path: Path, user: Provider, layout: str
) -> None:
    """The files say which of the two was renamed."""
    async with Tap(user.server.imap_port) as tap:
        killed = await Killed(tmp_path, user, tap, layout=layout).prepare()
        killed.rename("Work", "Job")
        killed.make("Work", text="own")
        killed.house.replica("laptop", "Job").find("m01").path.unlink()

        left = [key for key in KEYS if key != "m01"]
        await rest(killed, user, {"INBOX": ["i"], "Job": left, "Job/Sub": ["x"], "Work": ["own"], "Trash": ["m01"]})
        assert tap.bodies == []


async def test_new_name_that_a_program_gave_to_another_keeps_it(tmp_path: Path, user: Provider) -> None:
    """The directory stays where it was until the name is free; what went from it is gone."""
    async with Tap(user.server.imap_port) as tap:
        killed = await Killed(tmp_path, user, tap).prepare()
        killed.make("Job", text="in the way")
        killed.house.replica("laptop", "Work").find("m01").path.unlink()

        left = [key for key in KEYS if key != "m01"]
        async with killed.house as house:
            await house.settle()
            assert (sorted(user.flags("Job")), sorted(user.flags("Trash"))) == (left, ["m01"])
            assert house.replica("laptop", "Work").keys() == left
            assert house.replica("laptop", "Job").keys() == ["in the way"]
            writes = house.db.writes
            await house.ask("laptop")
            assert house.db.writes == writes, "nothing is announced that cannot be done"
        shutil.rmtree(killed.directory("Job"))
        await rest(killed, user, {"INBOX": ["i"], "Job": left, "Job/Sub": ["x"], "Trash": ["m01"]})
        assert tap.bodies == []


async def test_nothing_is_concluded_where_both_names_are_there_and_no_file_tells_which(
    tmp_path: Path, user: Provider
) -> None:
    """Two empty directories: what they lack is delivered, and deleted nowhere."""
    async with Tap(user.server.imap_port) as tap:
        killed = await Killed(tmp_path, user, tap).prepare()
        killed.make("Job")
        for file in killed.house.replica("laptop", "Work").files():
            file.path.unlink()

        await rest(killed, user, {"INBOX": ["i"], "Job": KEYS, "Job/Sub": ["x"]})


async def test_half_a_directory_of_the_old_name_leaves_the_other_in_doubt(tmp_path: Path, user: Provider) -> None:
    """One that cannot be listed might have the files: what the other lacks is delivered, and nothing is there twice."""
    async with Tap(user.server.imap_port) as tap:
        killed = await Killed(tmp_path, user, tap).prepare()
        killed.rename("Work", "Job")
        (killed.directory("Work") / "cur").mkdir(parents=True)
        killed.house.replica("laptop", "Job").find("m01").path.unlink()

        await rest(killed, user, {"INBOX": ["i"], "Job": KEYS, "Job/Sub": ["x"], "Work": []})
        assert tap.bodies == []
