"""A provider of OAuth that this process trusts."""

from collections.abc import Iterator

import pytest

from tests.servers.authority import Authority
from tests.servers.tokens import TokenProvider


@pytest.fixture
def authority(monkeypatch: pytest.MonkeyPatch) -> Iterator[Authority]:
    with TokenProvider() as tokens, Authority(tokens, interval_s=0) as authority:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
        yield authority
