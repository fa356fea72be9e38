"""Engines: which URLs are stores, and the settings that durability hangs on."""

from pathlib import Path

import pytest
from sqlalchemy import text

from syncd.errors import StoreError, Temper
from syncd.store.engine.database import Database
from syncd.store.engine.engines import parse_url, sqlite_path


@pytest.mark.parametrize(
    "url",
    [
        "mysql://ana:geheim@db.example.org/syncd",
        "postgresql+asyncpg://ana:geheim@db.example.org/syncd",
        "postgresql://ana:geheim@db.example.org:port/syncd",
        "geheim",
        "",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:geheim?uri=true",
    ],
)
def test_what_is_no_store_is_refused_without_its_secrets(url: str) -> None:
    """The person reads what is wrong, and the password stays out of it."""
    with pytest.raises(StoreError) as raised:
        parse_url(url)
    assert raised.value.temper is Temper.GIVE_UP
    assert "geheim" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_postgresql_means_psycopg() -> None:
    """The URL of the contract names no driver."""
    parsed = parse_url("postgresql://ana:geheim@db.example.org/syncd?sslmode=require")
    assert parsed.drivername == "postgresql+psycopg"
    assert (parsed.username, parsed.password, parsed.host, parsed.database) == (
        "ana",
        "geheim",
        "db.example.org",
        "syncd",
    )
    assert parsed.query == {"sslmode": "require"}
    assert sqlite_path(parsed) is None


def test_one_file_has_one_name(tmp_path: Path) -> None:
    """A link to the file is the file, or two owners would hold a lock each."""
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert sqlite_path(parse_url(f"sqlite:///{tmp_path}/link/syncd.db")) == (tmp_path / "real/syncd.db").resolve()


def test_a_sqlite_store_has_the_settings_that_durability_hangs_on(tmp_path: Path) -> None:
    """Each acknowledged commit is flushed, references hold, and the file can give pages back."""
    wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "auto_vacuum": 2, "busy_timeout": 10_000}

    with Database.open(f"sqlite:///{tmp_path}/syncd.db") as database:
        found = {
            name: database.write_now(lambda conn, name=name: conn.execute(text(f"PRAGMA {name}")).scalar())
            for name in wanted
        }
        readers = database.read_now(lambda conn: conn.execute(text("PRAGMA query_only")).scalar())

    assert found == wanted
    assert readers == 1


def test_opening_a_store_writes_nothing_to_it(tmp_path: Path) -> None:
    """A sync that finds nothing waits for no disk before it can begin."""
    url, file = f"sqlite:///{tmp_path}/syncd.db", tmp_path / "syncd.db"
    Database.open(url).close()
    before = file.read_bytes()

    Database.open(url).close()

    assert before == file.read_bytes()
