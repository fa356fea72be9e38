"""Floor 3: a store looked at beside its owner, for the doctor: whether it is whole, how large, and how recent."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, and_, func, or_, select
from sqlalchemy.exc import DatabaseError

from syncd.store.engine import engines
from syncd.store.engine.failures import store_error, translated
from syncd.store.tables.own_tables import history
from syncd.store.tables.schema import account, device
from syncd.store.trees.devices import FOREIGN, NEW
from syncd.values import Value

QUICK_CHECK = "PRAGMA quick_check(5)"
"""Looks through all pages, and tells of the first few that are damaged."""
_HAD_ITS_PATH = and_(device.c.state != NEW, or_(device.c.state != FOREIGN, device.c.generation_next > 0))
"""A device that is foreign from its first look on never had a marker there."""


class Checkup(Value):
    """Say how a store is. damages: none where it is whole as far as it was looked at; is_whole: that was all of it.

    newest_at: when the last of what it tells happened. devices: the paths of those that had theirs, by
    their names. accounts: all that it knows.
    """

    damages: tuple[str, ...]
    is_whole: bool
    newest_at: float | None
    devices: dict[str, Path]
    accounts: frozenset[str]


def check_up(url: str, *, timeout_s: float) -> Checkup:
    """Look at a store of this schema, and change nothing; StoreError where it cannot be read. Blocks.

    timeout_s: for looking through all of it, which a large one takes longer for.
    """
    parsed = engines.parse_url(url)
    engine = engines.observer_engine(parsed, is_for_a_moment=True)
    try:
        with translated(), engine.connect() as conn:
            newest_at = _newest_at(conn)
            attached = select(device.c.name, device.c.path).where(_HAD_ITS_PATH)
            devices = {row.name: Path(row.path) for row in conn.execute(attached)}
            accounts = frozenset(conn.execute(select(account.c.name)).scalars())
            is_sqlite = engines.sqlite_path(parsed) is not None
            damages, is_whole = _damages(conn, timeout_s) if is_sqlite else ((), True)
            return Checkup(damages, is_whole, newest_at, devices, accounts)
    finally:
        engine.dispose()


def _newest_at(conn: Connection) -> float | None:
    times = (
        conn.execute(select(history.c.at).order_by(history.c.id.desc()).limit(1)).scalar(),
        conn.execute(select(func.max(account.c.succeeded_at))).scalar(),
    )
    return max((float(at) for at in times if at is not None), default=None)


def _damages(conn: Connection, timeout_s: float) -> tuple[tuple[str, ...], bool]:
    with _interrupted_after(conn, timeout_s) as is_cut:
        try:
            found = conn.exec_driver_sql(QUICK_CHECK).scalars().all()
        except DatabaseError as error:
            return ((), False) if is_cut.is_set() else ((str(store_error(error)),), True)
    return tuple(str(line) for line in found if line != "ok"), True


@contextmanager
def _interrupted_after(conn: Connection, timeout_s: float) -> Iterator[threading.Event]:
    """Interrupt the statement inside when it takes too long; the event tells whether that was done."""
    driver = conn.connection.dbapi_connection
    is_cut = threading.Event()

    def cut() -> None:
        is_cut.set()
        driver.interrupt()  # type: ignore[union-attr]  # of sqlite3

    timer = threading.Timer(timeout_s, cut)
    timer.start()
    try:
        yield is_cut
    finally:
        timer.cancel()
