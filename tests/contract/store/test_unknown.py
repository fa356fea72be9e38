"""What the store has never heard of, on both databases."""

import pytest
from sqlalchemy import Connection, insert

from syncd.store.engine.database import Database
from syncd.store.people.entries import Question
from syncd.store.people.recall import unknown
from syncd.store.tables.schema import account
from syncd.store.trees.accounts import never_read


def _fill(conn: Connection) -> None:
    conn.execute(insert(account).values(name="new", kind="imap", identity="x"))
    conn.execute(insert(account).values(name="listed", kind="imap", identity="y", listed_at=1.0))
    conn.execute(insert(account).values(name="drop", kind="pop3", identity="z", succeeded_at=1.0))


def test_accounts_that_were_never_looked_at_are_told_apart(database: Database) -> None:
    """Of those, nothing to do is no news."""
    database.write_now(_fill)

    names = ("drop", "new", "listed", "absent")
    assert database.read_now(lambda conn: never_read(conn, names)) == ("new", "absent")


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        (Question(), None),
        (Question(mailbox="nope"), "mailbox"),
        (Question(message="7"), "message"),
        (Question(message="9" * 30), "message"),
        (Question(message="<nope@example.org>"), "message"),
    ],
)
def test_slip_in_a_name_is_told(database: Database, question: Question, expected: str | None) -> None:
    """It is no empty history."""
    assert database.read_now(lambda conn: unknown(conn, question)) == expected
