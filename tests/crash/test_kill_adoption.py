"""SIGKILL at any commit, file call or octet sent while devices are adopted by a new store: the same end, nothing lost.

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

SEEN, FLAGGED, ANSWERED = "\\Seen", "\\Flagged", "\\Answered"
DEVICES: Mapping[str, Table] = {"laptop": {"settle": "20ms"}, "usb": {"settle": "20ms", "link": False, "layout": "fs"}}
# About how many points of each kind an adoption passes; a number beyond the last is a run without a kill.
_TOTAL = {Kind.COMMIT: 110, Kind.FILE: 120, Kind.SEND: 90}


def faults() -> list[Fault]:
    """Return points spread over the adoption."""
    draw = random.Random(SEED)
    return [
        Fault(kind, draw.randint(1 + total * part // POINTS, max(1, total * (part + 1) // POINTS)))
        for kind, total in _TOTAL.items()
        for part in range(POINTS)
    ]


@pytest.mark.parametrize("number", range(len(Kind) * POINTS))
async def test_killed_anywhere_in_an_adoption(tmp_path: Path, dovecot: Dovecot, mail_user: str, number: int) -> None:
    """Adopted again after the kill, every file is where it was, once, with the flags of all sides, and not fetched."""
    fault, user = faults()[number], Provider(dovecot, mail_user)
    keys = [f"m{number:02}" for number in range(20)]
    print(f"SYNCD_SEED={SEED}")
    user.receive(*keys, flags=(SEEN,))
    user.receive("x", mailbox="Archive")
    async with Tap(dovecot.imap_port) as tap:
        accounts = {"work": imap(dovecot, mail_user, port=tap.port)}
        house = House(tmp_path, accounts=accounts, devices=DEVICES)
        await run(tmp_path, accounts, DEVICES)
        shutil.rmtree(tmp_path / "store")
        tap.bodies.clear()
        laptop, usb = house.replicas()
        laptop.mark("m01", add="F")
        usb.mark("m02", add="R", remove="S")
        laptop.find("m03").path.unlink()
        (usb.directory / "cur" / "own:2,S").write_bytes(letter("own"))
        before = {file.inode for replica in (laptop, usb) for file in replica.files()}

        killed = await run(tmp_path, accounts, DEVICES, fault, adopts=True)
        print(f"adoption: {fault} {'killed' if killed is None else f'not reached, passed {killed}'}")
        await run(tmp_path, accounts, DEVICES, adopts=True)

        wanted = {key: {SEEN} for key in keys} | {"m01": {SEEN, FLAGGED}, "m02": {SEEN, ANSWERED}}
        wanted |= {"own": {SEEN}}
        assert user.flags() == wanted
        assert [laptop.flags(), usb.flags()] == [wanted, wanted]
        assert before <= {file.inode for replica in (laptop, usb) for file in replica.files()}
        assert [replica.keys() for replica in house.replicas("Archive")] == [["x"], ["x"]]
        # NOTE: m03 is lacking on the laptop, which may ask for it before the other device was looked at.
        assert {uid for uids in tap.bodies for uid in uids} <= {keys.index("m03") + 1}
        assert [replica.half_written() for replica in (laptop, usb)] == [[], []]
