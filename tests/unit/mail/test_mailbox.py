"""Names of mailboxes, and patterns that select them."""

import pytest

from syncd.mail.mailbox import INBOX, MailboxName, decode_utf7, encode_utf7, from_wire, is_selected, to_wire


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("Sent", b"Sent"),
        ("Entwürfe", b"Entw&APw-rfe"),
        ("R&D", b"R&-D"),
        ("&", b"&-"),
        ("台北", b"&U,BTFw-"),
        ("~peter/mail/台北/日本語", b"~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
        ("é&é", b"&AOk-&-&AOk-"),
        ("😀", b"&2D3eAA-"),
        ("a\tb", b"a&AAk-b"),
        ("e\u0301", b"e&AwE-"),
        ("", b""),
    ],
)
def test_text_and_modified_utf7_are_each_other(text: str, octets: bytes) -> None:
    """The examples of RFC 3501 5.1.3, and what is beside them."""
    assert encode_utf7(text) == octets
    assert decode_utf7(octets) == text


@pytest.mark.parametrize(
    "octets",
    [
        b"&",
        b"a&b",
        b"&AOk",
        b"&AOk&-",
        b"&A-",
        b"&AA-",
        b"&AGE-",
        b"&2D0-",
        b"&3gA-",
        b"&AOl-",
        b"&AOk=-",
        b"&U/BTFw-",
        b"&AO k-",
        b"&!!!!-",
        b"&AOk-&AOk-",
        "Entwürfe".encode(),
        b"\xff",
        b"a\nb",
        b"a\x7fb",
    ],
)
def test_what_is_not_the_one_form_of_modified_utf7_is_refused(octets: bytes) -> None:
    """A second way to write a name would be a second mailbox of the same name."""
    with pytest.raises(ValueError, match=r"UTF-7|ascii"):
        decode_utf7(octets)


def test_text_that_is_no_unicode_has_no_octets() -> None:
    """A file name that is not UTF-8 becomes no mailbox name that servers would choke on."""
    with pytest.raises(ValueError, match="surrogates"):
        encode_utf7("a\udce9")


@pytest.mark.parametrize("text", ["INBOX", "inbox", "InBoX"])
def test_inbox_in_any_case_is_inbox(text: str) -> None:
    """Every server has one INBOX, however it is written."""
    assert MailboxName((text,)) == INBOX
    assert MailboxName.parse(text).is_inbox
    assert from_wire(text.encode(), "/") == INBOX
    assert MailboxName((text, "sub")).parts == ("INBOX", "sub")


@pytest.mark.parametrize("parts", [("\u0131nbox",), ("INBOX ",), ("INBOXES",), ("a", "inbox")])
def test_what_only_resembles_inbox_is_not_inbox(parts: tuple[str, ...]) -> None:
    """A dotless i, a space or an outer mailbox make another name."""
    assert MailboxName(parts).parts == parts
    assert not MailboxName(parts).is_inbox


def test_name_without_parts_cannot_be_built() -> None:
    """There is no mailbox without a name."""
    with pytest.raises(ValueError, match="at least one part"):
        MailboxName(())


@pytest.mark.parametrize(
    ("octets", "delimiter", "parts"),
    [
        (b"a/b", "/", ("a", "b")),
        (b"a.b/c", ".", ("a", "b/c")),
        (b"a/b", None, ("a/b",)),
        (b"INBOX.Entw&APw-rfe", ".", ("INBOX", "Entwürfe")),
        (b"a//b", "/", ("a", "", "b")),
        (b"50%", "/", ("50%",)),
        (b"a/&AAA-b", "/", ("a", "%26AAA-b")),
        (b"50%25", "/", ("50%2525",)),
        (b"%E9", "/", ("%25E9",)),
        (b"\xe9", "/", ("%E9",)),
        ("é/b".encode(), "/", ("%C3%A9", "b")),
        (b"a&b", "/", ("a%26b",)),
        (b"a&-b", "/", ("a&b",)),
        (b'"\\', "/", ('"\\',)),
    ],
)
def test_any_octets_are_a_name(octets: bytes, delimiter: str | None, parts: tuple[str, ...]) -> None:
    """Real servers have raw 8-bit and broken names; each is shown, and none is taken for another."""
    assert from_wire(octets, delimiter).parts == parts


@pytest.mark.parametrize(
    ("parts", "delimiter"),
    [
        (("a", "b"), None),
        (("a.b",), "."),
        (("",), "/"),
        (("a", "", "b"), "/"),
        (("a\nb",), "/"),
        (("%E9",), "/"),
        (("\udce9",), "/"),
    ],
)
def test_name_that_a_server_cannot_have_is_refused(parts: tuple[str, ...], delimiter: str | None) -> None:
    """A mailbox made on a device is refused there, not created under another name on the server."""
    with pytest.raises(ValueError, match=r"mailbox|surrogates"):
        to_wire(MailboxName(parts), delimiter)


@pytest.mark.parametrize(
    ("patterns", "selected"),
    [
        (("*",), "INBOX Archive Archive/2024 Lists/a/b Junk inboxes"),
        (("*", "!Junk"), "INBOX Archive Archive/2024 Lists/a/b inboxes"),
        (("!Junk", "*"), "INBOX Archive Archive/2024 Lists/a/b Junk inboxes"),
        (("Archive",), "Archive"),
        (("Archive*",), "Archive Archive/2024"),
        (("Archive/*",), "Archive/2024"),
        (("Archive/202?",), "Archive/2024"),
        (("Archive?2024",), ""),
        (("Lists/?/?",), "Lists/a/b"),
        (("*/*", "!Lists/*", "Lists/a/*"), "Archive/2024 Lists/a/b"),
        (("inbox",), "INBOX"),
        (("Inbo?",), ""),
        (("inbox*",), "inboxes"),
        (("archive",), ""),
        (("!*",), ""),
        ((), ""),
        (("[A-Z]*", "Ju.k", "(Junk|INBOX)"), ""),
    ],
)
def test_last_pattern_that_matches_decides(patterns: tuple[str, ...], selected: str) -> None:
    """Patterns are read like a sentence: these, but not those, but these after all; nothing in them is a regex."""
    names = ["INBOX", "Archive", "Archive/2024", "Lists/a/b", "Junk", "inboxes"]

    assert [name for name in names if is_selected(MailboxName.parse(name), patterns)] == selected.split()


def test_patterns_know_inbox_in_any_case_with_what_is_inside() -> None:
    """`inbox/*` means the mailboxes inside of INBOX, as a person would think."""
    assert is_selected(MailboxName(("INBOX", "sub")), ("inbox/*",))
    assert not is_selected(MailboxName(("INBOX", "sub")), ("*", "!Inbox/*"))
    assert not is_selected(INBOX, ("\u0131nbox",))
