"""Names and directories for anything that hypothesis can think of: round trips, distinctness, confinement."""

import string

from hypothesis import example, given
from hypothesis import strategies as st

from syncd.errors import MailboxNameError
from syncd.mail.flags import FORWARDED, SYSTEM
from syncd.mail.mailbox import MailboxName
from syncd.maildir.naming.keywords import EMPTY, KeywordMap
from syncd.maildir.naming.layout import Fs, MaildirPlusPlus
from syncd.maildir.naming.names import FileName, flags_of, holdable, letters_of, unknown_letters

LAYOUTS = (MaildirPlusPlus(), Fs())

hazards = st.sampled_from(
    [
        "",
        ".",
        "..",
        "%",
        "%2E",
        "/",
        "cur",
        "new",
        "tmp",
        "&",
        "&-",
        "&AC4-",
        "INBOX",
        "inbox",
        "~",
        "\0",
        "a.b",
        "dovecot",
    ]
)
parts = hazards | st.text(max_size=20) | st.text(alphabet="./%&-+,~\\ aA0Eü\x7f\x80\n", max_size=12)
mailboxes = st.lists(parts, min_size=1, max_size=5).map(lambda found: MailboxName(tuple(found)))
accounts = st.text(alphabet=string.ascii_lowercase + string.digits + "_-", min_size=1, max_size=12)
filenames = st.text(
    alphabet=st.characters(exclude_characters="/\0", exclude_categories=[]) | st.sampled_from(":2,ST"), min_size=1
)
atoms = st.text(alphabet=string.ascii_letters + string.digits + "$_-.", min_size=1, max_size=8)
maps = st.lists(atoms, max_size=28, unique_by=str.lower).map(lambda found: KeywordMap(tuple(enumerate(found))))
system = st.frozensets(st.sampled_from(sorted(SYSTEM | {FORWARDED})))


@given(accounts, mailboxes)
def test_directory_gives_its_mailbox_back_and_stays_below_the_root(account: str, name: MailboxName) -> None:
    """Every mailbox name has a directory of its own inside the root, or an error of its own."""
    for layout in LAYOUTS:
        try:
            directory = layout.directory(account, name)
        except MailboxNameError:
            continue
        assert layout.mailbox(directory) == (account, name)
        assert not directory.is_absolute()
        assert not {"", ".", "..", "cur", "new", "tmp"} & set(directory.parts)
        assert all(len(part.encode()) <= 255 and "\0" not in part for part in directory.parts)


@given(accounts, mailboxes, accounts, mailboxes)
@example("a", MailboxName(("x", "y")), "a", MailboxName(("x.y",)))
@example("a", MailboxName(("x/y",)), "a", MailboxName(("x", "y")))
@example("a", MailboxName(("",)), "a", MailboxName(("%",)))
@example("a", MailboxName(("\x85",)), "a", MailboxName(("%85",)))
def test_distinct_mailboxes_have_distinct_directories(
    account: str, name: MailboxName, other_account: str, other: MailboxName
) -> None:
    """No two mailboxes of any accounts ever share files."""
    for layout in LAYOUTS:
        try:
            same = layout.directory(account, name) == layout.directory(other_account, other)
        except MailboxNameError:
            continue
        assert same == ((account, name) == (other_account, other))


@given(filenames)
def test_any_file_name_comes_back(text: str) -> None:
    """Splitting a name loses nothing of it."""
    assert str(FileName.parse(text)) == text


@given(filenames, system, maps)
def test_flags_written_are_the_flags_read(text: str, flags: frozenset[str], keywords: KeywordMap) -> None:
    """A rename to flags that the mailbox can hold says exactly these, under the same key, in ASCII order."""
    file = FileName.parse(text)
    held = flags | keywords.keywords

    renamed = FileName.parse(str(file.with_flags(held, keywords)))

    assert renamed.name == file.name
    assert {flag.lower() for flag in flags_of(renamed.letters, keywords)} == {flag.lower() for flag in held}
    assert set(unknown_letters(renamed.letters, keywords)) == set(unknown_letters(file.letters, keywords))
    assert list(renamed.letters) == sorted(set(renamed.letters))


@given(system, st.lists(atoms, max_size=40))
def test_whatever_is_holdable_gets_letters(flags: frozenset[str], wanted: list[str]) -> None:
    """Giving letters one by one, the map holds each keyword until it is full, and never changes a letter given."""
    keywords = EMPTY
    for keyword in wanted:
        can_hold = keyword in holdable(keywords).part_of(frozenset({keyword}))
        given_letter = keywords.with_keyword(keyword)
        if given_letter is None:
            assert keyword.lower() == FORWARDED.lower() or not can_hold
            continue
        for known in keywords.keywords:
            assert given_letter[0].letter(known) == keywords.letter(known)
        keywords = given_letter[0]
        assert keyword.lower() in {flag.lower() for flag in flags_of(given_letter[1], keywords)}
    assert flags_of(letters_of(flags, keywords), keywords) >= flags - {FORWARDED}
