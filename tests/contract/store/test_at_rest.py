"""A store in which a pass found nothing to do is asked again once anything was written, or while anything waits."""

import pytest
from sqlalchemy import Table, delete, insert

from syncd.mail.tree import ReplicaState
from syncd.store.engine.database import Database
from syncd.store.tables import schema
from syncd.store.trees.journal import CopyState, UploadState
from syncd.sync.at_rest import AtRest
from tests.contract.store.rows import add
from tests.unit.store_trees.grove import Grove

_TROUBLE = {"error": "refused", "temper": "wait", "attempts": 1, "since_at": 0.0, "retry_at": 1e12}
_HOLD = {"scope": "device", "scope_id": 1, "reason": "too many", "effects": "[]", "state": "held", "held_at": 0.0}
_CHANGE = {"kind": "make", "name": "Archive", "state": "left", "asked_at": 0.0}
_ENTRY = {"digest": b"", "header_digest": b"", "size_bytes": 1, "uidvalidity": 1, "uidnext": 1, "begun_at": 0.0}


async def test_what_is_written_ends_the_rest(database: Database) -> None:
    """Also what is written while the pass goes on, of which it may have read nothing; what is only asked does not."""
    at_rest = AtRest(database)
    at_rest.begin()
    await database.write(add("a"))
    await at_rest.end()
    assert not at_rest

    at_rest.begin()
    await at_rest.end()
    assert at_rest
    assert not await at_rest.is_anything_pending()
    assert at_rest

    await database.write(add("b"))
    assert not at_rest


async def test_pass_that_does_not_end_gives_no_rest(database: Database) -> None:
    """Nor does one that ended before what was known of the device was forgotten."""
    at_rest = AtRest(database)
    at_rest.begin()
    assert not at_rest
    await at_rest.end()
    at_rest.forget()
    assert not at_rest


@pytest.fixture
def grove(database: Database) -> Grove:
    """Return trees with one message, which the laptop has."""
    grove = Grove(database, "work")
    grove.deliver(grove.laptop, *grove.plant(1))
    return grove


async def test_what_waits_gives_no_rest(database: Database, grove: Grove) -> None:
    """Its time may come without anything being written; when it is gone, there is rest again."""
    change = {**_CHANGE, "account_id": grove.account_id, "device_id": grove.laptop.device_id}
    waiting = [(schema.trouble, _TROUBLE), (schema.hold, _HOLD), (schema.mailbox_change, change)]
    waiting += [(schema.journal, _entry(grove, kind, has_file=False)) for kind in ("taken_in", "begun")]
    waiting += [(schema.journal, _entry(grove, kind, has_file=True)) for kind in ("found", "copy", "copied")]
    assert await _rests(database)
    for table, values in waiting:
        _put(grove, table, values)
        assert not await _rests(database), table.name
        grove(lambda conn, table=table: conn.execute(delete(table)) and None)
        assert await _rests(database)


async def test_file_that_is_not_simply_there_gives_no_rest(database: Database, grove: Grove) -> None:
    """It is under way, or missing, or somebody's that is not known yet."""
    message = grove.message(1)
    for state in ReplicaState:
        grove.set_state(grove.laptop, message.id, state)
        assert await _rests(database) is (state is ReplicaState.PRESENT)


async def test_what_is_over_ends_no_rest(database: Database, grove: Grove) -> None:
    """The journal keeps it for a while, and nobody is to do anything about it."""
    _put(grove, schema.journal, _entry(grove, UploadState.FILED.value, has_file=True))
    _put(grove, schema.journal, _entry(grove, CopyState.MADE.value, has_file=False))

    assert await _rests(database)


def _entry(grove: Grove, kind: str, *, has_file: bool) -> dict[str, object]:
    file_id = grove.file(grove.laptop, grove.message(1).id).id if has_file else None
    mine = {"account_id": grove.account_id, "mailbox_id": grove.inbox, "replica_message_id": file_id}
    return {**_ENTRY, **mine, "kind": kind}


def _put(grove: Grove, table: Table, values: dict[str, object]) -> None:
    grove(lambda conn: conn.execute(insert(table).values(**values)) and None)


async def _rests(database: Database) -> bool:
    at_rest = AtRest(database)
    at_rest.begin()
    await at_rest.end()
    return bool(at_rest)
