"""Floor 1: whom a client trusts, and why no connection came about; those that trust the same files share one context.

To read the authorities of a system takes ten milliseconds and most of a megabyte, for each context again.
"""

import hashlib
import ssl
import stat
import threading
from functools import lru_cache
from pathlib import Path
from typing import NoReturn

from syncd.errors import (
    ConnectionLostError,
    OwnCertificateError,
    PinError,
    SecretError,
    SyncdError,
    TooSlowError,
    TrustError,
    UnreachableError,
    why_unreachable,
)
from syncd.log import log

PRIVATE_DIRECTORIES = (Path("/run/secrets"), Path("/run/credentials"))
"""What is in them none but their user sees, whatever their files say."""
_KEPT = 16
_NOT_ACCEPTED = "the server wants a certificate of ours that it accepts (client_cert)"

_Identity = tuple[int, int, int, int] | None
_lock = threading.Lock()


def client_context(
    ca_file: Path | None = None, *, client_cert: Path | None = None, verifies: bool = True
) -> ssl.SSLContext:
    """Return the settings for a connection, which others may use as well: change nothing of them.

    They are those of the files as they are now; it reads them, so it belongs on a thread. TrustError when a file of
    authorities cannot be used, SecretError for that of our own certificate. ca_file: trusted instead of the system's
    authorities. client_cert: PEM with certificate and key, which the server is shown. verifies: else any certificate
    will do, and the caller compares it (`check_pin`).
    """
    system = ssl.get_default_verify_paths()
    files = (system.cafile, system.capath) if ca_file is None else (ca_file,)
    # NOTE: looked at before they are read, so that an edit in between is noticed the next time.
    identities = tuple(_identity(path) for path in (*files, client_cert))
    try:
        with _lock:
            return _made(ca_file, client_cert, verifies, identities)
    except SecretError:
        raise
    except (OSError, ssl.SSLError) as error:
        reason = "no certificate in it" if isinstance(error, ssl.SSLError) else (error.strerror or "unknown").lower()
        which = "the file of ca_file" if ca_file is not None else "a certificate file of the system"
        raise TrustError(f"{which} cannot be used: {reason}") from error


def fingerprint_of(certificate: bytes) -> str:
    """Return the SHA-256 of a certificate (DER), as `pin_sha256` has it."""
    return hashlib.sha256(certificate).hexdigest()


def check_pin(pin_sha256: str | None, encryption: ssl.SSLObject | None) -> None:
    """Raise PinError unless the server has shown the certificate that is pinned, where one is; call it before login.

    NOTE: a certificate of our own is shown within the handshake, so before this; its key stays here.
    """
    if pin_sha256 is None:
        return
    certificate = encryption.getpeercert(binary_form=True) if encryption is not None else None
    came = fingerprint_of(certificate) if certificate else "none"
    if came != pin_sha256:
        raise PinError(
            f"the server's certificate is not the pinned one: expected {pin_sha256}, came {came};"
            " if whoever runs the server says that this is its new one, set pin_sha256 to it"
        )


def opening_error(error: OSError | ValueError) -> SyncdError:
    """Return what it means that a connection to a server was not made, or not encrypted."""
    match error:
        case ssl.SSLCertVerificationError():
            return TrustError(f"the server's certificate is not trusted: {error.verify_message.lower().rstrip('.')}")
        case ssl.SSLError() if _is_about_our_certificate(error):
            return OwnCertificateError(_NOT_ACCEPTED)
        case ssl.SSLError():
            said = "no encrypted connection could be agreed on with the server; does this port speak TLS?"
            return UnreachableError(said)
        case TimeoutError():
            return TooSlowError("the server could not be reached in time")
        case OSError():
            return UnreachableError(f"the server cannot be reached: {why_unreachable(error)}")
        case _:  # of the codec that makes a host name of a text
            return UnreachableError("the server cannot be reached: not a name of a server")


def ending_error(cause: Exception | None) -> SyncdError:
    """Return what it means that a connection ended which had begun; for whoever is waiting there.

    NOTE: since TLS 1.3 a server says only after the handshake that it does not take our certificate, or wants one.
    """
    error: SyncdError
    if isinstance(cause, ssl.SSLError) and _is_about_our_certificate(cause):
        error = OwnCertificateError(_NOT_ACCEPTED)
    else:
        error = ConnectionLostError("the server closed the connection" if cause is None else "the connection was lost")
    error.__cause__ = cause
    return error


@lru_cache(maxsize=_KEPT)
def _made(ca_file: Path | None, client_cert: Path | None, verifies: bool, _: tuple[_Identity, ...]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    if client_cert is not None:
        _load_own(context, client_cert)
    if not verifies:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _load_own(context: ssl.SSLContext, file: Path) -> None:
    try:
        # NOTE: without this function OpenSSL would ask for the passphrase in the terminal.
        context.load_cert_chain(str(file), password=_has_passphrase)
        if file.stat().st_mode & stat.S_IROTH and not any(file.is_relative_to(one) for one in PRIVATE_DIRECTORIES):
            log.warning("client_cert_found_world_readable", path=str(file))
    except ssl.SSLError as error:
        reason = error.reason or ""
        is_mismatch = "MISMATCH" in reason or "NO_CERTIFICATE_ASSIGNED" in reason
        why = "the key in it is not that of the certificate" if is_mismatch else "no certificate with its key in it"
        raise SecretError(f"the file of client_cert cannot be used: {why}") from error
    except OSError as error:
        why = (error.strerror or "unknown").lower()
        raise SecretError(f"the file of client_cert cannot be used: {why}") from error


def _is_about_our_certificate(error: ssl.SSLError) -> bool:
    """Tell whether the server has ended it for what we have shown (RFC 8446 §6.2)."""
    reason = getattr(error, "reason", None) or ""  # which an error of our own making does not have
    return "_ALERT_" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason)


def _has_passphrase() -> NoReturn:
    raise SecretError("the file of client_cert cannot be used: its key has a passphrase, which syncd does not ask for")


def _identity(path: str | Path | None) -> _Identity:
    if path is None:
        return None
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode
