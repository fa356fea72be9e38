"""Migrations: at head with the schema, never losing rows, under a lock, after a backup."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from sqlalchemy import Engine, TextClause, inspect, select, text

from syncd.errors import StoreError, StoreVersionError
from syncd.store.engine import migrate
from syncd.store.engine.database import Database
from syncd.store.engine.engines import migration_engine, parse_url
from syncd.store.engine.migrate import Standing
from syncd.store.mailboxes import directories
from syncd.store.tables import schema
from syncd.store.tables.partial_indexes import metadata
from tests.contract.store.migrations_at_head import AT_ONCE, drift, dump, migrated
from tests.contract.store.rows import add, names
from tests.contract.store.upgrading import upgrade

HEAD = max(file.name[:4] for file in (migrate.migrations_directory() / "versions").glob("[0-9]*.py"))
NEXT = f"{int(HEAD) + 1:04}"
Migrations = Callable[[str], Path]

REBUILD = """
    with op.batch_alter_table("account") as batch:
        batch.add_column(sa.Column("colour", sa.Text(), server_default="blue", nullable=False))
        batch.alter_column("identity", existing_type=sa.Text(), nullable=True)
"""


_DEVICE = "INSERT INTO device (id, name, path, layout, state) VALUES (:id, :name, :name, 'fs', 'active')"
_TROUBLE = (
    "INSERT INTO trouble (id, device_id, error, temper, attempts, since_at, retry_at)"
    " VALUES (:id + 40, :id, 'refused', 'wait', 3, 1.5, 2.5)"
)
_REPLICA = (
    "INSERT INTO account (id, name, kind, identity) VALUES (1, 'work', 'imap', 'x')",
    "INSERT INTO mailbox (id, account_id, name, wire_name, is_selectable, is_selected, version)"
    " VALUES (1, 1, 'A', 'A', :yes, :yes, 11)",
    "INSERT INTO replica (id, device_id, mailbox_id, directory, selection, keywords, version, server_cursor,"
    " replica_cursor, listed_at) VALUES (5, 1, 1, 'work/A', '*', 'a b', 7, 8, 9, 1.5)",
)


@pytest.fixture
def next_migrations(tmp_path: Path) -> Migrations:
    """Return a function that makes a copy of the migrations with one more, whose `upgrade` has this body."""

    def make(body: str) -> Path:
        directory = tmp_path / "migrations"
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(migrate.migrations_directory(), directory, ignore=shutil.ignore_patterns("__pycache__"))
        (directory / "versions" / f"{NEXT}_a_test.py").write_text(
            "import os, signal\nimport sqlalchemy as sa\nfrom alembic import op\n\n"
            f"revision = {NEXT!r}\ndown_revision = {HEAD!r}\nbranch_labels = depends_on = None\n\n\n"
            f"def upgrade() -> None:{body}"
        )
        return directory

    return make


@pytest.fixture
def filled_url(store_url: str) -> str:
    """Return the URL of a store at head with an account, and a mailbox that goes when the account goes."""
    with Database.open(store_url, auto_migrate=True) as database:
        database.write_now(add("work"))
        database.write_now(
            lambda conn: (
                conn.execute(
                    text(
                        "INSERT INTO mailbox (account_id, name, wire_name, is_selectable, is_selected)"
                        " SELECT id, 'INBOX', 'INBOX', :yes, :yes FROM account"
                    ),
                    {"yes": True},
                )
                and None
            )
        )
    return store_url


def rows(url: str) -> dict[str, int]:
    """Return how many rows two tables of a store have, whatever its version."""
    engine = migration_engine(parse_url(url))
    try:
        return {table: _count(engine, table) for table in ("account", "mailbox")}
    finally:
        engine.dispose()


def _count(engine: Engine, table: str) -> int:
    with engine.connect() as conn:
        return int(conn.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def test_the_migrations_make_the_schema_of_the_code(store_url: str) -> None:
    """A store made by the migrations differs in nothing from the tables the code was written for."""
    upgrade(store_url)

    engine = migration_engine(parse_url(store_url))
    try:
        with engine.connect() as conn:
            assert drift(conn) == []
    finally:
        engine.dispose()


def test_what_alembic_does_not_compare_is_equal_too(tmp_path: Path) -> None:
    """Partial indexes, checks and ids that are never used again are in the migrations as in the schema."""
    (tmp_path / "made").mkdir()
    urls = [f"sqlite:///{path}" for path in (migrated(tmp_path), tmp_path / "made" / "syncd.db")]
    engines = [migration_engine(parse_url(url)) for url in urls]
    metadata.create_all(engines[1])

    indexes, checks, sequences = [], [], []
    for engine in engines:
        with engine.connect() as conn:
            found = conn.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")).all()
            look = inspect(conn)
            checks.append({name: look.get_check_constraints(name) for name in metadata.tables})
        indexes.append([row.sql for row in found if row.sql.startswith("CREATE INDEX")])
        sequences.append({row.name for row in found if "AUTOINCREMENT" in row.sql})
        engine.dispose()

    assert indexes[0] == indexes[1] != []
    assert checks[0] == checks[1]
    assert sequences[0] == sequences[1] != set()


def test_a_new_file_gets_at_once_what_the_migrations_make(tmp_path: Path) -> None:
    """It has the same tables, indexes and rows as one that was migrated, and no migration was loaded for it."""
    url = f"sqlite:///{tmp_path}/new/syncd.db"
    make = (
        "import sys; from syncd.store.engine.database import Database; Database.open(sys.argv[1]).close();"
        " sys.exit('alembic' in sys.modules)"
    )

    made = subprocess.run([sys.executable, "-c", make, url], check=False)

    assert made.returncode == 0
    assert dump(tmp_path / "new" / "syncd.db") == dump(migrated(tmp_path)) == AT_ONCE.read_text("utf-8")
    assert migrate.state(url).standing is Standing.CURRENT


def test_a_new_file_is_migrated_where_what_it_gets_at_once_is_not_the_newest(
    tmp_path: Path, next_migrations: Migrations
) -> None:
    """A migration that somebody added, and nothing else, is in a new store as well."""
    url = f"sqlite:///{tmp_path}/new/syncd.db"

    upgrade(url, migrations=next_migrations(REBUILD))

    engine = migration_engine(parse_url(url))
    try:
        assert "colour" in {column["name"] for column in inspect(engine).get_columns("account")}
    finally:
        engine.dispose()


def test_the_migrations_import_nothing_of_syncd() -> None:
    """A migration means the same for ever, whatever becomes of the code."""
    for file in migrate.migrations_directory().rglob("*.py"):
        lines = file.read_text().splitlines()
        assert [line for line in lines if line.split()[:2] in (["import", "syncd"], ["from", "syncd"])] == [], file
        assert [line for line in lines if "syncd." in line] == [], file


def test_the_state_of_a_store_is_told_without_touching_it(store_url: str, next_migrations: Migrations) -> None:
    """Empty, current and behind are told apart, and nothing is made."""
    assert migrate.state(store_url).standing is Standing.EMPTY
    assert migrate.state(store_url).standing is Standing.EMPTY

    assert upgrade(store_url).standing is Standing.EMPTY

    assert migrate.state(store_url) == migrate.SchemaState(Standing.CURRENT, HEAD, HEAD)
    assert migrate.state(store_url, migrations=next_migrations(REBUILD)).standing is Standing.BEHIND


def test_rebuilding_a_table_keeps_the_rows_that_refer_to_it(filled_url: str, next_migrations: Migrations) -> None:
    """SQLite drops the old table of a rebuilt one; what would go with its rows stays."""
    upgrade(filled_url, migrations=next_migrations(REBUILD))

    assert rows(filled_url) == {"account": 1, "mailbox": 1}
    assert migrate.state(filled_url, migrations=next_migrations(REBUILD)).standing is Standing.CURRENT


def test_a_table_that_a_migration_makes_anew_keeps_its_rows(store_url: str, tmp_path: Path) -> None:
    """0021 takes columns away; troubles go on with their numbers and waits, and go with their devices as before."""
    devices = ({"id": 1, "name": "laptop"}, {"id": 2, "name": "phone"})
    _fill_at_version(20, store_url, tmp_path, *((text(line), of) for of in devices for line in (_DEVICE, _TROUBLE)))

    with Database.open(store_url, auto_migrate=True) as database:
        database.write_now(lambda conn: conn.execute(text("DELETE FROM device WHERE id = 1")) and None)
        kept = database.read_now(lambda conn: conn.execute(select(schema.trouble)).all())

    assert kept == [(42, 2, None, None, "refused", "wait", 3, 1.5, 2.5)]


def test_replicas_of_an_older_store_are_where_they_were_and_about_to_go_nowhere(store_url: str, tmp_path: Path) -> None:
    """0023 lets them be announced elsewhere."""
    rows = ((text(_DEVICE), {"id": 1, "name": "laptop"}), *((text(line), {"yes": True}) for line in _REPLICA))
    _fill_at_version(22, store_url, tmp_path, *rows)

    with Database.open(store_url, auto_migrate=True) as database:
        ((of, place),) = database.read_now(partial(directories.placed_replicas, device_id=1))
        source, target = PurePosixPath("work/A"), PurePosixPath(f"work/{chr(0xE4)}")
        announce = partial(directories.announce_move, device_id=1, source=source, target=target)
        database.write_now(announce)
        ((_, announced),) = database.read_now(partial(directories.placed_replicas, device_id=1))

    assert (of.id, of.keywords, of.version, of.server_cursor, of.replica_cursor) == (5, ("a", "b"), 7, 8, 9)
    assert (of.listed_at, of.mailbox_version) == (1.5, 11)
    assert (place.directory, place.moving_to) == (source, None)
    assert (announced.directory, announced.moving_to) == (source, target)


def _fill_at_version(version: int, url: str, scratch: Path, *statements: tuple[TextClause, Mapping[str, Any]]) -> None:
    """Make a store as it was at a version, and do something in it."""
    before = scratch / "before"
    left_out = shutil.ignore_patterns(*(f"{number:04}_*" for number in range(version + 1, int(NEXT))), AT_ONCE.name)
    shutil.copytree(migrate.migrations_directory(), before, ignore=left_out)
    upgrade(url, migrations=before)
    engine = migration_engine(parse_url(url))
    try:
        with engine.begin() as conn:
            for statement, values in statements:
                conn.execute(statement, values)
    finally:
        engine.dispose()


def test_an_upgrade_that_orphans_rows_is_undone(tmp_path: Path, next_migrations: Migrations) -> None:
    """Rows that would refer to nothing stop an upgrade before it is committed."""
    url = f"sqlite:///{tmp_path}/store/syncd.db"
    with Database.open(url) as database:
        database.write_now(add("work"))
        database.write_now(
            lambda conn: (
                conn.execute(
                    text(
                        "INSERT INTO mailbox (account_id, name, wire_name, is_selectable, is_selected)"
                        " SELECT id, 'INBOX', 'INBOX', 1, 1 FROM account"
                    )
                )
                and None
            )
        )

    with pytest.raises(StoreError, match="nothing was changed"):
        upgrade(url, migrations=next_migrations('\n    op.execute("DELETE FROM account")\n'))

    assert rows(url) == {"account": 1, "mailbox": 1}
    assert migrate.state(url).standing is Standing.CURRENT


def test_an_upgrade_that_fails_changes_nothing(filled_url: str, next_migrations: Migrations) -> None:
    """Half an upgrade is none."""
    with pytest.raises(StoreError, match="refuses a statement"):
        upgrade(filled_url, migrations=next_migrations(f'{REBUILD}\n    op.execute("SELECT * FROM nothing")\n'))

    assert migrate.state(filled_url).standing is Standing.CURRENT
    with Database.open(filled_url) as database:
        assert database.read_now(names) == {"work"}


def test_an_upgrade_killed_in_the_middle_is_done_again(filled_url: str, next_migrations: Migrations) -> None:
    """kill -9 between two statements of a migration leaves the store as it was, and the next start upgrades it."""
    deadly = next_migrations(f"{REBUILD}\n    os.kill(os.getpid(), signal.SIGKILL)\n")
    command = [sys.executable, "-m", "tests.contract.store.upgrading", filled_url, str(deadly)]
    killed = subprocess.run(command, timeout=60)

    assert killed.returncode == -signal.SIGKILL
    assert migrate.state(filled_url).standing is Standing.CURRENT
    upgrade(filled_url, migrations=next_migrations(REBUILD))
    assert rows(filled_url) == {"account": 1, "mailbox": 1}


def test_a_sqlite_store_is_copied_before_an_upgrade(tmp_path: Path, next_migrations: Migrations) -> None:
    """The copy is complete, opens as a store, and belongs to its owner alone; a new store leaves none."""
    path = tmp_path / "store" / "syncd.db"
    with Database.open(f"sqlite:///{path}") as database:
        database.write_now(add("work"))
    assert sorted(file.name for file in path.parent.iterdir()) == ["syncd.db", "syncd.db.lock"]

    upgrade(f"sqlite:///{path}", migrations=next_migrations(REBUILD))

    copy = path.with_name(f"syncd.db.before-{NEXT}")
    assert copy.stat().st_mode & 0o777 == 0o600
    assert not list(path.parent.glob("*.partial"))
    with Database.open(f"sqlite:///{copy}") as database:
        assert database.read_now(names) == {"work"}


def test_a_store_of_a_newer_syncd_is_refused_untouched(filled_url: str, next_migrations: Migrations) -> None:
    """A downgrade is refused in one clear sentence, also for looking, and the newer syncd can go on."""
    newer = next_migrations(REBUILD)
    upgrade(filled_url, migrations=newer)

    with pytest.raises(StoreVersionError, match=f"made by a newer syncd: its schema is {NEXT}, this one knows {HEAD}"):
        Database.open(filled_url, auto_migrate=True)
    with pytest.raises(StoreVersionError):
        Database.open_readonly(filled_url)

    assert migrate.state(filled_url, migrations=newer).standing is Standing.CURRENT
    assert rows(filled_url) == {"account": 1, "mailbox": 1}


def test_an_upgrade_that_nobody_allowed_is_refused(store_url: str) -> None:
    """PostgreSQL is upgraded by a person, unless the configuration says otherwise; a new SQLite file is just made."""
    if store_url.startswith("sqlite"):
        Database.open(store_url, auto_migrate=False).close()
        assert migrate.state(store_url).standing is Standing.CURRENT
        return
    with pytest.raises(StoreVersionError, match="run syncd migrate, or set auto_migrate = true"):
        Database.open(store_url)
    assert migrate.state(store_url).standing is Standing.EMPTY


def test_a_database_of_another_program_is_refused_untouched(store_url: str) -> None:
    """Tables that are not ours are neither changed nor joined by ours."""
    if store_url.startswith("sqlite"):
        Path(parse_url(store_url).database or "").parent.mkdir()
    engine = migration_engine(parse_url(store_url))
    with engine.begin() as conn:
        conn.execute(text("CREATE TABLE account (theirs INTEGER)"))
    engine.dispose()

    with pytest.raises(StoreVersionError, match="not those of a syncd store"):
        Database.open(store_url, auto_migrate=True)
    with engine.connect() as conn:
        assert list(conn.execute(text("SELECT * FROM account")).keys()) == ["theirs"]
    engine.dispose()


def test_processes_that_upgrade_at_once_take_turns(store_url: str) -> None:
    """Four upgrades of one empty database at the same time all end well."""
    command = [sys.executable, "-m", "tests.contract.store.process", "migrate", store_url]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"

    said = [process.communicate(os.linesep, timeout=60) for process in processes]

    assert said == [("current\n", "")] * 4
