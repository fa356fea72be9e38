"""Devices and replicas as rows: the store's id, generations, selections and keywords."""

from functools import partial

import pytest
from sqlalchemy import select

from syncd.store.rounds import deliveries
from syncd.store.tables.schema import base_message, device, replica, replica_message
from syncd.store.trees import devices
from syncd.store.trees.devices import DeviceRow, ReplicaRow
from tests.unit.store_trees.grove import NOW, Grove


def row_of(grove: Grove, of: ReplicaRow) -> DeviceRow:
    name = grove(devices.device_names)[of.device_id]
    return grove(lambda conn: devices.ensure_device(conn, name, path="/ignored", layout="ignored"))


def test_store_id_is_made_once(grove: Grove) -> None:
    """Every marker names the same store for ever."""
    first = grove(lambda conn: devices.store_id(conn, now=NOW))

    assert len(first) == 32
    assert grove(lambda conn: devices.store_id(conn, now=NOW + 1)) == first


def test_known_device_keeps_its_path_and_layout(grove: Grove) -> None:
    """A changed configuration moves nothing by itself."""
    row = row_of(grove, grove.laptop)
    assert (row.path, row.layout) == ("/" + row.name, "maildir++")

    grove(lambda conn: devices.move_device(conn, row.id, "/elsewhere"))
    assert row_of(grove, grove.laptop).path == "/elsewhere"


def test_generation_is_reserved_before_it_is_reached(grove: Grove) -> None:
    """A crash between the two leaves both numbers, and the next barrier reserves the same one again."""
    device_id = grove.laptop.device_id
    assert grove(lambda conn: devices.begin_barrier(conn, device_id)) == 1
    row = row_of(grove, grove.laptop)
    assert (row.generation, row.generation_next) == (0, 1)
    assert grove(lambda conn: devices.begin_barrier(conn, device_id)) == 1

    grove(lambda conn: devices.settle_barrier(conn, device_id, 1, now=NOW))
    row = row_of(grove, grove.laptop)
    assert (row.generation, row.generation_next) == (1, 1)
    assert grove(lambda conn: devices.begin_barrier(conn, device_id)) == 2


def test_emptied_device_forgets_its_files_and_no_others(grove: Grove) -> None:
    """A fresh root begins without replicas, at generation 0; other devices keep theirs."""
    ids = grove.plant(1, 2)
    for of in (grove.laptop, grove.phone):
        grove.deliver(of, *ids)
    grove(lambda conn: devices.begin_barrier(conn, grove.laptop.device_id))
    grove(lambda conn: devices.settle_barrier(conn, grove.laptop.device_id, 1, now=NOW))

    grove(lambda conn: devices.empty_device(conn, grove.laptop.device_id, path="/fresh", layout="fs"))

    row = row_of(grove, grove.laptop)
    assert (row.path, row.layout, row.generation, row.generation_next) == ("/fresh", "fs", 0, 0)
    assert grove(lambda conn: devices.replicas(conn, device_id=row.id)) == ()
    for table in (base_message, replica_message):
        assert len(grove.rows(select(table).where(table.c.replica_id == grove.phone.id))) == 2
        assert grove.rows(select(table).where(table.c.replica_id == grove.laptop.id)) == []


def test_another_selection_plans_the_mailbox_anew(grove: Grove) -> None:
    """The same selection leaves the cursor; another one puts it to the start; files stay."""
    grove(lambda conn: devices.move_server_cursor(conn, grove.laptop.id, 5))

    def ensure(selection: str) -> int:
        of = grove.laptop
        grove(
            lambda conn: devices.ensure_replica(conn, of.device_id, of.mailbox_id, directory="x", selection=selection)
        )
        return grove.replica(of).server_cursor

    assert ensure("") == 5
    assert ensure("max_age=1") == 0
    assert grove.replica(grove.laptop).directory == grove.laptop.directory


def test_more_keywords_plan_the_mailbox_anew(grove: Grove) -> None:
    """A letter for a keyword that had none may be missing on files; fewer or equal keywords ask for nothing."""
    grove(lambda conn: devices.move_server_cursor(conn, grove.laptop.id, 5))

    grove(lambda conn: devices.record_keywords(conn, grove.laptop.id, ("0:a",), can_hold_more=False))
    assert (grove.replica(grove.laptop).keywords, grove.replica(grove.laptop).server_cursor) == (("0:a",), 5)
    grove(lambda conn: devices.record_keywords(conn, grove.laptop.id, ("0:a", "1:b"), can_hold_more=True))
    assert (grove.replica(grove.laptop).keywords, grove.replica(grove.laptop).server_cursor) == (("0:a", "1:b"), 0)


def test_replicas_of_a_device_and_of_an_account(grove: Grove) -> None:
    """Both questions are answered for this account and device only."""
    of_account = grove(lambda conn: devices.replicas(conn, account_id=grove.account_id))
    of_laptop = grove(lambda conn: devices.replicas(conn, device_id=grove.laptop.device_id))

    assert {row.id for row in of_account} == {grove.laptop.id, grove.phone.id, grove.laptop_archive.id}
    assert {row.id for row in of_laptop} == {grove.laptop.id, grove.laptop_archive.id}


def test_state_that_is_known_is_not_written_again(grove: Grove) -> None:
    """Each start says how a device is, and mostly it is as it was: nobody reads its row anew for that."""

    if grove(lambda conn: conn.dialect.name) != "sqlite":
        pytest.skip("the driver of PostgreSQL does not count")

    def written(error: str | None) -> bool:
        before = grove.db.writes
        record = partial(devices.record_device_state, device_id=grove.phone.device_id, state="away", error=error)
        grove(record)
        return grove.db.writes != before

    assert written(None)
    assert [written(error) for error in (None, "not there", "not there", None)] == [False, True, False, True]


def test_only_confirmed_files_of_active_devices_on_one_file_system_are_linked_from(grove: Grove) -> None:
    """A file that is on its way, edited, elsewhere, or on a device that is away is no source of links."""
    (row_id,) = grove.plant(1)
    wanted = grove(lambda conn: deliveries.deliverables(conn, [row_id]))
    paths = {row_of(grove, grove.laptop).path, row_of(grove, grove.phone).path}

    def sources() -> list[str]:
        found = grove(lambda conn: deliveries.link_sources(conn, wanted.values(), device_paths=paths))
        return [source.origin.device_path for source in found.values()]

    assert sources() == []
    grove.deliver(grove.laptop, row_id)
    assert sources() == [row_of(grove, grove.laptop).path]
    paths.discard(row_of(grove, grove.laptop).path)
    assert sources() == []
    paths.add(row_of(grove, grove.laptop).path)
    grove(
        lambda conn: devices.record_device_state(conn, grove.laptop.device_id, state="away", error="no marker is there")
    )
    assert sources() == []
    (state,) = grove.rows(select(device.c.state).where(device.c.id == grove.laptop.device_id))
    assert state.state == "away"
    assert len(grove.rows(select(replica).where(replica.c.device_id == grove.laptop.device_id))) == 2
