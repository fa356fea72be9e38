"""Nothing has changed: a round of the running daemon, and `syncd sync` as a process."""

import itertools
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

from tests.benchmarks import maildirs
from tests.benchmarks.bench import Bench, alternating
from tests.benchmarks.corpus import Corpus, mailbox_names
from tests.benchmarks.limits.programs import Limit
from tests.benchmarks.measure import Effort, Stretch
from tests.benchmarks.peers import Account, Contender
from tests.benchmarks.peers.interimap import Interimap
from tests.benchmarks.peers.mbsync import Mbsync
from tests.benchmarks.peers.offlineimap3 import OfflineImap3
from tests.benchmarks.peers.syncd import Syncd
from tests.benchmarks.proxy import Traffic, Wire, wire
from tests.benchmarks.report import ratios, walls
from tests.benchmarks.settings import Setting

WORK = "unchanged"
SETTINGS = (
    *(Setting(10_000, 100, rtt_ms) for rtt_ms in (0, 25)),
    *(Setting(1_000, 1, rtt_ms) for rtt_ms in (0, 25)),
    Setting(10_000),
    Setting(100_000),
)
_ROUNDS = 200
_ROUNDS_MAX_S = 60.0
_QUIET_S = 0.1
_OFFLINEIMAP_MESSAGES_MAX = 10_000  # it brings hundreds in a second


def unchanged(bench: Bench) -> None:
    """Measure rounds that find nothing, in few and many mailboxes of every size."""
    round_s: dict[Setting, float] = {}
    settings = bench.options.settings(SETTINGS)
    for messages, mailboxes in dict.fromkeys((one.messages, one.mailboxes) for one in settings):
        with ExitStack() as stack:
            scene = _Scene(bench, messages, mailboxes, stack)
            for setting in settings:
                if (setting.messages, setting.mailboxes) == (messages, mailboxes):
                    round_s[setting] = scene.measure(setting)
    alike = sorted((one for one in round_s if one.mailboxes == 1), key=lambda one: (one.rtt_ms, one.messages))
    for smaller, larger in itertools.pairwise(alike):
        if smaller.rtt_ms == larger.rtt_ms:
            ratio = round_s[larger] / round_s[smaller]
            what = f"daemon / daemon with {smaller.messages:,}"
            bench.row(WORK, larger, what, [ratio], bound=1.2, against=smaller)


