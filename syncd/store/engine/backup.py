"""Floor 3: a copy of a SQLite store, whole and as of one moment, made while its owner goes on."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from syncd.errors import StoreError
from syncd.store.engine.owner import make_private_file


def copy_store(path: Path, target: Path) -> None:
    """Copy a store file durably, in place of what is at `target`, for its owner's eyes only; blocks.

    It is one transaction of a reader, so that nobody waits, and what is written meanwhile is not in it. StoreError,
    with nothing at `target` that was not there before, when the file cannot be read or written.
    """
    partial = target.with_name(f"{target.name}.partial")
    try:
        partial.unlink(missing_ok=True)
        make_private_file(partial)  # VACUUM takes an empty file for none, and leaves it its rights
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
            connection.execute("VACUUM INTO ?", (str(partial),))
        _sync(partial)
        partial.replace(target)
        _sync(target.parent)
    except sqlite3.Error as error:
        raise StoreError(f"the store {path} cannot be copied to {target} ({error.sqlite_errorname})") from error
    except OSError as error:
        raise StoreError(f"the store {path} cannot be copied to {target}: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
