"""Files that a device added: taken in, begun, settled as messages, and remembered."""

from typing import Any

import pytest
from sqlalchemy import Connection, event, select

from syncd.mail.flags import Flags
from syncd.mail.tree import BodyForm, ReplicaState, Successor
from syncd.reconcile.changes import Appeared, Reflagged, Rewritten, Sighting, Vanished
from syncd.store.due import pending
from syncd.store.files import added_files, deletions, refused_uploads, settled_uploads, successors, uploads
from syncd.store.files.added_files import AddedFile, FileAsRead, TakenIn
from syncd.store.files.settled_uploads import Settled
from syncd.store.files.uploads import Bringers, Upload, UploadState
from syncd.store.rounds import pairs
from syncd.store.tables.schema import base_message, journal, replica_message
from syncd.store.trees import replica_tree, server_tree
from syncd.store.trees.server_tree import ObservedMessage
from tests.unit.store_trees.grove import NOW, UIDVALIDITY, Grove

SEEN = frozenset({"\\Seen"})
UNSEEN_S = 5.0
OCTETS = b"Message-ID: <a@example.org>\r\n\r\nmine\r\n"


def seen(name: str = "own", *, size_bytes: int = 40, mtime: int = 500, flags: Flags = SEEN) -> Sighting:
    return Sighting(name, "S" if flags else "", "cur", flags, size_bytes, mtime)


def appear(grove: Grove, name: str = "own", *, archive: bool = False) -> AddedFile:
    of = grove.laptop_archive if archive else grove.laptop
    grove(lambda conn: replica_tree.record_changes(conn, of.id, [Appeared(seen(name))], now=NOW))
    return next(one for one in added(grove) if one.name == name)


def added(grove: Grove) -> tuple[AddedFile, ...]:
    return grove(lambda conn: added_files.added_files(conn, grove.laptop.device_id))


def take_in(grove: Grove, file: AddedFile, octets: bytes = OCTETS) -> bool:
    body_id = grove.body(octets)
    read = FileAsRead(file.size_bytes, file.mtime, BodyForm.LF, file.info)
    return bool(grove(lambda conn: added_files.take_in(conn, [TakenIn(file, read, body_id)], now=NOW)))


def unflag_while_it_is_sent(grove: Grove) -> int:
    """Let the device take away the flag with which its file was sent, and return the id of the file."""
    file = appear(grove)
    take_in(grove, file)
    begin(grove)
    unseen = Reflagged(file.file_id, seen(flags=frozenset()))
    grove(lambda conn: replica_tree.record_changes(conn, grove.laptop.id, [unseen], now=NOW))
    return file.file_id


def underway(grove: Grove) -> tuple[Upload, ...]:
    return grove(lambda conn: uploads.uploads(conn, account_id=grove.account_id))


def begin(grove: Grove) -> None:
    sent = {one.id: one.flags for one in underway(grove)}
    grove(lambda conn: uploads.begin(conn, sent, uidvalidity=UIDVALIDITY, uidnext=70, now=NOW))


def arrive(grove: Grove, uid: int = 70, *, flags: Flags = SEEN, archive: bool = False) -> int:
    """Observe a message, and return its row."""
    mailbox_id = grove.archive if archive else grove.inbox
    grove.observe(ObservedMessage(uid, flags, 1, len(OCTETS), 500), mailbox_id=mailbox_id)
    return grove(
        lambda conn: server_tree.message_ids_of(conn, mailbox_id=mailbox_id, uidvalidity=UIDVALIDITY, uids=[uid])
    )[uid]


def settle(grove: Grove, message_id: int, *, source_id: int | None = None) -> None:
    (upload,) = underway(grove)
    grove(lambda conn: settled_uploads.settle(conn, [Settled(upload, message_id, source_id)], now=NOW))


def file_row(grove: Grove, file_id: int) -> Any:
    return grove(
        lambda conn: conn.execute(select(replica_message).where(replica_message.c.id == file_id)).one_or_none()
    )


def base_flags(grove: Grove, message_id: int) -> list[str]:
    query = select(base_message.c.flags).where(base_message.c.message_id == message_id)
    return [row.flags for row in grove.rows(query)]


