"""Flags and keywords."""

import pytest

from syncd.mail.flags import (
    ANSWERED,
    DELETED,
    DRAFT,
    FLAGGED,
    NONE,
    SEEN,
    canonical,
    flags_of,
    format_flags,
    parse_flags,
    with_delta,
)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("\\Seen", SEEN),
        ("\\SEEN", SEEN),
        ("\\aNSWERED", ANSWERED),
        ("\\flagged", FLAGGED),
        ("\\Deleted", DELETED),
        ("\\DRAFT", DRAFT),
        ("$Forwarded", "$Forwarded"),
        ("$forwarded", "$forwarded"),
        ("NonJunk", "NonJunk"),
        ("a+b-c_d.e/f:g;h<i>j'k", "a+b-c_d.e/f:g;h<i>j'k"),
        ("[Gmail", "[Gmail"),
        ("}", "}"),
        ("k" * 255, "k" * 255),
    ],
)
def test_flag_that_a_server_can_hold_is_kept_in_one_spelling(given: str, kept: str) -> None:
    """System flags have one spelling, keywords keep theirs."""
    assert canonical(given) == kept


@pytest.mark.parametrize(
    "given",
    ["\\Recent", "\\*", "\\", "\\Seen2", "\\X-Unknown", "", " ", "a b", "a\tb", "a\r\nA1 DELETE INBOX", "k" * 256]
    + [f"a{char}b" for char in '(){%*"\\]\x00\x7f']
    + ["grün", "日本", "a\u00a0b"],
)
def test_flag_that_is_no_atom_or_belongs_to_the_session_is_dropped(given: str) -> None:
    """What could be sent to no server, or would mean something else there, never enters."""
    assert canonical(given) is None


def test_keywords_that_differ_only_in_case_count_once() -> None:
    """A server that is asked for both would give one back; the first spelling seen stays."""
    assert flags_of(["$Junk", "$JUNK", "\\seen", "\\Seen", "\\Recent"]) == {"$Junk", SEEN}


def test_text_of_flags_is_the_same_for_equal_flags() -> None:
    """The store compares texts instead of sets."""
    assert format_flags(frozenset({"b", "\\Seen", "a"})) == "\\Seen a b"
    assert format_flags(NONE) == ""
    assert parse_flags("") == NONE


@pytest.mark.parametrize(
    ("flags", "add", "remove", "result"),
    [
        ({SEEN}, {FLAGGED}, set(), {SEEN, FLAGGED}),
        ({SEEN, FLAGGED}, set(), {SEEN}, {FLAGGED}),
        ({SEEN}, {SEEN}, {FLAGGED}, {SEEN}),
        ({"$Junk"}, set(), {"$JUNK"}, set()),
        ({"$Junk", SEEN}, {"$JUNK"}, set(), {"$JUNK", SEEN}),
        ({SEEN}, {"$Junk"}, {"$junk"}, {SEEN, "$Junk"}),
        ({SEEN, "other"}, {"$Junk"}, {"gone"}, {SEEN, "other", "$Junk"}),
    ],
)
def test_change_touches_only_its_own_flags(flags: set[str], add: set[str], remove: set[str], result: set[str]) -> None:
    """Whatever else happened to the flags meanwhile stays; an added keyword brings its spelling."""
    assert with_delta(frozenset(flags), add=frozenset(add), remove=frozenset(remove)) == result
