"""A store on each database for all tests of this folder, and in it trees of each test's own."""

from collections.abc import Iterator

import pytest

from syncd.store.engine.database import Database
from tests.unit.store_trees.grove import Grove


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Yield a store that tests share."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('trees')}/syncd.db"
    else:
        url = request.getfixturevalue("postgres").url("syncd_trees")
    with Database.open(url, auto_migrate=True) as database:
        yield database


@pytest.fixture
def grove(database: Database, mail_user: str) -> Grove:
    """Return an account and devices that no other test has."""
    return Grove(database, mail_user)
