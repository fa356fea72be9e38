"""POP3 custody as rows: which messages the store has, and which copies of the server are confirmed deleted."""

import hashlib

import pytest
from sqlalchemy import delete, select

from syncd.mail.flags import FLAGGED, SEEN
from syncd.store.mailboxes import custody
from syncd.store.mailboxes.custody import Arrival, CustodyRow
from syncd.store.mailboxes.served_mailboxes import NewMessage, put_messages, take_out
from syncd.store.people.report import store_report
from syncd.store.tables.schema import server_message, uidl
from syncd.store.trees import accounts
from tests.unit.store_trees.grove import NOW, Grove


def row(key: str, *, state: str = "held", digest: bytes = b"d", size_bytes: int | None = 20) -> CustodyRow:
    return CustodyRow(key, state, size_bytes, hashlib.sha256(digest).digest(), 0)


def arrive(grove: Grove, *arrivals: Arrival) -> int:
    return grove(
        lambda conn: custody.record_arrivals(
            conn, account_id=grove.account_id, mailbox_id=grove.inbox, arrivals=arrivals, now=NOW
        )
    )


def arrival(grove: Grove, of: CustodyRow, *, replaces: bool = False, takes_over: tuple[str, ...] = ()) -> Arrival:
    return Arrival(of, grove.body(of.key.encode()), 20, replaces, takes_over)


def known(grove: Grove, *keys: str) -> dict[str, str]:
    rows = grove(lambda conn: custody.custody_rows(conn, account_id=grove.account_id, keys=keys))
    return {one.key: one.state for one in rows}


def uids(grove: Grove) -> list[tuple[int, bool]]:
    columns = server_message.c
    query = select(columns.uid, columns.gone_at).where(columns.mailbox_id == grove.inbox).order_by(columns.uid)
    return [(one.uid, one.gone_at is not None) for one in grove.rows(query)]


def test_arrivals_get_uids_and_a_version_in_one(grove: Grove) -> None:
    """UIDs ascend without a gap, UIDNEXT and the count follow, and replicas have news."""
    before = grove.version()
    assert arrive(grove, arrival(grove, row("a")), arrival(grove, row("b"))) == 2
    assert arrive(grove, arrival(grove, row("c"))) == 1

    mailbox = grove(lambda conn: accounts.mailbox_by_id(conn, mailbox_id=grove.inbox))
    assert uids(grove) == [(1, False), (2, False), (3, False)]
    assert (mailbox.cursor.uidnext, mailbox.cursor.exists_count) == (4, 3)
    assert grove.version() == before + 2
    assert {pair.server.uid for pair in grove.server_news(grove.laptop).pairs if pair.server} == {1, 2, 3}


def test_copy_of_a_known_message_makes_no_message(grove: Grove) -> None:
    """An arrival without a body is a row of custody only."""
    before = grove.version()

    assert arrive(grove, Arrival(row("again"), None, 20, replaces=False, takes_over=())) == 0
    assert (uids(grove), grove.version()) == ([], before)
    assert known(grove, "again", "other") == {"again": "held"}


def test_whole_message_takes_the_place_of_a_cut_one(grove: Grove) -> None:
    """The incomplete message goes as the complete one comes, in one transaction."""
    arrive(grove, arrival(grove, row("a")))

    whole = Arrival(row("a", digest=b"whole"), grove.body(b"whole"), 20, replaces=True, takes_over=())
    arrive(grove, whole)

    assert uids(grove) == [(1, True), (2, False)]


def test_whole_message_goes_where_its_half_was_moved(grove: Grove) -> None:
    """Of two equal halves that which was moved; what was marked is marked, and nobody has read the whole one."""
    arrive(grove, Arrival(row("a"), grove.body(b"half"), 20, replaces=False, takes_over=()))
    arrive(grove, Arrival(row("b"), grove.body(b"half"), 20, replaces=False, takes_over=()))
    first = grove.message(1).id
    moved = NewMessage(grove.body(b"half"), 20, 500, frozenset({SEEN, FLAGGED}))
    grove(lambda conn: put_messages(conn, grove.archive, [moved], now=NOW))
    grove(lambda conn: take_out(conn, [first], now=NOW))

    arrive(grove, Arrival(row("a", digest=b"whole"), grove.body(b"whole"), 20, replaces=True, takes_over=()))

    assert uids(grove) == [(1, True), (2, False)]
    assert in_archive(grove) == [(1, "\\Flagged \\Seen", True), (2, "\\Flagged", False)]


