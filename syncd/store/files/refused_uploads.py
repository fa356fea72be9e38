"""Floor 3: what servers did not take of what devices added: why, and when it is tried again, each time after longer."""

from collections.abc import Mapping

from sqlalchemy import BindParameter, ColumnElement, Connection, Double, and_, bindparam, case, or_, select, update

from syncd.store.tables.schema import journal
from syncd.store.trees.journal import ON_ITS_WAY, UploadState
from syncd.store.trees.troubles import due_at

_ATTEMPTS_TOLD = 9
"""After so many the time between two is the longest."""


def refuse(conn: Connection, errors: Mapping[int, str], *, now: float) -> None:
    """Record why the server did not take what is in these rows of the journal; they wait, each time for longer."""
    # NOTE: what is refused before it is begun was tried, too; else it would be due at once, and again at once.
    attempts = case((journal.c.kind == UploadState.TAKEN_IN.value, journal.c.attempts + 1), else_=journal.c.attempts)
    for id_, error in errors.items():
        refused = update(journal).where(journal.c.id == id_)
        values = {"kind": UploadState.TAKEN_IN.value, "attempts": attempts, "error": error, "begun_at": now}
        conn.execute(refused.values(values))


def hurry(conn: Connection, *, account_id: int) -> None:
    """Let everything that was refused be tried again at once: somebody asked for it."""
    here = and_(journal.c.account_id == account_id, journal.c.kind == UploadState.TAKEN_IN.value)
    conn.execute(update(journal).where(here, journal.c.error.is_not(None)).values(begun_at=0))


def is_due() -> ColumnElement[bool]:
    """Say of what is taken in that it was not refused, or is due by the time in the parameter `due_by`."""
    now: BindParameter[float] = bindparam("due_by", type_=Double())
    *waits, longest_s = (due_at(0.0, attempts) for attempts in range(1, _ATTEMPTS_TOLD + 2))
    ripe = [
        and_(journal.c.attempts == number, journal.c.begun_at <= now - wait_s)
        for number, wait_s in enumerate(waits, start=1)
    ]
    last = and_(journal.c.attempts > _ATTEMPTS_TOLD, journal.c.begun_at <= now - longest_s)
    return or_(journal.c.error.is_(None), journal.c.attempts < 1, *ripe, last)


def is_any_ahead(conn: Connection, *, account_id: int, now: float) -> bool:
    """Tell whether anything seems to have been begun or refused later than now, for the clock was set back since."""
    return conn.execute(select(journal.c.id).where(*_is_ahead(account_id, now)).limit(1)).first() is not None


def set_back(conn: Connection, *, account_id: int, now: float) -> None:
    """Let that be of now, so that it waits no longer than it should.

    NOTE: not less either, for what was begun may have been sent just before.
    """
    conn.execute(update(journal).where(*_is_ahead(account_id, now)).values(begun_at=now))


def _is_ahead(account_id: int, now: float) -> tuple[ColumnElement[bool], ...]:
    return journal.c.account_id == account_id, journal.c.kind.in_(ON_ITS_WAY), journal.c.begun_at > now
