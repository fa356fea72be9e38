"""A certificate whose time is over."""

import datetime
import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from syncd.errors import TrustError
from syncd.imap.connection import ImapConnection
from syncd.imap.wire.endpoint import Endpoint
from tests.unit.imap.scripted import Peer, serve


async def test_expired_certificate_is_refused(tmp_path: Path) -> None:
    """A certificate that the configured authority did sign, for this host, is refused from the day it ends."""
    write_expired_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")

    async def script(peer: Peer) -> None:
        raise AssertionError("the handshake went through")

    async with serve(script, tls=context) as served:
        endpoint = Endpoint("127.0.0.1", served.port, "implicit", ca_file=tmp_path / "server.pem")
        with pytest.raises(TrustError) as error:
            await ImapConnection.open(endpoint)

        assert "expired" in str(error.value)
        assert served.peers == []


def write_expired_certificate(directory: Path) -> None:
    """Write `server.pem`, its own authority and over since yesterday, with `server.key`."""
    now = datetime.datetime.now(datetime.UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=30))
        .not_valid_after(now - datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (directory / "server.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (directory / "server.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
