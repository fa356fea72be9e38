"""SIGKILL while mail that stays in its maildrop is retrieved, and while it is deleted there: no loss, no doubles."""

import os
import random
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.contract.sync.house import House, Table, pop3
from tests.contract.sync.provider import Provider
from tests.crash.child import run
from tests.crash.faults import Fault, Kind
from tests.seed import SEED
from tests.servers.dovecot import Dovecot

POINTS = int(os.environ.get("SYNCD_CRASH_POINTS", "1").replace("all", "1"))
DEVICES: Mapping[str, Table] = {"laptop": {"settle": "20ms"}, "phone": {"settle": "20ms", "link": False}}
# About how many points of each kind the two parts pass; a number beyond the last is a run without a kill.
_FIRST = {Kind.COMMIT: 30, Kind.FILE: 200, Kind.SEND: 25}
_LATER = {Kind.COMMIT: 8, Kind.FILE: 20, Kind.SEND: 25}


def faults() -> list[tuple[Fault, Fault]]:
    """Return pairs of points spread over both parts."""
    draw = random.Random(SEED)
    return [
        (
            Fault(kind, draw.randint(1 + _FIRST[kind] * part // POINTS, _FIRST[kind] * (part + 1) // POINTS)),
            Fault(kind, draw.randint(1 + _LATER[kind] * part // POINTS, _LATER[kind] * (part + 1) // POINTS)),
        )
        for kind in Kind
        for part in range(POINTS)
    ]


@pytest.mark.parametrize("number", range(len(Kind) * POINTS))
async def test_killed_anywhere_while_mail_stays_and_while_it_goes(
    tmp_path: Path, dovecot: Dovecot, mail_user: str, number: int
) -> None:
    """What is to stay is on the server and once on each device; then it goes from there, and the files are the same."""
    first, later = faults()[number]
    print(f"SYNCD_SEED={SEED}")
    user = Provider(dovecot, mail_user)
    keys = [f"m{each}" for each in range(6)]
    user.receive(*keys)
    stays: dict[str, Table] = {"isp": pop3(dovecot, mail_user, keep="forever")}
    house = House(tmp_path, accounts=stays, devices=DEVICES)

    print(f"retrieved: {first} {await run(tmp_path, stays, DEVICES, first)}")
    await run(tmp_path, stays, DEVICES)
    assert user.left_on_pop3() == len(keys)
    assert [one.keys() for one in house.replicas(account="isp")] == [keys] * len(DEVICES)
    names = {file.path for one in house.replicas(account="isp") for file in one.files()}

    goes = {"isp": pop3(dovecot, mail_user, keep="0d")}
    print(f"deleted: {later} {await run(tmp_path, goes, DEVICES, later)}")
    await run(tmp_path, goes, DEVICES)
    assert user.left_on_pop3() == 0
    assert {file.path for one in house.replicas(account="isp") for file in one.files()} == names
