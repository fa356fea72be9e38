"""Floor 3: where a server is, and how its connection is protected and kept."""

import socket
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

    ca_file: trusted instead of the system's authorities. pin_sha256: of the certificate (`tls.fingerprint_of`); when
    given, it alone decides, and names, dates and authorities are not looked at. client_cert: PEM with certificate and
    key. allow_plaintext: `tls = "none"` is refused for hosts other than this machine without it.
    """

    host: str
    port: int
    tls: Tls = "implicit"
    ca_file: Path | None = None
    pin_sha256: str | None = None
    client_cert: Path | None = None
    allow_plaintext: bool = False


def check_plaintext(endpoint: Endpoint) -> None:
    """Raise TrustError where secrets would leave this machine in the clear."""
    if endpoint.tls == "none" and not endpoint.allow_plaintext and not is_loopback(endpoint.host):
        raise TrustError("a connection without encryption to another machine is not allowed")


def tls_context(endpoint: Endpoint) -> ssl.SSLContext:
    """Return the TLS settings, from files, so it belongs on a thread; TrustError or SecretError for unusable ones."""
    return client_context(endpoint.ca_file, client_cert=endpoint.client_cert, verifies=endpoint.pin_sha256 is None)


def keep_alive(connected: socket.socket) -> None:
    """Notice within about two minutes a peer that is gone without a word; in IDLE nobody speaks for longer."""
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, option):
            connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
