"""Responses become values, by the fast path and by the tokenizer alike, and bad input is ProtocolError at worst."""

import random
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncd.errors import ProtocolError
from syncd.imap.answers import lexer, parse
from syncd.imap.answers.lexer import Atom, items
from syncd.imap.answers.parse import internaldate, parse_tagged, parse_untagged, permanent_flags, resp_text
from syncd.imap.types import (
    Capability,
    Enabled,
    Exists,
    Expunge,
    Fetched,
    FetchRow,
    FlagsDefined,
    ListEntry,
    Octets,
    Other,
    RespText,
    Search,
    Section,
    Status,
    StatusRow,
    Tagged,
    Untagged,
    Vanished,
)
from syncd.imap.wire import arguments, trace
from syncd.mail.uidset import EMPTY, UID_MAX, UidSet

SEEN = frozenset({"\\Seen"})


def row(uid: int, **told: object) -> FetchRow:
    return FetchRow(uid, None, None, None, None, None)._replace(**told)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"3 EXISTS", Exists(3)),
        (b"0 exists", Exists(0)),
        (b"3 RECENT", Other("RECENT")),
        (b"7 EXPUNGE", Expunge(7)),
        (b"CAPABILITY IMAP4rev1 idle", Capability(frozenset({"IMAP4REV1", "IDLE"}))),
        (b"ENABLED QRESYNC", Enabled(frozenset({"QRESYNC"}))),
        (b"ENABLED", Enabled(frozenset())),
        (b"FLAGS (\\seen \\Answered k1)", FlagsDefined(frozenset({"\\Seen", "\\Answered", "k1"}))),
        (b"OK [UIDNEXT 4] next", Status("OK", RespText("UIDNEXT", b"4", b"next"))),
        (b"ok [closed] ", Status("OK", RespText("CLOSED", b"", b""))),
        (b"NO just {words} [here]", Status("NO", RespText("", b"", b"just {words} [here]"))),
        (b"BYE", Status("BYE", RespText("", b"", b""))),
        (b"SEARCH", Search(EMPTY)),
        (b"SEARCH 3 1 2 (MODSEQ 917)", Search(UidSet.span(1, 3))),
        (b'ESEARCH (TAG "A1") UID ALL 1:3,7', Search(UidSet.of([1, 2, 3, 7]))),
        (b'ESEARCH (TAG "A1") UID', Search(EMPTY)),
        (b"ESEARCH UID COUNT 5 ALL 4", Search(UidSet.of([4]))),
        (b'ESEARCH (TAG "A1") ALL 4', Other("ESEARCH")),
        (b"VANISHED (EARLIER) 41,43:116", Vanished(True, UidSet.parse("41,43:116"))),
        (b"VANISHED 9:*", Vanished(False, UidSet.span(9, UID_MAX))),
        (b"VANISHED (EARLIER) ", Vanished(True, EMPTY)),
        (b"VANISHED 0:x", Other("VANISHED")),
        (b'STATUS "a b" (MESSAGES 3 UIDNEXT 9 X 1)', StatusRow(b"a b", messages=3, uidnext=9)),
        (b"STATUS x (MAILBOXID (F2212ea8) UIDNEXT 2)", StatusRow(b"x", uidnext=2, object_id="F2212ea8")),
        (b"STATUS x (mailboxid NIL)", StatusRow(b"x")),
        (b"STATUS x ()", StatusRow(b"x")),
        (b"STATUS x (UIDVALIDITY 0 HIGHESTMODSEQ 0)", StatusRow(b"x")),
        (b'ID ("Name" "Dovecot" "x" NIL)', Other("ID")),
        (b"NAMESPACE (({}", Other("NAMESPACE")),
        (b"X-WHATEVER ((( \x00", Other("X-WHATEVER")),
        (b"2 FETCH (UID 5)", row(5)),
        (b"2 FETCH (FLAGS (\\Seen \\Recent) UID 5)", row(5, flags=SEEN)),
        (b"2 FETCH (MODSEQ (12) UID 5 FLAGS ())", row(5, flags=frozenset(), modseq=12)),
        (b"2 FETCH (UID 5 MODSEQ (99999999999999999999))", row(5)),
        (b"2 FETCH (UID 0 FLAGS ())", Other("FETCH")),
        (b"2 FETCH (UID 4294967296 FLAGS ())", Other("FETCH")),
        (b"2 FETCH (FLAGS (\\Seen))", Fetched(row(0, flags=SEEN), ())),
        (
            b'2 FETCH (UID 5 RFC822.SIZE 44 INTERNALDATE " 1-Feb-2001 03:04:05 +0100" EMAILID (M1))',
            row(5, size_bytes=44, internaldate=980993045, email_id="M1"),
        ),
        (b"2 FETCH (X-GM-MSGID 1278455344230334865 UID 5)", row(5, email_id="1278455344230334865")),
        (b'2 FETCH (UID 5 ENVELOPE ("x" ":(" NIL (("a" NIL "b" "c"))) FLAGS (\\Seen))', row(5, flags=SEEN)),
        (b'2 FETCH (UID 5 INTERNALDATE "nonsense but quoted here" FLAGS ())', row(5, flags=frozenset())),
    ],
)
def test_single_line(text: bytes, value: Untagged) -> None:
    """A response on one line is the value that it says."""
    assert parse_untagged((text,)) == value


