"""Errors of a database: what they mean here, in words that quote no values."""

import sqlite3
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import insert
from sqlalchemy.exc import DataError, IntegrityError, NoResultFound, OperationalError

from syncd.errors import Reach, StoreError, Temper
from syncd.store.engine.database import Database
from syncd.store.engine.failures import is_lost, is_transient, store_error, translated
from syncd.store.tables.schema import account


def sqlite_error(code: int) -> OperationalError:
    """Return what SQLAlchemy makes of an error of SQLite with this (extended) result code."""
    error = sqlite3.OperationalError("geheim")
    error.sqlite_errorcode = code
    return OperationalError("INSERT geheim", {}, error)


def test_an_extended_result_code_counts_as_its_primary_one() -> None:
    """SQLite says more precisely than we need to know why it is busy, full or broken."""
    assert is_transient(sqlite_error(sqlite3.SQLITE_BUSY_SNAPSHOT))
    assert (
        str(store_error(sqlite_error(sqlite3.SQLITE_IOERR_FSYNC))) == "the disk of the store cannot be read or written"
    )
    assert store_error(sqlite_error(sqlite3.SQLITE_CORRUPT_INDEX)).temper is Temper.GIVE_UP


def test_only_what_may_pass_is_tried_again() -> None:
    """A lock or a lost connection passes; a full disk, a damaged file or a wrong value does not."""
    assert is_transient(OperationalError("", {}, psycopg.errors.AdminShutdown()))
    assert is_transient(OperationalError("", {}, psycopg.errors.DeadlockDetected()))
    assert is_transient(OperationalError("", {}, psycopg.OperationalError("connection refused")))
    assert not is_transient(sqlite_error(sqlite3.SQLITE_FULL))
    assert not is_transient(sqlite_error(sqlite3.SQLITE_CORRUPT))
    assert not is_transient(IntegrityError("", {}, psycopg.errors.UniqueViolation()))
    assert not is_lost(OperationalError("", {}, psycopg.errors.DiskFull()))


def test_a_value_that_sqlite_cannot_take_is_not_a_lost_connection(tmp_path: Path) -> None:
    """The mistake is reported at once, not tried again as if the database were away."""
    with (
        Database.open(f"sqlite:///{tmp_path}/syncd.db") as database,
        pytest.raises(StoreError, match="refuses") as raised,
    ):
        database.write_now(lambda conn: conn.exec_driver_sql("SELECT ?", ([],)) and None)
    assert "reached" not in str(raised.value)


def test_a_text_of_postgresql_that_may_quote_a_row_is_not_repeated() -> None:
    """A message about a value contains the value."""
    error = DataError("INSERT", {}, psycopg.errors.InvalidTextRepresentation('invalid input: "geheim"'))
    assert str(store_error(error)) == "the store refuses a value (22P02)"
    assert store_error(error).reach is Reach.MAILBOX


def test_no_error_of_the_database_carries_a_value(tmp_path: Path) -> None:
    """Neither text nor cause shows what was to be written."""
    with Database.open(f"sqlite:///{tmp_path}/syncd.db") as database:
        for _ in range(2):
            try:
                database.write_now(
                    lambda conn: conn.execute(insert(account).values(name="geheim", kind="imap", identity="x")) and None
                )
            except StoreError as error:
                refused = error
    assert str(refused) == "the store refuses a value (UNIQUE constraint failed: account.name)"
    assert "geheim" not in repr(refused) + repr(refused.__cause__) + repr(refused.__context__)


def test_errors_that_are_not_of_the_database_pass() -> None:
    """Only SQLAlchemy's own errors are translated, and all of them are."""
    with pytest.raises(KeyError), translated():
        raise KeyError("mine")
    with pytest.raises(StoreError, match="NoResultFound"), translated():
        raise NoResultFound
