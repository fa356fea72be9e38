"""Floor 5: the figures as Prometheus reads them; each metric is a row of the tables below, and of docs/metrics.md.

House rules. Names are Prometheus's: a base unit at the end, `_total` for what only grows. Labels are names of the
configuration, or of a small set that the code knows; never a mailbox, a message or a text.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from syncd.daemon.monitoring.figures import AccountFigures, DeviceFigures, Figures, HookFigures
from syncd.store.engine.commit_times import BOUNDS_S
from syncd.store.trees.devices import ACTIVE, ADOPTING, AWAY, FOREIGN, NEW
from syncd.values import Value

T = TypeVar("T", AccountFigures, DeviceFigures, HookFigures)
Figure = float | int | None
"""None: there is no such figure (yet)."""

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_STATES = (NEW, ACTIVE, AWAY, FOREIGN, ADOPTING)


class _Row(Value, Generic[T]):
    """Describe a metric of everybody of one kind. by: the label that tells several values of one apart."""

    name: str
    text: str
    values: Callable[[T], Figure | Mapping[str, int]]
    by: str = ""
    is_counter: bool = False


_ACCOUNT: tuple[_Row[AccountFigures], ...] = (
    _Row("failing", "Whether it is not served, and waits to be tried again.", lambda one: one.runs.is_failing),
    _Row("login_refused", "Whether that is because its server refuses the login.", lambda one: one.is_login_refused),
    _Row("push", "Whether its server tells of news by itself, at least for INBOX.", lambda one: one.is_push),
    _Row("last_success_timestamp_seconds", "When all of it was last in sync.", lambda one: one.succeeded_at),
    _Row("failing_mailboxes", "Mailboxes that cannot be read.", lambda one: one.tally.failing_mailboxes),
    _Row("set_aside_messages", "Messages that could not be synced.", lambda one: one.tally.set_aside),
    _Row("held_messages", "Removals and deletions that wait for a person.", lambda one: one.tally.held),
    _Row("kept_messages", "Messages that are safe here and stay in its maildrop.", lambda one: one.tally.kept),
    _Row("failures_total", "How often serving it ended with an error.", lambda one: one.runs.failures, is_counter=True),
    _Row(
        "logins_total",
        "Logins that its server accepted or refused.",
        lambda one: {"accepted": one.logins, "refused": one.refusals},
        by="result",
        is_counter=True,
    ),
    _Row(
        "messages_received_total",
        "Messages that appeared in mailboxes of its server.",
        lambda one: one.received,
        is_counter=True,
    ),
    _Row(
        "changes_received_total",
        "Messages that its server changed otherwise.",
        lambda one: one.from_server,
        by="change",
        is_counter=True,
    ),
    _Row(
        "changes_sent_total",
        "Messages that were changed on its server for devices and people.",
        lambda one: one.to_server,
        by="change",
        is_counter=True,
    ),
)
_DEVICE: tuple[_Row[DeviceFigures], ...] = (
    _Row("failing", "Whether it, or a mailbox of it, is not served.", lambda one: one.runs.is_failing),
    _Row(
        "state",
        "Whether it is in this state.",
        lambda one: {state: int(state == one.tally.state) for state in _STATES},
        by="state",
    ),
    _Row("waiting_messages", "Messages with changes of servers that it waits for.", lambda one: one.tally.waiting),
    _Row("unsynced_messages", "Files with changes of its own, not on servers yet.", lambda one: one.tally.unsynced),
    _Row("last_settled_timestamp_seconds", "When files were last made durable.", lambda one: one.tally.settled_at),
    _Row("failures_total", "How often serving it ended with an error.", lambda one: one.runs.failures, is_counter=True),
    _Row("messages_delivered_total", "Messages written to it.", lambda one: one.delivered, is_counter=True),
    _Row(
        "changes_total",
        "Files on it that were changed otherwise.",
        lambda one: one.changes,
        by="change",
        is_counter=True,
    ),
)
_HOOK: tuple[_Row[HookFigures], ...] = (
    _Row("failing", "Whether its last run was no good one.", lambda one: one.is_failing),
    _Row(
        "runs_total",
        "Runs of its command.",
        lambda one: {"succeeded": one.runs - one.failures, "failed": one.failures},
        by="result",
        is_counter=True,
    ),
    _Row(
        "given_up_total", "Messages and troubles that it was told in vain.", lambda one: one.given_up, is_counter=True
    ),
)


class Scrape(Collector):
    """Give one snapshot of the figures to the one registry that it is made for."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics of syncd's own."""
        figures = self._figures
        yield from _of_daemon(figures)
        yield from _of("account", _ACCOUNT, figures.accounts)
        yield _rounds("account", figures.accounts)
        yield from _of("device", _DEVICE, figures.devices)
        yield _rounds("device", figures.devices)
        yield from _of("hook", _HOOK, figures.hooks)


def exposition(figures: Figures) -> bytes:
    """Return the text of a scrape, with what Prometheus expects of any process."""
    registry = CollectorRegistry()
    registry.register(Scrape(figures))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


def _of_daemon(figures: Figures) -> Iterator[Metric]:
    build = GaugeMetricFamily("syncd_build_info", "The version that runs; always 1.", labels=["version"])
    build.add_metric([figures.version], 1)
    yield build
    yield GaugeMetricFamily(
        "syncd_config_last_reload_successful",
        "Whether the configuration could be used when it was read last.",
        value=figures.is_config_good,
    )
    yield GaugeMetricFamily(
        "syncd_config_last_reload_success_timestamp_seconds",
        "When a configuration was applied last.",
        value=figures.config_loaded_at,
    )
    yield GaugeMetricFamily("syncd_store_bytes", "What the store takes on its disk.", value=figures.store_bytes)
    bounds = [*(str(bound) for bound in BOUNDS_S), "+Inf"]
    yield HistogramMetricFamily(
        "syncd_store_commit_seconds",
        "How long the store took to make a transaction durable.",
        buckets=list(zip(bounds, accumulate(figures.commits), strict=True)),
        sum_value=figures.commits_s,
    )


def _of(kind: str, rows: Iterable[_Row[T]], everybody: Iterable[T]) -> Iterator[Metric]:
    for row in rows:
        family = CounterMetricFamily if row.is_counter else GaugeMetricFamily
        metric = family(f"syncd_{kind}_{row.name}", row.text, labels=[kind, row.by] if row.by else [kind])
        for one in everybody:
            values = row.values(one)
            if isinstance(values, Mapping):
                for label, value in values.items():
                    metric.add_metric([one.name, label], value)
            elif values is not None:
                metric.add_metric([one.name], values)
        yield metric


def _rounds(kind: str, everybody: Iterable[AccountFigures | DeviceFigures]) -> Metric:
    rounds = SummaryMetricFamily(f"syncd_{kind}_round_seconds", "Whole rounds that ended well.", labels=[kind])
    for one in everybody:
        rounds.add_metric([one.name], one.runs.rounds, one.runs.rounds_s)
    return rounds
