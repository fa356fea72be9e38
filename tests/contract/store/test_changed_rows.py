"""Which rows were written is told by the database: where it is told, none is missing; else that it may be any."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, insert, select, text

from syncd.store.engine import changed_rows
from syncd.store.engine.changed_rows import ACCOUNT, DEVICE, MAILBOX, MAILBOX_CHANGE, REPLICA, ChangedRow, Topic
from syncd.store.engine.database import Database
from syncd.store.tables.schema import account, device, hold, mailbox, mailbox_change, replica, replica_message

INBOX = {"wire_name": b"INBOX", "name": "INBOX", "attributes": "", "is_selectable": True, "is_selected": True}
HELD = {"reason": "too_many", "effects": "[]", "state": "held", "held_at": 1.0}
SEEN = {"name": "a", "subdir": "cur", "flags": "", "size_bytes": 1, "mtime": 1}
FILE = {"replica_id": 1, "form": "raw", "version": 1, **SEEN}
MADE = {"kind": "make", "name": "x", "state": "wanted", "asked_at": 1.0}


def run(database: Database, *statements: Any) -> None:
    def write(conn: Connection) -> None:
        for statement in statements:
            conn.execute(text(statement) if isinstance(statement, str) else statement)

    database.write_now(write)


@pytest.fixture
def planted(tmp_path: Path) -> Iterator[Database]:
    """Yield a store with a mailbox of an account, and its replica on a device, each of the id 1."""
    with Database.open(f"sqlite:///{tmp_path}/planted.db") as database:
        run(
            database,
            insert(account).values(name="work", kind="imap", identity="x"),
            insert(mailbox).values(account_id=1, **INBOX),
            insert(device).values(name="laptop", path="/laptop", layout="fs", state="active"),
            insert(replica).values(device_id=1, mailbox_id=1, directory="a", selection="all"),
        )
        yield database


@pytest.mark.parametrize(
    ("statement", "rows"),
    [
        ("UPDATE mailbox SET version = version + 1", {(MAILBOX, 1)}),
        ("UPDATE replica SET server_cursor = 7 WHERE mailbox_id IN (SELECT id FROM mailbox)", {(REPLICA, 1)}),
        ("UPDATE account SET name = 'other'", {(ACCOUNT, 1)}),
        (insert(mailbox_change).values(account_id=1, device_id=1, **MADE), {(MAILBOX_CHANGE, 1)}),
        ("UPDATE account SET error = 'lost'", set()),
        ("DELETE FROM replica", {(REPLICA, 1)}),
        ("DELETE FROM mailbox WHERE id = 1", {(MAILBOX, 1), (REPLICA, 1)}),  # by a foreign key
        ("UPDATE device SET error = 'away'", {(DEVICE, 1)}),
        (insert(mailbox).values(account_id=1, **{**INBOX, "wire_name": b"x"}), {(MAILBOX, 2)}),
    ],
)
def test_rows_that_were_written_are_told(planted: Database, statement: Any, rows: set[tuple[str, int]]) -> None:
    """Whatever wrote them."""
    before = planted.writes
    assert before is not None

    run(planted, statement)

    assert planted.changed_since(before) == {ChangedRow(*row) for row in rows}


@pytest.mark.parametrize(
    ("statement", "topics"),
    [
        ("UPDATE replica SET server_cursor = 7", set()),
        ("UPDATE replica SET version = version + 1", {Topic.DEVICE_NEWS}),
        ("UPDATE replica SET listed_at = 1.0", {Topic.LISTED}),
        ("UPDATE mailbox SET version = version + 1", {Topic.MAILBOXES}),
        ("UPDATE mailbox SET gone_at = 1.0", {Topic.MAILBOXES, Topic.LISTED}),
        ("UPDATE device SET state = 'away'", {Topic.LISTED}),
        ("UPDATE device SET generation = 1", set()),
        (insert(mailbox_change).values(account_id=1, device_id=1, **MADE), {Topic.MAILBOX_CHANGES}),
        (insert(hold).values(scope="by_device", scope_id=1, **HELD), {Topic.SET_ASIDE}),
        (insert(replica_message).values(state="present", **FILE), set()),
        (insert(replica_message).values(state="found", **FILE), {Topic.FOUND}),
    ],
)
def test_topics_that_were_written_are_told(planted: Database, statement: Any, topics: set[Topic]) -> None:
    """Those, and no others; and each of them until it is asked as of a later write."""
    before = planted.writes
    assert before is not None

    run(planted, statement)
    run(planted, "UPDATE account SET error = 'lost'")

    assert {topic for topic in Topic if planted.has_changed({topic}, since=before)} == topics
    assert not planted.has_changed(set(Topic), since=before + 1)
    assert planted.has_changed(set(Topic), since=-1)


def test_on_postgresql_it_may_have_been_any(postgres_url: str) -> None:
    """For there nobody tells."""
    with Database.open(postgres_url, auto_migrate=True) as database:
        run(database, insert(account).values(name="work", kind="imap", identity="x"))
        assert database.changed_since(database.writes or 0) is None
        assert database.has_changed({Topic.FOUND}, since=database.writes or 0)


def test_nothing_is_told_where_some_triggers_could_not_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of the other tables would be missing."""
    monkeypatch.setattr(changed_rows, "_MOST", 1)
    told, engine = changed_rows.ChangedRows(), create_engine("sqlite://")
    with engine.connect() as connection:
        connection.execute(text("CREATE TABLE device (id INTEGER PRIMARY KEY, name TEXT, state TEXT)"))
        told.begin(connection, 0)
        connection.execute(text("INSERT INTO device (id) VALUES (1), (2)"))
        told.commit(1)

        assert told.since(1) is None
        assert told.has_changed({Topic.MAILBOXES}, 1)
    engine.dispose()


def test_only_what_came_later_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what was before this process, and of what is too long ago, nothing can be told; nor beside the owner."""
    monkeypatch.setattr(changed_rows, "_MOST", 2)
    store_url = f"sqlite:///{tmp_path}/syncd.db"
    with Database.open(store_url) as database:
        assert database.changed_since(-1) is None
        run(database, insert(account).values(name="work", kind="imap", identity="x"))
        at = [database.writes or 0]
        for number in range(4):
            run(database, insert(mailbox).values(account_id=1, **{**INBOX, "wire_name": b"%d" % number}))
            at.append(database.writes or 0)

        told = [database.changed_since(writes) for writes in at]

        assert told[:2] == [None, None]
        assert told[2:] == [{ChangedRow(MAILBOX, 3), ChangedRow(MAILBOX, 4)}, {ChangedRow(MAILBOX, 4)}, set()]
        with Database.open_readonly(store_url) as beside:
            assert beside.changed_since(0) is None


def test_what_a_snapshot_has_is_told(planted: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is noted before its COMMIT, so also while nobody has heard yet that there was one."""
    before, writer = planted.writes, planted._writer
    assert before is not None
    assert writer is not None
    commit, seen = writer.changed_rows.commit, list[Any]()

    def look(conn: Connection) -> None:
        version = conn.execute(select(mailbox.c.version)).scalar_one()
        seen.append((version, planted.changed_since(before)))

    def noted(number: int) -> None:
        commit(number)
        planted.read_now(look)

    monkeypatch.setattr(writer.changed_rows, "commit", noted)
    run(planted, "UPDATE mailbox SET version = 5")
    planted.read_now(look)

    assert seen == [(version, {ChangedRow(MAILBOX, 1)}) for version in (0, 5)]
