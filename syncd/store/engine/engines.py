"""Floor 3: SQLAlchemy engines with the settings the store relies on, for SQLite and PostgreSQL.

Theory. One writer engine of one connection and one reader engine of a few. On SQLite the writer begins with BEGIN
IMMEDIATE, because a read transaction that turns into a writing one fails at once whatever `busy_timeout` says, and
it alone checkpoints, because releases before 3.51.3 may damage a file that two connections write at one instant.
Readers see one snapshot from begin to end and cannot write, on both databases.
"""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, NullPool, QueuePool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import ConnectionPoolEntry

from syncd.errors import StoreError, Temper

BUSY_TIMEOUT_MS = 10_000
_CACHE_KIB = 4 * 1024
_READER_CACHE_KIB = 1024
"""Of each reader: what a round reads it reads once, and the pages are in the system's cache anyhow."""
_PAGE_BYTES = 16 * 1024
_INCREMENTAL = 2
_CHECKPOINT_PAGES = 2000
_WAL_LIMIT_BYTES = 64 * 1024 * 1024
_POOL_TIMEOUT_S = 60.0
_STATEMENT_TIMEOUT_S = 120
_KEEPALIVE_S = 30

_POSTGRES = ("postgresql", "postgresql+psycopg")


def parse_url(url: str) -> URL:
    """Return the URL of a store as SQLAlchemy takes it; StoreError for a kind of database that is not supported."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise _unusable("the url of the store cannot be read") from None  # NOTE: the cause shows the password
    if parsed.drivername in _POSTGRES:
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise _unusable(f"a store cannot be kept in {parsed.get_backend_name()}: use sqlite or postgresql")
    if not parsed.database or parsed.database == ":memory:" or parsed.database.startswith("file:"):
        raise _unusable("the url of the store names no file")
    return URL.create("sqlite", database=str(Path(parsed.database).resolve()))


def sqlite_path(url: URL) -> Path | None:
    """Return the file of a store, None where it is in PostgreSQL."""
    return Path(url.database or "") if url.get_backend_name() == "sqlite" else None


def writer_engine(url: URL, *, on_connect: Callable[[Any], None] | None = None) -> Engine:
    """Return the engine of the single writer; `on_connect` gets each new driver connection."""
    if sqlite_path(url):
        engine = _sqlite_engine(url, _prepare_sqlite_writer, begin="BEGIN IMMEDIATE", pool_size=1)
    else:
        engine = _postgres_engine(url, _prepare_postgres_writer, pool_size=1)
    if on_connect is not None:
        event.listen(engine, "connect", _closing_on_refusal(on_connect))
    return engine


def reader_engine(url: URL, *, connections: int) -> Engine:
    """Return an engine whose connections cannot write."""
    if sqlite_path(url):
        return _sqlite_engine(url, _prepare_sqlite_reader, begin="BEGIN", pool_size=connections)
    return _postgres_engine(url, _prepare_postgres_reader, pool_size=connections, isolation="REPEATABLE READ")


def observer_engine(url: URL, *, is_for_a_moment: bool = False) -> Engine:
    """Return a reader engine that creates no store, so that one can be looked at beside its owner.

    is_for_a_moment: not even the files that SQLite keeps beside a store; who becomes its owner meanwhile is not seen.
    """
    path = sqlite_path(url)
    if path is None:
        return reader_engine(url, connections=1)
    query = {"mode": "ro", "uri": "true"}
    # NOTE: whoever has it open keeps a log beside it; where there is none, SQLite would make one, and leave it.
    if is_for_a_moment and not path.with_name(f"{path.name}-wal").exists():
        query["immutable"] = "1"
    uri = URL.create("sqlite", database=path.as_uri(), query=query)
    return _sqlite_engine(uri, _prepare_sqlite_reader, begin="BEGIN", pool_size=1)


def migration_engine(url: URL) -> Engine:
    """Return an engine for schema changes, on SQLite without foreign keys.

    NOTE: SQLite changes a table by copying and dropping it, and with `foreign_keys=ON` that drop would empty every
    table that refers to it with ON DELETE CASCADE. The pragma does nothing inside a transaction.
    """
    if sqlite_path(url):
        return _sqlite_engine(url, _prepare_sqlite_migration, begin="BEGIN IMMEDIATE", pool_size=None)
    return create_engine(url, poolclass=NullPool, hide_parameters=True, connect_args=_postgres_arguments())


def _unusable(text: str) -> StoreError:
    return StoreError(text, temper=Temper.GIVE_UP)


def _closing_on_refusal(hook: Callable[[Any], None]) -> Callable[[Any, ConnectionPoolEntry], None]:
    def on_connect(connection: Any, _: ConnectionPoolEntry) -> None:
        try:
            hook(connection)
        except BaseException:
            connection.close()
            raise

    return on_connect


def _sqlite_engine(url: URL, prepare: Callable[[Any], None], *, begin: str, pool_size: int | None) -> Engine:
    arguments = {"check_same_thread": False, "timeout": BUSY_TIMEOUT_MS / 1000}
    if pool_size is None:
        engine = create_engine(url, poolclass=NullPool, hide_parameters=True, connect_args=arguments)
    else:
        engine = create_engine(
            url,
            poolclass=QueuePool,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=_POOL_TIMEOUT_S,
            hide_parameters=True,
            connect_args=arguments,
        )

    def on_connect(connection: Any, _: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself
        prepare(connection)

    def do_begin(dbapi_connection: Any) -> None:
        dbapi_connection.execute(begin)

    event.listen(engine, "connect", on_connect)
    # NOTE: not by an event: with one listener on an engine, SQLAlchemy looks for those of each kind at every statement.
    engine.dialect.do_begin = do_begin  # type: ignore[method-assign]
    return engine


def _prepare_sqlite_writer(connection: Any) -> None:
    connection.execute(f"PRAGMA page_size={_PAGE_BYTES}")  # this and auto_vacuum count before the first table only
    if connection.execute("PRAGMA auto_vacuum").fetchone() != (_INCREMENTAL,):
        # NOTE: to say it again would write to the file each time, which is waited for while nothing else can be done.
        connection.execute(f"PRAGMA auto_vacuum={_INCREMENTAL}")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
    connection.execute(f"PRAGMA journal_size_limit={_WAL_LIMIT_BYTES}")
    connection.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")


def _prepare_sqlite_migration(connection: Any) -> None:
    _prepare_sqlite_writer(connection)
    connection.execute("PRAGMA foreign_keys=OFF")


def _prepare_sqlite_reader(connection: Any) -> None:
    connection.execute("PRAGMA query_only=ON")
    connection.execute(f"PRAGMA cache_size=-{_READER_CACHE_KIB}")


def _postgres_engine(
    url: URL, prepare: Callable[[Any], None], *, pool_size: int, isolation: str = "READ COMMITTED"
) -> Engine:
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=_POOL_TIMEOUT_S,
        pool_pre_ping=True,
        isolation_level=isolation,
        hide_parameters=True,
        connect_args=_postgres_arguments(),
    )
    event.listen(engine, "connect", _closing_on_refusal(_refuse_other_encoding))
    event.listen(engine, "connect", lambda connection, _: prepare(connection))
    return engine


def _postgres_arguments() -> dict[str, Any]:
    return {
        "application_name": f"syncd {socket.gethostname()}:{os.getpid()}",
        "connect_timeout": 10,
        "client_encoding": "utf8",  # else even the version is octets where the database is SQL_ASCII
        "keepalives_idle": _KEEPALIVE_S,
        "keepalives_interval": _KEEPALIVE_S // 3,
        "keepalives_count": 3,
    }


def _refuse_other_encoding(connection: Any) -> None:
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise _unusable(
            f"the database {connection.info.dbname} is encoded as {encoding}, and has to be UTF8: "
            "make it anew, by createdb --encoding=UTF8 --template=template0"
        )


def _prepare_postgres_writer(connection: Any) -> None:
    connection.execute("SET synchronous_commit = on")
    # NOTE: without these a server keeps the session, and with it our lock, for hours after a cut cable.
    connection.execute(f"SET tcp_keepalives_idle = {_KEEPALIVE_S}")
    connection.execute(f"SET tcp_keepalives_interval = {_KEEPALIVE_S // 3}")
    connection.execute("SET tcp_keepalives_count = 3")
    connection.execute(f"SET statement_timeout = '{_STATEMENT_TIMEOUT_S}s'")
    connection.commit()


def _prepare_postgres_reader(connection: Any) -> None:
    connection.execute(f"SET statement_timeout = '{_STATEMENT_TIMEOUT_S}s'")
    connection.commit()
    connection.read_only = True
