"""Floor 3: calls that Python does not have: syncfs, a rename that never replaces, reading directories as they are."""

import ctypes
import errno
import os
import sys
from collections.abc import Iterator

_RENAME_NOREPLACE = 1
_RECORDS_BYTES = 256 * 1024
_NOT_SUPPORTED = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP})

_libc = ctypes.CDLL(None, use_errno=True)
_syncfs = getattr(_libc, "syncfs", None)
_renameat2 = getattr(_libc, "renameat2", None)
if _renameat2 is not None:
    _renameat2.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
_getdents64 = getattr(_libc, "getdents64", None)
if _getdents64 is not None:
    _getdents64.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)
    _getdents64.restype = ctypes.c_ssize_t
has_records = _getdents64 is not None
"""Whether there is what `records` needs: GNU's library has it since 2.30."""


def syncfs(fd: int) -> bool:
    """Write all of the file system of `fd` to disk; False where there is no such call, OSError when it fails."""
    if _syncfs is None:
        return False
    if _syncfs(ctypes.c_int(fd)) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NOT_SUPPORTED:
        return False
    raise OSError(code, os.strerror(code))


def rename_without_replacing(source: str, target: str, *, source_dir_fd: int, target_dir_fd: int) -> None:
    """Rename in one step, FileExistsError when the target exists.

    NOTE: NFS and some others cannot do it in one step; there the target is looked for first. What could appear
    between the two is a file of the same minted name, which nobody but the owner of the replica makes.
    """
    if _renameat2 is not None:
        result = _renameat2(source_dir_fd, os.fsencode(source), target_dir_fd, os.fsencode(target), _RENAME_NOREPLACE)
        if result == 0:
            return
        code = ctypes.get_errno()
        if code not in _NOT_SUPPORTED:
            raise OSError(code, os.strerror(code))
    try:
        os.stat(target, dir_fd=target_dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        os.rename(source, target, src_dir_fd=source_dir_fd, dst_dir_fd=target_dir_fd)
    else:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


def records(directory_fd: int) -> Iterator[bytes]:
    """Yield what a directory has, from where its descriptor is, in pieces of whole records; call it if `has_records`.

    NOTE: Python's lock is let go of once for a piece, which has some thousand names.
    """
    if _getdents64 is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    sys.audit("os.listdir", directory_fd)  # so that it is heard of like Python's own
    buffer = ctypes.create_string_buffer(_RECORDS_BYTES)
    while count := _getdents64(directory_fd, buffer, _RECORDS_BYTES):
        if not 0 < count <= _RECORDS_BYTES:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        yield ctypes.string_at(buffer, count)