def test_whole_message_of_a_deleted_half_is_kept_and_not_there(grove: Grove) -> None:
    """Its octets are in the store, like those of all that was deleted."""
    arrive(grove, arrival(grove, row("a")))
    half = grove.message(1).id
    grove(lambda conn: take_out(conn, [half], now=NOW))

    arrive(grove, Arrival(row("a", digest=b"whole"), grove.body(b"whole"), 20, replaces=True, takes_over=()))

    assert uids(grove) == [(1, True), (2, True)]
    assert in_archive(grove) == []


def in_archive(grove: Grove) -> list[tuple[int, str, bool]]:
    columns = server_message.c
    query = select(columns.uid, columns.flags, columns.gone_at).where(columns.mailbox_id == grove.archive)
    return [(one.uid, one.flags, one.gone_at is not None) for one in grove.rows(query.order_by(columns.uid))]


def test_row_takes_over_others(grove: Grove) -> None:
    """When a server renames its UIDLs, the new key stands for the old ones, which are forgotten."""
    arrive(grove, arrival(grove, row("old")))
    taken = Arrival(row("new"), None, 20, replaces=False, takes_over=("old",))

    assert arrive(grove, taken) == 0
    assert known(grove, "old", "new") == {"new": "held"}
    assert uids(grove) == [(1, False)]


def test_deletion_is_recorded_for_these_keys(grove: Grove) -> None:
    """Asked for, then confirmed; other keys, and equal keys of other accounts, stay as they are."""
    arrive(grove, arrival(grove, row("a")), arrival(grove, row("b")))

    for state, deleted_at in (("asked", None), ("deleted", NOW)):
        told = {"keys": ["a"], "state": state, "deleted_at": deleted_at}
        grove(lambda conn, told=told: custody.record_deletions(conn, account_id=grove.account_id, **told))
        assert known(grove, "a", "b") == {"a": state, "b": "held"}
    elsewhere = grove(lambda conn: custody.custody_rows(conn, account_id=grove.account_id + 10_000, keys=["a", "b"]))
    assert elsewhere == ()


def test_untaken_message_keeps_what_is_known_of_it(grove: Grove) -> None:
    """A failed retrieval records its tries and drops no message that is stored already."""
    arrive(grove, arrival(grove, row("a")))
    failed = CustodyRow("a", "failing", 20, b"", 2)
    grove(
        lambda conn: custody.record_untaken(conn, account_id=grove.account_id, row=failed, error="cut short", now=NOW)
    )

    assert known(grove, "a") == {"a": "failing"}
    assert uids(grove) == [(1, False)]


def test_rows_of_equal_octets_are_found_by_digest(grove: Grove) -> None:
    """All keys of one digest come back, of many asked for at once."""
    arrive(grove, arrival(grove, row("a")), arrival(grove, row("b")), arrival(grove, row("c", digest=b"else")))
    digests = [hashlib.sha256(b"d").digest(), *(hashlib.sha256(b"%d" % number).digest() for number in range(1100))]

    found = grove(lambda conn: custody.rows_of_digests(conn, account_id=grove.account_id, digests=digests))
    assert sorted(one.key for one in found) == ["a", "b"]


def test_message_that_could_not_be_taken_is_told_until_it_is_taken_or_no_longer_listed(grove: Grove) -> None:
    """Given up, it is tried once more when somebody asks; one that is too large has no tries to be given."""
    for key, tries in (("stubborn", 3), ("gone", 1), ("large", 0)):
        untaken = CustodyRow(key, "untaken", 20, b"", tries)
        grove(
            lambda conn, untaken=untaken: custody.record_untaken(
                conn, account_id=grove.account_id, row=untaken, error="refused", now=NOW
            )
        )

    def told() -> dict[int, float | None]:
        report = grove(lambda conn: store_report(conn, troubles_max=100))
        return {one.attempts: one.retry_at for one in report.troubles if one.mailbox_id == grove.inbox}

    assert told() == {3: None, 1: NOW, 0: None}
    grove(lambda conn: custody.forget_troubles(conn, account_id=grove.account_id, keys=["gone"]))
    assert grove(lambda conn: custody.troubled_keys(conn, account_id=grove.account_id)) == {"stubborn", "large"}
    grove(lambda conn: custody.hurry(conn, account_id=grove.account_id))
    assert told() == {1: NOW, 0: None}
    arrive(grove, arrival(grove, row("stubborn")))
    assert told() == {0: None}


def test_forgotten_trouble_leaves_tries_for_when_it_is_listed_again(grove: Grove) -> None:
    """Else it would be left alone then, and nobody told."""
    untaken = CustodyRow("gone", "untaken", 20, b"", 3)
    grove(lambda conn: custody.record_untaken(conn, account_id=grove.account_id, row=untaken, error="refused", now=NOW))
    grove(lambda conn: custody.forget_troubles(conn, account_id=grove.account_id, keys=["gone"]))

    (found,) = grove(lambda conn: custody.custody_rows(conn, account_id=grove.account_id, keys=["gone"]))
    assert (found.tries, found.is_troubled) == (1, False)


