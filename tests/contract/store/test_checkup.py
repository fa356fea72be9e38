"""A store looked at for the doctor, on both databases."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import insert

from syncd.errors import StoreError
from syncd.store.engine.database import Database
from syncd.store.people import checkup as module
from syncd.store.people.checkup import check_up
from syncd.store.tables.own_tables import history
from syncd.store.tables.schema import account, device

NOW = 1_700_000_000.0


def test_checkup_tells_what_the_store_knows_beside_its_owner(database: Database, store_url: str) -> None:
    """Its devices that ever had their directories, and the newest of what it tells of."""

    def fill(conn: object) -> None:
        conn.execute(insert(account).values(name="work", kind="imap", identity="x", succeeded_at=NOW))
        conn.execute(insert(history).values(at=NOW + 5, origin="server", verb="appear", outcome="done"))
        conn.execute(insert(device).values(name="laptop", path="/srv/laptop", layout="fs", state="active"))
        conn.execute(insert(device).values(name="phone", path="/srv/phone", layout="fs", state="new"))
        conn.execute(insert(device).values(name="tablet", path="/srv/theirs", layout="fs", state="foreign"))

    database.write_now(fill)

    found = check_up(store_url, timeout_s=30)

    assert (found.damages, found.is_whole) == ((), True)
    assert (found.newest_at, found.devices) == (NOW + 5, {"laptop": Path("/srv/laptop")})


def test_damage_is_told_and_nothing_is_mended(tmp_path: Path) -> None:
    """Pages that were overwritten, as a bad disk does."""
    file = tmp_path / "syncd.db"
    url = f"sqlite:///{file}"
    Database.open(url).close()
    with closing(sqlite3.connect(file)) as connection:
        page_bytes = connection.execute("PRAGMA page_size").fetchone()[0]
        root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'body_chunk'").fetchone()[0]
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    octets = bytearray(file.read_bytes())
    octets[(root - 1) * page_bytes : root * page_bytes] = b"\xaa" * page_bytes
    file.write_bytes(octets)

    found = check_up(url, timeout_s=30)

    assert found.damages
    assert file.read_bytes() == bytes(octets)


def test_store_that_is_too_large_to_be_read_in_time_is_not_called_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor damaged."""
    url = f"sqlite:///{tmp_path}/syncd.db"
    Database.open(url).close()
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n WHERE i < 0"
    monkeypatch.setattr(module, "QUICK_CHECK", endless)

    found = check_up(url, timeout_s=0.05)

    assert (found.damages, found.is_whole) == ((), False)


@pytest.fixture
def no_store(tmp_path: Path) -> Iterator[Path]:
    """Yield a file that is no database; nothing else is there afterwards."""
    file = tmp_path / "syncd.db"
    file.write_bytes(b"this is no database" * 100)
    yield file
    assert list(tmp_path.iterdir()) == [file]


def test_what_is_no_store_is_an_error(no_store: Path) -> None:
    """In words that a person understands."""
    with pytest.raises(StoreError, match="no database"):
        check_up(f"sqlite:///{no_store}", timeout_s=30)
