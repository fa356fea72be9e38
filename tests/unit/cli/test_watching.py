"""What is news to whoever watches where nothing can be redrawn."""

from dataclasses import replace

import pytest

from syncd.cli.watching import without_times
from syncd.daemon.status import ConfigStatus, Progress, Status
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
