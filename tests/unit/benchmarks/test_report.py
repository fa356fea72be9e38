"""The table of `make bench`."""

import json

import pytest

from tests.benchmarks.measure import Effort
from tests.benchmarks.proxy import Traffic
from tests.benchmarks.report import Cost, Report, Row, as_json, markdown, quantile, ratios
from tests.benchmarks.settings import Options, Setting


def row(*values: float, bound: float | None = None, goal: float | None = None) -> Row:
    return Row(work="w", setting="s", measure="m", values=values, bound=bound, goal=goal, command="make bench")


@pytest.mark.parametrize(
    ("bound", "goal", "verdict"),
    [
        (None, None, "-"),
        (0.7, None, "held"),
        (0.5, None, "held"),
        (0.49, None, "not held"),
        (0.7, 0.4, "held"),
        (0.7, 0.5, "goal"),
        (0.4, 0.5, "not held"),
    ],
)
def test_the_median_of_the_pairs_decides(bound: float | None, goal: float | None, verdict: str) -> None:
    """One slow pair does not break a bound, and a goal counts only where the bound is held."""
    assert verdict == row(0.5, 9.0, 0.4, bound=bound, goal=goal).verdict


def test_a_ratio_belongs_to_its_pair() -> None:
    """What the machine did meanwhile slowed both contenders of a pair, so it is gone from their ratio."""
    assert ratios([1.0, 10.0], [2.0, 20.0]) == (0.5, 0.5)
    with pytest.raises(ValueError, match="shorter"):
        ratios([1.0, 2.0], [1.0])


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_a_quantile_is_a_value_that_was_measured(share: float, expected: int) -> None:
    """So many of all values are not above it."""
    assert expected == quantile(list(range(100, 0, -1)), share)


def test_the_report_tells_all_of_a_row_and_what_was_absent() -> None:
    """A reader sees value, range, bound and verdict, how to measure it again, and which peers are missing."""
    cost = Cost(
        work="w", setting="s", contender="c", efforts=(Effort(1.5, 0.5, 3 << 20),), traffic=Traffic(2000, 5000, 7)
    )
    report = Report(machine="2 processors", rows=(row(0.5, 0.6, 0.4, bound=0.7),), costs=(cost,), absent=("mpop: no",))

    text = markdown(report)
    assert "| w | s | m | 0.5 x | 0.4 to 0.6 | 3 | 0.7 |  | held |" in text
    assert "| w | s | c | 1.5 | 0.5 | 3 | 2 | 5 | 7 |" in text
    assert "- `make bench`" in text
    assert "Absent: mpop: no" in text
    told = json.loads(as_json(report))
    assert told["rows"][0]["values"] == [0.5, 0.6, 0.4]
    assert told["rows"][0]["verdict"] == "held"
    assert told["costs"][0]["traffic"]["round_trips"] == 7


def test_what_was_asked_for_takes_the_place_of_what_a_work_measures() -> None:
    """Settings that become the same are measured once."""
    usual = (Setting(10, 1, 0), Setting(10, 20, 0), Setting(10, 20, 25))

    assert usual == Options(works=()).settings(usual)
    assert (Setting(10, 2, 0), Setting(10, 2, 25)) == Options(works=(), mailboxes=2).settings(usual)
    assert (Setting(5, 1, 7), Setting(5, 20, 7)) == Options(works=(), messages=(5,), rtts_ms=(7,)).settings(usual)
    assert len(Options(works=(), is_smoke=True).settings(usual)) == 1


def test_the_command_of_a_row_names_its_settings() -> None:
    """Who types it measures these and no others."""
    options = Options(works=("pop3",), pairs=5, devices=2)

    one = options.command("pop3", Setting(10, 1, 25))
    two = options.command("changes", Setting(100), Setting(10))

    assert one == "make bench ARGS='--work pop3 --messages 10 --mailboxes 1 --rtt 25 --pairs 5 --seed 1 --devices 2'"
    assert "--messages 10 100 --mailboxes 1 --rtt 0" in two