def test_vanished_without_a_set_names_nothing() -> None:
    """An empty VANISHED is no claim."""
    assert parse_untagged((b"VANISHED",)) == Vanished(False, EMPTY)


@pytest.mark.parametrize(
    ("pieces", "value"),
    [
        ((b"1 FETCH (UID 2 BODY[] {3}", b"abc", b")"), Fetched(row(2), (Section("", None, b"abc"),))),
        ((b"1 FETCH (BODY[]<0> {1}", b"a", b" UID 2)"), Fetched(row(2), (Section("", 0, b"a"),))),
        ((b'1 FETCH (UID 2 BODY[] "a\\"b")',), Fetched(row(2), (Section("", None, b'a"b'),))),
        ((b"1 FETCH (UID 2 BODY[] NIL)",), Fetched(row(2), (Section("", None, None),))),
        ((b"1 FETCH (UID 2 BODY[] {5})",), Fetched(row(2), (Section("", None, None),))),
        ((b"1 FETCH (UID 2 BODY[] (a))",), Fetched(row(2), (Section("", None, None),))),
        (
            (b"1 FETCH (UID 2 body[header.fields (a b)] {2}", b"\r\n", b" FLAGS (\\Seen))"),
            Fetched(row(2, flags=SEEN), (Section("HEADER.FIELDS (A B)", None, b"\r\n"),)),
        ),
        ((b"1 FETCH (UID 2 BINARY[1] ~{2}", b"\0\0", b")"), Fetched(row(2), (Section("1", None, b"\0\0"),))),
        ((b'LIST (\\NOSELECT) "." {4}', b"a{1}", b""), ListEntry(b"a{1}", ".", frozenset({"\\Noselect"}))),
        ((b"STATUS {3}", b"NIL", b" (MESSAGES 1)"), StatusRow(b"NIL", messages=1)),
    ],
)
def test_literals(pieces: tuple[Octets, ...], value: Untagged) -> None:
    """Literals stand wherever strings do."""
    assert parse_untagged(pieces) == value


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        (b'LIST () "/" INBOX', ListEntry(b"INBOX", "/", frozenset())),
        (b'LIST (\\sent \\X) "\\\\" "a\\\\b"', ListEntry(b"a\\b", "\\", frozenset({"\\Sent", "\\X"}))),
        (b"LIST () NIL NIL", ListEntry(b"NIL", None, frozenset())),
        (b'LIST () "/" a%b* (CHILDINFO ("x"))', ListEntry(b"a%b*", "/", frozenset())),
        (b'LIST () "/" "\xe9&A-"', ListEntry(b"\xe9&A-", "/", frozenset())),
        (b'LIST () "" flat', ListEntry(b"flat", None, frozenset())),
    ],
)
def test_list(text: bytes, entry: ListEntry) -> None:
    """A name is octets as they came; attributes have one spelling."""
    assert parse_untagged((text,)) == entry


