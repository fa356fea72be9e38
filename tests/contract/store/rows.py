"""Rows that tests of the store write and look for."""

from collections.abc import Callable

from sqlalchemy import Connection, insert, select

from syncd.store.tables.schema import account


def add(name: str) -> Callable[[Connection], str]:
    """Return a write that makes an account of this name, and returns the name."""

    def write(conn: Connection) -> str:
        conn.execute(insert(account).values(name=name, kind="imap", identity="x"))
        return name

    return write


def names(conn: Connection) -> set[str]:
    """Return the names of all accounts."""
    return set(conn.execute(select(account.c.name)).scalars())
