"""What `syncd events` prints."""

import time

import pytest

from syncd.cli.commands.events import line_of
from syncd.daemon.people.answers import Event
from syncd.store.people.entries import Entry

AT = time.mktime((2026, 11, 25, 21, 50, 2, 0, 0, -1))
STORED = Entry(1, AT, "work", "INBOX", None, 12, 7, 1, "laptop", "store", "+\\Seen", "done", "")
DELIVERED = Entry(2, AT, "work", "INBOX", "phone", None, None, 2000, "server", "deliver", "", "done", "")
HELD = Entry(3, AT, "work", "INBOX", None, 12, 7, 1, "laptop", "move", "to Trash", "held", "too_many")


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (Event(AT, "history", entry=STORED), "server work/INBOX: store +\\Seen, message 12, by laptop"),
        (Event(AT, "history", entry=DELIVERED), "phone work/INBOX: deliver 2,000 messages, by server"),
        (
            Event(AT, "history", entry=HELD),
            "server work/INBOX: move to Trash, message 12, by laptop; "
            "held: more messages were deleted within a short time than the guard allows",
        ),
        (Event(AT, "account_failed", account="work", error="no route"), "work: failed: no route"),
        (Event(AT, "account_recovered", account="work"), "work: recovered"),
        (Event(AT, "device_changed", device="laptop", state="away"), "laptop: is away"),
        (Event(AT, "config_refused", error="3: gaurd: unknown key"), "config: refused: 3: gaurd: unknown key"),
    ],
)
def test_event_is_one_line_in_the_words_of_the_history(event: Event, line: str) -> None:
    """Who reads along understands it without a table of kinds."""
    assert line_of(event) == f"2026-11-25 21:50:02 {line}"
