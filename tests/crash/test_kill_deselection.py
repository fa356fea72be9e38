"""SIGKILL at any commit or file call while a device gives up a mailbox: the server is untouched, whatever comes next.

Of 600 messages, which are two batches, at four points; SYNCD_CRASH_MESSAGES=5000 takes as many, SYNCD_CRASH_POINTS and
SYNCD_SEED are as in `test_kill`. SYNCD_CRASH_POINTS=all takes every point, of those that do the same to one message
after the other (`faults.by_site`) the first, the one in the middle and the last.
"""

import json
import os
import random
import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.contract.sync.house import House, Table, imap
from tests.contract.sync.provider import Provider
from tests.contract.sync.selecting import OTHER, as_server_has_it, names_of
from tests.crash.child import run
from tests.crash.faults import Fault, Kind
from tests.crash.test_kill import POINTS
from tests.seed import SEED
from tests.servers.dovecot import Dovecot

ARE_ALL = os.environ.get("SYNCD_CRASH_POINTS") == "all"
MESSAGES = int(os.environ.get("SYNCD_CRASH_MESSAGES", "600"))
PATIENCE_S = max(60.0, MESSAGES / 20)
DEVICES: Mapping[str, Table] = {"laptop": {"settle": "20ms"}, "phone": {"settle": "20ms"}}
LESS: Mapping[str, Table] = {**DEVICES, "laptop": {"settle": "20ms", "mailboxes": ["*", "!Other"]}}
_KINDS = (Kind.COMMIT, Kind.FILE)


async def test_killed_anywhere_while_a_mailbox_is_given_up(tmp_path: Path, dovecot: Dovecot, mail_user: str) -> None:
    """Started again, it ends; selected again instead, everything is back. No flag, UID or mod-sequence changes."""
    user = Provider(dovecot, mail_user)
    user.receive(*(f"m{number}" for number in range(MESSAGES)), mailbox=OTHER, flags=("\\Seen", "todo"))
    accounts = {"work": imap(dovecot, mail_user)}
    begin = tmp_path / "begin"
    begin.mkdir()
    await run(begin, accounts, DEVICES, patience_s=PATIENCE_S)
    before, mail = as_server_has_it(user), user.flags(OTHER)
    passed = await run(_copied(begin, tmp_path / "whole"), accounts, LESS, patience_s=PATIENCE_S)
    assert passed is not None
    chosen = _at_every_site(tmp_path / "whole") if ARE_ALL else _faults(passed)
    print(f"seed {SEED}, passed {passed}, {len(chosen)} of them tried")

    for number, fault in enumerate(chosen):
        directory = _copied(begin, tmp_path / f"killed{number}")
        house = House(directory, accounts=accounts, devices=DEVICES)
        laptop, phone = house.replicas(OTHER)
        files = names_of(house)
        killed = await run(directory, accounts, LESS, fault, patience_s=PATIENCE_S)
        left = sum(1 for _ in laptop.files())
        is_taken_again = (number + number // len(_KINDS)) % 2 == 0
        print(f"{fault} {'killed' if killed is None else 'not reached'}, {left} files left, {is_taken_again=}")
        await run(directory, accounts, DEVICES if is_taken_again else LESS, patience_s=PATIENCE_S)

        assert before == as_server_has_it(user), fault
        assert files == names_of(house), fault
        assert laptop.directory.exists() is is_taken_again, fault
        assert laptop.flags() == (mail if is_taken_again else {}), fault
        assert phone.flags() == mail, fault
        shutil.rmtree(directory)


def _copied(begin: Path, to: Path) -> Path:
    shutil.copytree(begin, to, symlinks=True)
    return to


def _faults(passed: Mapping[Kind, int]) -> list[Fault]:
    """Return points of both kinds in turn, spread over what a run without a kill passes."""
    draw = random.Random(SEED)
    return [
        Fault(kind, draw.randint(1 + passed[kind] * part // POINTS, max(1, passed[kind] * (part + 1) // POINTS)))
        for part in range(POINTS)
        for kind in _KINDS
    ]


def _at_every_site(whole: Path) -> list[Fault]:
    """Return the first point of each site, the one in the middle and the last, by what a run without a kill passed."""
    sites: Mapping[str, list[int]] = json.loads((whole / "sites.json").read_text())
    return [
        Fault(Kind(site.partition(" ")[0]), number)
        for site, numbers in sites.items()
        for number in sorted({numbers[0], numbers[len(numbers) // 2], numbers[-1]})
    ]
