"""What the store does when its database is full, locked, damaged, restarted, or gone in the middle."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, Engine, event, make_url, text
from sqlalchemy.exc import InvalidRequestError

from syncd.errors import StoreBusyError, StoreError, StoreVersionError, Temper
from syncd.store.engine import owner, writer
from syncd.store.engine.database import Database
from syncd.store.engine.failures import UnknownOutcomeError
from tests.contract.store.rows import add, names
from tests.servers.postgres import Postgres

MY_PID = text("SELECT pg_backend_pid()")


@pytest.fixture
def sqlite_file(tmp_path: Path) -> Path:
    """Return the file of a new SQLite store with one account."""
    path = tmp_path / "store" / "syncd.db"
    with Database.open(f"sqlite:///{path}") as database:
        database.write_now(add("there"))
    return path


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up soon, so that a test of giving up is short."""
    monkeypatch.setattr(writer, "RETRY_DELAYS_S", (0.01, 0.01))
    monkeypatch.setattr(owner, "_HANDOVER_S", 0.1)


def once(trouble: Callable[[Connection], object], then: Callable[[Connection], str]) -> Callable[[Connection], str]:
    """Return a write that meets trouble the first time it runs, after having written."""
    met: list[bool] = []

    def write(conn: Connection) -> str:
        done = then(conn)
        if not met:
            met.append(True)
            trouble(conn)
        return done

    return write


