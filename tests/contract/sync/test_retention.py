"""Deleted mail is kept for the retention, then swept; and even then nothing that was deleted comes back by itself."""

import asyncio
import base64
import random
import shutil
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from syncd.store.bodies.sweeping import Swept
from syncd.store.tables import own_tables, schema
from syncd.sync.sweeper import EVERY_S, Sweeper
from tests.contract.sync.house import House
from tests.contract.sync.letters import letter
from tests.contract.sync.provider import Provider
from tests.contract.sync.replica import Replica
from tests.contract.sync.tap import Tap
from tests.contract.sync.test_restore import bring_back
from tests.contract.sync.three_devices import TWO, assert_everywhere, come_back, house_of

DAY_S = 86400.0
RETENTION_S = 30 * DAY_S


def wrapped(octets: bytes) -> list[bytes]:
    """Return lines that nothing makes shorter by much."""
    return base64.encodebytes(octets).split(b"\n")


def sweeper_of(house: House) -> Sweeper:
    return Sweeper(house.db, retention_s=RETENTION_S, clock=house.clock, pause_s=0.0)


async def sweep(house: House) -> Swept:
    """Sweep as a daemon does in two nights."""
    sweeper = sweeper_of(house)
    first = await sweeper.sweep()
    house.shift_s += EVERY_S
    return first + await sweeper.sweep()


async def stored(house: House) -> int:
    return int((await house.rows(select(func.count()).select_from(schema.body)))[0][0])


async def pages(house: House) -> tuple[int, int]:
    """Return how many pages the file of the store has, and how many of them are free."""

    def ask(conn: Any) -> tuple[int, int]:
        return tuple(conn.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in ("page_count", "freelist_count"))

    return await house.db.read(ask)


async def test_deleted_mail_is_swept_after_the_retention(tmp_path: Path, user: Provider) -> None:
    """Not a day before, and not what is there; the file shrinks, and what is gone for good is said to be so."""
    user.receive("kept")
    user.receive_raw([letter("big") + b"\r\n".join(wrapped(random.Random(1).randbytes(600_000)))])
    async with house_of(tmp_path, user, devices=TWO) as house:
        await house.settle()
        user.expunge("big")
        await house.settle()
        before = await pages(house)
        house.shift_s += RETENTION_S - 2 * DAY_S
        assert await sweep(house) == Swept()
        assert await stored(house) == 2

        house.shift_s += 2 * DAY_S
        for left in (2, 1):
            for _ in range(2):
                await sweeper_of(house).sweep_if_due()
            assert await stored(house) == left
            house.shift_s += EVERY_S

        after = await pages(house)
        assert after[0] < before[0]
        assert after[1] == 0
        report = await bring_back(house, account="work")
        assert (report.lines, report.counts) == ((), {"swept": 1})
        await house.settle()
        assert_everywhere(house, user, "INBOX", "kept")


async def test_device_that_was_away_for_longer_than_the_retention_brings_nothing_back(
    tmp_path: Path, user: Provider
) -> None:
    """What it flagged comes back by its rule, for its body was kept; the rest goes there, too, and is swept then."""
    user.receive("a", "b", "c")
    others = ("work", "laptop", "nas")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        await house.settle()
        root = house.config.devices["phone"].path
        away = root.rename(root.with_name("away"))
        user.expunge("a", "b")
        await house.settle(*others)
        house.shift_s += 3 * RETENTION_S
        assert await sweep(house) == Swept()
        Replica(away / house.replica("phone").directory.relative_to(root)).mark("a", add="F")
        asked = len(tap.bodies)

        await come_back(house, "phone", away=away)
        await house.settle()

        assert_everywhere(house, user, "INBOX", "a", "c")
        assert tap.bodies[asked:] == []
        assert (await sweep(house)).bodies == 1
        assert await stored(house) == 2


async def test_file_from_an_old_backup_is_known_after_its_body_was_swept(tmp_path: Path, user: Provider) -> None:
    """It is removed again and never sent, and its body is in the store once more: what goes can be restored."""
    user.receive("a", "b")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port, devices=TWO) as house:
        await house.settle()
        file = house.replica("laptop").find("a").path
        shutil.copy2(file, tmp_path / "backup")
        user.expunge("a")
        await house.settle()
        house.shift_s += RETENTION_S + DAY_S
        assert (await sweep(house)).bodies == 1
        begun = len(tap.lines)

        shutil.copy2(tmp_path / "backup", file)
        await house.settle()
        await house.settle()

        assert_everywhere(house, user, "INBOX", "b")
        assert not any(b" APPEND " in line for line in tap.lines[begun:])
        assert await stored(house) == 2
        await bring_back(house, "<a@example.org>")
        await house.settle()
        assert_everywhere(house, user, "INBOX", "a", "b")


async def test_sweep_that_fails_for_whatever_reason_is_tried_again_and_ends_nothing(
    tmp_path: Path, user: Provider
) -> None:
    """To keep house is not worth the end of a daemon: what nobody expected is logged, and later it is swept."""
    user.receive("a")
    async with house_of(tmp_path, user, devices=TWO) as house:
        await house.settle()
        house.shift_s += EVERY_S
        failures: list[str] = []

        def clock() -> float:
            if not failures:
                failures.append("")
                raise ArithmeticError("no time")
            return house.clock()

        sweeper = Sweeper(house.db, retention_s=RETENTION_S, clock=clock, pause_s=0.0)
        sweeping = asyncio.create_task(sweeper.run())
        sweeper.look_now()
        await house.until(lambda: bool(failures))
        sweeper.look_now()
        is_swept = select(own_tables.store.c.swept_at > house.clock() - DAY_S)
        await house.until_read(lambda rows: bool(rows[0]) or sweeping.done(), is_swept)
        is_over = sweeping.done()
        sweeping.cancel()

    assert not is_over
