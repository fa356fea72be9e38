"""A store brought to the head of the migrations as its owner does, or of others that a test has made."""

import sys
from pathlib import Path

from syncd.store.engine import engines, migrate
from syncd.store.engine.migrate import SchemaState
from syncd.store.engine.owner import make_private_directory, make_private_file


def upgrade(url: str, *, migrations: Path | None = None) -> SchemaState:
    """Bring a store to the head, and return its state before."""
    parsed = engines.parse_url(url)
    path = engines.sqlite_path(parsed)
    if path is not None:
        make_private_directory(path.parent)
        make_private_file(path)
    return migrate.bring_to_head(parsed, may_upgrade=True, migrations=migrations)


if __name__ == "__main__":
    upgrade(sys.argv[1], migrations=Path(sys.argv[2]) if sys.argv[2:] else None)
