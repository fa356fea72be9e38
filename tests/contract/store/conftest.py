"""A store on each database: every test of this folder runs on all of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from syncd.store.engine.database import Database
from tests.servers.made_stores import make_sqlite_store


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of a store that is not made yet, unless the test takes it as a `database`."""
    is_made = "database" in request.fixturenames
    if request.param == "sqlite":
        path: Path = request.getfixturevalue("tmp_path") / "store" / "syncd.db"
        if is_made:
            make_sqlite_store(path)
        return f"sqlite:///{path}"
    url: str = request.getfixturevalue("made_postgres" if is_made else "postgres_url")
    return url


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    """Yield a new store."""
    with Database.open(store_url) as database:
        yield database
