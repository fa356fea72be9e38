"""Every figure in its own metric, and nowhere else."""

from prometheus_client.parser import text_string_to_metric_families

from syncd.daemon.monitoring.figures import AccountFigures, DeviceFigures, Figures, HookFigures, Runs
from syncd.daemon.monitoring.metrics import exposition
from syncd.store.engine.commit_times import BOUNDS_S
from syncd.store.people.tallies import AccountTally, DeviceTally

WORK = AccountFigures(
    name="work",
    runs=Runs(is_failing=True, failures=2, rounds=3, rounds_s=4.5),
    tally=AccountTally(None, failing_mailboxes=6, set_aside=7, held=8, kept=31),
    is_login_refused=False,
    is_push=True,
    logins=9,
    refusals=10,
    succeeded_at=11.0,
    received=12,
    from_server={"vanish": 13},
    to_server={"move": 14},
)
LAPTOP = DeviceFigures(
    name="laptop",
    runs=Runs(is_failing=False, failures=15, rounds=16, rounds_s=17.5),
    tally=DeviceTally("foreign", 18.0, waiting=19, unsynced=20),
    delivered=21,
    changes={"rename": 22},
)
HOOK = HookFigures("on_hold", is_failing=True, runs=30, failures=6, given_up=23)


def test_every_figure_is_the_value_of_its_metric() -> None:
    """No two are mixed up, and what is not known is absent."""
    commits = (1,) * (len(BOUNDS_S) + 1)
    figures = Figures("1.0", True, 25.0, 26, commits, 27.5, (WORK,), (LAPTOP,), (HOOK,))

    told = {
        (sample.name.removeprefix("syncd_"), *(sample.labels[label] for label in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(exposition(figures).decode())
        for sample in family.samples
        if sample.name.startswith("syncd_") and "bucket" not in sample.name
    }

    assert told == {
        ("build_info", "1.0"): 1,
        ("config_last_reload_successful",): 1,
        ("config_last_reload_success_timestamp_seconds",): 25,
        ("store_bytes",): 26,
        ("store_commit_seconds_count",): len(commits),
        ("store_commit_seconds_sum",): 27.5,
        ("account_failing", "work"): 1,
        ("account_login_refused", "work"): 0,
        ("account_push", "work"): 1,
        ("account_last_success_timestamp_seconds", "work"): 11,
        ("account_failing_mailboxes", "work"): 6,
        ("account_set_aside_messages", "work"): 7,
        ("account_held_messages", "work"): 8,
        ("account_kept_messages", "work"): 31,
        ("account_failures_total", "work"): 2,
        ("account_logins_total", "work", "accepted"): 9,
        ("account_logins_total", "work", "refused"): 10,
        ("account_messages_received_total", "work"): 12,
        ("account_changes_received_total", "work", "vanish"): 13,
        ("account_changes_sent_total", "work", "move"): 14,
        ("account_round_seconds_count", "work"): 3,
        ("account_round_seconds_sum", "work"): 4.5,
        ("device_failing", "laptop"): 0,
        **{("device_state", "laptop", state): 0 for state in ("new", "active", "away", "adopting")},
        ("device_state", "laptop", "foreign"): 1,
        ("device_waiting_messages", "laptop"): 19,
        ("device_unsynced_messages", "laptop"): 20,
        ("device_last_settled_timestamp_seconds", "laptop"): 18,
        ("device_failures_total", "laptop"): 15,
        ("device_messages_delivered_total", "laptop"): 21,
        ("device_changes_total", "rename", "laptop"): 22,
        ("device_round_seconds_count", "laptop"): 16,
        ("device_round_seconds_sum", "laptop"): 17.5,
        ("hook_failing", "on_hold"): 1,
        ("hook_runs_total", "on_hold", "succeeded"): 24,
        ("hook_runs_total", "on_hold", "failed"): 6,
        ("hook_given_up_total", "on_hold"): 23,
    }
