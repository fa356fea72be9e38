"""Compare the migrations with syncd.store.schema, and write the next migration.

python -m tests.contract.store.migrations_at_head               exit 1 and say how they differ, if they do
python -m tests.contract.store.migrations_at_head "a message"   write migrations/versions/NNNN_a_message.py
"""

import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from syncd.store import migrate, schema
from syncd.store.engines import migration_engine, parse_url


def drift(conn: Connection) -> list[object]:
    """Return the operations that would bring a migrated database to the schema of the code."""
    options = {"compare_type": True, "compare_server_default": True}
    return list(compare_metadata(MigrationContext.configure(conn, opts=options), schema.metadata))


def write_next(conn: Connection, message: str, migrations: Path) -> Path:
    """Write a migration from what a migrated database has to what the schema says; return its file."""
    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    config.attributes |= {"connection": conn, "target_metadata": schema.metadata}
    number = len(list((migrations / "versions").glob("[0-9]*.py"))) + 1
    script = command.revision(config, message, autogenerate=True, rev_id=f"{number:04}")
    assert script is not None
    assert not isinstance(script, list)
    return Path(script.path)


def main(arguments: list[str]) -> int:
    migrations = migrate.migrations_directory()
    with tempfile.TemporaryDirectory() as scratch:
        url = f"sqlite:///{scratch}/syncd.db"
        if any((migrations / "versions").glob("[0-9]*.py")):
            migrate.upgrade(url)
        engine = migration_engine(parse_url(url))
        with engine.connect() as conn:
            differences = drift(conn)
            if arguments and differences:
                print(f"{write_next(conn, arguments[0], migrations)}: read it, make it portable, add a test with rows")
        engine.dispose()
    for difference in () if arguments else differences:
        print(f"the migrations lack: {difference}")
    return int(bool(differences) != bool(arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
