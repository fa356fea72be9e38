"""What `syncd history` prints, and the times that it understands."""

import time

import pytest
import typer

from syncd.cli.commands.history import begin_of, deed_of, table_of
from syncd.store.people.entries import Entry

AT = time.mktime((2026, 11, 25, 21, 50, 2, 0, 0, -1))


def entry(**changes: object) -> Entry:
    values: dict[str, object] = {
        "id": 1,
        "at": AT,
        "account": "work",
        "mailbox": "INBOX",
        "device": None,
        "message": 12,
        "uid": 7,
        "messages": 1,
        "origin": "laptop",
        "verb": "store",
        "detail": "+\\Seen",
        "outcome": "done",
        "reason": "",
    }
    return Entry(**(values | changes))  # type: ignore[arg-type]  # a test's shorthand


def test_lines_are_columns_and_names_of_servers_move_no_cursor() -> None:
    """One line each, under heads, with reasons in words; what comes from outside is escaped."""
    lines = table_of(
        (
            entry(),
            entry(device="phone", message=None, uid=None, messages=2000, verb="deliver", detail="", origin="server"),
            entry(mailbox="a\x1b[2Jb", verb="move", detail="to Trash", outcome="held", reason="too_many"),
        )
    )

    assert [line.split("  ")[0] for line in lines] == ["time", *["2026-11-25 21:50:02"] * 3]
    assert lines[1].split()[2:] == ["server", "work/INBOX", "12", "7", "store", "+\\Seen", "laptop", "done"]
    assert lines[2].split()[2:] == ["phone", "work/INBOX", "deliver", "2,000", "messages", "server", "done"]
    assert "work/a\\x1b[2Jb" in lines[3]
    assert lines[3].endswith("held: more messages were deleted within a short time than the guard allows")
    assert table_of(()) == []


def test_why_something_was_held_is_not_why_it_was_done() -> None:
    """A person who discards a hold reads no reason behind it that is none."""
    _, line = table_of((entry(verb="discard", origin="person", reason="too_many"),))

    assert line.endswith("  done")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2h", AT - 7200),
        ("3d", AT - 3 * 86400),
        ("2026-11-25", time.mktime((2026, 11, 25, 0, 0, 0, 0, 0, -1))),
        ("2026-11-25T21:00", time.mktime((2026, 11, 25, 21, 0, 0, 0, 0, -1))),
        ("1970-01-02T00:00+00:00", 86400.0),
    ],
)
def test_since_takes_durations_and_dates(text: str, expected: float) -> None:
    """Dates are those of the clock on the wall unless they say otherwise."""
    assert begin_of(text, now=AT) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "2M", "2026-13-01", "-1h"])
def test_since_refuses_what_it_does_not_understand(text: str) -> None:
    """As a mistake of usage, which ends with exit code 2."""
    with pytest.raises(typer.BadParameter, match="--since should be like"):
        begin_of(text, now=AT)


@pytest.mark.parametrize(
    ("number", "said"), [(1, "list 1 message"), (2, "list 2 messages"), (3104, "list 3,104 messages")]
)
def test_line_of_a_first_listing_always_says_of_how_many(number: int, said: str) -> None:
    """One message that was there when a mailbox was first read is a number as well."""
    one = entry(message=None, uid=None, messages=number, verb="list", detail="", origin="server")

    assert said == deed_of(one)


def test_end_of_the_copy_in_a_maildrop_is_told_in_words() -> None:
    """DELE is a word of the protocol; the message itself is in the store, and stays."""
    assert deed_of(entry(verb="dele", detail="", origin="syncd")) == "delete in the maildrop"
