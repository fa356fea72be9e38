"""Facts of a body do not depend on how it was cut, and LF form loses nothing."""

import hashlib
import itertools
import re
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from syncd.mail import message
from syncd.mail.message import BodyReader, crlf_pieces, facts_of, lf_pieces

lines = st.sampled_from([b"", b"Message-ID: <a@example.org>", b"Subject: x", b" folded", b"text", b"\xe9\x00"])
ends = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\r\n"])
bodies = st.one_of(
    st.lists(st.tuples(lines, ends).map(b"".join), max_size=8).map(b"".join),
    st.lists(lines, max_size=8).map(b"\r\n".join),
    st.binary(max_size=40),
)


@st.composite
def cut_bodies(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """Draw a body and pieces that make it up, some of them empty."""
    body = draw(bodies)
    cuts = [0, *sorted(draw(st.lists(st.integers(0, len(body)), max_size=6))), len(body)]
    return body, [body[start:end] for start, end in itertools.pairwise(cuts)]


@given(cut_bodies())
def test_facts_do_not_depend_on_the_cuts(cut: tuple[bytes, list[bytes]]) -> None:
    """Where the network cuts a body, the facts are those of the whole."""
    body, pieces = cut

    assert facts_of(pieces) == facts_of([body])


@given(bodies)
def test_facts_are_those_of_the_octets(body: bytes) -> None:
    """Sizes and digests say what they say."""
    facts = facts_of([body])

    assert facts.digest == hashlib.sha256(body).digest()
    assert facts.size_bytes == len(body)
    assert facts.lf_size_bytes == len(body.replace(b"\r\n", b"\n"))
    assert facts.is_crlf == (body.replace(b"\r\n", b"").count(b"\r") + body.replace(b"\r\n", b"").count(b"\n") == 0)


@given(cut_bodies(), st.sampled_from((1, 2, 3, message._AT_ONCE)))
def test_lf_form_gives_the_octets_back(cut: tuple[bytes, list[bytes]], at_once: int) -> None:
    """A file with LF is the server's body again, octet for octet, whenever `is_crlf` says so."""
    body, pieces = cut
    facts = facts_of([body])
    reader = BodyReader()
    with mock.patch.object(message, "_AT_ONCE", at_once):
        read = b"".join(map(reader.feed_to_lf, pieces))
    assert reader.facts() == facts
    if facts.is_crlf:
        file = b"".join(lf_pieces(pieces))

        assert read == file
        assert file.replace(b"\n", b"\r\n") == body
        assert len(file) == facts.lf_size_bytes


@given(cut_bodies())
def test_crlf_form_ends_every_line_the_same(cut: tuple[bytes, list[bytes]]) -> None:
    """However it is cut, a lone LF becomes CRLF, and nothing else changes; a file with LF is its message again."""
    body, pieces = cut

    whole = b"".join(crlf_pieces(pieces))

    assert whole == re.sub(rb"(?<!\r)\n", b"\r\n", body)
    if facts_of([body]).is_crlf:
        assert b"".join(crlf_pieces([body.replace(b"\r\n", b"\n")])) == body
