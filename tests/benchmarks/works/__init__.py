"""What is measured: one work in each file, a function that takes the run and adds rows to its table."""

from collections.abc import Callable, Mapping

from tests.benchmarks.bench import Bench
from tests.benchmarks.works.changes import changes
from tests.benchmarks.works.first_sync import first_sync
from tests.benchmarks.works.footprint import footprint
from tests.benchmarks.works.latency import latency
from tests.benchmarks.works.pop3 import pop3
from tests.benchmarks.works.unchanged import unchanged

WORKS: Mapping[str, Callable[[Bench], None]] = {
    work.__name__: work for work in (first_sync, unchanged, changes, latency, pop3, footprint)
}
