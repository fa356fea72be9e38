"""Names of mailboxes: round trips and no two for one."""

from hypothesis import assume, example, given
from hypothesis import strategies as st

from syncd.mail.mailbox import MailboxName, decode_utf7, encode_utf7, from_wire, is_selected, to_wire

unicode_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
tricky = st.text(st.sampled_from("a%25E9&-/.~AOk\\é台😀\x01"), max_size=10)
texts = st.one_of(unicode_text, tricky)
octet_strings = st.one_of(
    st.binary(max_size=12),
    st.text(st.sampled_from("a%25E9&-,/.AOkU+="), max_size=12).map(str.encode),
    texts.map(encode_utf7),
)
delimiters = st.sampled_from(["/", ".", "\\", "~", None])
names = st.lists(texts, min_size=1, max_size=3).map(lambda parts: MailboxName(tuple(parts)))


@given(texts)
def test_every_text_survives_modified_utf7(text: str) -> None:
    """Any Unicode can be a mailbox name, in printable ASCII on the wire."""
    octets = encode_utf7(text)

    assert decode_utf7(octets) == text
    assert all(0x20 <= octet < 0x7F for octet in octets)


@given(octet_strings)
def test_octets_have_one_reading_or_none(octets: bytes) -> None:
    """What can be decoded encodes to the same octets; all else is a ValueError."""
    try:
        text = decode_utf7(octets)
    except ValueError:
        return
    assert encode_utf7(text) == octets


@given(names)
def test_name_survives_its_text(name: MailboxName) -> None:
    """A name in a log, a command line or the store is the name again."""
    assert MailboxName.parse(str(name)) == name


@given(names, names)
def test_distinct_names_have_distinct_texts(one: MailboxName, other: MailboxName) -> None:
    """Parts never run together."""
    assert (str(one) == str(other)) == (one == other)


@given(octet_strings, octet_strings, delimiters)
@example(b"\xe9", b"%E9", "/")
@example(b"a&b", b"a&-b", "/")
@example(b"a&b%", b"a%26b%25", "/")
def test_distinct_octets_are_distinct_names(one: bytes, other: bytes, delimiter: str | None) -> None:
    """No server can make two mailboxes fall into one, except INBOX in another case, which is one."""
    assume(one != other)
    assume(one[:5].upper() != b"INBOX")

    assert from_wire(one, delimiter) != from_wire(other, delimiter)
    assert str(from_wire(one, delimiter)) != str(from_wire(other, delimiter))


@given(octet_strings, delimiters)
@example(b"%25E9", "/")
@example(b"%%E9", "/")
def test_name_from_a_server_goes_back_as_the_same_octets_or_not_at_all(octets: bytes, delimiter: str | None) -> None:
    """A command never reaches another mailbox than the one that was listed."""
    assume(octets[:5].upper() != b"INBOX")
    name = from_wire(octets, delimiter)
    try:
        sent = to_wire(name, delimiter)
    except ValueError:
        return
    assert sent == octets


@given(names, delimiters)
def test_name_made_on_a_device_comes_back_from_the_server(name: MailboxName, delimiter: str | None) -> None:
    """A mailbox created under a name is listed under that name, or the name is refused before."""
    try:
        octets = to_wire(name, delimiter)
    except ValueError:
        return
    back = from_wire(octets, delimiter)
    assert to_wire(back, delimiter) == octets
    if not any("%" in part for part in name.parts):
        assert back == name


@given(names)
def test_star_selects_everything_and_its_exclusion_nothing(name: MailboxName) -> None:
    """No name is too odd for `*`."""
    assert is_selected(name, ("*",))
    assert not is_selected(name, ("*", "!*"))


@given(names)
def test_name_written_out_selects_itself(name: MailboxName) -> None:
    """What `status` prints can be pasted into the configuration, unless it has wildcards in it."""
    text = str(name)
    assume(not text.startswith("!"))

    assert is_selected(name, (text,))
