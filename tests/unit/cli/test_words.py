"""How amounts, times and progress are said."""

import datetime

import pytest

from syncd.cli.screen.progress import said
from syncd.cli.screen.words import age, ago, amounts, bar, speed, stay, when
from syncd.config.amounts import size
from syncd.daemon.status.status import Going, Progress


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-1, "0 s"), (0, "0 s"), (59, "59 s"), (59.7, "1 min"), (60, "1 min"), (7200, "2 h"), (3 * 86400, "3 d")],
)
def test_age_is_said_in_its_largest_unit(seconds: float, words: str) -> None:
    """As a person would say it."""
    assert words == age(seconds)


def test_times_before_and_after_now_are_said_in_words() -> None:
    """Nothing was never, and nothing is in no time."""
    assert (ago(None), ago(90), when(0.2), when(-5), when(90)) == ("never", "2 min ago", "now", "now", "in 2 min")


@pytest.mark.parametrize(
    ("left_s", "words"),
    [
        (None, "412 stay on the server"),
        (1e14, "412 stay on the server"),
        (6 * 86400.0, "412 stay on the server, the oldest until 3 Dec"),
        (60 * 86400.0, "412 stay on the server, the oldest until 26 Jan 2027"),
        (7200.0, "412 stay on the server; the oldest goes in 2 h"),
        (-1.0, "412 stay on the server; the oldest goes at the next poll"),
    ],
)
def test_what_stays_on_a_server_is_said_with_the_day_on_which_the_oldest_goes(left_s: float | None, words: str) -> None:
    """As a calendar says it; for ever is no day."""
    now = datetime.datetime(2026, 11, 27, 12).timestamp()  # noqa: DTZ001  # that of the wall

    assert words == stay(412, None if left_s is None else now + left_s, now)


def test_single_message_stays() -> None:
    """One is not many."""
    assert stay(1, None, 0.0) == "1 stays on the server"


@pytest.mark.parametrize(
    ("size_bytes", "words"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (34_000_000, "34 MB"), (2_400_000_000, "2.4 GB")],
)
def test_size_is_said_in_its_largest_unit(size_bytes: int, words: str) -> None:
    """Short enough for a line."""
    assert words == size(size_bytes)


@pytest.mark.parametrize(
    ("progress", "drawn", "told", "fast"),
    [
        (Progress(0, 100), "[....................] 0 %", "0 of 100 messages", "time left not known yet"),
        (
            Progress(25, 100, 0, 0, 5.0, None, 15.0),
            "[#####...............] 25 %",
            "25 of 100 messages",
            "5 messages/s, 15 s left",
        ),
        (
            Progress(50, 100, 10**6, 10**7, 0.25, 2000.0, 0.1),
            "[##..................] 10 %",
            "50 of 100 messages, 1.0 MB of 10 MB",
            "0.2 messages/s, 2.0 kB/s, 1 s left",
        ),
        (
            Progress(99, 100, 0, 0, 0.0, None, None),
            "[###################.] 99 %",
            "99 of 100 messages",
            "nothing came lately",
        ),
        (
            Progress(120, 100),
            "[####################] 100 %",
            "100 of 100 messages",
            "time left not known yet",
        ),
    ],
)
def test_progress_is_drawn_and_told(progress: Progress, drawn: str, told: str, fast: str) -> None:
    """By size where sizes are counted; it is never beyond its end, and never done before it is."""
    assert (drawn, told, fast) == (bar(progress), amounts(progress), speed(progress))


def test_sync_says_how_far_it_is_in_the_same_words() -> None:
    """And nothing of speed once there is nothing left."""
    going = Going("account", "work", "fetching INBOX", Progress(1, 4, 0, 0, 1.0, None, 3.0), None)
    done = Going("device", "nas", "idle", Progress(4, 4, 0, 0), "no route")
    waiting = Going("device", "phone", "idle", Progress(1, 4, 0, 0, 90.0), None)

    assert said(going) == "fetching INBOX; 1 of 4 messages; 1 messages/s, 3 s left"
    assert said(done) == "idle (no route); 4 of 4 messages"
    assert said(waiting) == "waiting for what is fetched; 1 of 4 messages"
