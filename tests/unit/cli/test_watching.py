"""What is news to whoever watches where nothing can be redrawn, and a daemon that hangs meanwhile."""

import socket
import tempfile
import threading
from pathlib import Path

import pytest

from syncd.cli.screen.watching import Watching, without_times
from syncd.daemon.people.answers_json import STATUS_JSON
from syncd.daemon.status.config_status import ConfigStatus
from syncd.daemon.status.status import Progress, Status
from syncd.values import replace
from tests.unit.cli.statuses import NOW, account, device, status


@pytest.mark.parametrize(
    "later",
    [
        status(at=NOW + 60, changed_at=NOW, counted_at=NOW + 60),
        status(accounts=(account(lag_s=1.0, succeeded_at=NOW, since_at=NOW, doing="listing mailboxes"),)),
        status(accounts=(account(failures=3, retry_at=NOW + 5, failed_at=NOW),)),
        status(accounts=(account(progress=Progress(12_345, 12_345, 10**9, 10**9, 5.0, 5.0, 0.0)),)),
    ],
)
def test_passing_time_is_no_news(later: Status) -> None:
    """A picture that only says it again is not shown again."""
    assert without_times(later) in {without_times(status()), without_times(status(accounts=(account(),)))}


@pytest.mark.parametrize(
    "later",
    [
        status(daemon=None),
        status(accounts=(account(error="no route", cause="unreachable"),)),
        status(accounts=(account(messages=12_346),)),
        status(accounts=(account(progress=Progress(1, 100)),)),
        status(devices=(device(state="away"), device("phone"))),
        status(config=ConfigStatus(NOW, problems=("3: gaurd: unknown key",))),
    ],
)
def test_what_a_person_would_notice_is_news(later: Status) -> None:
    """Errors, counts, percents, states."""
    assert without_times(later) not in {without_times(status()), without_times(status(accounts=(account(),)))}


def test_retries_of_the_same_failure_are_no_news() -> None:
    """It was said once."""
    failing = status(accounts=(account(error="no route", cause="unreachable", retry_at=NOW + 5, failures=1),))
    again = replace(failing, accounts=(replace(failing.accounts[0], retry_at=NOW + 50, failures=2, failed_at=NOW + 5),))

    assert without_times(failing) == without_times(again)


def test_who_watches_a_daemon_that_hangs_is_told_soon_that_what_is_shown_is_old() -> None:
    """The picture does not stand still as if all were well."""
    seen, is_over = status(), threading.Event()

    def serve() -> None:
        body = STATUS_JSON.dump_json(seen)
        peer, _ = listener.accept()
        with peer:
            peer.recv(65536)
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        peer, _ = listener.accept()
        with peer:
            is_over.wait(60)

    with tempfile.TemporaryDirectory(prefix="syncd-test-", dir="/tmp") as directory:
        path = Path(directory) / "socket"
        (config := Path(directory) / "syncd.toml").write_text(f'[daemon]\nsocket = "{path}"\n')
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            (thread := threading.Thread(target=serve)).start()
            watching = Watching(config, "", answer_s=0.2)
            statuses = watching.statuses(0.01)

            first, calm = next(statuses), list(watching.remarks(NOW))
            second, troubled = next(statuses), list(watching.remarks(NOW))

            is_over.set()
            thread.join()

    assert first == second == seen
    assert calm == []
    ((said, is_troubled),) = troubled
    assert said.startswith("this is as of ")
    assert said.endswith(": the daemon does not answer")
    assert is_troubled
