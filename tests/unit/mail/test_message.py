"""Facts of raw messages."""

import hashlib

import pytest

from syncd.mail.message import (
    HEADER_MAX_BYTES,
    BodyReader,
    bare_digest,
    crlf_pieces,
    facts_of,
    lf_pieces,
    untagged_pieces,
)


def header_digest(octets: bytes) -> bytes:
    return hashlib.sha256(octets).digest()


@pytest.mark.parametrize(
    ("body", "header"),
    [
        (b"Subject: x\r\n\r\nbody\r\n\r\nmore", b"Subject: x\r\n\r\n"),
        (b"Subject: x\n\nbody\n\n", b"Subject: x\n\n"),
        (b"Subject: x\r\n\nbody", b"Subject: x\r\n\n"),
        (b"Subject: x\n\r\nbody", b"Subject: x\n\r\n"),
        (b"\r\nno header\r\n\r\nat all", b"\r\n"),
        (b"\nno header", b"\n"),
        (b"Subject: only\r\n", b"Subject: only\r\n"),
        (b"no line end", b"no line end"),
        (b"", b""),
        (b"a: 1\r\r\nb", b"a: 1\r\r\nb"),
    ],
)
def test_header_ends_with_the_first_empty_line(body: bytes, header: bytes) -> None:
    """The header digest is that of what a server calls HEADER, so that both can be compared."""
    assert facts_of([body]).header_digest == header_digest(header)


def test_header_digest_stops_at_its_limit() -> None:
    """A body that is one endless header costs a bounded amount of memory."""
    endless = b"X-A: 1\r\n" * (HEADER_MAX_BYTES // 4)

    facts = facts_of([endless[:1000], endless[1000:]])

    assert facts.header_digest == header_digest(endless[:HEADER_MAX_BYTES])
    assert facts.size_bytes == len(endless)


@pytest.mark.parametrize(
    ("body", "message_id"),
    [
        (b"Message-ID: <a@example.org>\r\n\r\n", "<a@example.org>"),
        (b"Subject: x\nmessage-id:<a@example.org>  \n\n", "<a@example.org>"),
        (b"Message-Id:\r\n <a@example.org>\r\n\r\n", "<a@example.org>"),
        (b"MESSAGE-ID: \t\r\n\t<a@example.org>\r\n\r\n", "<a@example.org>"),
        (b"Message-ID: <\xe9@example.org>\r\n\r\n", "<%E9@example.org>"),
        (b"Message-ID: <a\x1b[2J@example.org>\r\n\r\n", "<a%1B[2J@example.org>"),
        (b"Message-ID: " + b"x" * 2000 + b"\r\n\r\n", "x" * 998),
        (b"Message-ID:\r\n\r\n", None),
        (b"Message-ID: \r\nSubject: x\r\n\r\n", None),
        (b"Subject: x\r\n Message-ID: <folded@example.org>\r\n\r\n", None),
        (b"Subject: x\r\n\r\nMessage-ID: <body@example.org>\r\n", None),
        (b"X-Message-ID: <other@example.org>\r\n\r\n", None),
        (b"Message-ID: <1@example.org>\r\nMessage-ID: <2@example.org>\r\n\r\n", "<1@example.org>"),
        (b"", None),
    ],
)
def test_message_id_is_found_in_the_header_only(body: bytes, message_id: str | None) -> None:
    """The first one of the header counts, printable whatever its octets; what has none has None."""
    assert facts_of([body]).message_id == message_id


@pytest.mark.parametrize(
    ("body", "is_crlf", "lf_size"),
    [
        (b"", True, 0),
        (b"one line", True, 8),
        (b"a\r\nb\r\n", True, 4),
        (b"a\nb\n", False, 4),
        (b"a\r\nb\n", False, 4),
        (b"a\rb\r\n", False, 4),
        (b"a\rb\n", False, 4),
        (b"a\r\r\n", False, 3),
        (b"a\r", False, 2),
        (b"\r\n", True, 1),
        (b"\n\r", False, 2),
    ],
)
def test_line_ends_are_crlf_only_when_all_are(body: bytes, is_crlf: bool, lf_size: int) -> None:
    """One odd line end is enough to keep a file octet for octet."""
    facts = facts_of([body])

    assert (facts.is_crlf, facts.lf_size_bytes, facts.size_bytes) == (is_crlf, lf_size, len(body))


def test_facts_can_be_asked_for_more_than_once() -> None:
    """Asking does not end the reading."""
    reader = BodyReader()
    reader.feed(b"a\r")
    before = reader.facts()
    reader.feed(b"\n")

    assert before == facts_of([b"a\r"])
    assert reader.facts() == facts_of([b"a\r\n"])


@pytest.mark.parametrize("cut", range(9))
def test_crlf_cut_between_pieces_becomes_one_lf(cut: int) -> None:
    """Where the network cut a body does not matter to the file."""
    body = b"a\r\n\r\nb\r\n"

    assert b"".join(lf_pieces([body[:cut], b"", body[cut:]])) == b"a\n\nb\n"


@pytest.mark.parametrize("cut", range(12))
def test_line_ends_become_those_of_mail_wherever_it_is_cut(cut: int) -> None:
    """A lone LF becomes CRLF, a CRLF stays, and a lone CR is an octet like any other."""
    file = b"a\n\nb\r\nc\rd\n"

    assert b"".join(crlf_pieces([file[:cut], b"", file[cut:]])) == b"a\r\n\r\nb\r\nc\rd\r\n"


MAIL = b"From: a\r\nSubject: s\r\n\r\nLines: of text\r\n"
SAVED = b"From: a\r\nStatus: RO\r\nSubject: s\r\nContent-Length: 16\r\n folded\r\nLines: 1\r\n\r\nLines: of text\r\n"


@pytest.mark.parametrize("cut", [0, 10, 25, 60, len(SAVED)])
def test_notes_of_programs_make_no_other_message(cut: int) -> None:
    """Header fields of mailboxes in one file are left out, wherever the octets are cut; those of the text are text."""
    assert bare_digest([SAVED[:cut], SAVED[cut:]]) == bare_digest([MAIL]) == facts_of([MAIL]).digest


def test_any_other_field_makes_another_message() -> None:
    """Also one whose name only begins alike."""
    assert bare_digest([MAIL.replace(b"Subject", b"Statuses: x\r\nSubject")]) != bare_digest([MAIL])


def test_line_of_mbsync_is_taken_out_and_no_other() -> None:
    """What is left are the octets that its server has; a body may say what it likes."""
    mail = b"Subject: x\r\nX-TUID: longer than it writes\r\nTo: y\r\n\r\nX-TUID: abcdefghijkl\r\n"
    tagged = mail.replace(b"\r\n\r\n", b"\r\nX-TUID: ab+/efghijkl\r\n\r\n")

    for pieces in ([tagged], [tagged[:40], tagged[40:]]):
        assert b"".join(untagged_pieces(pieces)) == mail
    assert b"".join(untagged_pieces([mail])) == mail