class _Scene:
    """An account that everybody has synced."""

    def __init__(self, bench: Bench, messages: int, mailboxes: int, stack: ExitStack) -> None:
        self._bench = bench
        self._pairs = bench.options.pairs
        corpus = Corpus(bench.options.seed, messages, mailboxes, is_light=True)
        self._user = bench.user(corpus)
        self._names = mailbox_names(mailboxes)
        self._syncd = Syncd(bench.directory("syncd"), bench.options.devices)
        stack.callback(self._syncd.discard)
        mbsync = bench.peer("mbsync", lambda: Mbsync(bench.directory("mbsync")))
        interimap = bench.peer("interimap", lambda: Interimap(bench.directory("interimap"), bench.server))
        self._offlineimap = None
        if messages <= _OFFLINEIMAP_MESSAGES_MAX:
            self._offlineimap = bench.peer("offlineimap3", lambda: OfflineImap3(bench.directory("offlineimap3")))
        self._peers: list[Contender] = [one for one in (mbsync, interimap) if one is not None]
        self._all: list[Contender] = [self._syncd, *self._peers]
        if self._offlineimap is not None:
            self._all.append(self._offlineimap)
        for contender in self._all:
            contender.configure(Account(bench.server.imap_port, self._user, self._names))
            if isinstance(contender, Mbsync | OfflineImap3):
                contender.sync(is_durable=False)
            else:
                contender.sync()
            maildirs.check(contender.name, contender.roots, corpus.held)

    def measure(self, setting: Setting) -> float:
        """Measure everything that is to be measured; return the seconds of a round of the daemon."""
        with wire(self._bench.server.imap_port, setting.rtt_ms) as line:
            account = Account(line.port, self._user, self._names)
            for contender in self._all:
                contender.configure(account)
            with self._syncd:
                round_s = self._daemon(setting, line, account)
            if self._offlineimap is not None:
                self._cold(setting, line, self._offlineimap)
        return round_s

    def _daemon(self, setting: Setting, line: Wire, account: Account) -> float:
        """Measure rounds of the daemon between runs of the peers."""
        rounds = 2 if self._bench.options.is_smoke else -(-_ROUNDS // self._pairs)
        theirs: dict[str, list[Effort]] = {peer.name: [] for peer in self._peers}
        traffic: dict[str, Traffic | None] = {}
        ours: list[Effort] = []
        trips: list[int] = []
        for pair in range(self._pairs):
            for contender in alternating((self._syncd, *self._peers), pair):
                if contender is self._syncd:
                    with Stretch.over(self._syncd.pid) as stretch:
                        asked = self._rounds(rounds, line, trips)
                    taken = stretch.effort
                    ours.append(Effort(statistics.median(asked), taken.cpu_s / len(asked), taken.peak_bytes))
                else:
                    effort, traffic[contender.name] = _run(contender, line)
                    theirs[contender.name].append(effort)
        row = partial(self._bench.row, WORK, setting)
        row("daemon, a round", [1000 * one for one in walls(ours)], unit="ms")
        row("daemon, cpu of a round", [1000 * one.cpu_s for one in ours], unit="ms", bound=5)
        if trips:
            row("daemon, round trips", trips, unit="", bound=1)
        self._bench.cost(WORK, setting, "syncd, daemon, a round", ours)
        for name, efforts in theirs.items():
            has_bound = name == "mbsync" and setting.mailboxes > 1 and setting.rtt_ms > 0
            row(f"daemon / {name}", ratios(walls(ours), walls(efforts)), bound=0.02 if has_bound else None)
            self._bench.cost(WORK, setting, name, efforts, traffic[name])
        with Limit("unchanged", self._bench.directory("limit"), account) as limit:
            floor_s = statistics.median(limit.step().wall_s for _ in range(rounds))
        row("daemon / limit", [one / floor_s for one in walls(ours)])
        return statistics.median(walls(ours))

    def _rounds(self, count: int, line: Wire, trips: list[int]) -> list[float]:
        """Return the seconds of so many rounds, or of those that fit into a minute."""
        asked: list[float] = []
        ends_s = time.monotonic() + _ROUNDS_MAX_S
        while len(asked) < count and (not asked or time.monotonic() < ends_s):
            asked.append(self._round(line, trips))
        return asked

    def _round(self, line: Wire, trips: list[int]) -> float:
        before = line.traffic()
        if before is not None:
            # What follows an answer (IDLE, say) is not waited for by anybody, and no round trip of the next.
            earlier = None
            while before != earlier:
                time.sleep(_QUIET_S)
                before, earlier = line.traffic(), before
        took_s = self._syncd.ask()
        if before and (after := line.traffic()):
            trips.append((after - before).round_trips)
        return took_s

    def _cold(self, setting: Setting, line: Wire, peer: Contender) -> None:
        """Measure `syncd sync` without a daemon."""
        efforts: dict[str, list[Effort]] = {self._syncd.name: [], peer.name: []}
        traffic: dict[str, Traffic | None] = {}
        contenders: Sequence[Contender] = (self._syncd, peer)
        for pair in range(self._pairs):
            for contender in alternating(contenders, pair):
                effort, traffic[contender.name] = _run(contender, line)
                efforts[contender.name].append(effort)
        bound = 0.8 if setting.rtt_ms else 1.0
        ours, theirs = (walls(efforts[contender.name]) for contender in contenders)
        self._bench.row(WORK, setting, f"syncd sync / {peer.name}", ratios(ours, theirs), bound=bound)
        for name, what in ((self._syncd.name, "syncd sync"), (peer.name, peer.name)):
            self._bench.cost(WORK, setting, what, efforts[name], traffic[name])


def _run(contender: Contender, line: Wire) -> tuple[Effort, Traffic | None]:
    before = line.traffic()
    effort = contender.sync()
    after = line.traffic()
    return effort, after - before if before and after else None
