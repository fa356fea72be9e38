"""Floor 3: what is written to the store of a grant: sealed, with a key that is in a file of its own.

Theory. A copy of the store, or whoever runs its database, has no access to anybody's mail: for that it takes the file
as well. A grant that cannot be unsealed is one that nobody has; a person logs in again.
"""

import contextlib
import errno
import os
import stat
import tempfile
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from syncd.errors import NoAccessError, SecretError, Temper
from syncd.log import log
from syncd.oauth.grants import Grant
from syncd.tls import PRIVATE_DIRECTORIES

_MAX_BYTES = 1024
_WITHOUT_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS})
"""What file systems say that have no hard links, such as FAT."""


def sealed(grant: Grant, key_file: Path) -> str:
    """Return a grant as nobody can read it without the key, which is made if need be; SecretError."""
    return ready_key(key_file).encrypt(grant.as_text().encode()).decode("ascii")


def unsealed(text: str, key_file: Path) -> Grant:
    """Return what was sealed; NoAccessError where the key is lost or another, SecretError where it cannot be read."""
    octets = _read(key_file)
    if octets is None:
        raise NoAccessError(f"the key {key_file} is not there, with which the store was sealed")
    try:
        return Grant.from_text(_key_of(octets, key_file).decrypt(text).decode())
    except (InvalidToken, ValueError):
        pass
    # NOTE: raised here, without a cause: an error holds what was read.
    raise NoAccessError(f"the key {key_file} is not the one with which the store was sealed")


def ready_key(path: Path) -> Fernet:
    """Return the key of a file, which is made if need be; SecretError where it cannot be had."""
    octets = _read(path)
    if octets is None:
        try:
            _make(path)
        except OSError as error:
            why = (error.strerror or "unknown").lower()
            raise SecretError(f"the key {path} cannot be made: {why}", temper=Temper.GIVE_UP) from error
        octets = _read(path) or b""  # NOTE: it may be that of somebody who was faster
    return _key_of(octets, path)


def _key_of(octets: bytes, path: Path) -> Fernet:
    try:
        return Fernet(octets.strip())
    except ValueError:
        what = f"the key {path} is damaged: put it back, or remove it and log in again"
        raise SecretError(what, temper=Temper.GIVE_UP) from None


def _read(path: Path) -> bytes | None:
    """Return what is in the file of a key, None where there is none."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            mode = os.fstat(file).st_mode
            if not stat.S_ISREG(mode):
                raise SecretError(f"the key {path} is not a regular file", temper=Temper.GIVE_UP)
            if mode & stat.S_IROTH and not any(path.is_relative_to(private) for private in PRIVATE_DIRECTORIES):
                log.warning("key_file_found_world_readable", path=str(path))
            return os.read(file, _MAX_BYTES)
        finally:
            os.close(file)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SecretError(f"the key {path} cannot be read: {(error.strerror or 'unknown').lower()}") from error


def _make(path: Path) -> None:
    """Make the file with a new key, durably, unless somebody has made one meanwhile."""
    file, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        try:
            os.write(file, Fernet.generate_key() + b"\n")
            os.fsync(file)
        finally:
            os.close(file)
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)  # never over a key that is there
    except OSError as error:
        if error.errno not in _WITHOUT_LINKS or path.exists():
            raise
        Path(temporary).rename(path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
