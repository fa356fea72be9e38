"""The first sync of a large account: to one device and to several, until all of it is durable."""

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from tests.benchmarks import maildirs
from tests.benchmarks.bench import Bench, alternating
from tests.benchmarks.corpus import Corpus, digest, mailbox_names
from tests.benchmarks.disk import disk_bytes, store_bytes
from tests.benchmarks.limits.programs import Once
from tests.benchmarks.measure import Effort
from tests.benchmarks.peers import Account, Contender
from tests.benchmarks.peers.mbsync import Mbsync
from tests.benchmarks.peers.syncd import Syncd
from tests.benchmarks.proxy import Traffic, wire
from tests.benchmarks.report import ratios, walls
from tests.benchmarks.settings import Setting

WORK = "first_sync"
SETTINGS = tuple(Setting(10_000, mailboxes, rtt_ms) for mailboxes in (1, 20) for rtt_ms in (0, 25))
_NEWEST = 100
_PEAK_MIB = 150e6 / 2**20
_STORE_SHARE, _REPLICAS_SHARE = 0.7, 1.05


def first_sync(bench: Bench) -> None:
    """Measure first syncs of the same mail."""
    settings = bench.options.settings(SETTINGS)
    for messages, mailboxes in dict.fromkeys((one.messages, one.mailboxes) for one in settings):
        corpus = Corpus(bench.options.seed, messages, mailboxes)
        user = bench.user(corpus)
        bench.say(f"{messages:,} messages in {mailboxes} mailboxes: {corpus.total_bytes / 1e6:.0f} MB")
        for setting in settings:
            if (setting.messages, setting.mailboxes) == (messages, mailboxes):
                with ExitStack() as stack:
                    _Race(bench, setting, corpus, user, stack).run()


class _Race:
    """The contenders of one setting, each of which syncs the same account into directories of its own."""

    def __init__(self, bench: Bench, setting: Setting, corpus: Corpus, user: str, stack: ExitStack) -> None:
        self._bench, self._setting, self._corpus, self._user, self._stack = bench, setting, corpus, user, stack
        devices = bench.options.devices
        self._many = f"{devices} devices"
        self._makes: dict[str, Callable[[], Contender | None]] = {
            "mbsync": lambda: bench.peer("mbsync", lambda: Mbsync(bench.directory("mbsync"), devices)),
            f"limit, {self._many}": lambda: Once("first_sync", bench.directory("limit"), devices),
            f"syncd, {self._many}": lambda: Syncd(bench.directory("syncd"), devices),
            "syncd, 1 device": lambda: Syncd(bench.directory("syncd-1"), 1),
            "limit, 1 device": lambda: Once("first_sync", bench.directory("limit-1"), 1),
        }
        self._efforts: dict[str, list[Effort]] = {name: [] for name in self._makes}
        self._one_mbsync: list[float] = []
        self._newest: list[float] = []
        self._traffic: dict[str, Traffic] = {}
        self._store_share: list[float] = []
        self._replicas_share: list[float] = []

    def run(self) -> None:
        """Let all run in each pair, and add what that says."""
        for pair in range(self._bench.options.pairs):
            for name in alternating(tuple(self._makes), pair):
                contender = self._makes[name]()
                if contender is not None:
                    self._sync(name, contender)
        self._rows()
        for name, efforts in self._efforts.items():
            if efforts:
                self._bench.cost(WORK, self._setting, name, efforts, self._traffic.get(name))

    def _sync(self, name: str, contender: Contender) -> None:
        if isinstance(contender, Syncd):
            self._stack.callback(contender.discard)
        with wire(self._bench.server.imap_port, self._setting.rtt_ms) as line:
            contender.configure(Account(line.port, self._user, mailbox_names(self._setting.mailboxes)))
            began_s = time.time()
            effort = contender.sync()
            if passed := line.traffic():
                self._traffic[name] = passed
        self._efforts[name].append(effort)
        if isinstance(contender, Mbsync):
            self._one_mbsync.append(statistics.median(walls(contender.efforts)))
        elif isinstance(contender, Syncd) and len(contender.roots) > 1:
            newest = {known for known, _ in self._corpus.inbox[-_NEWEST:]}
            self._newest.append((_readable_at(contender.maildirs(), newest) - began_s) / effort.wall_s)
            self._store_share.append(store_bytes(contender.store) / self._corpus.total_bytes)
            self._replicas_share.append(disk_bytes(*contender.roots) / disk_bytes(contender.roots[0]))
        maildirs.check(name, contender.roots, self._corpus.held)

    def _rows(self) -> None:
        row = partial(self._bench.row, WORK, self._setting)
        one, many = walls(self._efforts["syncd, 1 device"]), walls(self._efforts[f"syncd, {self._many}"])
        if self._one_mbsync:
            runs = walls(self._efforts["mbsync"])
            row("1 device / mbsync", ratios(one, self._one_mbsync), bound=0.7, goal=0.4)
            row(f"{self._many} / {self._bench.options.devices} mbsync", ratios(many, runs), bound=0.26, goal=0.15)
        row(f"{self._many} / 1 device", ratios(many, one), bound=1.3)
        row(f"{self._many} / limit", ratios(many, walls(self._efforts[f"limit, {self._many}"])), bound=1.6, goal=1.3)
        row("1 device / limit", ratios(one, walls(self._efforts["limit, 1 device"])), bound=1.6, goal=1.3)
        row(f"newest {_NEWEST} on {self._many} / all", self._newest, bound=0.1)
        peaks = [effort.peak_bytes / 2**20 for effort in self._efforts[f"syncd, {self._many}"]]
        row(f"peak memory, {self._many}", peaks, unit="MiB", bound=_PEAK_MIB)
        row("store / mail", self._store_share, bound=_STORE_SHARE)
        row(f"replicas of {self._many} / of one", self._replicas_share, bound=_REPLICAS_SHARE)


def _readable_at(directories: Sequence[Path], wanted: set[bytes]) -> float:
    """Return when the last of these messages had its name on the last device.

    NOTE: a rename and a link set the ctime of a file, for all names that it has.
    """
    files = [file for directory in directories for file in maildirs.mail_files(directory)]
    return max(file.stat().st_ctime for file in files if digest(file.read_bytes()) in wanted)
