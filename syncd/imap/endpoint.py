"""Floor 3: where a server is and how its connection is protected."""

import hashlib
import ssl
from pathlib import Path
from typing import Literal

from syncd.errors import TrustError
from syncd.hosts import is_loopback
from syncd.tls import client_context
from syncd.values import Value

Tls = Literal["implicit", "starttls", "none"]


class Endpoint(Value):
    """Say where a server is and what its connection must be.

    ca_file: trusted instead of the system's authorities. pin_sha256: SHA-256 in hex of the certificate or of its public
    key; when given, it alone decides, and names, dates and authorities are not looked at. client_cert: PEM with
    certificate and key. allow_plaintext: `tls = "none"` is refused for hosts other than this machine without it.
    """

    host: str
    port: int
    tls: Tls = "implicit"
    ca_file: Path | None = None
    pin_sha256: tuple[str, ...] = ()
    client_cert: Path | None = None
    allow_plaintext: bool = False


def check_plaintext(endpoint: Endpoint) -> None:
    """Raise TrustError where secrets would leave this machine in the clear."""
    if endpoint.tls == "none" and not endpoint.allow_plaintext and not is_loopback(endpoint.host):
        raise TrustError("a connection without encryption to another machine is not allowed")


def tls_context(endpoint: Endpoint) -> ssl.SSLContext:
    """Return the TLS settings; it reads files, so it belongs on a thread. TrustError for files that are unusable."""
    return client_context(endpoint.ca_file, client_cert=endpoint.client_cert, verifies=not endpoint.pin_sha256)


def check_pin(endpoint: Endpoint, certificate: bytes | None) -> None:
    """Raise TrustError unless the server's certificate (DER) is one that is pinned, where any is."""
    if not endpoint.pin_sha256:
        return
    wanted = {pin.replace(":", "").lower() for pin in endpoint.pin_sha256}
    if certificate is None or not wanted & _digests(certificate):
        raise TrustError("the server's certificate is not the pinned one")


def _digests(certificate: bytes) -> set[str]:
    from cryptography import x509  # noqa: PLC0415  # heavy, and only pins need it
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415

    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
    except ValueError:
        return {hashlib.sha256(certificate).hexdigest()}
    info = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return {hashlib.sha256(octets).hexdigest() for octets in (certificate, info)}
