"""Octets to answers: exact whatever the cuts, and an error, never a wrong message, where they cannot be trusted."""

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from syncd.errors import ProtocolError
from syncd.pop3.answers import PIECE_BYTES, AnswerReader, End, Piece, Status

ROOM = 10 * PIECE_BYTES


def stuffed(body: bytes, eol: bytes = b"\r\n") -> bytes:
    """Return the answer of a server that stuffs line by line, as RFC 1939 §3 words it."""
    lines = body.split(eol)
    assert lines.pop() == b"", "a body ends in a line end, or is empty"
    return b"+OK" + eol + b"".join((b"." if line[:1] == b"." else b"") + line + eol for line in lines) + b"." + eol


def read(octets: bytes, *cuts: int, expected: str = "B", room: int = ROOM) -> list[Status | bytes]:
    """Return statuses, and each body as one; `expected` has B for a multi-line answer, L for a line."""
    reader = AnswerReader(line_bytes=200)
    for kind in expected:
        reader.expect_lines(room) if kind == "B" else reader.expect_line()
    answers: list[Status | bytes] = []
    body: list[bytes] = []
    bounds = (0, *cuts, len(octets))
    for start, end in itertools.pairwise(bounds):
        reader.feed(octets[start:end])
        while (event := reader.next()) is not None:
            match event:
                case Status():
                    answers.append(event)
                case Piece(piece):
                    assert piece
                    body.append(piece)
                case End():
                    answers.append(b"".join(body))
                    body = []
    assert not reader.has_leftover
    return answers


OK = Status(is_ok=True, code="", text=b"")
ODD = (
    b"",
    b"\r\n",
    b".\r\n",
    b"..\r\n.\r\n...\r\n",
    b"a\r\n.b\r\n\r\n..c\r\n",
    b"LF.LF\n.\nend\r\n",
    b"LF.CRLF\n.\r\nend\r\n",
    b"CR.CRLF\r.\r\nend\r\n",
    b"\n.\r\n",
    b"x\r\r\n.\r\r\n",
    b"+OK\r\n-ERR\r\n",
)


@pytest.mark.parametrize("body", ODD)
def test_bodies_are_exact_when_cut_at_every_octet(body: bytes) -> None:
    """An answer gives the same octets wherever the network cuts it once, or everywhere."""
    wire = stuffed(body) + b"+OK\r\n"
    for cut in range(len(wire) + 1):
        assert read(wire, cut, expected="BL") == [OK, body, OK]
    assert read(wire, *range(1, len(wire)), expected="BL") == [OK, body, OK]


bodies = st.lists(st.sampled_from([b".", b"\r\n", b"\r", b"\n", b"a", b"..", b"\r\n.", b"\xff"]), max_size=40).map(
    lambda parts: b"".join(parts) + b"\r\n"
)


@given(bodies=st.lists(bodies | st.just(b""), min_size=1, max_size=4), cuts=st.lists(st.integers(0, 400), max_size=8))
@example(bodies=[b"a\r\n", b""], cuts=[5, 6])
def test_random_bodies_survive_stuffing_and_any_cuts(bodies: list[bytes], cuts: list[int]) -> None:
    """What a proper server stuffs is given back octet for octet."""
    wire = b"".join(map(stuffed, bodies))
    inside = sorted(min(cut, len(wire)) for cut in cuts)

    answers = read(wire, *inside, expected="B" * len(bodies))

    assert answers == [item for body in bodies for item in (OK, body)]


@pytest.mark.parametrize("body", [b"a\n", b"", b"\n", b"..\n.x\n\n", b"a\r\n.\r\nb\r\n"])
def test_bare_lf_server_is_understood_when_cut_at_every_octet(body: bytes) -> None:
    """A server whose status line ends in LF ends bodies in LF as well; line ends are given on as they came."""
    wire = stuffed(body, b"\n") + b"+OK\n"
    for cut in range(len(wire) + 1):
        assert read(wire, cut, expected="BL") == [OK, body, OK]


