"""Whether a daemon stayed as it was: each figure's slope from sample to sample against its bound, as a table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tests.soak.samples import Bound, Finding, Sample, judge

MIB = 2**20
_GROWN = 15

_FIGURES: Sequence[tuple[Bound, Callable[[Sample], float]]] = (
    (Bound("memory of its own", "MiB", slope=0.1), lambda one: one.memory.uss_kib / 1024),
    (Bound("descriptors", "", slope=0.0), lambda one: one.descriptors),
    (Bound("threads", "", slope=0.0), lambda one: one.threads),
    (Bound("processes it started", "", most=0), lambda one: one.children),
    (Bound("tasks", "", slope=0.0), lambda one: one.tasks),
    (Bound("objects", "", slope=150.0), lambda one: one.objects),
    (Bound("write-ahead log", "MiB", most=64), lambda one: one.wal_bytes / MIB),
    (Bound("store", "MiB", slope=4.0), lambda one: one.store_bytes / MIB),
    (Bound("log", "MiB", slope=4.0), lambda one: one.log_bytes / MIB),
    (Bound("processor time", "s", slope=None), lambda one: one.cpu_s),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a soak; `samples` are those after the warm-up."""

    samples: tuple[Sample, ...]
    findings: tuple[Finding, ...]

    @property
    def is_flat(self) -> bool:
        return all(finding.is_flat for finding in self.findings)

    def markdown(self) -> str:
        """Return a table of the figures."""
        lines = ["| at rest | first | last | most | by 1,000 messages | bound | |", "|---|---|---|---|---|---|---|"]
        for one in self.findings:
            bound = "" if one.bound.slope is None else f"{one.bound.slope:g} by 1,000"
            bound = bound if one.bound.most is None else f"{one.bound.most:g}"
            figures = " | ".join(_figure(value) for value in (one.first, one.last, one.most, one.slope))
            unit = f", {one.bound.unit}" if one.bound.unit else ""
            told = "" if one.bound.slope is None and one.bound.most is None else "flat" if one.is_flat else "not flat"
            lines.append(f"| {one.bound.name}{unit} | {figures} | {bound} | {told} |")
        return "\n".join(lines) + "\n"

    def grown(self) -> str:
        """Return which objects there are more of at the end, and which lines hold more memory if that was traced."""
        first, last = self.samples[0].counted, self.samples[-1].counted
        lines = [f"{more:+8} {name}" for name, more in _more(first["kinds"], last["kinds"])]
        lines += [f"{more / 1024:+8.1f} KiB {place}" for place, more in _more(first["places"], last["places"])]
        return "\n".join(lines) + "\n"


def verdict_of(samples: Sequence[Sample]) -> Verdict:
    """Judge the second half of the samples: until then all has happened that does, and what is bounded is full."""
    kept = tuple(samples[len(samples) // 2 :])
    return Verdict(
        kept,
        tuple(judge(bound, [(one.messages / 1000, figure(one)) for one in kept]) for bound, figure in _FIGURES),
    )


def _more(first: Mapping[str, int], last: Mapping[str, int]) -> list[tuple[str, int]]:
    grown = {name: count - first.get(name, 0) for name, count in last.items()}
    return sorted(((name, more) for name, more in grown.items() if more > 0), key=lambda one: -one[1])[:_GROWN]


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.2f}"
