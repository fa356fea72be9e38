"""Dovecots that stand on each rung, one with dots in its names, and a provider with a fresh user."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from syncd.imap.news.observe import Rung
from tests.contract.sync.house import MakeDovecot
from tests.contract.sync.provider import Provider
from tests.servers.capabilities import NO_CONDSTORE, NO_QRESYNC
from tests.servers.dovecot import Dovecot
from tests.servers.dovecot_conf import FEW_SPECIAL_USE
from tests.servers.identity import ServerUnavailable

CAPABILITIES = {Rung.QRESYNC: None, Rung.CONDSTORE: NO_QRESYNC, Rung.LISTING: NO_CONDSTORE}
_ASSERTING = ("adopting", "pop3_devices", "three_devices")
pytest.register_assert_rewrite(*(f"tests.contract.sync.{name}" for name in _ASSERTING))


@pytest.fixture(scope="session", params=list(Rung), ids=lambda rung: rung.name.lower())
def rung(request: pytest.FixtureRequest) -> Rung:
    """Return the rung that the server of this test can stand on."""
    return Rung(request.param)


@pytest.fixture(scope="session")
def server(rung: Rung, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dovecot]:
    """Yield a Dovecot that can stand on the rung and on no higher one."""
    with _started(tmp_path_factory.mktemp(f"dovecot-{rung.name}"), capability=CAPABILITIES[rung]) as dovecot:
        yield dovecot


@pytest.fixture(scope="session")
def dovecot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dovecot]:
    """Yield a Dovecot with all its capabilities, and few mailboxes."""
    with _started(tmp_path_factory.mktemp("dovecot")) as dovecot:
        yield dovecot


@pytest.fixture
def make_dovecot(make_dovecot: MakeDovecot) -> MakeDovecot:
    """Return what starts a Dovecot of the test's own, with few mailboxes unless it is told which."""
    return partial(make_dovecot, special_use=FEW_SPECIAL_USE)


@pytest.fixture(scope="session")
def dotted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dovecot]:
    """Yield a Dovecot whose hierarchy delimiter is a dot."""
    with _started(tmp_path_factory.mktemp("dovecot-dotted"), separator=".") as dovecot:
        yield dovecot


@pytest.fixture
def provider(server: Dovecot, mail_user: str) -> Provider:
    """Return a fresh user on the server of the rung."""
    return Provider(server, mail_user)


@pytest.fixture
def user(dovecot: Dovecot, mail_user: str) -> Provider:
    """Return a fresh user on a Dovecot with all its capabilities."""
    return Provider(dovecot, mail_user)


@contextmanager
def _started(directory: Path, **settings: Any) -> Iterator[Dovecot]:
    try:
        dovecot = Dovecot(directory, special_use=FEW_SPECIAL_USE, **settings)
    except ServerUnavailable as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    with dovecot:
        yield dovecot