@pytest.mark.parametrize("shift", range(-6, 7))
def test_stuffed_dot_and_end_at_the_edge_of_a_piece_are_exact(shift: int) -> None:
    """Where a long body is cut into pieces, no dot is lost or left over."""
    body = b"x" * (PIECE_BYTES + shift) + b"\r\n..\r\n.y\r\n" + b"z" * (PIECE_BYTES + shift) + b"\r\n.\r\n"
    wire = stuffed(body)
    for cut in range(PIECE_BYTES - 12, PIECE_BYTES + 24):
        assert read(wire, cut) == [OK, body]
    assert read(wire, *range(PIECE_BYTES - 12, len(wire), 1009)) == [OK, body]


def test_line_of_half_a_megabyte_is_an_ordinary_line() -> None:
    """Message lines have no limit of their own, and the next answer is still the next answer."""
    body = b"h\r\n\r\n" + b"x" * 500_000 + b"\r\n"

    answers = read(stuffed(body) + stuffed(b"next\r\n"), *range(0, 500_000, 4099), expected="BB")

    assert answers == [OK, body, OK, b"next\r\n"]


def test_dot_that_a_server_did_not_stuff_is_kept() -> None:
    """A line that begins with one dot can only come from a server that does not stuff."""
    assert read(b"+OK\r\n.sig\r\na\r\n.b\r\n.\r\n") == [OK, b".sig\r\na\r\n.b\r\n"]


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"+OK", OK),
        (b"+ok ready", Status(is_ok=True, code="", text=b"ready")),
        (b"-ERR [in-use] locked", Status(is_ok=False, code="IN-USE", text=b"locked")),
        (b"-ERR [SYS/TEMP]", Status(is_ok=False, code="SYS/TEMP", text=b"")),
        (b"-err\tno", Status(is_ok=False, code="", text=b"no")),
        (b"-ERR [user@example.org] no", Status(is_ok=False, code="", text=b"[user@example.org] no")),
    ],
)
def test_status_lines_are_read_leniently(line: bytes, status: Status) -> None:
    """Case and what follows do not matter; a response code is only what looks like one."""
    assert read(line + b"\r\n", expected="L") == [status]


def test_refused_multi_line_command_has_no_lines() -> None:
    """After -ERR the next status line follows at once."""
    assert [bool(isinstance(each, Status)) for each in read(b"-ERR\r\n+OK\r\n", expected="BL")] == [True, True]


@pytest.mark.parametrize("octets", [b"OK\r\n", b"+OKAY\r\n", b"\r\n", b"* OK\r\n", b"x" * 300, b"+OK" + b"x" * 300])
def test_what_is_no_status_line_is_an_error(octets: bytes) -> None:
    """A session that is out of step, or a line without end, ends."""
    with pytest.raises(ProtocolError):
        read(octets, expected="L")


def test_octets_that_nobody_asked_for_are_an_error() -> None:
    """A server does not speak first."""
    with pytest.raises(ProtocolError, match="unasked"):
        read(b"+OK\r\n+OK\r\n", expected="L")


def test_body_over_its_limit_is_an_error_and_at_its_limit_is_not() -> None:
    """The limit is on the message's own octets."""
    body = b"x" * 98 + b"\r\n"
    assert read(stuffed(body), room=100) == [OK, body]

    with pytest.raises(ProtocolError, match="limit"):
        read(stuffed(body), room=99)


def test_body_without_end_is_stopped_soon_after_its_limit() -> None:
    """What a server sends without end is neither kept nor waited for."""
    reader = AnswerReader(line_bytes=200)
    reader.expect_lines(PIECE_BYTES)
    reader.feed(b"+OK\r\n")
    fed = []

    def feed_for_ever() -> None:
        while len(fed) < 100:
            reader.feed(b"x" * PIECE_BYTES)
            fed.append(PIECE_BYTES)
            while reader.next():
                pass

    with pytest.raises(ProtocolError, match="limit"):
        feed_for_ever()
    assert len(fed) <= 2
