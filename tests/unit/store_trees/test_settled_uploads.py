"""Files that a device added, in the store: they are settled as they were taken in, or not at all."""

import pytest

from syncd.mail.tree import BodyForm, ReplicaState
from syncd.reconcile.changes import Appeared, Change, Rewritten, Sighting, Vanished
from syncd.store.files import added_files, settled_uploads, uploads
from syncd.store.files.added_files import FileAsRead, TakenIn
from syncd.store.files.settled_uploads import Settled
from syncd.store.files.uploads import Upload
from syncd.store.tables.schema import replica_message
from syncd.store.trees import replica_tree
from tests.unit.store_trees.grove import NOW, Grove

SEEN = Sighting("n", None, "cur", frozenset(), 20, 500)


def take_in(grove: Grove, octets: bytes) -> Upload:
    """Let the laptop add a file to INBOX, and take it into the store."""
    record(grove, Appeared(SEEN))
    body_id = grove.body(octets)
    [file] = grove(lambda conn: added_files.added_files(conn, grove.laptop.device_id))
    seen = FileAsRead(20, 500, BodyForm.RAW, None)
    assert grove(lambda conn: added_files.take_in(conn, [TakenIn(file, seen, body_id)], now=NOW))
    [upload] = grove(lambda conn: uploads.uploads(conn, account_id=grove.account_id))
    return upload


def record(grove: Grove, change: Change) -> None:
    grove(lambda conn: replica_tree.record_changes(conn, grove.laptop.id, [change], now=NOW))


def settle(grove: Grove, upload: Upload, message_id: int) -> None:
    grove(lambda conn: settled_uploads.settle(conn, [Settled(upload, message_id)], now=NOW))


def unchanged(grove: Grove, upload: Upload) -> frozenset[int]:
    return grove(lambda conn: uploads.unchanged(conn, [upload.id]))


def test_file_becomes_that_of_its_message(grove: Grove) -> None:
    """It is present under the name that its device gave it, and no upload any more."""
    (message,) = grove.plant(1)
    upload = take_in(grove, b"n")
    assert unchanged(grove, upload) == {upload.id}

    settle(grove, upload, message)

    assert (grove.file(grove.laptop, message).name, grove.file(grove.laptop, message).state) == ("n", "present")
    assert unchanged(grove, upload) == frozenset()


@pytest.mark.parametrize("how", ["rewritten", "vanished"])
def test_file_that_is_another_by_then_is_not_settled(grove: Grove, how: str) -> None:
    """A file that was rewritten after it was planned has not the octets of the message; it is planned anew."""
    (message,) = grove.plant(1)
    upload = take_in(grove, b"n")
    is_rewritten = how == "rewritten"
    later = Sighting("n", None, "cur", frozenset(), 30, 600)
    record(grove, Rewritten(upload.file_id, later) if is_rewritten else Vanished(upload.file_id, is_own=True))

    assert unchanged(grove, upload) == frozenset()
    settle(grove, upload, message)

    rows = grove.rows(replica_message.select().where(replica_message.c.id == upload.file_id))
    assert [(row.message_id, row.state) for row in rows] == ([(None, ReplicaState.NEW)] if is_rewritten else [])


@pytest.mark.parametrize("how", ["rewritten", "vanished"])
def test_file_that_became_a_message_while_it_was_looked_for_keeps_that(grove: Grove, how: str) -> None:
    """A look began before the upload was settled: what it tells is a change of the message, and no end of the file."""
    (message,) = grove.plant(1)
    upload = take_in(grove, b"n")
    later = Sighting("n", None, "cur", frozenset(), 30, 600)

    settle(grove, upload, message)
    record(grove, Rewritten(upload.file_id, later) if how == "rewritten" else Vanished(upload.file_id, is_own=True))

    state = grove.file(grove.laptop, message).state
    assert state == (ReplicaState.EDITED if how == "rewritten" else ReplicaState.MISSING)
