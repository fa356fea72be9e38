"""Records on their way to the journal."""

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.daemon.process.journal import Journal, encoded, fields_of, is_journal
from tests.servers import journal


@pytest.fixture
def received() -> Iterator[journal.Journal]:
    """Yield a journal to send to."""
    with journal.temporary() as opened:
        yield opened


def test_record_is_a_line_for_people_and_fields_for_programs() -> None:
    """What journalctl shows says all; what it selects by has the names that systemd and syncd give."""
    fields = fields_of(
        {
            "event": "account_failed",
            "account": "work",
            "error": "login refused",
            "retry_in_s": 900.0,
            "ids": [1, 2],
            "level": "warning",
            "pathname": "/opt/syncd/supervisor.py",
            "lineno": 88,
            "func_name": "_wait_after",
            "exception": "  Traceback",
        }
    )

    assert dict(fields) == {
        "MESSAGE": 'account_failed account=work error="login refused" retry_in_s=900.0 ids="[1, 2]"\n  Traceback',
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "syncd",
        "SYNCD_EVENT": "account_failed",
        "SYNCD_ACCOUNT": "work",
        "SYNCD_ERROR": "login refused",
        "SYNCD_RETRY_IN_S": "900.0",
        "SYNCD_IDS": "[1, 2]",
        "CODE_FILE": "/opt/syncd/supervisor.py",
        "CODE_LINE": "88",
        "CODE_FUNC": "_wait_after",
    }


@given(st.dictionaries(st.from_regex(r"[A-Z][A-Z_]{0,10}", fullmatch=True), st.text(), max_size=5))
def test_what_arrives_is_what_was_sent(fields: dict[str, str]) -> None:
    """No value can end another, or be taken for one, whatever is in it."""
    with journal.temporary() as received:
        otherwise = io.StringIO()
        Journal(received.path, otherwise).msg(tuple(fields.items()))
        sent = received.records()

    expected = {name: text.encode(errors="backslashreplace").decode() for name, text in fields.items()}
    assert (sent, otherwise.getvalue()) == ([expected], "")


def test_record_that_no_datagram_holds_arrives_whole(received: journal.Journal) -> None:
    """It goes as a file in memory."""
    text = "x" * 3_000_000
    otherwise = io.StringIO()

    Journal(received.path, otherwise).msg((("MESSAGE", text), ("PRIORITY", "6")))

    assert received.records() == [{"MESSAGE": text, "PRIORITY": "6"}]
    assert otherwise.getvalue() == ""


def test_record_is_written_where_there_is_no_journal(tmp_path: Path) -> None:
    """Nothing is lost because a container has none."""
    otherwise = io.StringIO()

    Journal(tmp_path / "missing", otherwise).msg((("MESSAGE", "daemon_started"), ("SYNCD_PID", "1")))

    assert json.loads(otherwise.getvalue()) == {"MESSAGE": "daemon_started", "SYNCD_PID": "1"}


def test_stream_is_the_journals_if_systemd_says_so(tmp_path: Path) -> None:
    """A variable that was inherited proves nothing once the stream is another one."""
    with (tmp_path / "log").open("w") as stream:
        at = os.fstat(stream.fileno())

        assert is_journal(stream, {"JOURNAL_STREAM": f"{at.st_dev}:{at.st_ino}"})
        assert not is_journal(stream, {"JOURNAL_STREAM": f"{at.st_dev}:{at.st_ino + 1}"})
        assert not is_journal(stream, {})
    assert not is_journal(io.StringIO(), {"JOURNAL_STREAM": "1:2"})


def test_no_value_forges_a_field() -> None:
    """A value with a line end goes with its length."""
    assert encoded([("MESSAGE", "a\nPRIORITY=0")]) == b"MESSAGE\n\x0c\0\0\0\0\0\0\0a\nPRIORITY=0\n"
