"""What the store keeps of a replica's keyword letters."""

import pytest

from syncd.maildir.keywords import KeywordMap
from syncd.sync.policies import keyword_map, keyword_names

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
