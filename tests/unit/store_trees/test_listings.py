"""What LISTs make of mailboxes: rows that are renamed, that give way, that are gone, and that are there again."""

from collections.abc import Collection
from functools import partial
from pathlib import PurePosixPath

from sqlalchemy import Connection, select, update

from syncd.mail.mailbox import MailboxName
from syncd.reconcile.mailboxes import ListChanges, Listed
from syncd.store.mailboxes import directories, listings, mailbox_changes, mailbox_removals
from syncd.store.mailboxes.listings import Renamed
from syncd.store.people.entries import Question
from syncd.store.people.recall import recall
from syncd.store.tables.schema import mailbox, replica, server_message
from syncd.store.trees import accounts, devices, server_tree
from syncd.store.trees.accounts import MailboxCursor, MailboxRow
from syncd.store.trees.server_tree import ObservedMessage
from tests.unit.store_trees.grove import NOW, UIDVALIDITY, Grove


def entry(name: str, *attributes: str) -> Listed:
    return Listed(name.encode(), MailboxName.parse(name), "/", frozenset(attributes), is_selected=True)


def record(grove: Grove, *renamed: Renamed, added: tuple[Listed, ...] = ()) -> None:
    changes = ListChanges(added, (), ())
    grove(
        lambda conn: listings.record_listing(
            conn, account_id=grove.account_id, changes=changes, renamed=renamed, now=NOW
        )
    )


def row(grove: Grove, mailbox_id: int) -> MailboxRow:
    return grove(lambda conn: accounts.mailbox_by_id(conn, mailbox_id=mailbox_id))


def test_renamed_mailbox_keeps_its_rows_and_its_devices_have_news(grove: Grove) -> None:
    """And what had the name gives way, with a name of its own."""
    (message_id,) = grove.plant(1)
    before = grove.version()

    record(grove, Renamed(grove.inbox, entry("Archive")))

    assert str(row(grove, grove.inbox).name) == "Archive"
    assert grove.message(1).id == message_id
    assert grove.version() > before
    other = row(grove, grove.archive)
    assert (str(other.name), listings.is_nowhere(other.wire_name)) == (f"Archive (replaced {grove.archive})", True)


def test_what_a_mailbox_has_when_it_is_listed_came_with_it(grove: Grove) -> None:
    """Nobody knows when, if the first LIST of the account had it; so it is with what is numbered anew."""
    for name in ("First", "Later"):
        record(grove, added=(entry(name),))
        (of,) = (
            one.id
            for one in grove.rows(
                select(mailbox.c.id).where(mailbox.c.name == name).order_by(mailbox.c.id.desc()).limit(1)
            )
        )
        for uid, uidvalidity in ((1, UIDVALIDITY), (2, UIDVALIDITY), (3, UIDVALIDITY + 1)):
            seen = [ObservedMessage(uid, frozenset(), 1, 20, 500)]
            grove(
                partial(
                    server_tree.record_messages, mailbox_id=of, uidvalidity=uidvalidity, observed=seen, now=NOW + 60
                )
            )
            grove(
                partial(accounts.move_cursor, mailbox_id=of, cursor=MailboxCursor(UIDVALIDITY, 2, 1, 1), is_listed=True)
            )

        came = grove.rows(
            select(server_message.c.came_at).where(server_message.c.mailbox_id == of).order_by(server_message.c.uid)
        )
        there = None if name == "First" else NOW
        assert [row.came_at for row in came] == [there, NOW + 60, there], name


def test_mailbox_that_is_listed_again_has_just_come(grove: Grove) -> None:
    """And with it what is new there, though the first LIST of the account had it, long ago."""
    grove(partial(listings.record_gone, mailbox_id=grove.archive, now=NOW - 60))

    record(grove, added=(entry("Archive"),))

    seen = [ObservedMessage(1, frozenset(), 1, 20, 500)]
    observe = partial(server_tree.record_messages, uidvalidity=UIDVALIDITY + 1, observed=seen, now=NOW + 60)
    grove(partial(observe, mailbox_id=grove.archive))
    came = grove.rows(select(server_message.c.came_at).where(server_message.c.mailbox_id == grove.archive))
    assert [row.came_at for row in came] == [NOW]


def test_what_devices_asked_of_a_server_is_told_as_theirs(grove: Grove, mail_user: str) -> None:
    """A mailbox that one made, those around it that came by that, a rename and a removal; all else is the server's."""
    mine = {"account_id": grove.account_id, "now": NOW}

    def ask(conn: Connection) -> None:
        made = MailboxName(("Lists", "deep"))
        mailbox_changes.want_mailbox(conn, device_id=grove.laptop.device_id, name=made, error=None, **mine)
        mailbox_changes.want_rename(conn, grove.laptop_archive, name=MailboxName(("Old",)), **mine)
        mailbox_changes.begin(conn, [one.id for one in mailbox_changes.mailbox_changes(conn)], now=NOW)

    record(grove)
    grove(ask)
    record(grove, Renamed(grove.archive, entry("Old")), added=(entry("Lists"), entry("Lists/deep"), entry("Web")))
    grove(lambda conn: mailbox_changes.drop(conn, [one.id for one in mailbox_changes.mailbox_changes(conn)]))
    grove(lambda conn: mailbox_changes.want_removal(conn, grove.laptop_archive, name=MailboxName(("Old",)), **mine))
    grove(lambda conn: mailbox_removals.settle(conn, mailbox_id=grove.archive, now=NOW))

    found = grove(lambda conn: recall(conn, Question(account=mail_user)))
    assert [(one.mailbox, one.verb, one.origin.removeprefix(f"{mail_user}-")) for one in found] == [
        ("Old", "rename mailbox", "laptop"),
        ("Lists", "create mailbox", "laptop"),
        ("Lists/deep", "create mailbox", "laptop"),
        ("Web", "create mailbox", "server"),
        ("Old", "delete mailbox", "laptop"),
    ]


