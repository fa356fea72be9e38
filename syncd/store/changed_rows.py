"""Floor 3: which rows of replicas and mailboxes were written of late, as the database itself tells.

Theory. A trigger of the writing connection names each row that a statement makes, changes or removes, whatever
statement that is, so that none can be forgotten. The rows of a transaction are noted before its COMMIT, under the
number that `Database.writes` has after it. So whoever asks from inside a snapshot of the store is told of every
transaction that the snapshot has, and perhaps of one more. What cannot be told (another database than SQLite, what was
before the connection, what is too long ago) is None: then all has to be read.
"""

import sqlite3
import threading
from itertools import takewhile
from typing import NamedTuple

from sqlalchemy import Connection

REPLICA, MAILBOX, MAILBOX_CHANGE, ACCOUNT = "replica", "mailbox", "mailbox_change", "account"
_MOST = 4096
_ANY = ("INSERT", "UPDATE", "DELETE")
_TRIGGERS = tuple(
    f"CREATE TEMP TRIGGER IF NOT EXISTS changed_{table}_{number} AFTER {event} ON main.{table} "
    f"BEGIN SELECT syncd_row_changed('{table}', {row}.id); END"
    for table, changes in (
        (REPLICA, _ANY),
        (MAILBOX, _ANY),
        (MAILBOX_CHANGE, _ANY),
        (ACCOUNT, ("UPDATE OF name",)),  # each pass writes other columns of it
    )
    for number, event in enumerate(changes)
    for row in ("OLD" if event == "DELETE" else "NEW",)
)


class ChangedRow(NamedTuple):
    """A row of a table, by its id."""

    table: str
    id: int


class ChangedRows:
    """Remember when which row was written last; the writer's thread notes, others ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._written: dict[ChangedRow, int] = {}
        """The last one written is the last."""
        self._told_from: int | None = None
        self._noted: set[ChangedRow] = set()

    def begin(self, connection: Connection, number: int) -> None:
        """Hear what a transaction that is about to begin writes; number: of the last one before it."""
        self._noted.clear()
        driver = connection.connection.driver_connection
        if connection.dialect.name != "sqlite" or driver is None or connection.info.get("tells_changed_rows") is self:
            return
        with self._lock:
            self._told_from = None
        try:
            driver.create_function("syncd_row_changed", 2, self._note)
            for trigger in _TRIGGERS:
                driver.execute(trigger)
        except sqlite3.Error:  # all is read then, and the transaction itself says what is wrong with the store
            return
        connection.info["tells_changed_rows"] = self
        with self._lock:
            self._told_from = number

    def commit(self, number: int) -> None:
        """Note what was heard under the number of the transaction; call it before its COMMIT."""
        with self._lock:
            for row in self._noted:
                self._written.pop(row, None)
                self._written[row] = number
            while len(self._written) > _MOST:
                oldest = next(iter(self._written))
                self._told_from = self._written.pop(oldest)

    def since(self, number: int) -> frozenset[ChangedRow] | None:
        """Return the rows written since the transaction of this number; None: it may be any."""
        with self._lock:
            if self._told_from is None or number < self._told_from:
                return None
            late = takewhile(lambda one: one[1] > number, reversed(self._written.items()))
            return frozenset(row for row, _ in late)

    def _note(self, table: str, id_: int) -> None:
        self._noted.add(ChangedRow(table, id_))
