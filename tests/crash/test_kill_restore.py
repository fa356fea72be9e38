"""SIGKILL at any commit or octet sent while deleted mail is restored: each message comes back once, as it was.

SYNCD_CRASH_POINTS and SYNCD_SEED as in `test_kill`.
"""

import random
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest

from syncd.daemon.people.answers import RestoreRequest
from syncd.daemon.people.restoring import restore
from syncd.store.engine.database import Database
from syncd.store.rounds import holds
from tests.contract.sync.house import House, Table, imap
from tests.contract.sync.letters import key_of, letter
from tests.contract.sync.provider import Provider
from tests.crash.child import run
from tests.crash.faults import Fault, Kind
from tests.crash.test_kill import POINTS
from tests.seed import SEED
from tests.servers.dovecot import Dovecot

DEVICES: Mapping[str, Table] = {"laptop": {"settle": "20ms"}}
FLAGS = frozenset({"\\Seen", "kept"})
# About how many points of each kind it passes; a number beyond the last is a run without a kill.
_TOTAL = {Kind.COMMIT: 36, Kind.SEND: 98}
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
async def test_killed_anywhere_while_mail_is_restored(
    tmp_path: Path, dovecot: Dovecot, mail_user: str, number: int
) -> None:
    """Sent again, equal ones as many as they were, moved out of the Trash, and into a mailbox that is made again."""
    fault, user = faults()[number], Provider(dovecot, mail_user)
    print(f"SYNCD_SEED={SEED}")
    user.receive("a", "b", "trashed", flags=tuple(FLAGS))
    user.receive_raw([letter("same")] * 2)
    user.receive("old", mailbox="Old")
    accounts = {"work": imap(dovecot, mail_user)}
    house = House(tmp_path, accounts=accounts, devices=DEVICES)
    async with house:
        await house.settle()
    user.expunge("a", "same")
    user.expunge("same")
    user.move("trashed", to="Trash")
    with dovecot.imap(mail_user) as client:
        client.delete("Old")
    async with house:
        await house.settle()
        await house.settle()
        for one in await house.db.read(holds.holds):
            await house.db.write(partial(holds.release_hold, hold_id=one.id))
        await house.settle()
        assert [replica.keys() for replica in house.replicas()] == [["b"]]
    with Database.open(house.config.store.url.get_secret_value()) as db:
        for name in ("INBOX", "Old"):
            wanted = RestoreRequest(mailbox=name)
            db.write_now(partial(restore, config=house.config, wanted=wanted, now=house.clock()))

    killed = await run(tmp_path, accounts, DEVICES, fault)
    print(f"restore: {fault} {'killed' if killed is None else f'not reached, passed {killed}'}")
    await run(tmp_path, accounts, DEVICES)

    keys = {"INBOX": ["a", "b", "same", "same", "trashed"], "Old": ["old"], "Trash": []}
    assert {name: house.replica("laptop", name).keys() for name in keys} == keys
    assert {name: sorted(Counter(map(key_of, user.bodies(name))).elements()) for name in keys} == keys
    flags = user.flags()
    assert [flags[key] for key in ("a", "trashed")] == [FLAGS] * 2
