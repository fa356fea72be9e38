"""Floor 1: whom a client trusts, and why no connection came about; those that trust the same files share one context.

To read the authorities of a system takes ten milliseconds and most of a megabyte, for each context again.
"""

import ssl
import threading
from functools import lru_cache
from pathlib import Path

from syncd.errors import SyncdError, TooSlowError, TrustError, UnreachableError, why_unreachable

_KEPT = 16

_Identity = tuple[int, int, int] | None
_lock = threading.Lock()


def client_context(
    ca_file: Path | None = None, *, client_cert: Path | None = None, verifies: bool = True
) -> ssl.SSLContext:
    """Return the settings for a connection, which others may use as well: change nothing of them.

    They are those of the files as they are now; it reads them, so it belongs on a thread. TrustError when a file cannot
    be used. ca_file: trusted instead of the system's authorities. client_cert: PEM with certificate and key. verifies:
    else any certificate will do, and the caller looks at it.
    """
    system = ssl.get_default_verify_paths()
    files = (system.cafile, system.capath) if ca_file is None else (ca_file,)
    # NOTE: looked at before they are read, so that an edit in between is noticed the next time.
    identities = tuple(_identity(path) for path in (*files, client_cert))
    try:
        with _lock:
            return _made(ca_file, client_cert, verifies, identities)
    except (OSError, ssl.SSLError) as error:
        reason = "no certificate in it" if isinstance(error, ssl.SSLError) else (error.strerror or "unknown").lower()
        which = "the file of ca_file" if ca_file is not None else "a certificate file of the system"
        raise TrustError(f"{which} cannot be used: {reason}") from error


def opening_error(error: OSError | ValueError) -> SyncdError:
    """Return what it means that a connection to a server was not made, or not encrypted."""
    match error:
        case ssl.SSLCertVerificationError():
            return TrustError(f"the server's certificate is not trusted: {error.verify_message.lower().rstrip('.')}")
        case ssl.SSLError():
            said = "no encrypted connection could be agreed on with the server; does this port speak TLS?"
            return UnreachableError(said)
        case TimeoutError():
            return TooSlowError("the server could not be reached in time")
        case OSError():
            return UnreachableError(f"the server cannot be reached: {why_unreachable(error)}")
        case _:  # of the codec that makes a host name of a text
            return UnreachableError("the server cannot be reached: not a name of a server")


@lru_cache(maxsize=_KEPT)
def _made(ca_file: Path | None, client_cert: Path | None, verifies: bool, _: tuple[_Identity, ...]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    if client_cert is not None:
        context.load_cert_chain(str(client_cert))
    if not verifies:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _identity(path: str | Path | None) -> _Identity:
    if path is None:
        return None
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
