"""A store with a large mailbox, made by the database itself, and what work on it costs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, text, update

from syncd.mail.mailbox import MailboxName, SpecialUse
from syncd.reconcile.mailboxes import Listed
from syncd.store.engine.database import Database
from syncd.store.mailboxes import served_mailboxes
from syncd.store.tables import schema
from syncd.store.trees import accounts, devices
from syncd.store.trees.accounts import MailboxCursor, MailboxRow
from syncd.store.trees.devices import DeviceRow, ReplicaRow

T = TypeVar("T")
NOW = 1_000_000.0
UIDVALIDITY = 9
_NUMBERS = "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :count) "


class Large:
    """One account with INBOX and Trash, and a device that has all of INBOX, settled."""

    def __init__(self, directory: Path, *, count: int, kind: str = "imap", delivered: bool = True) -> None:
        self.count = count
        self.db = Database.open(f"sqlite:///{directory}/syncd-{count}.db", auto_migrate=True)
        self.account_id = self(lambda conn: accounts.ensure_account(conn, "work", kind=kind, identity="x"))
        self.inbox_id = self(lambda conn: _inbox(conn, self.account_id, count))
        self(lambda conn: served_mailboxes.ensure_mailbox(conn, self.account_id, TRASH, SpecialUse.TRASH, now=NOW))
        made = self(lambda conn: devices.ensure_device(conn, "laptop", path="/laptop", layout="maildir++"))
        self(lambda conn: devices.record_device_state(conn, made.id, state=devices.ACTIVE, error=None))
        place = {"directory": ".work.INBOX", "selection": "max_age=None max_size=None"}
        self(lambda conn: devices.ensure_replica(conn, made.id, self.inbox_id, **place))
        self(lambda conn: self._fill(conn, delivered=delivered))

    def __call__(self, function: Callable[[Connection], T]) -> T:
        return self.db.write_now(function)

    @property
    def inbox(self) -> MailboxRow:
        return self(lambda conn: accounts.mailbox_by_id(conn, mailbox_id=self.inbox_id))

    @property
    def device(self) -> DeviceRow:
        return self(partial(devices.device_of, device_id=self.of.device_id))

    @property
    def of(self) -> ReplicaRow:
        return self(devices.replicas)[0]

    def close(self) -> None:
        self.db.close()

    def run(self, statement: str, **values: Any) -> None:
        self(lambda conn: conn.execute(text(statement), values) and None)

    def flag_files(self, *, below: int) -> None:
        """Let the device have marked the first files as read, a thousand in each version as a look records them."""
        self.run(
            "UPDATE replica_message SET flags = '\\Seen', info = 'S', version = 2 + (id - 1) / 1000 WHERE id < :below",
            below=below,
        )
        self.run("UPDATE replica SET version = 2 + :below / 1000", below=below)

    def _fill(self, conn: Connection, *, delivered: bool) -> None:
        where = {"mailbox": self.inbox_id, "count": self.count}
        conn.execute(
            text(
                "INSERT INTO body (digest, header_digest, size_bytes, lf_size_bytes, is_crlf, codec, chunks, stored_at)"
                " VALUES (zeroblob(32), zeroblob(32), 20, 18, 1, 'plain', 0, 0)"
            )
        )
        conn.execute(
            text(
                "INSERT INTO server_message"
                " (mailbox_id, uidvalidity, uid, modseq, size_bytes, internaldate, body_id, version) "
                + _NUMBERS
                + "SELECT :mailbox, 9, n, 1, 20, 500 + n, 1, 1 + (n - 1) / 1000 FROM numbers"
            ),
            where,
        )
        version = 1 + self.count // 1000
        changed = update(schema.mailbox).where(schema.mailbox.c.id == self.inbox_id)
        conn.execute(changed.values(version=version))
        values: dict[str, Any] = {"listed_at": NOW, "version": 1, "replica_cursor": 1}
        if delivered:
            conn.execute(
                text(
                    "INSERT INTO replica_message (replica_id, message_id, name, subdir, info, state, size_bytes, mtime,"
                    " form, version) SELECT 1, id, 'm' || id, 'cur', '', 'present', 18, internaldate, 'lf', 1"
                    " FROM server_message"
                )
            )
            conn.execute(text("INSERT INTO base_message (replica_id, message_id) SELECT 1, id FROM server_message"))
            values["server_cursor"] = version
        conn.execute(update(schema.replica).values(**values))


def steps(large: Large, function: Callable[[Connection], T]) -> int:
    """Return how many instructions SQLite runs for this: what it costs, whatever else the machine does."""
    counted = 0

    def count() -> int:
        nonlocal counted
        counted += 1
        return 0

    def run(conn: Connection) -> None:
        driver: Any = conn.connection.driver_connection
        function(conn)  # what is prepared once is prepared
        driver.set_progress_handler(count, 1)
        try:
            function(conn)
        finally:
            driver.set_progress_handler(None, 0)

    large.db.read_now(run)
    return counted


@contextmanager
def large_of(directory: Path, **more: Any) -> Iterator[Large]:
    """Yield such a store and close it."""
    large = Large(directory, **more)
    try:
        yield large
    finally:
        large.close()


TRASH = MailboxName(("Trash",))


def _inbox(conn: Connection, account_id: int, count: int) -> int:
    entry = Listed(b"INBOX", MailboxName(("INBOX",)), "/", frozenset(), is_selected=True)
    return accounts.make_mailbox(conn, account_id, entry, MailboxCursor(UIDVALIDITY, count + 1, 1, count))
