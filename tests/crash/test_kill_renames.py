"""SIGKILL at any commit or file call while mailboxes are renamed and deleted on the server: the same end, nothing lost.

SYNCD_CRASH_POINTS and SYNCD_SEED as in `test_kill`.
"""

import random
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.contract.sync.house import House, Table, imap
from tests.contract.sync.letters import key_of
from tests.contract.sync.provider import Provider
from tests.contract.sync.replica import MailFile
from tests.contract.sync.tap import Tap
from tests.crash.child import run
from tests.crash.faults import Fault, Kind
from tests.crash.test_kill import POINTS
from tests.seed import SEED
from tests.servers.dovecot import Dovecot

DEVICES: Mapping[str, Table] = {"laptop": {"settle": "20ms"}, "phone": {"settle": "20ms", "layout": "fs"}}
KEYS = tuple(f"m{number:02}" for number in range(12))
# About how many points of each kind it passes; a number beyond the last is a run without a kill.
_TOTAL = {Kind.COMMIT: 64, Kind.FILE: 86}
_PER_KIND = max(POINTS - 1, 1)


def faults() -> list[Fault]:
    """Return points spread over it."""
    draw = random.Random(SEED)
    return [
        Fault(kind, draw.randint(1 + total * part // _PER_KIND, total * (part + 1) // _PER_KIND))
        for kind, total in _TOTAL.items()
        for part in range(_PER_KIND)
    ]


@pytest.mark.parametrize("number", range(len(_TOTAL) * _PER_KIND))
async def test_killed_anywhere_while_mailboxes_are_renamed(
    tmp_path: Path, dovecot: Dovecot, mail_user: str, number: int
) -> None:
    """Two that change their names, one with another inside, and one that is gone: files stay, and none is fetched."""
    fault, user = faults()[number], Provider(dovecot, mail_user)
    print(f"SYNCD_SEED={SEED}")
    user.receive(*KEYS, mailbox="Work")
    user.receive("x", mailbox="Work/Sub")
    user.receive("y", mailbox="Job")
    user.receive("z", mailbox="Old")
    async with Tap(dovecot.imap_port) as tap:
        accounts = {"work": imap(dovecot, mail_user, port=tap.port)}
        house = House(tmp_path, accounts=accounts, devices=DEVICES)
        await run(tmp_path, accounts, DEVICES)
        before = {file.inode for name in ("Work", "Work/Sub", "Job") for file in _files(house, name)}
        tap.bodies.clear()
        with dovecot.imap(mail_user) as client:
            for old, new in (("Job", "X"), ("Work", "Job"), ("X", "Work")):
                client.rename(old, new)
            client.delete("Old")
        house.replica("phone", "Work").mark("m01", add="S")

        killed = await run(tmp_path, accounts, DEVICES, fault)
        print(f"renames: {fault} {'killed' if killed is None else f'not reached, passed {killed}'}")
        await run(tmp_path, accounts, DEVICES)

        wanted = {"Job": KEYS, "Job/Sub": ("x",), "Work": ("y",), "Old": ()}
        for name, keys in wanted.items():
            assert [replica.keys() for replica in house.replicas(name)] == [sorted(keys)] * len(DEVICES), name
        assert {file.inode for name in wanted for file in _files(house, name)} == before
        assert user.flags("Job") == {key: {"\\Seen"} if key == "m01" else set() for key in KEYS}
        assert tap.bodies == []
        assert not any(replica.directory.exists() for replica in house.replicas("Old"))
        assert not list(house.config.devices["laptop"].path.glob(".syncd-*"))


@pytest.mark.parametrize(
    ("layout", "when", "number"),
    [
        *(("maildir++", "after", number) for number in range(1, 5)),
        *(("fs", "after", number) for number in range(1, 4)),
        ("maildir++", "before", 2),
        ("fs", "before", 1),
    ],
)
async def test_what_a_device_does_between_a_rename_and_its_record_is_done(
    tmp_path: Path, dovecot: Dovecot, mail_user: str, layout: str, when: str, number: int
) -> None:
    """Killed at each rename of two directories that change their names, one with another inside.

    What is deleted or moved out of them before the next start comes not again, and is nowhere twice.
    """
    user, devices = Provider(dovecot, mail_user), {"laptop": {"settle": "20ms", "layout": layout}}
    user.receive("i")
    user.receive(*KEYS, mailbox="Work")
    user.receive("x", "y", mailbox="Work/Sub")
    user.receive("j", "k", "l", mailbox="Job")
    async with Tap(dovecot.imap_port) as tap:
        accounts = {"work": imap(dovecot, mail_user, port=tap.port)}
        house = House(tmp_path, accounts=accounts, devices=devices)
        await run(tmp_path, accounts, devices)
        before = {path.stat().st_ino for path in _paths(house)}
        tap.bodies.clear()
        with dovecot.imap(mail_user) as client:
            for old, new in (("Job", "X"), ("Work", "Job"), ("X", "Work")):
                client.rename(old, new)

        fault = Fault(Kind.FILE, number, site=f"file {when} rename rename_directory")
        assert await run(tmp_path, accounts, devices, fault) is None
        by_key = {key_of(path.read_bytes()): path for path in _paths(house)}
        deleted = {by_key[key].stat().st_ino for key in ("m01", "j")}
        inbox = house.replica("laptop").directory
        by_key["m01"].unlink()
        by_key["j"].unlink()
        by_key["m02"].rename(inbox / "cur" / by_key["m02"].name)
        by_key["k"].rename(inbox / "cur" / "1700000000.1.laptop:2,")
        by_key["x"].rename(inbox / "cur" / "1700000000.2.laptop:2,S")
        await run(tmp_path, accounts, devices)

        kept = [key for key in KEYS if key not in {"m01", "m02"}]
        wanted = {"Job": kept, "Job/Sub": ["y"], "Work": ["l"], "INBOX": ["i", "k", "m02", "x"], "Trash": ["j", "m01"]}
        for name, keys in wanted.items():
            assert sorted(map(key_of, user.bodies(name))) == keys, name
            assert house.replica("laptop", name).keys() == keys, name
        assert {
            path.stat().st_ino for path in _paths(house, *(name for name in wanted if name != "Trash"))
        } == before - deleted
        assert tap.bodies == []
        assert not list(house.config.devices["laptop"].path.glob(".syncd-*"))


def _paths(house: House, *names: str) -> list[Path]:
    """Return the files of all mailboxes of the laptop, or of these, whatever their directories are called."""
    if names:
        return [file.path for name in names for file in house.replica("laptop", name).files()]
    return [path for subdir in ("cur", "new") for path in house.config.devices["laptop"].path.glob(f"**/{subdir}/*")]


def _files(house: House, name: str) -> list[MailFile]:
    return [file for replica in house.replicas(name) for file in replica.files()]
