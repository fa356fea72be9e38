"""The store as a whole: one owner, readers that cannot write, and a look at it from outside."""

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from syncd.errors import StoreBusyError, StoreError
from syncd.store.engine.database import Database
from tests.contract.store.rows import add, names
from tests.servers.postgres import Postgres


async def test_readers_cannot_write(database: Database) -> None:
    """A function given to `read` changes nothing, whatever it tries."""
    with pytest.raises(StoreError):
        await database.read(add("a"))
    assert await database.read(names) == set()


async def test_a_read_sees_one_moment(database: Database) -> None:
    """Two queries of one read see the same store, though something was written between them."""

    def read_twice(conn):  # type: ignore[no-untyped-def]  # the tests of types are elsewhere
        before = names(conn)
        database.write_now(add("between"))
        return before, names(conn)

    before, after = await database.read(read_twice)

    assert before == after == set()
    assert await database.read(names) == {"between"}


async def test_what_was_written_is_seen_by_the_next_read(database: Database) -> None:
    """A write that has returned is visible to every read that begins after it."""
    for n in range(20):
        await database.write(add(f"a{n}"))
        assert f"a{n}" in await database.read(names)


def test_a_second_owner_in_another_process_is_refused(database: Database, store_url: str) -> None:
    """A second daemon says in one sentence that the store has an owner."""
    other = subprocess.run(
        [sys.executable, "-m", "tests.contract.store.process", "own", store_url],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert other.stdout.startswith("StoreBusyError: another syncd (")
    assert " owns the " in other.stdout
    assert database.write_now(add("still mine")) == "still mine"


def test_a_second_owner_in_the_same_process_is_refused(database: Database, store_url: str) -> None:
    """The lock does not take a second opening by ourselves for the first one."""
    with pytest.raises(StoreBusyError):
        Database.open(store_url)
    assert database.write_now(add("still mine")) == "still mine"


def test_a_killed_owner_leaves_the_store_to_the_next(store_url: str) -> None:
    """After kill -9 nobody has to clean up before the next start."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.contract.store.process", "own", store_url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "owner\n"
        process.kill()
        process.wait()

    with Database.open(store_url) as database:
        assert database.write_now(add("a")) == "a"


def test_four_processes_that_start_on_nothing_leave_one_owner(store_url: str) -> None:
    """However many daemons start at once on an empty database, one makes the store and owns it."""
    command = [sys.executable, "-m", "tests.contract.store.process", "own", store_url]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    try:
        said = [process.stdout.readline() for process in processes if process.stdout]
    finally:
        for process in processes:
            process.communicate()

    assert said.count("owner\n") == 1
    assert sum(line.startswith("StoreBusyError") for line in said) == 3


def test_a_store_can_be_looked_at_beside_its_owner(database: Database, store_url: str) -> None:
    """`status` reads what the owner has committed, and cannot change it."""
    database.write_now(add("a"))

    with Database.open_readonly(store_url) as observer:
        assert observer.read_now(names) == {"a"}
        with pytest.raises(StoreError, match="reading only"):
            observer.write_now(add("b"))


def test_a_store_can_be_looked_at_without_its_owner(store_url: str) -> None:
    """`status` works with the daemon down, and the daemon can start meanwhile."""
    with Database.open(store_url, auto_migrate=True) as database:
        database.write_now(add("a"))

    with Database.open_readonly(store_url) as observer:
        assert observer.read_now(names) == {"a"}
        with Database.open(store_url) as database:
            database.write_now(add("b"))
        assert observer.read_now(names) == {"a", "b"}


def test_looking_at_no_store_makes_none(tmp_path: Path, postgres_url: str) -> None:
    """Looking leaves no file and no table behind."""
    with pytest.raises(StoreError, match="there is no store"):
        Database.open_readonly(f"sqlite:///{tmp_path}/none/syncd.db")
    with pytest.raises(StoreError):
        Database.open_readonly(postgres_url)

    assert list(tmp_path.iterdir()) == []
    with Database.open(postgres_url, auto_migrate=True) as database:
        assert database.read_now(lambda conn: conn.execute(text("SELECT count(*) FROM account")).scalar()) == 0


def test_database_that_cannot_hold_every_text_is_refused_in_plain_words(postgres: Postgres) -> None:
    """A cluster that was made without a locale has databases in SQL_ASCII."""
    url = postgres.url("syncd_test_ascii", encoding="SQL_ASCII")

    with pytest.raises(StoreError, match=r"encoded as SQL_ASCII, and has to be UTF8: .*createdb --encoding=UTF8"):
        Database.open(url, auto_migrate=True)
