"""Who is overdue: only a task that rests for much longer than it said."""

from syncd.daemon.process.vigil import GRACE_S, Vigil
from syncd.sync.activity import Activities, Activity

POLL_S = 300.0


def test_task_that_rests_longer_than_it_said_is_overdue_after_some_grace() -> None:
    """A lost wake-up is noticed, and its end as well."""
    account = Activity()
    vigil, activities = Vigil(), Activities(accounts={"work": account})

    with account.resting("idle", 1000.0, at_most_s=POLL_S):
        assert vigil.overdue(activities, now=50.0) == ()
        assert vigil.overdue(activities, now=50.0 + POLL_S + GRACE_S) == ()
        assert vigil.overdue(activities, now=51.0 + POLL_S + GRACE_S) == ("account work",)
    assert vigil.overdue(activities, now=52.0 + POLL_S + GRACE_S) == ()


def test_task_that_rests_again_begins_anew() -> None:
    """Time at rest is that of one rest."""
    device = Activity()
    vigil, activities = Vigil(), Activities(devices={"laptop": device})

    for number in range(100):
        with device.resting("waiting to try again", 1000.0 + number, at_most_s=POLL_S):
            assert vigil.overdue(activities, now=number * POLL_S) == ()


def test_task_that_works_is_never_overdue() -> None:
    """A first sync may take days."""
    account = Activity()
    vigil, activities = Vigil(), Activities(accounts={"work": account})
    account.now("fetching INBOX", 1000.0)

    assert vigil.overdue(activities, now=0.0) == ()
    assert vigil.overdue(activities, now=1e6) == ()


def test_time_of_day_that_jumps_makes_nobody_late() -> None:
    """A laptop slept for a week: since then only moments of the clock that counts have passed."""
    account = Activity()
    vigil, activities = Vigil(), Activities(accounts={"work": account})

    with account.resting("idle", 1000.0 - 7 * 86400, at_most_s=POLL_S):
        assert vigil.overdue(activities, now=100.0) == ()
        assert vigil.overdue(activities, now=200.0) == ()
