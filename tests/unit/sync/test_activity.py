"""What a task tells of itself."""

from syncd.errors import Cause, ConnectionLostError
from syncd.sync.activity import IDLE, Activity


def fail(activity: Activity, at: float) -> None:
    """Let a run end with an error at this time."""
    activity.now("waiting to try again", at)
    activity.failed(ConnectionLostError("hung up"), "hung up", retry_at=at + 1)


def test_task_fails_since_the_first_time_until_it_has_nothing_left_to_do() -> None:
    """A server that lets us in and then hangs up, again and again, has done so for long."""
    activity = Activity()

    fail(activity, 100.0)
    assert (activity.error, activity.cause, activity.retry_at) == ("hung up", Cause.CONNECTION_LOST, 101.0)
    activity.logged_in()
    assert (activity.error, activity.cause, activity.retry_at) == (None, None, None)
    fail(activity, 200.0)
    assert activity.failing_since == 100.0

    activity.logged_in()
    activity.now(IDLE, 210.0)
    fail(activity, 300.0)
    assert (activity.failing_since, activity.failures) == (300.0, 3)
