"""Floor 3: what SQLAlchemy and the drivers raise, as errors of syncd, in texts without any data."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    InvalidRequestError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from syncd.errors import Reach, StoreBusyError, StoreError, Temper

_SQLITE_TRANSIENT = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_SQLITE_TEXTS = {
    sqlite3.SQLITE_BUSY: "the store is locked by another program",
    sqlite3.SQLITE_LOCKED: "the store is locked by another program",
    sqlite3.SQLITE_FULL: "the disk of the store is full",
    sqlite3.SQLITE_IOERR: "the disk of the store cannot be read or written",
    sqlite3.SQLITE_CORRUPT: "the file of the store is damaged",
    sqlite3.SQLITE_NOTADB: "the file of the store is no database",
    sqlite3.SQLITE_READONLY: "the store cannot be written",
    sqlite3.SQLITE_CANTOPEN: "the file of the store cannot be opened",
    sqlite3.SQLITE_PERM: "the file of the store cannot be opened",
}
_SQLITE_GIVE_UP = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_WORDS_MAX = 300
_SQLITE_PRIMARY = 0xFF  # an extended result code keeps its primary code in the low byte

# PostgreSQL's SQLSTATE classes and codes (appendix A of its manual)
_POSTGRES_LOST = ("08", "57P01", "57P02", "57P03", "53300")
_POSTGRES_CONFLICT = ("40001", "40P01", "55P03")
_POSTGRES_TEXTS = {
    "53100": "the disk of the store is full",
    "53300": "the database server has no connection to spare",
    "57014": "the database took too long",
    "57P01": "the database server is shutting down",
    "57P02": "the database server is shutting down",
    "57P03": "the database server is starting",
    "42501": "the database user may not do this",
}

# NOTE: a connection that could not be made has no SQLSTATE, only words, which depend on the server's language.
_UNREACHABLE_TEXTS = {
    "authentication failed": "the database server refuses our credentials",
    "no password supplied": "the database server wants a password",
    "does not exist": "the database, or its user, does not exist",
    "too many clients": "the database server has no connection to spare",
}


class UnknownOutcomeError(StoreError):
    """The connection broke during COMMIT: what was written may or may not be there. Look before writing again."""


@contextmanager
def translated() -> Iterator[None]:
    """Let errors of the database leave as StoreError."""
    try:
        yield
    except SQLAlchemyError as error:
        # NOTE: PostgreSQL quotes whole rows in its texts, so the cause is described, not chained.
        raise store_error(error) from None


def store_error(error: SQLAlchemyError) -> StoreError:
    """Return what an error of the database means here.

    An error that concerns the written values only reaches as far as a mailbox; all others reach the whole store.
    """
    text = _known_text(error)
    if text is not None:
        return StoreError(text, temper=Temper.GIVE_UP if _sqlite_code(error) in _SQLITE_GIVE_UP else Temper.WAIT)
    if is_lost(error):
        said = str(getattr(error, "orig", ""))
        known = (text for words, text in _UNREACHABLE_TEXTS.items() if words in said)
        return StoreError(next(known, "the database cannot be reached"))
    if isinstance(error, PoolTimeoutError):
        return StoreError("the store has too many readers")
    if isinstance(error, IntegrityError | DataError):
        return StoreError(f"the store refuses a value ({_detail(error)})", reach=Reach.MAILBOX)
    return StoreError(f"the store refuses a statement ({_detail(error)})")


def is_transient(error: SQLAlchemyError) -> bool:
    """Tell whether the same transaction may succeed if it is tried again soon."""
    if is_lost(error) or _sqlite_code(error) in _SQLITE_TRANSIENT:
        return True
    return _sqlstate(error) in _POSTGRES_CONFLICT


def is_lost(error: SQLAlchemyError) -> bool:
    """Tell whether the connection to the database is gone or could not be made."""
    if not isinstance(error, DBAPIError) or isinstance(error.orig, sqlite3.Error):
        return False
    if error.connection_invalidated or isinstance(error, InterfaceError):
        return True
    state = _sqlstate(error)
    if state is None:
        return type(error.orig).__name__ in ("OperationalError", "ConnectionTimeout")
    return state.startswith(_POSTGRES_LOST)


def concerns_everybody(error: BaseException) -> bool:
    """Tell whether an error would meet every write alike, so that trying the others singly is no use."""
    if isinstance(error, StoreBusyError | UnknownOutcomeError):
        return True
    if not isinstance(error, SQLAlchemyError) or _is_full(error):
        return False
    return is_transient(error) or _known_text(error) is not None


def _is_full(error: SQLAlchemyError) -> bool:
    return _sqlite_code(error) == sqlite3.SQLITE_FULL or _sqlstate(error) == "53100"


def _known_text(error: SQLAlchemyError) -> str | None:
    code = _sqlite_code(error)
    if code is not None:
        return _SQLITE_TEXTS.get(code)
    state = _sqlstate(error) or ""
    return _POSTGRES_TEXTS.get(state) or _POSTGRES_TEXTS.get(state[:2])


def _sqlite_code(error: SQLAlchemyError) -> int | None:
    code = getattr(getattr(error, "orig", None), "sqlite_errorcode", None)
    return code & _SQLITE_PRIMARY if isinstance(code, int) else None


def _sqlstate(error: SQLAlchemyError) -> str | None:
    state = getattr(getattr(error, "orig", None), "sqlstate", None)
    return state if isinstance(state, str) else None


def _detail(error: SQLAlchemyError) -> str:
    """Return a driver's words as far as they name things of the schema and quote no values."""
    if isinstance(error, DBAPIError) and isinstance(error.orig, sqlite3.Error):
        return str(error.orig)
    if isinstance(error, InvalidRequestError) and error.args:
        return f"{type(error).__name__}: {str(error.args[0])[:_WORDS_MAX]}"  # of a statement, which has no values in it
    state = _sqlstate(error)
    if state is None:
        return type(error).__name__
    said = getattr(getattr(error, "orig", None), "diag", None)
    words = getattr(said, "message_primary" if state.startswith("42") else "constraint_name", None)
    return f"{state} {words}" if words else state
