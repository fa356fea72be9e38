"""What goes wrong with one mailbox, kept from the others."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from syncd.errors import ConnectionLostError, Reach, RefusedError, StoreError
from syncd.mail.mailbox import INBOX
from syncd.reconcile.mailboxes import Listed
from syncd.store.engine.database import Database
from syncd.store.trees import accounts
from syncd.store.trees.accounts import MailboxCursor, MailboxRow
from syncd.sync.imap.losses import Losses
from syncd.sync.imap.mailbox_failures import MailboxFailures, Work


class Wire:
    """Stand for a connection of which only one thing counts."""

    def __init__(self, *, is_usable: bool) -> None:
        self.is_usable = is_usable


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = Database.open(f"sqlite:///{tmp_path}/syncd.db", auto_migrate=True)
    yield database
    database.close()


def inbox_of(db: Database) -> MailboxRow:
    def make(conn: Connection) -> MailboxRow:
        account_id = accounts.ensure_account(conn, "work", kind="imap", identity="x")
        if not (rows := accounts.mailboxes(conn, account_id=account_id)):
            entry = Listed(b"INBOX", INBOX, "/", frozenset(), is_selected=True)
            accounts.make_mailbox(conn, account_id, entry, MailboxCursor(1, 1, None, 0))
            rows = accounts.mailboxes(conn, account_id=account_id)
        return rows[0]

    return db.write_now(make)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (RefusedError("select was refused", reach=Reach.MAILBOX), "select was refused"),
        (KeyError("a secret"), "unexpected error: KeyError"),
    ],
)
async def test_error_of_a_mailbox_is_recorded_waited_out_and_forgotten(
    db: Database, error: Exception, text: str
) -> None:
    """Also an error that nobody foresaw; success ends it, and the other kind of work goes on meanwhile."""
    failures, mailbox = MailboxFailures(db, "work", Losses()), inbox_of(db)

    async with failures.kept(Wire(is_usable=True), mailbox, Work.READ):
        raise error

    assert inbox_of(db).error == text
    assert failures.is_waiting(mailbox.id, Work.READ)
    assert not failures.is_waiting(mailbox.id, Work.PUSH)
    failures.end_waits()
    assert not failures.is_waiting(mailbox.id, Work.READ)
    await failures.succeeded(inbox_of(db), Work.PUSH)
    assert inbox_of(db).error == text
    await failures.succeeded(inbox_of(db), Work.READ)
    assert inbox_of(db).error is None
    assert not failures.is_failing(mailbox.id, Work.READ)


@pytest.mark.parametrize("error", [ConnectionLostError("cut"), StoreError("full")])
async def test_error_that_reaches_further_passes(db: Database, error: Exception) -> None:
    """It is not the mailbox's, which is tried by the next run as any other."""
    failures, mailbox = MailboxFailures(db, "work", Losses()), inbox_of(db)

    with pytest.raises(type(error)):
        async with failures.kept(Wire(is_usable=True), mailbox, Work.READ):
            raise error

    assert inbox_of(db).error is None
    assert not failures.is_waiting(mailbox.id, Work.READ)


async def test_unforeseen_error_that_cost_the_connection_passes_and_is_waited_for(db: Database) -> None:
    """The next run does not end at the same mailbox at once."""
    failures, mailbox = MailboxFailures(db, "work", Losses()), inbox_of(db)

    with pytest.raises(KeyError):
        async with failures.kept(Wire(is_usable=False), mailbox, Work.READ):
            raise KeyError

    assert failures.is_waiting(mailbox.id, Work.READ)


async def test_mailbox_in_which_every_connection_ends_lets_the_others_pass(db: Database) -> None:
    """A few times may be the network; after that the mailbox has a trouble of its own and is waited for."""
    failures, mailbox = MailboxFailures(db, "work", Losses()), inbox_of(db)

    for count in range(1, 5):
        with pytest.raises(ConnectionLostError):
            async with failures.kept(Wire(is_usable=False), mailbox, Work.READ):
                raise ConnectionLostError("the server closed the connection")
        assert failures.is_waiting(mailbox.id, Work.READ) == (count == 4)

    assert inbox_of(db).error == "the server closed the connection"
