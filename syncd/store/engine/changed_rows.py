"""Floor 3: which rows of replicas and mailboxes were written of late, and what else, as the database itself tells.

Theory. A trigger of the writing connection names each row that a statement makes, changes or removes, whatever
statement that is, so that none can be forgotten. The rows of a transaction are noted before its COMMIT, under the
number that `Database.writes` has after it. So whoever asks from inside a snapshot of the store is told of every
transaction that the snapshot has, and perhaps of one more. What cannot be told (another database than SQLite, what was
before the connection, what is too long ago) is None: then all has to be read. Of what is asked for often and changes
seldom, or in few columns, it is told whether it was written at all: those are topics.
"""

import sqlite3
import threading
from collections.abc import Collection
from enum import StrEnum
from itertools import takewhile

from sqlalchemy import Connection

from syncd.mail.tree import ReplicaState
from syncd.values import Value

DEVICE, REPLICA, MAILBOX, MAILBOX_CHANGE, ACCOUNT = "device", "replica", "mailbox", "mailbox_change", "account"
_MOST = 4096
_ANY = ("INSERT", "UPDATE", "DELETE")
_TRIGGERS = tuple(
    f"CREATE TEMP TRIGGER IF NOT EXISTS changed_{table}_{number} AFTER {event} ON main.{table} "
    f"BEGIN SELECT syncd_row_changed('{table}', {row}.id); END"
    for table, changes in (
        (DEVICE, _ANY),
        (REPLICA, _ANY),
        (MAILBOX, _ANY),
        (MAILBOX_CHANGE, _ANY),
        (ACCOUNT, ("UPDATE OF name",)),  # each pass writes other columns of it
    )
    for number, event in enumerate(changes)
    for row in ("OLD" if event == "DELETE" else "NEW",)
)


class Topic(StrEnum):
    """What may have been written, whichever rows that were.

    LISTED: which devices, mailboxes and replicas there are, whether devices take them, and when somebody looked at them
    as a whole. DEVICE_NEWS: what devices changed, and how far servers were told of it. JOURNAL: what is on its way, and
    what was. SET_ASIDE: what was refused, is held, or is carried to another message. MAILBOX_CHANGES: what devices did
    to mailboxes themselves. MAILBOXES: their rows. FOUND: which files were there before anybody knew of messages.
    """

    LISTED = "listed"
    DEVICE_NEWS = "device_news"
    JOURNAL = "journal"
    SET_ASIDE = "set_aside"
    MAILBOX_CHANGES = "mailbox_changes"
    MAILBOXES = "mailboxes"
    FOUND = "found"


_COME_OR_GO = ("INSERT", "DELETE")
_TOPICS = (
    (Topic.LISTED, "device", (*_COME_OR_GO, "UPDATE OF name, state")),
    (Topic.LISTED, "mailbox", (*_COME_OR_GO, "UPDATE OF name, gone_at, is_selectable, is_selected")),
    (Topic.LISTED, "replica", (*_COME_OR_GO, "UPDATE OF selection, listed_at")),
    (Topic.LISTED, "account", (*_COME_OR_GO, "UPDATE OF succeeded_at")),
    (Topic.DEVICE_NEWS, "replica", (*_COME_OR_GO, "UPDATE OF version, replica_cursor")),
    (Topic.JOURNAL, "journal", _ANY),
    *((Topic.SET_ASIDE, table, _ANY) for table in ("trouble", "hold", "carried_change")),
    (Topic.MAILBOX_CHANGES, "mailbox_change", _ANY),
    (Topic.MAILBOXES, "mailbox", _ANY),
)
_ALL_TRIGGERS = (
    *_TRIGGERS,
    *(
        f"CREATE TEMP TRIGGER IF NOT EXISTS topic_{topic.value}_{table}_{number} AFTER {event} ON main.{table} "
        f"BEGIN SELECT syncd_topic_changed('{topic.value}'); END"
        for topic, table, events in _TOPICS
        for number, event in enumerate(events)
    ),
    *(
        # NOTE: each file of each device is in this table; so SQLite itself tells which rows these are.
        f"CREATE TEMP TRIGGER IF NOT EXISTS topic_found_{number} AFTER {event} ON main.replica_message "
        f"WHEN '{ReplicaState.FOUND.value}' IN ({states}) BEGIN SELECT syncd_topic_changed('{Topic.FOUND.value}'); END"
        for number, (event, states) in enumerate(
            (("INSERT", "NEW.state"), ("UPDATE OF state", "OLD.state, NEW.state"), ("DELETE", "OLD.state"))
        )
    ),
)


class ChangedRow(Value):
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
        self._topics: dict[str, int] = {}
        """When each was written last."""
        self._heard_from: int | None = None
        """From when on all topics are told."""
        self._noted: set[ChangedRow] = set()
        self._noted_topics: set[str] = set()

    def begin(self, connection: Connection, number: int) -> None:
        """Hear what a transaction that is about to begin writes; number: of the last one before it."""
        self._noted.clear()
        self._noted_topics.clear()
        driver = connection.connection.driver_connection
        if connection.dialect.name != "sqlite" or driver is None or connection.info.get("tells_changed_rows") is self:
            return
        with self._lock:
            self._told_from = self._heard_from = None
        try:
            driver.create_function("syncd_row_changed", 2, self._note)
            driver.create_function("syncd_topic_changed", 1, self._noted_topics.add)
            for trigger in _ALL_TRIGGERS:
                driver.execute(trigger)
        except sqlite3.Error:  # all is read then, and the transaction itself says what is wrong with the store
            return
        connection.info["tells_changed_rows"] = self
        with self._lock:
            self._told_from = self._heard_from = number

    def commit(self, number: int) -> None:
        """Note what was heard under the number of the transaction; call it before its COMMIT."""
        with self._lock:
            if self._told_from is None:
                return  # some triggers may be there, and not all
            for row in self._noted:
                self._written.pop(row, None)
                self._written[row] = number
            while len(self._written) > _MOST:
                oldest = next(iter(self._written))
                self._told_from = self._written.pop(oldest)
            self._topics.update(dict.fromkeys(self._noted_topics, number))

    def since(self, number: int) -> frozenset[ChangedRow] | None:
        """Return the rows written since the transaction of this number; None: it may be any."""
        with self._lock:
            if self._told_from is None or number < self._told_from:
                return None
            late = takewhile(lambda one: one[1] > number, reversed(self._written.items()))
            return frozenset(row for row, _ in late)

    def has_changed(self, what: Collection[Topic | ChangedRow], number: int) -> bool:
        """Tell whether any of these may have been written since the transaction of this number."""
        with self._lock:
            if self._told_from is None or self._heard_from is None or number < self._heard_from:
                return True
            for one in what:
                if isinstance(one, ChangedRow):
                    if number < self._told_from or self._written.get(one, number) > number:
                        return True
                elif self._topics.get(one, number) > number:
                    return True
            return False

    def _note(self, table: str, id_: int) -> None:
        self._noted.add(ChangedRow(table, id_))