@pytest.mark.parametrize(
    "text",
    [
        b"1 FETCH",
        b"1 FETCH (UID)",
        b"1 FETCH UID 3",
        b"1 FETCH (UID 3",
        b"1 FETCH (UID 3))",
        b'1 FETCH (UID 3 X "abc)',
        b"LIST",
        b'LIST "/" x',
        b'LIST () "//" x',
        b'LIST () "/" (x)',
        b"STATUS x",
        b"SEARCH 0",
        b"SEARCH 1 -2",
        b"ESEARCH UID ALL",
        b"ESEARCH UID ALL 1:*",
        b"99999999999 EXISTS",
    ],
)
def test_malformed_answer_is_a_protocol_error(text: bytes) -> None:
    """What cannot be understood but would count as an answer is refused."""
    parsed: Untagged | None = None
    with pytest.raises(ProtocolError):
        parsed = parse_untagged((text,))
    assert parsed is None


def test_equal_flag_lists_are_one_object() -> None:
    """A hundred thousand rows do not hold a hundred thousand flag sets."""
    first, second = (parse_untagged((b"%d FETCH (UID 5 FLAGS (\\Seen k))" % n,)) for n in (1, 2))

    assert isinstance(first, FetchRow)
    assert isinstance(second, FetchRow)
    assert first.flags is second.flags


ITEMS = {
    b"UID": lambda r: b"%d" % r.uid,
    b"FLAGS": lambda r: b"(" + " ".join(sorted(r.flags)).encode() + b")",
    b"MODSEQ": lambda r: b"(%d)" % r.modseq,
    b"RFC822.SIZE": lambda r: b"%d" % r.size_bytes,
    b"INTERNALDATE": lambda r: arguments.date_time(r.internaldate),
}


@given(
    st.builds(
        FetchRow,
        st.integers(1, UID_MAX),
        st.frozensets(st.sampled_from(["\\Seen", "\\Deleted", "$Forwarded", "k+", "NonJunk"])),
        st.integers(1, 2**63 - 1),
        st.integers(0, 2**40),
        st.integers(-(2**31), 2**33),
        st.none(),
    ),
    st.permutations(list(ITEMS)),
)
def test_row_in_any_order_is_read_alike_by_both_paths(expected: FetchRow, order: list[bytes]) -> None:
    """The fast pattern and the tokenizer agree on every row, whatever the order of its items."""
    inside = b" ".join(name + b" " + ITEMS[name](expected) for name in order)

    assert parse_untagged((b"9 FETCH (" + inside + b")",)) == expected
    assert parse_untagged((b"9 FETCH (X NIL " + inside + b")",)) == expected


@given(st.binary(max_size=300).filter(lambda octets: b"\0" not in octets))
def test_string_argument_is_read_back_by_our_own_lexer(octets: bytes) -> None:
    """Whatever a name or password is, quoting or a literal keeps it, and nothing ends the line."""
    argument = arguments.string(octets)

    if isinstance(argument, arguments.Literal):
        assert argument.content == octets
    else:
        assert items((b"x " + argument,)) == (Atom(b"x"), octets)
        assert arguments.command_line(argument) == (argument,)


@given(st.integers(-62135596800, 253402300799))
def test_date_time_round_trips(seconds: int) -> None:
    """A date that we write is the date that we read."""
    assert internaldate(arguments.date_time(seconds).strip(b'"')) == seconds