def end(url: str, pid: object) -> None:
    """End one session of a PostgreSQL server from another one, as a restart would."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))


async def test_a_full_disk_fails_what_does_not_fit_and_nothing_else(sqlite_file: Path) -> None:
    """F17: the write is not acknowledged, small ones go on, and it works again once there is space."""
    with Database.open(f"sqlite:///{sqlite_file}") as database:
        pages = await database.write(lambda conn: conn.execute(text("PRAGMA page_count")).scalar_one())
        await database.write(lambda conn: conn.execute(text(f"PRAGMA max_page_count={pages + 2}")).scalar())

        big, small = await asyncio.gather(
            database.write(add("x" * 1_000_000)), database.write(add("small")), return_exceptions=True
        )
        assert isinstance(big, StoreError)
        assert str(big) == "the disk of the store is full"
        assert big.temper is Temper.WAIT
        assert small == "small"
        assert await database.read(names) == {"there", "small"}

        await database.write(lambda conn: conn.execute(text(f"PRAGMA max_page_count={pages + 1000}")).scalar())
        await database.write(add("x" * 1_000_000))


async def test_a_lock_of_another_program_is_waited_for(sqlite_file: Path) -> None:
    """F20: a backup program that holds the database for a while delays a write, and readers not at all."""
    with (
        Database.open(f"sqlite:///{sqlite_file}") as database,
        closing(sqlite3.connect(sqlite_file, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        task = asyncio.create_task(database.write(add("late")))
        assert await database.read(names) == {"there"}
        assert not (await asyncio.wait([task], timeout=0.1))[0]
        other.execute("ROLLBACK")
        assert await task == "late"


@pytest.mark.usefixtures("impatient")
async def test_a_lock_that_is_never_released_fails_the_write(sqlite_file: Path) -> None:
    """F20: nobody waits for ever, and the next write works when the lock is gone."""
    with (
        Database.open(f"sqlite:///{sqlite_file}") as database,
        closing(sqlite3.connect(sqlite_file, isolation_level=None)) as other,
    ):
        await database.write(lambda conn: conn.execute(text("PRAGMA busy_timeout=10")).scalar())
        other.execute("BEGIN IMMEDIATE")
        outcomes = await asyncio.gather(*(database.write(add(f"a{n}")) for n in range(50)), return_exceptions=True)
        assert {str(outcome) for outcome in outcomes} == {"the store is locked by another program"}
        other.execute("ROLLBACK")
        assert await database.write(add("b")) == "b"


@pytest.mark.parametrize("looking", [True, False])
@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        (b"this is no database, but a letter\n" * 100, StoreError, "is no database"),
        (b"SQLite format 3\0" + b"\xff" * 8000, StoreError, "is no database|is damaged"),
    ],
)
def test_a_file_that_is_no_database_is_refused_untouched(
    tmp_path: Path, content: bytes, error: type[StoreError], said: str, looking: bool
) -> None:
    """F21: neither overwritten nor taken for an empty store."""
    path = tmp_path / "syncd.db"
    path.write_bytes(content)

    with pytest.raises(error, match=said):
        (Database.open_readonly if looking else Database.open)(f"sqlite:///{path}")
    assert path.read_bytes() == content


def test_an_empty_file_is_a_new_store(tmp_path: Path) -> None:
    """F21: a file cut to nothing is filled, with a store id of its own that no replica knows."""
    path = tmp_path / "syncd.db"
    path.touch()
    with pytest.raises(StoreVersionError):
        Database.open_readonly(f"sqlite:///{path}")
    with Database.open(f"sqlite:///{path}") as database:
        assert database.read_now(names) == set()


async def test_a_write_outlives_its_connection(postgres_url: str) -> None:
    """F23: a session that ends in the middle of a transaction costs a retry and repeats nothing."""
    with Database.open(postgres_url, auto_migrate=True) as database:
        ended = once(lambda conn: end(postgres_url, conn.execute(MY_PID).scalar()), add("a"))
        outcomes = await asyncio.gather(database.write(ended), database.write(add("b")))

        assert outcomes == ["a", "b"]
        assert await database.read(names) == {"a", "b"}
        with pytest.raises(StoreBusyError):  # the new connection holds the lock again
            Database.open(postgres_url)


async def test_a_read_outlives_its_connection(postgres_url: str) -> None:
    """F23: a read is begun anew when its session ends in the middle."""
    with Database.open(postgres_url, auto_migrate=True) as database:
        await database.write(add("a"))
        ended: list[object] = []

        def read(conn: Connection) -> set[str]:
            if not ended:
                ended.append(conn.execute(MY_PID).scalar())
                end(postgres_url, ended[0])
            return names(conn)

        assert await database.read(read) == {"a"}


async def test_a_serialization_failure_is_retried(postgres_url: str) -> None:
    """F23: a transaction that the server asks to repeat is repeated."""
    refusal = text("DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = '40001'; END $$")
    with Database.open(postgres_url, auto_migrate=True) as database:
        assert await database.write(once(lambda conn: conn.execute(refusal), add("a"))) == "a"


async def test_a_statement_that_is_refused_before_it_is_sent_fails_with_the_words_of_the_refusal(
    sqlite_file: Path,
) -> None:
    """They name what is wrong with it, and no value."""

    def refuse(conn: Connection) -> None:
        raise InvalidRequestError("no FROM clauses")

    with (
        Database.open(f"sqlite:///{sqlite_file}") as database,
        pytest.raises(StoreError, match="InvalidRequestError: no FROM clauses"),
    ):
        await database.read(refuse)


@contextmanager
def ended_at_commit(url: str) -> Iterator[list[object]]:
    """End the session of the next transaction between its last statement and its COMMIT."""
    ended: list[object] = []

    def on_commit(conn: Connection) -> None:
        if not ended:
            ended.append(conn.execute(MY_PID).scalar())
            end(url, ended[0])

    event.listen(Engine, "commit", on_commit)
    try:
        yield ended
    finally:
        event.remove(Engine, "commit", on_commit)


async def test_a_commit_of_unknown_outcome_is_not_repeated(postgres_url: str) -> None:
    """A connection lost during COMMIT is an error that says so: running the write again could repeat it."""
    runs: list[bool] = []

    def write(conn: Connection) -> str:
        runs.append(True)
        return add("a")(conn)

    with Database.open(postgres_url, auto_migrate=True) as database:
        with ended_at_commit(postgres_url) as ended, pytest.raises(UnknownOutcomeError) as raised:
            await database.write(write)

        assert ended
        assert raised.value.temper is Temper.WAIT
        assert len(runs) == 1
        assert await database.write(add("b")) == "b"


@pytest.mark.usefixtures("impatient")
async def test_an_owner_that_lost_its_lock_writes_no_more(postgres_url: str) -> None:
    """A daemon whose session ended while another one took the database over is stopped at its next write."""
    with Database.open(postgres_url, auto_migrate=True) as database:
        pid = await database.write(lambda conn: conn.execute(MY_PID).scalar())
        end(postgres_url, pid)
        with psycopg.connect(postgres_url) as thief:
            owner.take_postgres_lock(thief)
            outcomes = await asyncio.gather(*(database.write(add(f"a{n}")) for n in range(5)), return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [StoreBusyError] * 5

        assert await database.read(names) == set()
        assert await database.write(add("b")) == "b"


def test_a_server_that_restarts_is_waited_for(postgres_url: str, postgres: Postgres) -> None:
    """F23: what was committed is there, and the daemon needs no restart of its own."""
    with Database.open(postgres_url, auto_migrate=True) as database:
        database.write_now(add("before"))
        postgres.stop()
        postgres.start()
        assert database.read_now(names) == {"before"}
        assert database.write_now(add("after")) == "after"


@pytest.mark.usefixtures("impatient")
def test_a_server_that_is_away_is_an_error_to_wait_for(postgres_url: str, postgres: Postgres) -> None:
    """A write ends in bounded time, in words without host, user or password."""
    with Database.open(postgres_url, auto_migrate=True) as database:
        postgres.stop()
        try:
            with pytest.raises(StoreError, match=r"^the database cannot be reached$") as raised:
                database.write_now(add("a"))
            with pytest.raises(StoreError, match=r"^the database cannot be reached$"):
                database.read_now(names)
            with pytest.raises(StoreError, match=r"^the database cannot be reached$"):
                Database.open(postgres_url)
        finally:
            postgres.start()
        assert raised.value.temper is Temper.WAIT
        assert database.write_now(add("b")) == "b"


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"password": "geheim"}, "the database server refuses our credentials"),
        ({"database": "nothing"}, "the database, or its user, does not exist"),
        ({"port": 1}, "the database cannot be reached"),
    ],
)
def test_a_server_that_does_not_let_us_in_is_told_without_secrets(
    postgres_url: str, broken: dict[str, Any], said: str
) -> None:
    """The person reads which of host, password and database to look at, and no value of them."""
    url = make_url(postgres_url).set(**broken).render_as_string(hide_password=False)
    for way in (Database.open, Database.open_readonly):
        with pytest.raises(StoreError) as raised:
            way(url)
        assert str(raised.value) == said
        assert raised.value.__cause__ is None