def test_file_is_added_until_it_is_taken_in(grove: Grove) -> None:
    """Then it is on its way, and its account has news."""
    file = appear(grove)
    before = grove.replica(grove.laptop).version

    assert take_in(grove, file)

    assert added(grove) == ()
    (upload,) = underway(grove)
    assert (upload.file_id, upload.mailbox_id, upload.state) == (file.file_id, grove.inbox, UploadState.TAKEN_IN)
    assert (upload.size_bytes, upload.header_message_id) == (len(OCTETS), "<a@example.org>")
    assert grove.replica(grove.laptop).version > before


def test_file_that_changed_while_it_was_read_is_not_taken_in(grove: Grove) -> None:
    """What was read is not what is there."""
    file = appear(grove)
    changes = [Rewritten(file.file_id, seen(size_bytes=50))]
    grove(lambda conn: replica_tree.record_changes(conn, grove.laptop.id, changes, now=NOW))

    assert not take_in(grove, file)
    assert underway(grove) == ()


def test_settled_file_is_that_of_a_message(grove: Grove) -> None:
    """Present, with a base of what both sides say, and on its way no more."""
    file = appear(grove)
    take_in(grove, file)
    begin(grove)
    message_id = arrive(grove, flags=SEEN | {"\\Flagged"})

    settle(grove, message_id)

    row = file_row(grove, file.file_id)
    assert (row.message_id, row.state) == (message_id, ReplicaState.PRESENT)
    assert base_flags(grove, message_id) == ["\\Seen"]
    assert underway(grove) == ()


def test_flag_taken_away_since_the_file_was_sent_is_taken_away(grove: Grove) -> None:
    """Also if nobody but the store remembers what was sent."""
    file_id = unflag_while_it_is_sent(grove)
    message_id = arrive(grove)
    settle(grove, message_id)
    assert (file_row(grove, file_id).flags, base_flags(grove, message_id)) == ("", ["\\Seen"])


def test_file_that_is_sent_anew_is_sent_as_it_is_then(grove: Grove) -> None:
    """Not as it was when it was sent before, and did not come."""
    unflag_while_it_is_sent(grove)
    begun = underway(grove)
    grove(lambda conn: uploads.begin_again(conn, begun, now=NOW))
    assert [one.flags for one in underway(grove)] == [frozenset()]


def test_word_of_the_server_is_kept_until_the_file_is_sent_anew(grove: Grove) -> None:
    """Of another attempt it says nothing."""
    file = appear(grove)
    take_in(grove, file)
    begin(grove)
    (begun,) = underway(grove)
    grove(lambda conn: uploads.keep_told(conn, {begun.id: 7}, now=NOW))
    (told,) = underway(grove)
    grove(lambda conn: uploads.begin_again(conn, [told], now=NOW))
    (again,) = underway(grove)
    begin(grove)
    (anew,) = underway(grove)

    assert [one.told_uid for one in (told, again, anew)] == [7, None, None]


def test_base_of_a_moved_file_is_that_of_its_source(grove: Grove) -> None:
    """So a flag that its device took away meanwhile is taken away, and keywords are those of the server."""
    (source_id,) = grove.plant(1, flags=frozenset({"\\Seen", "\\Flagged", "work"}))
    grove.deliver(grove.laptop, source_id, flags=frozenset({"\\Seen", "\\Flagged", "work"}))
    file = appear(grove, archive=True)
    take_in(grove, file)
    begin(grove)
    message_id = arrive(grove, flags=frozenset({"\\Seen", "\\Flagged", "work"}), archive=True)

    settle(grove, message_id, source_id=source_id)

    assert base_flags(grove, message_id) == ["\\Flagged \\Seen"]


@pytest.mark.parametrize("is_begun", [False, True])
def test_file_that_goes_is_gone_unless_it_is_on_its_way(grove: Grove, is_begun: bool) -> None:
    """One that may be on the server is missing there, and so deleted in the end."""
    file = appear(grove)
    take_in(grove, file)
    if is_begun:
        begin(grove)
    changes = [Vanished(file.file_id, is_own=True)]
    grove(lambda conn: replica_tree.record_changes(conn, grove.laptop.id, changes, now=NOW))

    if not is_begun:
        assert file_row(grove, file.file_id) is None
        assert grove.rows(select(journal.c.id).where(journal.c.replica_message_id == file.file_id)) == []
        return
    message_id = arrive(grove)
    assert grove(lambda conn: deletions.missing_files(conn, grove.laptop.device_id)) == ()
    settle(grove, message_id)
    assert file_row(grove, file.file_id).state == ReplicaState.MISSING
    (missing,) = grove(lambda conn: deletions.missing_files(conn, grove.laptop.device_id))
    assert missing.file_id == file.file_id


