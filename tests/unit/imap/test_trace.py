"""What of a wire may be shown."""

import pytest

from syncd import trace
from syncd.imap.types import Octets
from syncd.imap.wire.arguments import Argument, Literal, command_line, string
from syncd.imap.wire.trace import command_text, response_text
from syncd.log import structlog


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("LOGIN", (string(b"ana"), string(b"secret")), "LOGIN …"),
        ("AUTHENTICATE", (b"PLAIN", b"AGFuYQBzZWNyZXQ="), "AUTHENTICATE …"),
        ("SELECT", (string(b"INBOX"), b"(CONDSTORE)"), 'SELECT "INBOX" (CONDSTORE)'),
        ("SELECT", (Literal(b"caf\xe9"),), "SELECT {4 octets}"),
        ("APPEND", (b'"Sent"', b"(\\Seen)", Literal(b"x" * 1234)), 'APPEND "Sent" (\\Seen) {1234 octets}'),
        ("UID SEARCH", (b'HEADER Message-ID "<1@example.org>"',), 'UID SEARCH HEADER Message-ID "..."'),
        ("UID SEARCH", (b'SUBJECT "a \\"quoted\\" word" ALL',), 'UID SEARCH SUBJECT "..." ALL'),
        ("UID FETCH", (b"1:*", b"(UID FLAGS)"), "UID FETCH 1:* (UID FLAGS)"),
        ("IDLE", (), "IDLE"),
    ],
)
def test_command_is_shown_without_logins_bodies_and_headers(
    name: str, arguments: tuple[Argument, ...], expected: str
) -> None:
    """What helps to find a fault is there; what is somebody's is not."""
    assert expected == command_text(name, command_line(*arguments))


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ((b"1 FETCH (UID 7 BODY[] {5}", b"hello", b")"), "1 FETCH (UID 7 BODY[] {5 octets})"),
        ((b'1 FETCH (UID 7 BODY[HEADER] "Subject: a secret")',), '1 FETCH (UID 7 BODY[HEADER] "...")'),
        (
            (b'1 FETCH (ENVELOPE ("d" {3}', b"new", b' (("Ana" NIL "ana" "b.org"))))'),
            '1 FETCH (ENVELOPE ("..." {3 octets} (("..." NIL "..." "..."))))',
        ),
        ((b'LIST (\\HasNoChildren) "/" "Sent"',), 'LIST (\\HasNoChildren) "/" "Sent"'),
        ((b"OK [UIDVALIDITY 7] UIDs valid",), "OK [UIDVALIDITY 7] UIDs valid"),
        ((b'9 FETCH (X "cut in the mid',), '9 FETCH (X "..."'),
    ],
)
def test_response_is_shown_without_bodies_and_headers(pieces: tuple[Octets, ...], expected: str) -> None:
    """Literals are counted, and so is what stands between quotes where that may be of a message."""
    assert expected == response_text(pieces)


def test_trace_is_of_the_accounts_that_were_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of no other, and of none when nobody asked."""
    wanted = {}
    for value in ("", "work", "home,work", "workshop", "*"):
        monkeypatch.setenv(trace.VARIABLE, value)
        with structlog.contextvars.bound_contextvars(account="work"):
            wanted[value] = trace.is_wanted()

    assert wanted == {"": False, "work": True, "home,work": True, "workshop": False, "*": True}


def test_addresses_are_taken_out_and_long_lines_are_cut() -> None:
    """A greeting may name the user, and a search lists a million numbers."""
    with structlog.testing.capture_logs() as told:
        trace.received("OK ana.b@example.org logged in from <x@[10.0.0.1]>")

    assert [one["line"] for one in told] == ["OK …@… logged in from <…@…>"]
    assert trace.text_of(b"1 " * 5000) == "1 " * 1000 + "…"
    assert trace.text_of(b"caf\xe9") == "caf\\xe9"
