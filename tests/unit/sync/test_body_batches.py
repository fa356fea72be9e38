"""Bodies on their way into the store leave nothing open behind."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from syncd.store.database import Database
from syncd.sync.body_batches import BodyBatches, FetchedBody, FileSpool


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = Database.open(f"sqlite:///{tmp_path}/syncd.db", auto_migrate=True)
    yield database
    database.close()


async def test_spools_of_an_interrupted_fetch_are_closed(db: Database, tmp_path: Path) -> None:
    """What was gathered and will not be committed holds no file open."""
    spool = FileSpool(tmp_path)
    spool.write(b"Subject: x\r\n\r\n")

    async def fetch() -> None:
        async with BodyBatches(db, 1, on_commit=print, clock=float) as batches:
            await batches.put(FetchedBody(1, spool, 14))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fetch()

    with pytest.raises(ValueError, match="closed"):
        spool.write(b"more")
