"""Floor 3: that one syncd at a time owns a store: a lock beside the SQLite file, or a lock in PostgreSQL."""

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from syncd.errors import StoreBusyError, StoreError
from syncd.users import of_another

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600
_ADVISORY_KEY = (0x73796E63, 1)  # "sync", and that it is about owning; `migrate` has the next one
_LOCKS = Path("/proc/locks")
_HANDOVER_S = 2.0
_HANDOVER_STEP_S = 0.1


class FileOwner:
    """Hold the lock on a store file until `release`, or until the process ends in whatever way."""

    def __init__(self, path: Path) -> None:
        """Take the lock of the store at `path`; StoreBusyError if another process has it."""
        try:
            self._fd = _open_private(path.with_name(f"{path.name}.lock"))
        except OSError as error:
            why = f"{error.strerror}{of_another(path)}"
            raise StoreError(f"the lock of the store {path} cannot be opened: {why}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(self._fd, 32, 0).strip().decode("ascii", "replace")
            os.close(self._fd)
            who = f"another syncd (pid {owner})" if owner.isdigit() else "another syncd"
            raise StoreBusyError(f"{who} owns the store {path}") from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        # NOTE: the lock file stays; whoever unlinked it could leave two processes with a lock each.
        os.ftruncate(self._fd, 0)
        os.close(self._fd)


def owner_pid(path: Path | None) -> int | None:
    """Return the process that owns the store at `path`, None for nobody or no file; the lock itself is left alone.

    NOTE: whoever tried to take it, for an instant, could keep a daemon from starting.
    """
    if path is None:
        return None
    try:
        found = path.with_name(f"{path.name}.lock").stat()
        locks = _LOCKS.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return holder_of(locks, device=found.st_dev, inode=found.st_ino)


def holder_of(locks: str, *, device: int, inode: int) -> int | None:
    """Return who holds a lock on a file by the text of /proc/locks."""
    wanted = f"{os.major(device):02x}:{os.minor(device):02x}:{inode}"
    for line in locks.splitlines():
        columns = line.split()
        if len(columns) >= 6 and columns[1] == "FLOCK" and columns[5] == wanted and columns[4].isdigit():
            return int(columns[4])
    return None


def last_used_at(path: Path) -> float | None:
    """Return when the store at `path` was owned or written last, None where that cannot be told."""
    # NOTE: the lock is touched when its owner comes and goes, the others tell of one that was killed in between.
    times = []
    for name in (f"{path.name}.lock", path.name, f"{path.name}-wal"):
        with suppress(OSError):
            found = path.with_name(name).stat()
            times += [found.st_mtime] if found.st_size or name.endswith(".lock") else []
    return max(times, default=None)


def make_private_directory(path: Path) -> None:
    """Make the directory of a store, if there is none, so that only its owner can use it whatever the umask."""
    try:
        if not path.exists():
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(DIRECTORY_MODE)
    except OSError as error:
        raise StoreError(f"the directory {path} cannot be made: {error.strerror}{of_another(path)}") from error


def make_private_file(path: Path) -> None:
    """Make an empty file that only its owner can use whatever the umask; one that is there loses other rights."""
    try:
        os.close(_open_private(path))
    except OSError as error:
        raise StoreError(f"the store {path} cannot be made: {error.strerror}") from error


def no_store(path: Path) -> StoreError:
    """Return what is told of a store that is not there, to who wants to read it."""
    starts = "the first syncd sync, syncd run or start of the service makes it"
    return StoreError(f"there is no store at {path}: syncd has not run yet; {starts}")


def unreadable(path: Path, error: OSError) -> StoreError:
    """Return what is told of a store that cannot be read, to who wants to."""
    return StoreError(f"the store {path} cannot be read: {error.strerror}{of_another(path)}")


def refuse_stranger(path: Path, *, may_be_missing: bool = False) -> None:
    """Raise StoreError unless this process runs as the user whose store it is, or if there is none."""
    try:
        owner = path.stat().st_uid
    except FileNotFoundError:
        if may_be_missing:
            return
        raise no_store(path) from None
    except OSError as error:
        raise unreadable(path, error) from error
    if owner != os.geteuid():
        # NOTE: a file that another user leaves beside it, as SQLite does, would lock its owner out.
        raise StoreError(f"the store {path} is another user's, and only that one may do this{of_another(path)}")


def take_postgres_lock(connection: Any) -> None:
    """Take the lock of a PostgreSQL database for the session of this driver connection.

    The writer's own connection holds it, so that whoever writes is the owner: a writer that had to connect again
    takes it again or writes nothing. Works on a direct connection or a pooler in session mode only.
    StoreBusyError if another session keeps it for longer than a dying one of our own would.
    """
    deadline = time.monotonic() + _HANDOVER_S
    while not connection.execute("SELECT pg_try_advisory_lock(%s, %s)", _ADVISORY_KEY).fetchone()[0]:
        connection.commit()
        if time.monotonic() > deadline:
            raise StoreBusyError(f"{_postgres_owner(connection)} owns the database {connection.info.dbname}")
        time.sleep(_HANDOVER_STEP_S)
    connection.commit()


def _postgres_owner(connection: Any) -> str:
    row = connection.execute(
        "SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory'"
        " AND classid = %s AND objid = %s AND granted AND datname = current_database()",
        _ADVISORY_KEY,
    ).fetchone()
    name = row[0] if row else None
    return f"another syncd ({name.removeprefix('syncd ')})" if name and name.startswith("syncd ") else "another syncd"


def _open_private(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
    try:
        os.fchmod(fd, FILE_MODE)
    except OSError:
        os.close(fd)
        raise
    return fd
