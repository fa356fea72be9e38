"""Servers that look at our certificate within TLS, and hang up: what a person is told then."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from syncd.config.accounts import ImapConfig, Pop3Config
from syncd.errors import OwnCertificateError
from tests.contract.trust.conftest import Kind, log_in
from tests.servers.certificates import write_certificates, write_client_certificate


@contextmanager
def strict_server(certificates: Path, version: ssl.TLSVersion) -> Iterator[int]:
    """Serve one connection that needs a certificate of this authority, and yield the port.

    NOTE: with a socket and a thread, for asyncio hangs up without the alert.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    context.load_verify_locations(certificates / "ca.pem")
    context.verify_mode, context.maximum_version = ssl.CERT_REQUIRED, version
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connected, _ = listening.accept()
            with connected, suppress(OSError):
                with suppress(ssl.SSLError):
                    context.wrap_socket(connected, server_side=True)
                connected.shutdown(socket.SHUT_WR)
                while connected.recv(4096):
                    pass

        serving = threading.Thread(target=serve)
        serving.start()
        yield listening.getsockname()[1]
        serving.join(30)


@pytest.mark.parametrize(
    ("version", "shows_one"),
    [(ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True), (ssl.TLSVersion.TLSv1_3, False)],
    ids=["TLS 1.2", "TLS 1.3", "TLS 1.3, none"],  # TLS 1.2 has no word for that it wants one
)
async def test_server_that_hangs_up_for_our_certificate_is_no_matter_of_the_line(
    kind: Kind, tmp_path: Path, version: ssl.TLSVersion, *, shows_one: bool
) -> None:
    """Whether it says so within the handshake or behind it: a person learns which key it is about."""
    ours, strangers = tmp_path / "ours", tmp_path / "strangers"
    for directory in (ours, strangers):
        directory.mkdir()
        write_certificates(directory)
    forged = write_client_certificate(tmp_path / "ana.pem", "ana", by=strangers)
    model = ImapConfig if kind == "imap" else Pop3Config

    with strict_server(ours, version) as port:
        table = {"type": kind, "host": "127.0.0.1", "port": port, "username": "ana", "password": "x"}
        keys = {"client_cert": str(forged)} if shows_one else {}
        account = model.model_validate({**table, "ca_file": str(ours / "ca.pem"), **keys})
        with pytest.raises(OwnCertificateError) as error:
            await log_in(account)

    assert str(error.value) == "the server wants a certificate of ours that it accepts (client_cert)"
