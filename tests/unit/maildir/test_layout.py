"""Directories of mailboxes in both layouts."""

from pathlib import PurePosixPath

import pytest

from syncd.errors import MailboxNameError
from syncd.mail.mailbox import MailboxName
from syncd.maildir.naming.layout import Fs, Layout, MaildirPlusPlus, without_utf7

BOTH = pytest.mark.parametrize("layout", [MaildirPlusPlus(), Fs()], ids=["maildir++", "fs"])


def name(*parts: str) -> MailboxName:
    return MailboxName(parts)


@pytest.mark.parametrize(
    ("parts", "plus_plus", "fs"),
    [
        (("INBOX",), ".work.INBOX", "work/INBOX"),
        (("inbox", "Sub"), ".work.INBOX.Sub", "work/INBOX/Sub"),
        (("Entwürfe",), ".work.Entw&APw-rfe", "work/Entwürfe"),
        (("a.b",), ".work.a%2Eb", "work/a.b"),
        (("a", "b"), ".work.a.b", "work/a/b"),
        (("a/b",), ".work.a%2Fb", "work/a%2Fb"),
        (("50%",), ".work.50%25", "work/50%25"),
        (("%2E",), ".work.%252E", "work/%252E"),
        (("..", ".."), ".work.%2E%2E.%2E%2E", "work/%2E./%2E."),
        (("x", "", "y"), ".work.x.%.y", "work/x/%/y"),
        (("cur",), ".work.cur", "work/%63ur"),
        (("dovecot.index",), ".work.dovecot%2Eindex", "work/%64ovecot.index"),
        (("a\x00b\n\x7f\x85",), ".work.a%00b%0A%7F%85", "work/a%00b%0A%7F%85"),
        (("R&D",), ".work.R&-D", "work/R&D"),
        (("~", "*", "\\"), ".work.~.*.\\", "work/~/*/\\"),
    ],
)
def test_name_has_one_directory_and_back(parts: tuple[str, ...], plus_plus: str, fs: str) -> None:
    """Separators, hazards and Maildir's own names are escaped, and the escape is undone."""
    for layout, text in ((MaildirPlusPlus(), plus_plus), (Fs(), fs)):
        directory = layout.directory("work", name(*parts))

        assert directory == PurePosixPath(text)
        assert layout.mailbox(directory) == ("work", name(*parts))


@BOTH
@pytest.mark.parametrize(
    "parts",
    [("x" * 256,), ("ü" * 200,), ("/" * 86,), tuple("x" * 20 for _ in range(400)), ("\ud800",)],
    ids=["long", "long-in-utf-8-and-7", "long-when-escaped", "deep", "surrogate"],
)
def test_name_that_no_directory_can_have_is_an_error(layout: Layout, parts: tuple[str, ...]) -> None:
    """A name too long for the file system concerns that mailbox alone, and says so."""
    with pytest.raises(MailboxNameError):
        layout.directory("work", name(*parts))


def test_long_names_that_still_fit_are_kept() -> None:
    """The limit is 255 octets on disk for a component, not less."""
    assert len(Fs().directory("a", name("x" * 255)).name) == 255
    assert len(MaildirPlusPlus().directory("a", name("x" * 252)).name) == 255
    with pytest.raises(MailboxNameError):
        MaildirPlusPlus().directory("a", name("x" * 253))


@BOTH
@pytest.mark.parametrize("account", ["", "Work", "a.b", "../x", "a/b", ".."])
def test_account_name_of_another_form_is_refused(layout: Layout, account: str) -> None:
    """What is no account name never becomes a path."""
    with pytest.raises(ValueError, match="account"):
        layout.directory(account, name("INBOX"))


@pytest.mark.parametrize(
    "directory",
    [
        ".",
        "work",
        ".work",
        "work.INBOX",
        ".work.",
        ".Work.x",
        ".work.inbox",
        ".work.%2e",
        ".work.a%",
        ".work.&APw",
        ".x.ü",
        ".work.a/b",
        ".work.&AGE-",
        ".work.\udcff",
    ],
)
def test_foreign_directory_is_no_mailbox_of_maildir_plus_plus(directory: str) -> None:
    """What `directory` would never give is left to whoever made it."""
    assert MaildirPlusPlus().mailbox(PurePosixPath(directory)) is None


@pytest.mark.parametrize(
    "directory",
    [
        ".",
        "work",
        "Work/x",
        "work/cur",
        "work/x/new",
        "work/.x",
        "work/inbox",
        "work/%41",
        "work/a%",
        "work/\udcff",
        "/work/x",
        "work/x/../../y",
        "work/dovecot-keywords",
    ],
)
def test_foreign_directory_is_no_mailbox_of_fs(directory: str) -> None:
    """What `directory` would never give is left to whoever made it."""
    assert Fs().mailbox(PurePosixPath(directory)) is None


def test_directories_as_mbsync_called_them_are_known_from_the_outermost_on() -> None:
    """Each is looked for where it is once those around it have their names."""
    found = Fs().older_spellings("work", name("Café", "plans", "a & ü"))

    assert found == (
        (PurePosixPath("work/Caf&AOk-"), PurePosixPath("work/Café")),
        (PurePosixPath("work/Café/plans/a &- &APw-"), PurePosixPath("work/Café/plans/a & ü")),
    )
    assert Fs().older_spellings("work", name("INBOX")) == ()
    assert MaildirPlusPlus().older_spellings("work", name("Café")) == ()
    assert without_utf7(name("Caf&AOk-", "a &- &APw-")) == name("Café", "a & ü")
    assert [without_utf7(name(text)) for text in ("plans", "Café", "a & b", "Café&-")] == [None] * 4
