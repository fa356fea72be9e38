"""Random walks on a real server with three devices: nothing is lost, nothing is doubled, and all sides agree at rest.

Mailboxes come, go and are renamed in them, and devices select others; SYNCD_WALK_MAILBOXES=0 leaves that out.
SYNCD_SEED chooses the walks (`tests.seed`); SYNCD_WALK_STEPS and SYNCD_WALK_RUNS make them longer, and more of them.
Every other one has its store in PostgreSQL, or all as SYNCD_WALK_STORE says: sqlite or postgresql.
"""

import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.contract.sync.house import House, MakeDovecot, Table, imap
from tests.contract.sync.provider import Provider
from tests.contract.sync.tap import Tap
from tests.seed import SEED
from tests.walk.walker import Walker
from tests.walk.world import World

STEPS = int(os.environ.get("SYNCD_WALK_STEPS", "30"))
RUNS = int(os.environ.get("SYNCD_WALK_RUNS", "2"))
STORES = os.environ.get("SYNCD_WALK_STORE", "sqlite postgresql").split()
WITH_MAILBOXES = os.environ.get("SYNCD_WALK_MAILBOXES", "1") == "1"
SETTLE = {"settle": "20ms"}
DEVICES: Mapping[str, Table] = {
    "laptop": {**SETTLE},
    "phone": {**SETTLE, "layout": "fs"},
    "usb": {**SETTLE, "link": False},
}
WIDE: Table = {"count": 1_000_000}
NARROW: Table = {"count": 3, "share": 0.01}

pytestmark = pytest.mark.timeout(120 + STEPS)


@pytest.mark.parametrize("run", range(RUNS))
async def test_all_sides_agree_and_nothing_is_lost_or_doubled(
    tmp_path: Path, make_dovecot: MakeDovecot, request: pytest.FixtureRequest, run: int
) -> None:
    """Whatever people and programs do, in any order, while devices and the server come and go."""
    store = STORES[run % len(STORES)]
    url = request.getfixturevalue("made_postgres") if store == "postgresql" else None
    await _walk(tmp_path, Provider(make_dovecot(), "ana"), seed=SEED + run, guard=WIDE, url=url)


async def test_what_the_guard_holds_is_synced_once_it_is_released(tmp_path: Path, make_dovecot: MakeDovecot) -> None:
    """A guard that holds a few deletions delays them, and changes nothing else."""
    await _walk(tmp_path, Provider(make_dovecot(), "ana"), seed=SEED, guard=NARROW, url=None)


async def _walk(directory: Path, user: Provider, *, seed: int, guard: Table, url: str | None) -> None:
    async with Tap(user.server.imap_port) as tap:
        account: Mapping[str, Any] = imap(user.server, user.user, port=tap.port)
        listens = seed % 4 >= 2  # to all mailboxes
        house = House(directory, accounts={"work": account}, devices=DEVICES, guard=guard, url=url, listens=listens)
        rng = random.Random(seed)
        walker = Walker(World(house, user), tap, rng, releases=guard is NARROW, with_mailboxes=WITH_MAILBOXES)
        walker.begin()
        await house.__aenter__()
        try:
            await walker.walk(STEPS)
        except BaseException:
            store = "sqlite" if url is None else "postgresql"
            print(f"SYNCD_SEED={seed} SYNCD_WALK_STEPS={STEPS} SYNCD_WALK_STORE={store}", *walker.trace, sep="\n")
            raise
        finally:
            await house.__aexit__()
