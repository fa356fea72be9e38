"""Two system calls that Python does not have: syncfs, and a rename that never replaces."""

import ctypes
import errno
import os

_RENAME_NOREPLACE = 1
_NOT_SUPPORTED = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP})

_libc = ctypes.CDLL(None, use_errno=True)
_syncfs = getattr(_libc, "syncfs", None)
_renameat2 = getattr(_libc, "renameat2", None)
if _renameat2 is not None:
    _renameat2.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)


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
