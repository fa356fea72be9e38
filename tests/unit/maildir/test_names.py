"""File names and keyword letters as values."""

import pytest

from syncd.mail.flags import NONE
from syncd.maildir.naming.keywords import EMPTY, KeywordMap
from syncd.maildir.naming.names import (
    FileName,
    flags_of,
    holdable,
    is_minted,
    letters_of,
    mint,
    tokens,
    unknown_letters,
    unlisted_keywords,
)

LABELS = KeywordMap(((0, "$Label1"), (1, "$Forwarded"), (2, "work")))
FULL = KeywordMap(tuple((number, f"k{number}") for number in range(26)))


@pytest.mark.parametrize(
    ("text", "name", "letters"),
    [
        ("1.a:2,FS", "1.a", "FS"),
        ("1.a:2,", "1.a", ""),
        ("1.a", "1.a", ""),
        ("1.a:1,x", "1.a:1,x", ""),
        ("1.a:2,S:2,T", "1.a:2,S", "T"),
        ("1.a:2,TSS", "1.a", "TSS"),
        ("1.a:2,S,Zx", "1.a", "S"),
        (":2,S", "", "S"),
        ("1\n.a\udcff:2,S", "1\n.a\udcff", "S"),
        ("x" * 255, "x" * 255, ""),
    ],
)
def test_odd_names_split_at_the_last_mark_and_come_back(text: str, name: str, letters: str) -> None:
    """Whatever name a program made, its key and letters are found and the name is not changed by that."""
    parsed = FileName.parse(text)

    assert (parsed.name, parsed.letters, str(parsed)) == (name, letters, text)


def test_minted_name_tells_its_sizes_and_is_recognised() -> None:
    """A minted name has seconds, a token, S= and W=, and nothing that a Maildir forbids."""
    name = mint(time_s=981173106, token="0123456789abcdef", size_bytes=10, wire_size_bytes=12)

    assert name == "981173106.R0123456789abcdef.syncd,S=10,W=12"
    assert is_minted(name)
    assert not is_minted("981173106.M1P2.host,S=10,W=12")
    assert mint(time_s=1, size_bytes=1, wire_size_bytes=1) != mint(time_s=1, size_bytes=1, wire_size_bytes=1)
    drawn = tuple(tokens(500))
    assert len({mint(time_s=1, size_bytes=1, wire_size_bytes=1, token=token) for token in drawn}) == len(drawn) == 500


@pytest.mark.parametrize("token", ["../../../../etc/", "ABCDEF0123456789", "short"])
def test_token_that_is_no_token_is_refused(token: str) -> None:
    """Nothing but 16 hexadecimal digits makes a name."""
    with pytest.raises(ValueError, match="unique name"):
        mint(time_s=1, token=token, size_bytes=1, wire_size_bytes=1)


def test_all_system_flags_are_letters_in_ascii_order() -> None:
    """D F P R S T, then a to z."""
    flags = frozenset({"\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft", "$Forwarded", "work"})

    assert letters_of(flags, LABELS) == "DFPRSTbc"
    assert flags_of("DFPRSTbc", LABELS) == flags


def test_passed_alone_means_forwarded() -> None:
    """Mail programs that know P but no keywords forward messages too."""
    assert flags_of("P", EMPTY) == {"$Forwarded"}
    assert letters_of(frozenset({"$Forwarded"}), EMPTY) == "P"
    assert letters_of(frozenset({"$FORWARDED"}), LABELS) == "Pb"
    assert flags_of("b", LABELS) == {"$Forwarded"}


def test_keyword_without_a_letter_is_left_out() -> None:
    """What the letters cannot say is for the merge to leave alone, not for the name to guess."""
    assert letters_of(frozenset({"other", "\\Seen"}), LABELS) == "S"
    assert flags_of("Sz", LABELS) == {"\\Seen"}
    assert unknown_letters("SzZa", LABELS) == "zZ"


def test_unknown_letters_and_extras_survive_a_flag_change() -> None:
    """A rename keeps what other programs wrote into the name."""
    file = FileName.parse("1.a:2,aSzZ,extra")

    assert str(file.with_flags(frozenset({"\\Flagged"}), LABELS)) == "1.a:2,FZz,extra"
    assert str(FileName.parse("1.a").with_flags(NONE, LABELS)) == "1.a:2,"


def test_holdable_is_any_keyword_until_the_letters_are_given() -> None:
    """The 27th keyword is not representable, so its absence is no removal."""
    assert holdable(LABELS).part_of(frozenset({"new", "\\Seen"})) == {"new", "\\Seen"}
    assert holdable(FULL).part_of(frozenset({"new", "K3", "$forwarded", "\\Draft"})) == {"K3", "$forwarded", "\\Draft"}


def test_keywords_get_the_next_letters_and_keep_them() -> None:
    """A keyword has one letter, whatever its case, and the 27th has none."""
    given = EMPTY.with_keyword("one")
    assert given is not None
    again = given[0].with_keyword("ONE")

    assert given == (KeywordMap(((0, "one"),)), "a")
    assert again == given
    assert FULL.with_keyword("one") is None
    assert FULL.with_keyword("k25") == (FULL, "z")


def test_gaps_are_not_given_away() -> None:
    """Files may still carry the letter of a keyword that somebody took off the list."""
    given = KeywordMap(((1, "one"),)).with_keyword("two")

    assert given is not None
    assert given[1] == "c"


@pytest.mark.parametrize("name", ["\\Seen", "", "a b", "a\r\nb", "a/b(", "ümlaut", ":2,S\x00", "x" * 300])
def test_what_is_no_atom_gets_no_letter(name: str) -> None:
    """Only what an IMAP atom can hold may reach a file."""
    with pytest.raises(ValueError, match="not a keyword"):
        EMPTY.with_keyword(name)
    assert unlisted_keywords([name], EMPTY) == ()


def test_foreign_entries_are_kept_without_a_letter_of_ours() -> None:
    """Numbers beyond z and words that are no keywords belong to somebody else."""
    foreign = KeywordMap(((0, "two words"), (30, "far")))

    assert foreign.keywords == frozenset()
    assert (foreign.keyword("a"), foreign.letter("far")) == (None, None)
    assert foreign.is_full


def test_merging_trusts_the_newer_map_for_a_number() -> None:
    """What Dovecot wrote over a number counts; what only we know comes back."""
    merged = KeywordMap(((0, "a"), (1, "b"))).merged(KeywordMap(((0, "c"),)))

    assert merged == KeywordMap(((0, "c"), (1, "b")))


@pytest.mark.parametrize("entries", [((1, "a"), (0, "b")), ((0, "a"), (0, "b")), ((-1, "a"),)])
def test_disordered_entries_make_no_map(entries: tuple[tuple[int, str], ...]) -> None:
    """A number belongs to one keyword."""
    with pytest.raises(ValueError, match="ascend"):
        KeywordMap(entries)
