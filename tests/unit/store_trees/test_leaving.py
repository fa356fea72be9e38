"""Replicas that leave a device, and messages that its selection has left behind."""

from typing import Any

import pytest
from sqlalchemy import Connection, event, insert, select, update

from syncd.mail.tree import ReplicaState
from syncd.reconcile.planner import Selection
from syncd.store.rounds import leaving
from syncd.store.tables.schema import base_message, journal, replica, replica_message, server_message
from syncd.store.trees import devices
from syncd.store.trees.devices import LEAVING, LEFT, READ_ONLY
from syncd.store.trees.journal import UploadState
from tests.unit.store_trees.grove import NOW, Grove


def test_replica_that_leaves_is_planned_anew_and_has_left_without_files(grove: Grove) -> None:
    """Every message is news once more; while a row is left, it has not left."""
    of = grove.laptop
    grove.deliver(of, *grove.plant(1, 2))
    version = grove.version()
    grove(lambda conn: devices.move_server_cursor(conn, of.id, version))

    grove(lambda conn: leaving.mark_leaving(conn, [of.id]))
    assert len(grove.server_news(of).pairs) == 2
    assert grove(lambda conn: leaving.without_files(conn, of.device_id)) == frozenset()

    grove(lambda conn: conn.execute(replica_message.delete().where(replica_message.c.replica_id == of.id)))
    assert grove(lambda conn: leaving.without_files(conn, of.device_id)) == {of.id}
    grove(lambda conn: leaving.mark_left(conn, [of.id]))
    assert grove.replica(of).selection == LEFT
    assert grove.rows(select(base_message).where(base_message.c.replica_id == of.id)) == []


@pytest.mark.parametrize(
    ("before", "after", "listed_at"),
    [
        (LEAVING, "all", None),
        (f"all {READ_ONLY}", "all", None),
        ("all", f"all {READ_ONLY}", NOW),
        ("all", "more", NOW),
        (LEFT, "all", NOW + 1),
    ],
)
def test_selected_again_it_is_looked_at_as_for_the_first_time(
    grove: Grove, before: str, after: str, listed_at: float | None
) -> None:
    """So nothing that went meanwhile counts as deleted; one that had left begins anew."""
    of = grove.laptop
    was = {"selection": before, "listed_at": NOW}
    grove(lambda conn: conn.execute(update(replica).where(replica.c.id == of.id).values(was)))

    again = {"directory": of.directory, "selection": after, "listed_at": NOW + 1}
    grove(lambda conn: devices.ensure_replica(conn, of.device_id, of.mailbox_id, **again))

    assert (grove.replica(of).selection, grove.replica(of).listed_at) == (after, listed_at)
    assert grove.replica(of).server_cursor == 0


def test_files_of_a_directory_that_is_gone_are_forgotten_but_for_what_is_on_its_way(grove: Grove) -> None:
    """What is in the store and not on the server yet gets there without its file."""
    of = grove.laptop
    grove.deliver(of, *grove.plant(1))
    file = {"replica_id": of.id, "subdir": "cur", "state": ReplicaState.NEW, "version": 1}
    facts = {"size_bytes": 1, "mtime": 1, "form": "raw"}
    rows = [{"name": name, **file, **facts} for name in ("unread", "taken in")]
    grove(lambda conn: conn.execute(insert(replica_message), rows))
    (taken,) = grove.rows(select(replica_message.c.id).where(replica_message.c.name == "taken in"))
    row = {"account_id": grove.account_id, "mailbox_id": of.mailbox_id, "replica_message_id": taken.id}
    known = {"digest": b"", "header_digest": b"", "size_bytes": 1, "uidvalidity": 0, "uidnext": 0, "begun_at": NOW}
    kind = UploadState.TAKEN_IN.value
    grove(lambda conn: conn.execute(insert(journal).values(kind=kind, **row, **known)))

    grove(lambda conn: leaving.forget_files(conn, of))

    names = grove.rows(select(replica_message.c.name).where(replica_message.c.replica_id == of.id))
    assert [row.name for row in names] == ["taken in"]
    assert grove.rows(select(base_message).where(base_message.c.replica_id == of.id)) == []


def test_what_a_device_has_not_sent_is_not_sent_once_it_may_only_read(grove: Grove) -> None:
    """It is a file of the device's own, as if it had never been taken in; what was begun may be there already."""
    of = grove.laptop
    own = {"replica_id": of.id, "subdir": "cur", "state": ReplicaState.NEW, "version": 1, "form": "raw"}
    for name, kind in (("pending", UploadState.TAKEN_IN), ("begun", UploadState.BEGUN)):
        file = insert(replica_message).values(name=name, size_bytes=1, mtime=1, **own).returning(replica_message.c.id)
        file_id = grove(lambda conn, file=file: conn.execute(file).scalar_one())
        where = {"account_id": grove.account_id, "mailbox_id": of.mailbox_id, "replica_message_id": file_id}
        facts = {"digest": b"", "header_digest": b"", "size_bytes": 1, "uidvalidity": 0, "uidnext": 0, "begun_at": NOW}
        row = insert(journal).values(kind=kind.value, **where, **facts)
        grove(lambda conn, row=row: conn.execute(row))

    again = {"directory": of.directory, "selection": f"all {READ_ONLY}"}
    grove(lambda conn: devices.ensure_replica(conn, of.device_id, of.mailbox_id, **again))

    kinds = select(journal.c.kind).where(journal.c.mailbox_id == of.mailbox_id)
    assert [row.kind for row in grove.rows(kinds)] == [UploadState.BEGUN.value]


def test_what_is_outside_of_a_selection_is_found_by_size_and_age(grove: Grove) -> None:
    """Messages of which the device has files, by replica; those of an hour are found by their dates alone."""
    of = grove.laptop
    one, two, three = grove.plant(1, 2, 3)  # from 501, 502 and 503
    grove.deliver(of, one, two, three)
    large = update(server_message).where(server_message.c.id == three).values(size_bytes=5000)
    grove(lambda conn: conn.execute(large))

    def outside(selection: Selection) -> object:
        return grove(lambda conn: leaving.outside(conn, of.device_id, selection))

    assert outside(Selection(not_before=502)) == {of.id: {one}}
    assert outside(Selection(max_size_bytes=4999)) == {of.id: {three}}
    assert outside(Selection(not_before=503, max_size_bytes=4999)) == {of.id: {one, two, three}}
    assert outside(Selection()) == {}
    assert grove(lambda conn: leaving.aged(conn, of.device_id, since=502, before=503)) == {of.id: {two}}


def test_what_grew_too_old_is_found_by_the_index_of_dates(grove: Grove) -> None:
    """The hourly look reads the messages of that hour, and not all files of the device."""
    asked: list[tuple[str, Any]] = []

    def explained(conn: Connection) -> str:
        if conn.dialect.name != "sqlite":
            pytest.skip("PostgreSQL plans by what is in the tables")
        event.listen(conn, "before_cursor_execute", lambda *given: asked.append(given[2:4]))
        leaving.aged(conn, grove.laptop.device_id, since=1, before=2)
        statement, values = asked[0]
        return str(conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).first())

    assert "ix_server_message_internaldate_size_bytes" in grove.db.read_now(explained)
