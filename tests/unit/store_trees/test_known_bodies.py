"""Which bodies a message without one may have."""

from syncd.store.bodies.known_bodies import known_bodies
from syncd.store.engine.database import Database
from syncd.store.trees import server_tree
from syncd.store.trees.server_tree import ObservedMessage
from tests.unit.store_trees.grove import Grove


def test_a_message_of_equal_size_and_date_elsewhere_may_be_the_same(grove: Grove) -> None:
    """Only messages of other mailboxes of the account count, and they prove nothing yet."""
    source = _with_body(grove, b"Message-ID: <a@b>\r\n\r\n", ObservedMessage(1, frozenset(), 1, 14, 500))
    alike, other, twin = 11, 12, 2
    grove.observe(_observed(alike), _observed(other, size=15), mailbox_id=grove.archive)
    grove.observe(_observed(twin))

    assert _known(grove, grove.archive, alike) == [(source, False)]
    assert _known(grove, grove.archive, other) == []
    assert _known(grove, grove.inbox, twin) == []


def test_a_message_with_the_same_email_id_is_the_same(grove: Grove) -> None:
    """Whatever its date is said to be, a server that gives EMAILIDs vouches for the octets."""
    source = _with_body(grove, b"Subject: b\r\n\r\n", ObservedMessage(1, frozenset(), 1, 14, 500, "M1"))
    grove.observe(ObservedMessage(11, frozenset(), 1, 14, 900, "M1"), mailbox_id=grove.archive)
    grove.observe(
        ObservedMessage(12, frozenset(), 1, 14, 900, "M2"),
        ObservedMessage(13, frozenset(), 1, 99, 900, "M1"),
        mailbox_id=grove.archive,
    )

    assert _known(grove, grove.archive, 11) == [(source, True)]
    assert _known(grove, grove.archive, 12) == []
    assert _known(grove, grove.archive, 13) == []


def test_a_message_without_a_message_id_is_like_none(grove: Grove) -> None:
    """What nothing names, only its octets tell."""
    _with_body(grove, b"Subject: no id\r\n\r\n", ObservedMessage(1, frozenset(), 1, 14, 500))
    grove.observe(_observed(11), mailbox_id=grove.archive)

    assert _known(grove, grove.archive, 11) == []


def test_an_import_of_many_of_one_size_and_date_is_not_compared(grove: Grove) -> None:
    """A few likes are told apart by their headers; what is like thousands is downloaded."""
    bodies = [
        _with_body(grove, b"Message-ID: <%d@b>\r\n\r\n" % uid, ObservedMessage(uid, frozenset(), 1, 20, 600))
        for uid in range(1, 17)
    ]
    grove.observe(ObservedMessage(50, frozenset(), 1, 20, 600), mailbox_id=grove.archive)
    assert _known(grove, grove.archive, 50) == sorted((body_id, False) for body_id in bodies)

    _with_body(grove, b"Message-ID: <17@b>\r\n\r\n", ObservedMessage(17, frozenset(), 1, 20, 600))
    assert _known(grove, grove.archive, 50) == []


def test_a_message_of_another_account_is_like_none(grove: Grove, database: Database, mail_user: str) -> None:
    """What one account has says nothing of another's, be size, date and EMAILID what they may."""
    _with_body(grove, b"Message-ID: <a@b>\r\n\r\n", ObservedMessage(1, frozenset(), 1, 14, 500, "M1"))
    other = Grove(database, f"{mail_user}-other")
    other.observe(ObservedMessage(11, frozenset(), 1, 14, 500, "M1"), mailbox_id=other.archive)

    assert _known(other, other.archive, 11) == []


def _observed(uid: int, *, size: int = 14) -> ObservedMessage:
    return ObservedMessage(uid, frozenset(), 1, size, 500)


def _with_body(grove: Grove, octets: bytes, message: ObservedMessage) -> int:
    body_id = grove.body(octets)
    grove.observe(message)
    bound = {grove.message(message.uid).id: body_id}
    grove(lambda conn: server_tree.bind_bodies(conn, grove.inbox, bound))
    return body_id


def _known(grove: Grove, mailbox_id: int, uid: int) -> list[tuple[int, bool]]:
    (message_id,) = (
        row.id
        for row in grove.rows(server_tree.server_message.select())
        if (row.mailbox_id, row.uid) == (mailbox_id, uid)
    )
    found = grove(lambda conn: known_bodies(conn, account_id=grove.account_id, message_ids=[message_id]))
    return sorted((one.body_id, one.is_certain) for one in found.get(message_id, ()))
