"""A store on each database: every test of this folder runs on all of them."""

from collections.abc import Iterator

import pytest

from syncd.store.database import Database


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of a store that is not made yet."""
    if request.param == "sqlite":
        return f"sqlite:///{request.getfixturevalue('tmp_path')}/store/syncd.db"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    """Yield a new store."""
    with Database.open(store_url, auto_migrate=True) as database:
        yield database
