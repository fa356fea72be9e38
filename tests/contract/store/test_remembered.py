"""What tasks remember of the store is read again once anything was written that it follows from, and not before."""

from functools import partial

import pytest
from sqlalchemy import Connection, insert, update

from syncd.store.engine.changed_rows import DEVICE, ChangedRow
from syncd.store.engine.database import Database
from syncd.store.tables.schema import device
from syncd.store.trees import devices
from syncd.sync.remembered import Remembered
from tests.contract.store.rows import add, names


@pytest.fixture
def asked() -> list[int]:
    """Return what was asked for, each time that it was read."""
    return []


def remembered(database: Database, asked: list[int]) -> Remembered[set[str]]:
    def read(conn: Connection, id_: int) -> set[str]:
        asked.append(id_)
        return set(names(conn))

    return Remembered(database, read)


async def test_it_is_read_again_after_a_write(store_url: str, asked: list[int]) -> None:
    """Not after one that failed; and for another id."""

    def fail(conn: Connection) -> None:
        raise ValueError

    with Database.open(store_url, auto_migrate=True) as database:
        known = remembered(database, asked)
        assert await known.get(1) == await known.get(1) == set()
        assert asked == [1]

        await database.write(add("a"))
        assert await known.get(1) == await known.get(1) == {"a"}
        with pytest.raises(ValueError):  # noqa: PT011 - it has no text
            await database.write(fail)
        await known.get(1)
        await known.get(2)
        assert asked == [1, 1, 2]


async def test_beside_the_owner_nothing_is_remembered(store_url: str, asked: list[int]) -> None:
    """Who only looks at a store does not hear of what is written there."""
    with Database.open(store_url, auto_migrate=True) as owner, Database.open_readonly(store_url) as database:
        known = remembered(database, asked)
        assert await known.get(1) == set()
        await owner.write(add("a"))
        assert await known.get(1) == {"a"}


async def test_it_is_kept_while_other_rows_are_written(store_url: str) -> None:
    """Of a device its own row is read; where nobody tells what was written, it is read after each write."""

    def make(conn: Connection) -> None:
        for name in ("laptop", "phone"):
            conn.execute(insert(device).values(name=name, path=f"/{name}", layout="fs", state="active"))

    def begin(conn: Connection, id_: int) -> None:
        conn.execute(update(device).where(device.c.id == id_).values(generation_next=7))

    with Database.open(store_url, auto_migrate=True) as database:
        row = Remembered(database, devices.device_of, reads=lambda id_: {ChangedRow(DEVICE, id_)})
        await database.write(make)
        await row.get(1)
        await database.write(partial(begin, id_=2))
        assert (row.known(1) is not None) is store_url.startswith("sqlite")
        await database.write(partial(begin, id_=1))

        assert row.known(1) is None
        assert (await row.get(1)).generation_next == 7
