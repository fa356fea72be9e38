"""What the store keeps of a replica's keyword letters, and what a deletion by a device becomes."""

import pytest

from syncd.config.accounts import ImapConfig, Pop3Config
from syncd.mail.mailbox import MailboxName, SpecialUse
from syncd.maildir.naming.keywords import KeywordMap
from syncd.reconcile.deletions import Deletion, ForGood, ToTrash
from syncd.store.trees.accounts import MailboxCursor, MailboxRow
from syncd.sync.policies import deletion_of, keyword_map, keyword_names

ODD = ("my keyword", "caf\u00e9", "\udcff\udcfe", "a\tb", "a\u2028b", "100%", "per%20cent", "3:x", "\x00", "\\Seen")


def test_odd_names_are_kept_in_a_column_that_is_split_at_blanks() -> None:
    """Whatever a program lists comes back as it was, whether or not it is a keyword."""
    listed = KeywordMap(tuple(enumerate(ODD)))
    kept = " ".join(keyword_names(listed))
    assert kept.isascii()
    assert kept.isprintable()
    assert keyword_map(tuple(kept.split())) == listed


def test_keyword_is_kept_as_it_is() -> None:
    """What every server would take as a keyword is not quoted, so that older stores are read as they were meant."""
    listed = KeywordMap(((0, "$Forwarded"), (3, "a+b:c'[x;--!~")))
    assert keyword_names(listed) == ("0:$Forwarded", "3:a+b:c'[x;--!~")
    assert keyword_map(keyword_names(listed)) == listed


@pytest.mark.parametrize("stored", ["keyword", ":x", "1:", "-1:x", "\u0661:x", "x:1"])
def test_entry_that_is_none_is_left_out(stored: str) -> None:
    """A store written by an earlier version stops nobody."""
    assert keyword_map(("4:later", stored, "0:first")) == KeywordMap(((0, "first"), (4, "later")))


def mailbox(number: int, name: str, use: SpecialUse | None = None, *, is_selectable: bool = True) -> MailboxRow:
    return MailboxRow(
        id=number,
        account_id=1,
        name=MailboxName.parse(name),
        wire_name=name.encode(),
        delimiter="/",
        special_use=use,
        is_selectable=is_selectable,
        is_selected=True,
        is_listed=True,
        version=1,
        cursor=MailboxCursor(1, 1, None, 0),
        attributes=frozenset(),
        error=None,
    )


def imap(**more: object) -> ImapConfig:
    return ImapConfig.model_validate({"type": "imap", "host": "h", "username": "u", "password": "p", **more})


INBOX, TRASH, JUNK = mailbox(1, "INBOX"), mailbox(2, "Bin", SpecialUse.TRASH), mailbox(3, "Spam", SpecialUse.JUNK)
NAMED = mailbox(4, "Deleted Items")


@pytest.mark.parametrize(
    ("delete", "of", "known", "wanted"),
    [
        (None, INBOX, (INBOX, NAMED, TRASH), ToTrash(2, "Bin")),
        ("trash", INBOX, (INBOX, TRASH), ToTrash(2, "Bin")),
        ("expunge", INBOX, (INBOX, TRASH), ForGood()),
        (None, TRASH, (INBOX, TRASH), ForGood()),
        ("trash", JUNK, (INBOX, TRASH, JUNK), ForGood()),
        (None, INBOX, (INBOX, NAMED), ToTrash(4, "Deleted Items")),
        (None, NAMED, (INBOX, NAMED), ForGood()),
        (None, INBOX, (INBOX,), ForGood()),
        ("trash", INBOX, (INBOX,), ToTrash(None, "Trash")),
        (None, INBOX, (INBOX, mailbox(5, "Trash", is_selectable=False)), ForGood()),
    ],
)
def test_deletion_goes_to_the_trash_there_is(
    delete: str | None, of: MailboxRow, known: tuple[MailboxRow, ...], wanted: Deletion
) -> None:
    """By use, then by name; out of Trash and Junk for good; without one as the configuration says."""
    assert deletion_of(imap(delete=delete), of, known) == wanted


def test_deletion_in_a_pop3_account_goes_to_its_trash() -> None:
    """Out of Trash and Junk it is for good; and without the Trash that such an account has, nothing is destroyed."""
    isp = Pop3Config.model_validate({"type": "pop3", "host": "h", "username": "u", "password": "p"})

    assert deletion_of(isp, INBOX, (INBOX, TRASH)) == ToTrash(2, "Bin")
    assert deletion_of(isp, TRASH, (INBOX, TRASH)) == ForGood()
    assert deletion_of(isp, JUNK, (INBOX, TRASH, JUNK)) == ForGood()
    assert deletion_of(isp, INBOX, (INBOX,)) == ToTrash(None, "Trash")