def test_time_of_a_message_is_when_it_came_however_often_its_row_is_written(grove: Grove) -> None:
    """A refused DELE, another retrieval and another UIDL do not begin it anew."""
    arrive(grove, arrival(grove, row("a", state="committed")))
    refused = row("a", state="committed")
    grove(lambda conn: custody.record_untaken(conn, account_id=grove.account_id, row=refused, error="no", now=NOW + 50))
    again = Arrival(row("b", state="committed"), None, 20, replaces=False, takes_over=("a",))
    grove(
        lambda conn: custody.record_arrivals(
            conn, account_id=grove.account_id, mailbox_id=grove.inbox, arrivals=[again], now=NOW + 100
        )
    )

    (found,) = grove(lambda conn: custody.standing_rows(conn, account_id=grove.account_id))
    assert (found.key, found.since) == ("b", NOW)


def test_standing_are_what_is_committed_and_what_is_troubled(grove: Grove) -> None:
    """Of what is deleted, however much that is, nothing is read."""
    states = ("committed", "deleted", "unlisted", "asked", "doubtful")
    arrive(grove, *(arrival(grove, row(state, state=state, digest=state.encode())) for state in states))
    large = CustodyRow("large", "untaken", 20, b"", 0)
    grove(lambda conn: custody.record_untaken(conn, account_id=grove.account_id, row=large, error="large", now=NOW))

    found = grove(lambda conn: custody.standing_rows(conn, account_id=grove.account_id))
    assert {one.key: one.is_troubled for one in found} == {"committed": False, "large": True}
    assert grove(custody.kept_by_account)[grove.account_id] == (1, NOW)


def test_message_that_a_device_brought_before_is_that_of_the_maildrop(grove: Grove) -> None:
    """The first time that its octets are retrieved, as often as it is there; later ones are messages of their own."""
    body = grove.body(b"a")
    new = NewMessage(body, 20, 0)
    deleted, *_ = grove(lambda conn: put_messages(conn, grove.inbox, [new, new, new], now=NOW))
    grove(lambda conn: take_out(conn, [deleted], now=NOW))

    twins = [Arrival(row(key), body, 20, replaces=False, takes_over=()) for key in ("a", "b", "c", "d")]
    assert arrive(grove, *twins) == 1
    assert uids(grove) == [(1, True), (2, False), (3, False), (4, False)]
    assert arrive(grove, Arrival(row("later"), body, 20, replaces=False, takes_over=())) == 1


@pytest.mark.parametrize("sizes", [(3,), (1, 2), (2, 1), (1, 1, 1)])
def test_equal_messages_that_devices_brought_are_those_of_the_maildrop_one_by_one(
    grove: Grove, sizes: tuple[int, ...]
) -> None:
    """However many come at a time, each is another of those; what goes beyond these is new, moved or not."""
    body = grove.body(b"a")
    new = NewMessage(body, 20, 0)
    _, second = grove(lambda conn: put_messages(conn, grove.inbox, [new, new], now=NOW))
    keys = iter("abc")

    came: list[int] = []
    for size in sizes:
        twins = [Arrival(row(next(keys)), body, 20, replaces=False, takes_over=()) for _ in range(size)]
        came.append(arrive(grove, *twins))
    assert (sum(came), came[-1], uids(grove)) == (1, 1, [(1, False), (2, False), (3, False)])

    grove(lambda conn: put_messages(conn, grove.archive, [new], now=NOW))
    grove(lambda conn: take_out(conn, [second], now=NOW))
    assert arrive(grove, Arrival(row("d"), body, 20, replaces=False, takes_over=())) == 1
    referred = grove.rows(select(uidl.c.message_id).where(uidl.c.account_id == grove.account_id))
    assert len({one.message_id for one in referred}) == 4


def test_message_that_was_retrieved_first_and_moved_stands_for_no_other(grove: Grove) -> None:
    """A copy that a device made of it is no equal message of the maildrop, also once the place it had is forgotten."""
    body = grove.body(b"a")
    assert arrive(grove, Arrival(row("a"), body, 20, replaces=False, takes_over=())) == 1
    first = grove.message(1).id
    grove(lambda conn: put_messages(conn, grove.archive, [NewMessage(body, 20, 0)], now=NOW))
    grove(lambda conn: take_out(conn, [first], now=NOW))

    assert arrive(grove, Arrival(row("b"), body, 20, replaces=False, takes_over=())) == 1
    grove(lambda conn: conn.execute(delete(server_message).where(server_message.c.id == first)))
    assert arrive(grove, Arrival(row("c"), body, 20, replaces=False, takes_over=())) == 1
