"""Stores that are made already, with nothing in them: to bring one to the head takes longer than many a test."""

import tempfile
from functools import cache
from pathlib import Path

from syncd.config.values import SQLITE
from syncd.store.engine.database import Database
from syncd.store.engine.owner import make_private_directory, make_private_file
from tests.servers.postgres import Postgres

_TEMPLATE = "syncd_made"
_servers: set[int] = set()


def make_sqlite_store(path: Path) -> None:
    """Write the file of a store, as syncd would have made it; what is there already stays."""
    if not path.exists():
        make_private_directory(path.parent)
        make_private_file(path)
        path.write_bytes(_sqlite_store())


def made_postgres_url(server: Postgres, name: str) -> str:
    """Make a fresh database of this name with a store, and return its URL."""
    if server.port not in _servers:
        Database.open(server.url(_TEMPLATE), auto_migrate=True).close()
        _servers.add(server.port)
    return server.url(name, template=_TEMPLATE)


@cache
def _sqlite_store() -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "syncd.db"
        Database.open(f"{SQLITE}{path}", auto_migrate=True).close()
        return path.read_bytes()