def test_names_that_are_exchanged_meet_no_other(grove: Grove) -> None:
    """At no moment do two mailboxes have one name."""
    record(grove, Renamed(grove.inbox, entry("Archive")), Renamed(grove.archive, entry("INBOX")))

    assert [str(row(grove, id_).name) for id_ in (grove.inbox, grove.archive)] == ["Archive", "INBOX"]


def test_mailbox_that_is_gone_and_back_is_told_anew(grove: Grove) -> None:
    """Its messages are gone; under its old UIDVALIDITY may then be others."""
    grove.plant(1, 2)

    grove(lambda conn: listings.record_gone(conn, mailbox_id=grove.inbox, now=NOW))
    assert (row(grove, grove.inbox).is_there, grove.message(1).gone_at, grove.message(2).gone_at) == (False, NOW, NOW)
    left = grove(lambda conn: accounts.left_mailboxes(conn, account_id=grove.account_id))
    assert [one.id for one in left] == [grove.inbox]

    record(grove, added=(entry("INBOX"),))
    back = row(grove, grove.inbox)
    assert (back.is_there, back.is_listed, back.is_readable) == (True, True, False)
    assert back.cursor.uidvalidity != UIDVALIDITY


def test_mailboxes_of_many_accounts_are_those_that_are_there_or_on_devices(grove: Grove) -> None:
    """Read in one statement; of ids that are asked for, also what nobody has any more."""
    gone = grove(lambda conn: accounts.put_listed(conn, grove.account_id, entry("Gone")))
    for mailbox_id in (gone, grove.inbox):
        grove(lambda conn, of=mailbox_id: listings.record_gone(conn, mailbox_id=of, now=NOW))
    ids = (grove.account_id,)

    there = grove(lambda conn: accounts.mailboxes_of(conn, ids))
    asked = grove(lambda conn: accounts.mailboxes_of(conn, ids, only=(gone, grove.archive)))

    assert {grove.inbox, grove.archive} == {row.id for row in there}
    assert {gone, grove.archive} == {row.id for row in asked}
    assert grove(lambda conn: accounts.mailboxes_of(conn, (), only=(gone,))) == ()


def test_directory_is_on_its_way_with_what_is_inside_and_its_rows_are_what_they_were(grove: Grove) -> None:
    """Wherever it ends. One that is found elsewhere is looked at as for the first time, unless it is known to be it."""
    of, inner = grove.laptop, grove.laptop_archive
    here, there = (PurePosixPath(name) for name in (of.directory, "elsewhere"))
    grove(lambda conn: directories.move_left(conn, replica_id=inner.id, target=here / "inner"))
    grove(lambda conn: conn.execute(update(replica).where(replica.c.device_id == of.device_id).values(listed_at=NOW)))

    def moving_to() -> dict[int, PurePosixPath | None]:
        placed = grove(lambda conn: directories.placed_replicas(conn, device_id=of.device_id))
        return {place.replica_id: place.moving_to for _, place in placed}

    def settle(source: PurePosixPath, target: PurePosixPath, same: Collection[int] | None) -> list[float | None]:
        move = partial(directories.settle_move, device_id=of.device_id, source=source, target=target, same=same)
        grove(move)
        rows = [grove.replica(one) for one in (of, inner)]
        assert [row.directory for row in rows] == [str(target), str(target / "inner")]
        assert set(moving_to().values()) == {None}
        return [row.listed_at for row in rows]

    for target in (here, there):
        grove(lambda conn: directories.announce_move(conn, device_id=of.device_id, source=here, target=there))
        assert moving_to() == {of.id: there, inner.id: there / "inner"}
        assert grove.replica(of).listed_at == NOW
        assert settle(here, target, None) == [NOW, NOW]
    assert settle(there, here, {of.id, inner.id}) == [NOW, NOW]
    assert settle(here, there, {inner.id}) == [None, NOW]


def test_replica_whose_directory_is_gone_is_forgotten(grove: Grove) -> None:
    """Once nothing is known of any file of it."""
    of = grove.laptop

    assert grove(lambda conn: directories.is_without_messages(conn, replica_id=of.id))
    grove(lambda conn: directories.forget(conn, replica_id=of.id))
    assert of.id not in {one.id for one in grove(devices.replicas)}
