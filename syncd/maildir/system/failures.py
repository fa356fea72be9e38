"""Floor 3: errors of the system as errors of syncd, mapped once: how far they reach, and whether waiting helps."""

import errno
import os
from types import TracebackType

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
_OF_ONE_DIRECTORY = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EPERM})


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


class failing:  # noqa: N801 - used like a function; a generator would cost more than the calls that it guards
    """Raise any OS error of the block as `failure(error, deed)`."""

    __slots__ = ("_deed", "_is_of_root")

    def __init__(self, deed: str, *, is_of_root: bool = False) -> None:
        """Take whether the directory at hand is the device's own: then no error of it is one mailbox's."""
        self._deed = deed
        self._is_of_root = is_of_root

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError) and not isinstance(error, SyncdError):
            mapped = failure(error, self._deed)
            if self._is_of_root and mapped.reach is Reach.MAILBOX:
                mapped.reach = Reach.DEVICE
            raise mapped from error
