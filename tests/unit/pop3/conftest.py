"""TLS for the scripted server."""

import ssl
from pathlib import Path

import pytest

from tests.servers.certificates import write_certificates


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with a certificate authority and a server certificate for loopback."""
    directory = tmp_path_factory.mktemp("authority")
    write_certificates(directory)
    return directory


@pytest.fixture
def server_tls(authority: Path) -> ssl.SSLContext:
    """Return the server's side."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.pem", authority / "server.key")
    return context


@pytest.fixture
def trust(authority: Path) -> ssl.SSLContext:
    """Return a client that trusts the authority."""
    return ssl.create_default_context(cafile=str(authority / "ca.pem"))
