"""The server tree: what was observed, with a version on what replicas must look at."""

from functools import partial

from syncd.mail.uidset import UidSet
from syncd.reconcile.planner import Selection
from syncd.store.bodies.wanted_bodies import wanted_bodies
from syncd.store.trees import server_tree, troubles
from syncd.store.trees.server_tree import FlagDelta, ObservedMessage
from tests.unit.store_trees.grove import NOW, UIDVALIDITY, Grove

SEEN, FLAGGED = frozenset({"\\Seen"}), frozenset({"\\Flagged"})
EVERYTHING = (Selection(),)


def wanted(grove: Grove, *selections: Selection, limit: int = 10, now: float = NOW) -> list[int]:
    found = grove(
        lambda conn: wanted_bodies(
            conn, mailbox_id=grove.inbox, uidvalidity=UIDVALIDITY, selections=selections, limit=limit, now=now
        )
    )
    return [one.uid for one in found]


def known(grove: Grove) -> str:
    uids = grove(lambda conn: server_tree.known_uids(conn, mailbox_id=grove.inbox, uidvalidity=UIDVALIDITY))
    return str(uids)


def test_known_uids_among_some(grove: Grove) -> None:
    """Of a few rows are read, of many all are; what is gone is none of them."""
    grove.plant(1, 2, 3)
    vanish(grove, 2)
    ask = partial(server_tree.known_uids, mailbox_id=grove.inbox, uidvalidity=UIDVALIDITY)

    for among in ("2:4", "2:5000"):
        found = grove(partial(ask, among=UidSet.parse(among)))
        assert str(found) == "3", among


def vanish(grove: Grove, *uids: int) -> int:
    gone = UidSet.of(uids)
    return grove(lambda conn: server_tree.record_vanished(conn, grove.inbox, UIDVALIDITY, gone, now=NOW))


def test_only_what_changed_gets_a_new_version(grove: Grove) -> None:
    """Rows observed as they were keep their version, and so does the mailbox; a newer MODSEQ alone is recorded."""
    grove.plant(1, 2)
    before, row = grove.version(), grove.message(2)

    grove.observe(ObservedMessage(1, frozenset(), 1), ObservedMessage(2, frozenset(), 7))
    assert (grove.version(), grove.message(2).version, grove.message(2).modseq) == (before, row.version, 7)

    grove.observe(ObservedMessage(1, SEEN, 8), ObservedMessage(2, frozenset(), 7))
    assert grove.version() == grove.message(1).version == before + 1
    assert grove.message(2).version == row.version


def test_row_without_size_is_only_taken_where_it_is_known(grove: Grove) -> None:
    """Flags of an unknown UID make no row; its UID is returned to be asked for in full."""
    unknown = grove(
        lambda conn: server_tree.record_messages(conn, grove.inbox, UIDVALIDITY, [ObservedMessage(5, SEEN, 1)], now=NOW)
    )

    assert (str(unknown), known(grove)) == ("5", "")


def test_modseq_never_falls(grove: Grove) -> None:
    """An older answer that comes late changes flags, but lowers no MODSEQ."""
    grove.plant(1)
    grove.observe(ObservedMessage(1, SEEN, 9))
    grove.observe(ObservedMessage(1, FLAGGED, 4))

    assert (grove.message(1).flags, grove.message(1).modseq) == ("\\Flagged", 9)


def test_vanished_message_is_gone_until_it_is_listed_again(grove: Grove) -> None:
    """An expunge keeps the row for the replicas; a UID that is there after all is there again, under a new version."""
    grove.plant(1, 2, 3)

    assert vanish(grove, 2, 3, 77) == 2
    assert vanish(grove, 2) == 0
    assert known(grove) == "1"

    before = grove.version()
    grove.observe(ObservedMessage(3, frozenset(), 1))
    assert (known(grove), grove.version()) == ("1,3", before + 1)


