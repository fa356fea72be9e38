"""Floor 3: the schema of a store brought to the head of the migrations, under a lock, after a backup.

Theory. A new SQLite file gets at once what all migrations together would make of it: to load and run them takes a
quarter of a second, and memory that is never given back. A test holds both to be equal, statement by statement.
"""

import re
import sqlite3
import threading
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, inspect, text

from syncd.errors import StoreError, StoreVersionError
from syncd.store.engine import engines
from syncd.store.engine.backup import copy_store
from syncd.store.engine.failures import translated
from syncd.store.engine.owner import unreadable
from syncd.values import Value

_ADVISORY_KEY = (0x73796E63, 2)
_VERSION_FILE = re.compile(r"(\d{4})_\w+\.py")
_MADE_AT_ONCE = "sqlite.sql"
_in_process = threading.Lock()  # alembic keeps global state


class Standing(StrEnum):
    """How a store's schema compares with the migrations at hand."""

    EMPTY = "empty"
    BEHIND = "behind"
    CURRENT = "current"
    NEWER = "newer"
    FOREIGN = "foreign"


class SchemaState(Value):
    """A store's schema: `stored` is its revision, None where it has none; `head` is the one this syncd needs."""

    standing: Standing
    stored: str | None
    head: str


_UPGRADABLE = (Standing.EMPTY, Standing.BEHIND)


def migrations_directory() -> Path:
    """Return where the migrations are: in the installed package, else in the checkout."""
    package = Path(__file__).parents[2]
    shipped = package / "_migrations"
    return shipped if shipped.is_dir() else package.parent / "migrations"


def state(url: str, *, migrations: Path | None = None) -> SchemaState:
    """Return how a store compares with the migrations, without making or changing anything."""
    directory = migrations or migrations_directory()
    parsed = engines.parse_url(url)
    path = engines.sqlite_path(parsed)
    try:
        is_missing = path is not None and not path.exists()
    except OSError as error:
        assert path is not None  # noqa: S101 - or there is nothing to look at
        raise unreadable(path, error) from error
    if is_missing:
        return SchemaState(Standing.EMPTY, None, _revisions(directory)[-1])
    engine = engines.observer_engine(parsed, is_for_a_moment=True)
    try:
        with translated(), engine.connect() as conn:
            return _state(conn, directory)
    finally:
        engine.dispose()


def is_at_head(conn: Connection) -> bool:
    """Tell whether the schema is the one this syncd needs."""
    return _state(conn, migrations_directory()).standing is Standing.CURRENT


def refuse_other_version(engine: Engine) -> None:
    """Raise StoreVersionError unless the schema is the one this syncd needs."""
    with engine.connect() as conn:
        found = _state(conn, migrations_directory())
    if found.standing is not Standing.CURRENT:
        raise _refusal(found)


def bring_to_head(url: URL, *, may_upgrade: bool, migrations: Path | None = None) -> SchemaState:
    """Upgrade a store if it needs it, and return its state before.

    A new SQLite file is filled in any case. An older one is copied first, to `<file>.before-<head>`. StoreVersionError
    if the store is newer, no store of syncd, or needs an upgrade that it may not get now.
    """
    directory = migrations or migrations_directory()
    path = engines.sqlite_path(url)
    engine = engines.migration_engine(url)
    try:
        with translated():
            with engine.connect() as conn:
                before = _state(conn, directory)
            if before.standing is Standing.CURRENT:
                return before
            is_new_file = path is not None and before.standing is Standing.EMPTY
            if before.standing not in _UPGRADABLE or not (may_upgrade or is_new_file):
                raise _refusal(before)
            if path is not None and not is_new_file:
                copy_store(path, path.with_name(f"{path.name}.before-{before.head}"))
            with _in_process, engine.begin() as conn:
                _upgrade(conn, directory)
            return before
    finally:
        engine.dispose()


def _revisions(directory: Path) -> list[str]:
    """Return the revisions in their order: the numbers that their files begin with."""
    names = (file.name for file in (directory / "versions").iterdir())
    known = sorted(match[1] for match in map(_VERSION_FILE.fullmatch, names) if match)
    if not known:
        raise StoreError(f"there are no migrations in {directory}")
    return known


def _state(conn: Connection, directory: Path) -> SchemaState:
    known = _revisions(directory)
    head = known[-1]
    tables = set(inspect(conn).get_table_names())
    if "alembic_version" not in tables:
        return SchemaState(Standing.FOREIGN if tables else Standing.EMPTY, None, head)
    stored = conn.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    if stored is None:
        return SchemaState(Standing.FOREIGN if len(tables) > 1 else Standing.EMPTY, None, head)
    if stored == head:
        return SchemaState(Standing.CURRENT, stored, head)
    return SchemaState(Standing.BEHIND if stored in known else Standing.NEWER, stored, head)


def _refusal(found: SchemaState) -> StoreVersionError:
    match found.standing:
        case Standing.NEWER:
            return StoreVersionError(
                f"the store was made by a newer syncd: its schema is {found.stored}, this one knows {found.head}"
            )
        case Standing.FOREIGN:
            return StoreVersionError("the database has tables, but not those of a syncd store")
        case _:
            return StoreVersionError(
                f"the store has schema {found.stored or 'none'} and needs {found.head}: "
                "run syncd migrate, or set auto_migrate = true"
            )


def _upgrade(conn: Connection, directory: Path) -> None:
    """Run the migrations inside the transaction of `conn`, which holds the lock until it ends."""
    is_sqlite = conn.dialect.name == "sqlite"
    if not is_sqlite:  # SQLite began with BEGIN IMMEDIATE
        conn.execute(text("SELECT pg_advisory_xact_lock(:a, :b)"), {"a": _ADVISORY_KEY[0], "b": _ADVISORY_KEY[1]})
    found = _state(conn, directory)  # again, as another process may have had the lock before
    if found.standing not in _UPGRADABLE:
        if found.standing is Standing.CURRENT:
            return
        raise _refusal(found)
    at_once = directory / _MADE_AT_ONCE
    if is_sqlite and found.standing is Standing.EMPTY and at_once.exists():
        statements = list(_statements(at_once))
        if _stamp(found.head) in statements:  # else a migration was added since
            for statement in statements:
                conn.exec_driver_sql(statement)
            return
    _migrate(conn, directory)
    if is_sqlite and conn.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
        raise StoreError("an upgrade of the store would leave rows without those they refer to; nothing was changed")


def _stamp(revision: str) -> str:
    """Return the statement by which a dump says which revision it is."""
    return f"INSERT INTO \"alembic_version\" VALUES('{revision}');"


def _statements(file: Path) -> Iterator[str]:
    """Yield the statements of a file that was written by SQLite."""
    lines: list[str] = []
    for line in file.read_text("utf-8").splitlines():
        lines.append(line)
        if sqlite3.complete_statement(statement := "\n".join(lines)):
            yield statement
            lines.clear()


def _migrate(conn: Connection, directory: Path) -> None:
    from alembic import command  # noqa: PLC0415 - what a store at head and a new file do not need
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(directory).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = conn
    command.upgrade(config, "head")
