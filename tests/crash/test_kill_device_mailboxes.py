"""SIGKILL anywhere while a device's directories become mailboxes of the server and the others: nothing lost or twice.

SYNCD_CRASH_POINTS and SYNCD_SEED as in `test_kill`.
"""

import random
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.contract.sync.house import House, Table, imap
from tests.contract.sync.letters import letter
from tests.contract.sync.provider import Provider
from tests.contract.sync.tap import Tap
from tests.crash.child import run
from tests.crash.faults import Fault, Kind
from tests.crash.test_kill import POINTS
from tests.seed import SEED
from tests.servers.dovecot import Dovecot

DEVICES: Mapping[str, Table] = {"laptop": {"settle": "20ms"}, "phone": {"settle": "20ms", "layout": "fs"}}
KEYS = tuple(f"m{number:02}" for number in range(9))
GONE = ("g1", "g2", "g3")
# About how many points of each kind it passes; a number beyond the last is a run without a kill.
_TOTAL = {Kind.COMMIT: 125, Kind.SEND: 150, Kind.FILE: 127}


def faults() -> list[Fault]:
    """Return as many points, of the kinds in turn, each somewhere in its part of what is passed."""
    draw, kinds = random.Random(SEED), list(_TOTAL)
    return [
        Fault(kind, draw.randint(1 + total * part // POINTS, max(1, total * (part + 1) // POINTS)))
        for part in range(POINTS)
        for kind, total in [(kinds[part % len(kinds)], _TOTAL[kinds[part % len(kinds)]])]
    ]


@pytest.mark.parametrize("number", range(POINTS))
async def test_killed_anywhere_while_a_device_changes_mailboxes(
    tmp_path: Path, dovecot: Dovecot, mail_user: str, number: int
) -> None:
    """One is made, with mail in it, one is renamed, with another inside, and one is removed, its mail to Trash.

    From the renamed one, a message goes as the server renames it.
    """
    fault, user = faults()[number], Provider(dovecot, mail_user)
    print(f"SYNCD_SEED={SEED}")
    user.receive("a", "b")
    user.receive(*KEYS, mailbox="Lists")
    user.receive("x", mailbox="Lists/inner")
    user.receive(*GONE, mailbox="Old")
    async with Tap(dovecot.imap_port) as tap:
        accounts = {"work": imap(dovecot, mail_user, port=tap.port)}
        house = House(tmp_path, accounts=accounts, devices=DEVICES)
        await run(tmp_path, accounts, DEVICES)
        kept = ("Lists", "Lists/inner")
        going = {one.find("m08").inode for one in house.replicas("Lists")}
        before = {file.inode for name in kept for one in house.replicas(name) for file in one.files()} - going
        tap.bodies.clear()
        _change(house)

        async def meanwhile(line: bytes) -> None:
            if b" RENAME " in line and b"Read" in line:
                tap.before_line = None
                file = house.replica("laptop", "Read").find("m08").path
                file.rename(house.replica("laptop").directory / "cur" / file.name)

        tap.before_line = meanwhile

        killed = await run(tmp_path, accounts, DEVICES, fault)
        print(f"mailboxes of a device: {fault} {'killed' if killed is None else f'not reached, passed {killed}'}")
        await run(tmp_path, accounts, DEVICES)

        wanted = {"INBOX": ("b", "m08"), "New/box": ("a", "n"), "Read": KEYS[:-1], "Read/inner": ("x",), "Trash": GONE}
        gone = {"Lists", "Lists/inner", "Old"}
        assert user.mailboxes() & {*wanted, *gone} == {*wanted}
        assert not [name for name in user.mailboxes() if "removed" in name]
        for name, keys in wanted.items():
            assert sorted(user.flags(name)) == sorted(keys), name
            assert len(user.bodies(name)) == len(keys), name
            assert [one.keys() for one in house.replicas(name)] == [sorted(keys)] * len(DEVICES), name
        assert user.flags("Read")["m03"] == {"\\Flagged"}
        assert {
            file.inode for name in ("Read", "Read/inner") for one in house.replicas(name) for file in one.files()
        } == before
        assert tap.bodies == []
        assert not any(one.directory.exists() for name in gone for one in house.replicas(name))
        assert not list(house.config.devices["laptop"].path.glob(".syncd-*"))


def _change(house: House) -> None:
    """Do what a mail program does to directories: make, rename and remove, with files moved, written and marked."""
    laptop = [
        house.replica("laptop", name) for name in ("New/box", "Lists", "Lists/inner", "Read", "Read/inner", "Old")
    ]
    made, lists, inner, read, read_inner, old = (one.directory for one in laptop)
    for subdir in ("tmp", "new", "cur"):
        (made / subdir).mkdir(parents=True)
    (made / "cur" / "1700000000.1.laptop:2,S").write_bytes(letter("n"))
    moved = house.replica("laptop").find("a").path
    moved.rename(made / "cur" / moved.name)
    inner.rename(read_inner)
    lists.rename(read)
    laptop[3].mark("m03", add="F")
    shutil.rmtree(old)
