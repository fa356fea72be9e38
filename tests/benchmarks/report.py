"""The table of a run: medians of the ratios of pairs, with bound and goal, as Markdown and as JSON."""

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from tests.benchmarks.measure import Effort
from tests.benchmarks.proxy import Traffic

Unit = Literal["x", "ms", "s", "MiB", ""]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measure of one setting: its value in each pair, the bound that its median should keep, and the goal."""

    work: str
    setting: str
    measure: str
    values: tuple[float, ...]
    unit: Unit = "x"
    bound: float | None = None
    goal: float | None = None
    command: str = ""

    @property
    def value(self) -> float:
        return statistics.median(self.values)

    @property
    def verdict(self) -> str:
        """Say whether the median keeps the bound, or even the goal."""
        if self.bound is None:
            return "-"
        if self.value > self.bound:
            return "not held"
        return "goal" if self.goal is not None and self.value <= self.goal else "held"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one contender took in one setting, in each pair; traffic of the wire where it was counted."""

    work: str
    setting: str
    contender: str
    efforts: tuple[Effort, ...]
    traffic: Traffic | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that a run has measured, on which machine, and which peers it could not have."""

    machine: str
    rows: tuple[Row, ...]
    costs: tuple[Cost, ...]
    absent: tuple[str, ...]


def ratios(ours: Iterable[float], theirs: Iterable[float]) -> tuple[float, ...]:
    """Return the ratio of each pair."""
    return tuple(one / other for one, other in zip(ours, theirs, strict=True))


def walls(efforts: Iterable[Effort]) -> list[float]:
    """Return the seconds on the clock of each."""
    return [effort.wall_s for effort in efforts]


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of all values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def markdown(report: Report) -> str:
    """Return the table of ratios, what each contender took, and what was absent."""
    lines = [
        f"Machine: {report.machine}",
        "",
        "| work | setting | measure | median | range | pairs | bound | goal | verdict |",
        "|---|---|---|---|---|---|---|---|---|",
        *(_row(row) for row in report.rows),
        "",
        "| work | setting | contender | wall s | cpu s | peak MiB | up KB | down KB | round trips |",
        "|---|---|---|---|---|---|---|---|---|",
        *(_cost(cost) for cost in report.costs),
        "",
        "Each row is measured again by:",
        "",
        *(f"- `{command}`" for command in dict.fromkeys(row.command for row in report.rows if row.command)),
    ]
    lines += ["", *(f"Absent: {reason}" for reason in report.absent)] if report.absent else []
    return "\n".join(lines) + "\n"


def as_json(report: Report) -> str:
    """Return the same for programs, with every single value."""
    rows = [asdict(row) | {"value": row.value, "verdict": row.verdict} for row in report.rows]
    whole = {"machine": report.machine, "rows": rows, "costs": [asdict(cost) for cost in report.costs]}
    return json.dumps(whole | {"absent": report.absent}, indent=1) + "\n"


def _row(row: Row) -> str:
    span = f"{_number(min(row.values))} to {_number(max(row.values))}" if len(row.values) > 1 else ""
    bound, goal = ("" if limit is None else f"{limit:g}" for limit in (row.bound, row.goal))
    value = f"{_number(row.value)} {row.unit}".strip()
    cells = (row.work, row.setting, row.measure, value, span, str(len(row.values)), bound, goal, row.verdict)
    return f"| {' | '.join(cells)} |"


def _cost(cost: Cost) -> str:
    wall, cpu = (statistics.median(getattr(one, key) for one in cost.efforts) for key in ("wall_s", "cpu_s"))
    peak = max(one.peak_bytes for one in cost.efforts) / 2**20
    wire = ("", "", "")
    if cost.traffic is not None:
        up, down = (f"{octets / 1000:.0f}" for octets in (cost.traffic.up_bytes, cost.traffic.down_bytes))
        wire = (up, down, str(cost.traffic.round_trips))
    cells = (cost.work, cost.setting, cost.contender, _number(wall), _number(cpu), f"{peak:.0f}", *wire)
    return f"| {' | '.join(cells)} |"


def _number(value: float) -> str:
    """Return three digits of a number, or all that it has before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