def test_what_was_begun_and_is_nowhere_is_decided_anew(grove: Grove) -> None:
    """And forgotten, if its file went: an account that has anything to bring does not rest."""
    kept, went = appear(grove, "kept"), appear(grove, "went")
    take_in(grove, kept)
    take_in(grove, went, b"another\r\n")
    begin(grove)
    changes = [Vanished(went.file_id, is_own=True)]
    grove(lambda conn: replica_tree.record_changes(conn, grove.laptop.id, changes, now=NOW))

    begun = underway(grove)
    grove(lambda conn: uploads.begin_again(conn, begun, now=NOW))

    assert [(one.file_id, one.state) for one in underway(grove)] == [(kept.file_id, UploadState.TAKEN_IN)]
    left = grove.rows(select(journal.c.replica_message_id).where(journal.c.account_id == grove.account_id))
    assert [row.replica_message_id for row in left] == [kept.file_id]


def test_file_that_is_rewritten_on_its_way_is_an_edit_of_its_message(grove: Grove) -> None:
    """Its new octets are not those of the message, so it is to be taken in again."""
    file = appear(grove)
    take_in(grove, file)
    begin(grove)
    changes = [Rewritten(file.file_id, seen(size_bytes=50))]
    grove(lambda conn: replica_tree.record_changes(conn, grove.laptop.id, changes, now=NOW))
    settle(grove, arrive(grove))

    row = file_row(grove, file.file_id)
    assert (row.state, row.size_bytes) == (ReplicaState.EDITED, -1)
    assert [one.file_id for one in added(grove)] == [file.file_id]


def test_flag_of_a_file_on_its_way_is_no_news_of_its_octets(grove: Grove) -> None:
    """It stays on its way."""
    file = appear(grove)
    take_in(grove, file)
    changes = [Reflagged(file.file_id, seen(flags=frozenset()))]
    grove(lambda conn: replica_tree.record_changes(conn, grove.laptop.id, changes, now=NOW))

    (upload,) = underway(grove)
    assert upload.flags == frozenset()


def test_refused_file_waits_each_time_for_longer(grove: Grove) -> None:
    """Until somebody asks."""
    take_in(grove, appear(grove))
    waits: list[float] = []
    (upload,) = underway(grove)
    for _ in range(3):
        begin(grove)
        grove(lambda conn: refused_uploads.refuse(conn, {upload.id: "too large"}, now=NOW))
        waits.append(underway(grove)[0].due_at - NOW)

    assert waits == [60, 120, 240]
    grove(lambda conn: refused_uploads.hurry(conn, account_id=grove.account_id))
    assert underway(grove)[0].due_at < NOW


def test_only_what_is_not_due_yet_is_waited_for(grove: Grove) -> None:
    """What is due and stays is up to its mailbox or its device; an account that waited for it would never rest."""
    of = Bringers(frozenset({grove.laptop.id}))

    def next_at(now: float) -> float | None:
        return grove(lambda conn: uploads.next_at(conn, account_id=grove.account_id, of=of, unseen_s=UNSEEN_S, now=now))

    take_in(grove, appear(grove))
    assert next_at(NOW) is None
    begin(grove)
    assert (next_at(NOW), next_at(NOW + UNSEEN_S)) == (NOW + UNSEEN_S, None)
    (upload,) = underway(grove)
    grove(lambda conn: refused_uploads.refuse(conn, {upload.id: "too large"}, now=NOW))
    assert (next_at(NOW), next_at(NOW + 60)) == (NOW + 60, None)


def test_upload_does_not_wait_for_a_clock_that_was_set_back(grove: Grove) -> None:
    """What was begun or refused later than now counts as of now, and waits from there as long as ever."""
    take_in(grove, appear(grove, "begun"))
    begin(grove)
    take_in(grove, appear(grove, "refused"), b"another\r\n")
    _, other = underway(grove)
    grove(lambda conn: refused_uploads.refuse(conn, {other.id: "too large"}, now=NOW))

    def is_any_ahead(now: float) -> bool:
        return grove(lambda conn: refused_uploads.is_any_ahead(conn, account_id=grove.account_id, now=now))

    assert (is_any_ahead(NOW), is_any_ahead(NOW - 3600)) == (False, True)
    grove(lambda conn: refused_uploads.set_back(conn, account_id=grove.account_id, now=NOW - 3600))
    assert [one.begun_at for one in underway(grove)] == [NOW - 3600, NOW - 3600]
    assert not is_any_ahead(NOW - 3600)


