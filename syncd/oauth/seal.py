"""Floor 3: what is written to the store of a grant: sealed, with a key that is in a file of its own.

Theory. A copy of the store, or whoever runs its database, has no access to anybody's mail: for that it takes the file
as well. A grant that cannot be unsealed is one that nobody has; a person logs in again.
"""

import os
import stat
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from syncd.errors import SecretError, Temper
from syncd.log import log
from syncd.oauth.grants import Grant
from syncd.tls import PRIVATE_DIRECTORIES

_MAX_BYTES = 1024
_MODE = 0o600


def sealed(grant: Grant, key_file: Path) -> str:
    """Return a grant as nobody can read it without the key, which is made if need be; SecretError."""
    return _key(key_file, makes=True).encrypt(grant.as_text().encode()).decode("ascii")


def unsealed(text: str, key_file: Path) -> Grant:
    """Return what was sealed; SecretError where the key is not that one, or not there."""
    try:
        return Grant.from_text(_key(key_file, makes=False).decrypt(text).decode())
    except (InvalidToken, ValueError):
        pass
    # NOTE: raised here, without a cause: an error of JSON holds what was read.
    raise SecretError(f"the key in {key_file} is not the one that the store was sealed with", temper=Temper.GIVE_UP)


def _key(path: Path, *, makes: bool) -> Fernet:
    try:
        octets = _read(path)
        if octets is None and makes:
            octets = _made(path)
    except OSError as error:
        doing = "made" if makes else "read"
        raise SecretError(f"the key {path} cannot be {doing}: {(error.strerror or 'unknown').lower()}") from error
    if octets is None:
        raise SecretError(f"the key {path} is not there any more", temper=Temper.GIVE_UP)
    try:
        return Fernet(octets.strip())
    except ValueError:
        what = f"what is in {path} is no key: put it back, or remove it and log in again"
        raise SecretError(what, temper=Temper.GIVE_UP) from None


def _read(path: Path) -> bytes | None:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    try:
        mode = os.fstat(file).st_mode
        if not stat.S_ISREG(mode):
            raise SecretError(f"the key {path} is not a regular file", temper=Temper.GIVE_UP)
        if mode & stat.S_IROTH and not any(path.is_relative_to(private) for private in PRIVATE_DIRECTORIES):
            log.warning("key_file_found_world_readable", path=str(path))
        return os.read(file, _MAX_BYTES)
    finally:
        os.close(file)


def _made(path: Path) -> bytes:
    """Make the file with a new key, durably, or return the one of whoever was faster."""
    key = Fernet.generate_key()
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, _MODE)
        try:
            os.write(file, key + b"\n")
            os.fsync(file)
        finally:
            os.close(file)
        try:
            os.link(temporary, path)  # never over a key that is there
        except FileExistsError:
            return _read(path) or key
    finally:
        temporary.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return key