@pytest.mark.parametrize(
    ("octets", "seconds"),
    [
        (b" 1-Jan-1970 05:30:00 +0530", 0),
        (b"31-Dec-1969 20:30:00 -0330", 0),
        (b"01-JAN-1970 00:00:60 +0000", 60),
    ],
)
def test_date_of_another_zone(octets: bytes, seconds: int) -> None:
    """A zone counts with its hours, its minutes and its sign."""
    assert internaldate(octets) == seconds


@pytest.mark.parametrize("octets", [b"", b"1-Foo-2001 00:00:00 +0000", b"40-Jan-2001 00:00:00 +0000", b"x" * 26])
def test_nonsense_date_is_no_date(octets: bytes) -> None:
    """A date that is none is not told."""
    assert internaldate(octets) is None


def test_tagged() -> None:
    """A tagged line is a command's end with its code; other lines are not."""
    assert parse_tagged(b"A1 OK [MODIFIED 7,9] done") == Tagged("A1", "OK", RespText("MODIFIED", b"7,9", b"done"))
    assert parse_tagged(b"A1 BYE x") is None
    assert parse_tagged(b"\xff OK x") is None
    assert parse_tagged(b"") is None


def test_code_with_a_bracket_in_a_keyword() -> None:
    """PERMANENTFLAGS may name keywords that hold a bracket, although we could not store them."""
    text = resp_text(b"[PERMANENTFLAGS (\\Seen a]b \\*)] limited")

    assert permanent_flags(text.arguments) == (frozenset({"\\Seen"}), True)
    assert resp_text(b"[never closed").code == ""


@settings(max_examples=500)
@given(st.binary(max_size=200))
def test_any_octets_are_a_value_or_a_protocol_error(octets: bytes) -> None:
    """The parser is total."""
    for start in (b"", b"1 FETCH (", b"LIST ", b"STATUS ", b"ESEARCH ", b"VANISHED ", b"ID ", b"OK ["):
        try:
            parse_untagged((start + octets,))
        except ProtocolError:
            pass


def test_mutated_responses_are_a_value_or_a_protocol_error() -> None:
    """Likely text with small damage does not surprise the parser either."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    good = b'1 FETCH (UID 2 FLAGS (\\Seen) MODSEQ (3) INTERNALDATE " 1-Feb-2001 03:04:05 +0100" X ("a" {3}'

    for _ in range(2000):
        text = bytearray(good)
        for _ in range(chance.randrange(1, 4)):
            text[chance.randrange(len(text))] = chance.choice(b'(){}" \\[]<>0\xff')
        try:
            parse_untagged((bytes(text), b"abc", b"))"))
        except ProtocolError:
            pass


def test_deep_nesting_costs_no_stack() -> None:
    """A hundred thousand parentheses are refused, not recursed into."""
    with pytest.raises(ProtocolError):
        items((b"(" * 100_000 + b")" * 100_000,))


def test_flag_lists_that_are_long_are_not_remembered() -> None:
    """A server that makes up keywords fills no memory with them: what is remembered of its lines is short."""
    lines = [b"%d FETCH (UID %d FLAGS (%s))" % (uid, uid, b"k%d " % uid * 10_000) for uid in range(1, 101)]
    tracemalloc.start()
    try:
        for line in lines:
            parse_untagged((line,))
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert kept_bytes < 500_000


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        (parse._ROW.fullmatch, b"1 FETCH (" + b"UID 1 " * 200_000),
        (lexer._TOKEN.match, b'"' + rb"\a" * 2_000_000 + b'"'),
        (trace._STRING.match, b'"' + b"a" * 1_000_000 + b'"'),
    ],
)
def test_what_looks_at_a_long_line_takes_less_memory_than_the_line(
    pattern: Callable[[bytes], object], line: bytes
) -> None:
    """An atomic group remembers each of its repetitions, hundreds of octets for each."""
    tracemalloc.start()
    try:
        pattern(line)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < len(line) + 100_000
