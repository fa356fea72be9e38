"""Real servers for the tests of a session."""

import gc
import itertools
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, settings

from tests.seed import IS_RANDOM
from tests.servers.dovecot import Dovecot
from tests.servers.identity import ServerUnavailable
from tests.servers.made_stores import made_postgres_url
from tests.servers.postgres import Postgres
from tests.statements import share_compiled

# NOTE: what is too slow to Hypothesis depends on what else the machine does.
settings.register_profile(
    "syncd", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=not IS_RANDOM
)
settings.load_profile("syncd")
gc.set_threshold(50_000, 20, 50)  # as the daemon has it; a fifth of what whole engines in a process took
share_compiled()
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has it ignored, by all that is started, behind `&`
_WORKERS_MAX = 9  # a container may see many more processors than it may use
_LONG = (
    "tests/walk/",
    "tests/system/test_benchmarks",
    "tests/system/test_demo",
    "tests/system/test_soak",
    "tests/crash/",
)
_users = itertools.count(1)


@pytest.hookimpl(optionalhook=True)  # without pytest-xdist nobody asks
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return how many processes test: two more than there are processors, for tests wait as well; 0 for a single file.

    NOTE: to start them takes longer than most files do.
    """
    files = {argument.partition("::")[0] for argument in config.args}
    if len(files) == 1 and all(file.endswith(".py") for file in files):
        return 0
    return min(len(os.sched_getaffinity(0)) + 2, _WORKERS_MAX)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let what takes long begin first: else the others wait in the end for who has the last of it."""
    items.sort(key=lambda item: not item.nodeid.startswith(_LONG))


@pytest.fixture(scope="session")
def dovecot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dovecot]:
    """Yield one Dovecot with all its capabilities for the session; take a `mail_user` of your own on it."""
    try:
        server = Dovecot(tmp_path_factory.mktemp("dovecot"))
    except ServerUnavailable as error:
        _unavailable(error)
    with server:
        yield server


@pytest.fixture
def mail_user() -> str:
    """Return a user name that no other test has used."""
    return f"user{next(_users)}"


@pytest.fixture
def make_dovecot(tmp_path: Path) -> Iterator[Callable[..., Dovecot]]:
    """Yield a function that starts a Dovecot of the test's own, with the arguments of `Dovecot`."""
    with ExitStack() as servers:

        def make(**settings: object) -> Dovecot:
            try:
                server = Dovecot(tmp_path / f"dovecot{next(_users)}", **settings)  # type: ignore[arg-type]  # passed on
            except ServerUnavailable as error:
                _unavailable(error)
            return servers.enter_context(server)

        yield make


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Yield one PostgreSQL for the session; `postgres.url("name")` makes a fresh database on it."""
    try:
        server = Postgres().__enter__()
    except ServerUnavailable as error:
        _unavailable(error)
    with ExitStack() as servers:
        servers.push(server)
        yield server


@pytest.fixture
def postgres_url(postgres: Postgres) -> str:
    """Return the URL of a fresh database."""
    return postgres.url(f"syncd_test_{next(_users)}")


@pytest.fixture
def made_postgres(postgres: Postgres) -> str:
    """Return the URL of a fresh database with a store."""
    return made_postgres_url(postgres, f"syncd_test_{next(_users)}")


def _unavailable(error: ServerUnavailable) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"CI needs every server: {error}")
    pytest.skip(str(error))
