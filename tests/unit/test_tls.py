"""Contexts for TLS: shared by those who trust the same, made anew for files that are others."""

import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from syncd.errors import SecretError
from syncd.tls import client_context
from tests.servers.certificates import write_certificates, write_client_certificate


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    write_certificates(tmp_path)
    return tmp_path


def test_connections_that_trust_the_same_share_one_context(certificates: Path) -> None:
    """A thousand accounts cost one set of authorities; none gets what is looser or another one's."""
    context = client_context(certificates / "ca.pem")

    assert client_context(certificates / "ca.pem") is context
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    loose = client_context(certificates / "ca.pem", verifies=False)
    assert (loose.verify_mode, loose.check_hostname) == (ssl.CERT_NONE, False)
    assert client_context() not in {context, loose}


def test_renewed_authority_is_trusted_at_the_next_connection(certificates: Path) -> None:
    """Another file under the same name is read; the old authority is trusted no more."""
    old = client_context(certificates / "ca.pem").get_ca_certs(binary_form=True)

    write_certificates(certificates)

    new = client_context(certificates / "ca.pem").get_ca_certs(binary_form=True)
    assert (len(old), len(new)) == (1, 1)
    assert old != new


def test_authorities_of_the_system_that_were_updated_are_read(
    certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a file of its own an account follows the system."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(certificates / "none"))
    old = client_context().get_ca_certs(binary_form=True)

    write_certificates(certificates)

    assert client_context().get_ca_certs(binary_form=True) not in ([], old)


def test_client_certificate_is_for_those_who_named_it(certificates: Path) -> None:
    """Nobody else shows it to a server."""
    both = certificates / "both.pem"
    both.write_bytes((certificates / "server.pem").read_bytes() + (certificates / "server.key").read_bytes())

    assert client_context(client_cert=both) is not client_context()


def test_own_certificate_that_is_of_no_use_says_why_and_asks_nobody(certificates: Path) -> None:
    """No passphrase is asked for in a terminal where nobody sits."""
    ours, other = (
        write_client_certificate(certificates / f"{name}.pem", name, by=certificates).read_text()
        for name in ("ana", "bo")
    )
    certificate, key = ours.partition("-----BEGIN PRIVATE")[0], "-----BEGIN PRIVATE"
    locked = write_client_certificate(certificates / "locked.pem", "ana", by=certificates, passphrase=b"x").read_text()

    assert why_not(certificates, certificate + key + other.partition(key)[2]) == "the key in it is not that of the"
    assert why_not(certificates, certificate + rsa_key_pem()) == "the key in it is not that of the"
    assert why_not(certificates, certificate) == "no certificate with its key in it"
    assert why_not(certificates, ours.partition(key)[2]) == "no certificate with its key in it"
    assert why_not(certificates, "") == "no certificate with its key in it"
    assert why_not(certificates, locked) == "its key has a passphrase, which syncd does not ask for"
    assert why_not(certificates, None) == "no such file or directory"


def why_not(directory: Path, content: str | None) -> str:
    """Return why a file with this content, None for no file, is of no use."""
    file = directory / "tried.pem"
    file.unlink(missing_ok=True)
    if content is not None:
        file.write_text(content)
    with pytest.raises(SecretError) as error:
        client_context(client_cert=file)
    what, _, why = str(error.value).partition(": ")
    assert what == "the file of client_cert cannot be used"
    return why.removesuffix(" certificate")


def rsa_key_pem() -> str:
    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
