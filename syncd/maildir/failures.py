"""Errors of the operating system as errors of syncd, mapped once: how far they reach, and whether waiting helps."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from syncd.errors import DeviceAwayError, FileError, Reach, SyncdError, Temper

_AWAY = frozenset(
    {
        errno.ENODEV,
        errno.ENXIO,
        errno.ENOMEDIUM,
        errno.ESTALE,
        errno.ENOTCONN,
        errno.ESHUTDOWN,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ETIMEDOUT,
    }
)
_OF_ONE_NAME = frozenset({errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL, errno.EFBIG})
_OF_ONE_DIRECTORY = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


def failure(error: OSError, deed: str) -> FileError | DeviceAwayError:
    """Return the error of syncd for an OS error while trying to `deed` ("write a message").

    The text names the errno and never a path: paths tell who has mail about what.
    """
    code = error.errno or 0
    reason = f"{errno.errorcode.get(code, 'unknown error')} ({os.strerror(code).lower()})"
    mapped: FileError | DeviceAwayError
    if code in _AWAY:
        mapped = DeviceAwayError(f"cannot {deed}: {reason}")
    elif code in _OF_ONE_NAME:
        mapped = FileError(f"cannot {deed}: {reason}", reach=Reach.MESSAGE, temper=Temper.GIVE_UP)
    elif code in _OF_ONE_DIRECTORY:
        mapped = FileError(f"cannot {deed}: {reason}", reach=Reach.MAILBOX)
    else:
        mapped = FileError(f"cannot {deed}: {reason}")
    mapped.errno = code
    return mapped


@contextmanager
def failing(deed: str) -> Iterator[None]:
    """Raise any OS error of the block as `failure(error, deed)`."""
    try:
        yield
    except OSError as error:
        if isinstance(error, SyncdError):
            raise
        raise failure(error, deed) from error