def test_devices_are_told_of_what_they_can_have_or_had(grove: Grove) -> None:
    """A message without a body is nothing to them; one that has one, its flags, and that it is gone, are."""

    def is_told(since: int) -> bool:
        return grove(lambda conn: server_tree.has_told(conn, mailbox_id=grove.inbox, since=since))

    before = grove.version()
    grove.plant(1)
    grove.observe(ObservedMessage(2, SEEN, 9, size_bytes=9, internaldate=1))
    planted = grove.version()
    assert is_told(before)
    grove.observe(ObservedMessage(3, SEEN, 9, size_bytes=9, internaldate=1))
    assert not is_told(planted)
    grove.observe(ObservedMessage(1, SEEN, 10))
    assert is_told(planted)
    planted = grove.version()
    vanish(grove, 1)
    assert is_told(planted)


def test_same_uid_under_another_uidvalidity_is_another_message(grove: Grove) -> None:
    """UIDs mean nothing without their UIDVALIDITY."""
    grove.plant(1)
    observed = [ObservedMessage(1, SEEN, 1, 5, 5)]
    grove(lambda conn: server_tree.record_messages(conn, grove.inbox, UIDVALIDITY + 1, observed, now=NOW))

    count = grove(lambda conn: server_tree.count_messages(conn, mailbox_id=grove.inbox, uidvalidity=UIDVALIDITY + 1))
    assert (known(grove), count) == ("1", 1)


def test_flag_deltas_change_single_flags_of_the_row_as_it_is(grove: Grove) -> None:
    """A delta planned earlier leaves alone what changed since, and an unchanged row keeps its version."""
    (row_id,) = grove.plant(1, flags=SEEN)
    grove.observe(ObservedMessage(1, SEEN | {"later"}, 5))

    grove(lambda conn: server_tree.apply_flag_deltas(conn, grove.inbox, [FlagDelta(row_id, FLAGGED, SEEN)]))
    assert grove.message(1).flags == "\\Flagged later"

    before = grove.version()
    grove(lambda conn: server_tree.apply_flag_deltas(conn, grove.inbox, [FlagDelta(row_id, FLAGGED, SEEN)]))
    assert grove.version() == before


def test_wanted_bodies_are_newest_first_and_only_what_somebody_takes(grove: Grove) -> None:
    """No selection wants nothing; of several each counts; what has a body, or is gone, is not wanted."""
    grove.plant(1)
    grove.observe(*(ObservedMessage(uid, frozenset(), 1, uid * 10, uid * 100) for uid in (2, 3, 4, 5)))
    vanish(grove, 3)

    assert wanted(grove) == []
    assert wanted(grove, *EVERYTHING) == [5, 4, 2]
    assert wanted(grove, *EVERYTHING, limit=2) == [5, 4]
    assert wanted(grove, Selection(not_before=400)) == [5, 4]
    assert wanted(grove, Selection(max_size_bytes=20)) == [2]
    assert wanted(grove, Selection(max_size_bytes=20), Selection(not_before=500)) == [5, 2]


def test_body_set_aside_waits_for_its_time_and_holds_up_nobody(grove: Grove) -> None:
    """A message whose body could not be had is left out until it is due; once it is gone, no trouble is left of it."""
    grove.observe(*(ObservedMessage(uid, frozenset(), 1, 10, 100) for uid in (1, 2)))
    row_id = grove.message(2).id
    aside = {"mailbox_id": grove.inbox, "message_id": row_id, "device_id": None, "error": "nil", "now": NOW}
    grove(lambda conn: troubles.set_aside(conn, temper=troubles.Temper.WAIT, **aside))

    assert wanted(grove, *EVERYTHING) == [1]
    assert wanted(grove, *EVERYTHING, now=NOW + 61) == [2, 1]

    vanish(grove, 2)
    assert grove(lambda conn: troubles.due(conn, mailbox_id=grove.inbox, device_id=None, now=NOW * 2)) == ()
