"""A copy of the store: whole, private, in place at once, and the same kind of file."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from syncd.config.values import SQLITE
from syncd.errors import StoreError
from syncd.store.engine.backup import copy_store
from syncd.store.engine.database import Database
from syncd.store.trees import accounts


@pytest.fixture
def store(tmp_path: Path) -> Iterator[tuple[Path, Database]]:
    path = tmp_path / "store" / "syncd.db"
    with Database.open(f"{SQLITE}{path}") as db:
        yield path, db


def names(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM account ORDER BY name")]


def add_account(db: Database, name: str) -> None:
    db.write_now(lambda conn: accounts.ensure_account(conn, name, kind="imap", identity=name))


def test_copy_has_what_was_committed_and_nothing_later(store: tuple[Path, Database], tmp_path: Path) -> None:
    path, db = store
    add_account(db, "work")
    target = tmp_path / "copy.db"
    copy_store(path, target)
    add_account(db, "later")
    assert (names(target), names(path)) == (["work"], ["later", "work"])
    assert target.stat().st_mode & 0o777 == 0o600
    assert sorted(one.name for one in tmp_path.iterdir()) == ["copy.db", "store"]


def test_copy_is_used_like_the_store(store: tuple[Path, Database], tmp_path: Path) -> None:
    """Its pages are of the same size, and give back the space of what is swept."""
    path, db = store
    add_account(db, "work")
    target = tmp_path / "copy.db"
    copy_store(path, target)
    pragmas = ("page_size", "auto_vacuum", "integrity_check", "foreign_key_check")
    with closing(sqlite3.connect(target)) as connection:
        found = [connection.execute(f"PRAGMA {pragma}").fetchall() for pragma in pragmas]
    assert found == [[(16384,)], [(2,)], [("ok",)], []]
    with Database.open(f"{SQLITE}{target}") as copied:
        add_account(copied, "more")


def test_copy_that_fails_leaves_the_one_before(store: tuple[Path, Database], tmp_path: Path) -> None:
    path, _ = store
    target = tmp_path / "copy.db"
    target.write_text("the one before")
    path_of_text = tmp_path / "text.db"
    path_of_text.write_text("no database at all, and not empty either")
    with pytest.raises(StoreError, match=r"cannot be copied to .*SQLITE_NOTADB"):
        copy_store(path_of_text, target)
    with pytest.raises(StoreError, match=r"cannot be copied to .*SQLITE_CANTOPEN"):
        copy_store(tmp_path / "nothing.db", target)
    assert target.read_text() == "the one before"
    assert not [one.name for one in tmp_path.iterdir() if "partial" in one.name]
    with pytest.raises(StoreError, match="No such file or directory"):
        copy_store(path, tmp_path / "nowhere" / "copy.db")
