"""A certificate authority of its own for every server, certificates for servers on loopback, and for people."""

import datetime
import hashlib
import ipaddress
import ssl
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

HOST_NAMES = ("localhost", "imap.example.org", "pop.example.net")
_DAY = datetime.timedelta(days=1)
_NO_ENCRYPTION = serialization.NoEncryption()


def write_certificates(directory: Path, *, left: datetime.timedelta = _DAY) -> None:
    """Write `ca.pem`, and `server.pem` with `server.key` signed by it, valid for an hour, and as long as `left`."""
    ca_key, server_key = _key(), _key()
    ca_name = _name("syncd test authority")
    ca = (
        _builder(ca_name, ca_key, ca_name, ca_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_ca_usage(), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    server = _for_servers(_builder(_name("localhost"), server_key, ca_name, ca_key, left=left), HOST_NAMES)
    (directory / "ca.pem").write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    (directory / "ca.key").write_bytes(_pem_of(ca_key))
    (directory / "server.pem").write_bytes(
        server.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    )
    (directory / "server.key").write_bytes(_pem_of(server_key))


def write_self_signed(directory: Path, name: str) -> None:
    """Write a `server.pem` with its `server.key` that nobody else has signed, for this name alone, already expired."""
    key, subject = _key(), _name(name)
    builder = _for_servers(_builder(subject, key, subject, key, left=-datetime.timedelta(minutes=5)), (name,))
    certificate = builder.sign(key, hashes.SHA256())
    (directory / "server.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (directory / "server.key").write_bytes(_pem_of(key))


def write_client_certificate(file: Path, name: str, *, by: Path, passphrase: bytes | None = None) -> Path:
    """Write certificate and key of a person, signed by the authority in the directory `by`; return the file."""
    key = _key()
    ca_key = serialization.load_pem_private_key((by / "ca.key").read_bytes(), None)
    if not isinstance(ca_key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{by} holds a key of another kind than it was given")
    builder = _builder(_name(name), key, _name("syncd test authority"), ca_key)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    certificate = _for(builder, ExtendedKeyUsageOID.CLIENT_AUTH).sign(ca_key, hashes.SHA256())
    encryption = _NO_ENCRYPTION if passphrase is None else serialization.BestAvailableEncryption(passphrase)
    file.touch(mode=0o600)
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + _pem_of(key, encryption))
    return file


def fingerprint(pem: Path) -> str:
    """Return the SHA-256 of the first certificate in a file, as `openssl x509 -fingerprint` computes it."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.read_text())).hexdigest()


def _builder(
    subject: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    left: datetime.timedelta = _DAY,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + left)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
    )


def _for_servers(builder: x509.CertificateBuilder, names: Sequence[str]) -> x509.CertificateBuilder:
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    if "localhost" in names:
        alternatives.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return _for(builder, ExtendedKeyUsageOID.SERVER_AUTH)


def _for(builder: x509.CertificateBuilder, use: ObjectIdentifier) -> x509.CertificateBuilder:
    return builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False)


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _pem_of(
    key: ec.EllipticCurvePrivateKey, encryption: serialization.KeySerializationEncryption = _NO_ENCRYPTION
) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _ca_usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