def test_file_that_is_refused_before_it_is_begun_waits_as_well(grove: Grove) -> None:
    """Of a mailbox that is read-only, say."""
    take_in(grove, appear(grove))
    (upload,) = underway(grove)
    of = Bringers(frozenset({grove.laptop.id}))

    grove(lambda conn: refused_uploads.refuse(conn, {upload.id: "read-only"}, now=NOW))

    assert not grove(lambda conn: uploads.due(conn, account_id=grove.account_id, of=of, now=NOW + 59))
    assert grove(lambda conn: uploads.due(conn, account_id=grove.account_id, of=of, now=NOW + 60))


def test_deleted_file_with_a_copy_elsewhere_has_a_successor(grove: Grove) -> None:
    """On its way, there, or nothing once the copy is gone."""
    (source_id,) = grove.plant(1)
    grove.deliver(grove.laptop, source_id)
    (pair,) = grove(lambda conn: pairs.pairs_of(conn, grove.laptop, [source_id]))
    assert pair.replica is not None
    grove(
        lambda conn: replica_tree.record_changes(
            conn, grove.laptop.id, [Vanished(pair.replica.id, is_own=False)], now=NOW
        )
    )
    grove(lambda conn: deletions.conclude(conn, grove.laptop, [pair.replica.id], listed_at=NOW))

    def successor() -> Successor | None:
        found = grove(lambda conn: pairs.pairs_of(conn, grove.laptop, [source_id]))
        ((one),) = grove(lambda conn: successors.with_successors(conn, grove.laptop, found))
        return one.successor

    assert successor() is None
    take_in(grove, appear(grove, archive=True), b"Subject: of %d\r\n\r\n" % grove.inbox)
    assert successor() is Successor.ON_ITS_WAY
    begin(grove)
    message_id = arrive(grove, archive=True)
    settle(grove, message_id, source_id=source_id)
    assert successor() is Successor.THERE
    grove(lambda conn: settled_uploads.forget_filed(conn, account_id=grove.account_id, now=NOW + 8 * 86400))
    assert successor() is None


def test_file_that_goes_is_compared_with_no_other_file_of_its_device(grove: Grove) -> None:
    """A device may have a hundred thousand, and may move a thousand on before the server has any of them."""
    asked: list[tuple[str, Any]] = []
    file = appear(grove)
    take_in(grove, file)

    def explained(conn: Connection) -> list[str]:
        if conn.dialect.name != "sqlite":
            pytest.skip("PostgreSQL plans by what is in the tables")
        event.listen(conn, "before_cursor_execute", lambda *given: asked.append(given[2:4]))
        replica_tree.forget_added(conn, file.file_id, now=NOW)
        plans = (conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values) for statement, values in (*asked,))
        return [row.detail for plan in plans for row in plan]

    searched = grove(explained)

    assert any("replica_message" in one for one in searched)
    assert [one for one in searched if "SCAN" in one or "(replica_id=?)" in one] == []


def test_what_is_filed_is_not_read_where_others_are_asked_for(grove: Grove) -> None:
    """After a large import there are as many filed rows as messages, for a week; a round reads none of them."""
    asked: list[tuple[str, Any]] = []

    def explained(conn: Connection) -> list[str]:
        if conn.dialect.name != "sqlite":
            pytest.skip("PostgreSQL plans by what is in the tables")
        event.listen(conn, "before_cursor_execute", lambda *given: asked.append(given[2:4]))
        pending.is_anything_pending(conn)
        settled_uploads.forget_filed(conn, account_id=grove.account_id, now=NOW)
        uploads.are_any(conn, account_id=grove.account_id)
        plans = (conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values) for statement, values in (*asked,))
        return [row.detail for plan in plans for row in plan if "journal" in row.detail]

    searched = grove(explained)

    used = {
        "kind=?)",
        "kind=? AND account_id=?)",
        "kind=? AND account_id=? AND begun_at<?)",
        "replica_message_id=?)",
    }
    assert len(searched) >= 5
    assert [one for one in searched if one.partition("(")[2] not in used] == []
