"""Nothing has changed: a round of the running daemon, and `syncd sync` as a process, each time as often as it takes."""

import itertools
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack

from tests.benchmarks import maildirs
from tests.benchmarks.bench import Bench, alternating
from tests.benchmarks.corpus import Corpus, mailbox_names
from tests.benchmarks.limits.programs import Limit
from tests.benchmarks.measure import Effort, Stretch
from tests.benchmarks.peers import Account, Contender
from tests.benchmarks.peers.mbsync import Mbsync
from tests.benchmarks.peers.offlineimap3 import OfflineImap3
from tests.benchmarks.peers.syncd import Syncd
from tests.benchmarks.proxy import Traffic, Wire, wire
from tests.benchmarks.report import ratios, walls
from tests.benchmarks.settings import Setting

WORK = "unchanged"
MANY = Setting(10_000, 100, 25)
SIZES = (Setting(1_000), Setting(10_000), Setting(100_000))
SETTINGS = (MANY, Setting(10_000, 100, 0), *SIZES, Setting(1_000, 1, 25))
_ROUNDS = 200
_QUIET_S = 0.1
_OFFLINEIMAP_MESSAGES_MAX = 10_000


def unchanged(bench: Bench) -> None:
    """Measure rounds that find nothing, in few and many mailboxes of every size."""
    flat: dict[Setting, float] = {}
    settings = bench.options.settings(SETTINGS)
    for messages, mailboxes in dict.fromkeys((one.messages, one.mailboxes) for one in settings):
        mine = [one for one in settings if (one.messages, one.mailboxes) == (messages, mailboxes)]
        flat |= _in_one_corpus(bench, mine)
    alike = sorted(setting for setting in flat if setting.mailboxes == 1)
    for smallest, other in itertools.pairwise(alike):
        if smallest.rtt_ms == other.rtt_ms:
            ratio = flat[other] / flat[smallest]
            bench.row(WORK, other, f"daemon / daemon with {smallest.messages:,}", [ratio], bound=1.2)


def _in_one_corpus(bench: Bench, settings: Sequence[Setting]) -> dict[Setting, float]:
    """Measure settings that differ in their round trip time; return the seconds of a round of the daemon."""
    setting = settings[0]
    corpus = Corpus(bench.options.seed, setting.messages, setting.mailboxes, is_light=True)
    user = bench.user(corpus)
    account = Account(bench.server.imap_port, user, mailbox_names(setting.mailboxes))
    syncd = Syncd(bench.directory("syncd"), bench.options.devices)
    mbsync = bench.peer("mbsync", lambda: Mbsync(bench.directory("mbsync")))
    offlineimap = None
    if setting.messages <= _OFFLINEIMAP_MESSAGES_MAX:
        offlineimap = bench.peer("offlineimap3", lambda: OfflineImap3(bench.directory("offlineimap3")))
    with ExitStack() as stack:
        stack.callback(syncd.discard)
        for contender in (syncd, mbsync, offlineimap):
            if contender is not None:
                contender.configure(account)
                contender.sync(is_durable=False) if isinstance(contender, Mbsync) else contender.sync()
                maildirs.check(contender.name, contender.roots, corpus.held)
        found: dict[Setting, float] = {}
        for one in settings:
            with wire(bench.server.imap_port, one.rtt_ms) as line:
                through = Account(line.port, user, account.mailboxes)
                for contender in (syncd, mbsync, offlineimap):
                    if contender is not None:
                        contender.configure(through)
                found[one] = _daemon(bench, one, syncd, mbsync, line, through)
                _cold(bench, one, syncd, offlineimap, line)
    return found


def _daemon(bench: Bench, setting: Setting, syncd: Syncd, mbsync: Mbsync | None, line: Wire, account: Account) -> float:
    """Measure rounds of the daemon between runs of mbsync."""
    pairs = bench.options.pairs
    rounds = 2 if bench.options.is_smoke else -(-_ROUNDS // pairs)
    theirs: list[Effort] = []
    ours: list[float] = []
    stretches: list[Effort] = []
    trips: list[int] = []
    between: Traffic | None = None
    with syncd:
        for pair in range(pairs):
            for is_ours in alternating((True, False), pair):
                if is_ours:
                    with Stretch.over(syncd.pid) as stretch:
                        asked = [_round(syncd, line, trips) for _ in range(rounds)]
                    ours.append(statistics.median(asked))
                    stretches.append(Effort(ours[-1], stretch.effort.cpu_s / rounds, stretch.effort.peak_bytes))
                elif mbsync is not None:
                    before = line.traffic()
                    theirs.append(mbsync.sync())
                    after = line.traffic()
                    between = after - before if before and after else None
    bench.row(WORK, setting, "daemon, a round", [1000 * one for one in ours], unit="ms")
    bench.row(WORK, setting, "daemon, cpu of a round", [1000 * one.cpu_s for one in stretches], unit="ms", bound=5)
    if trips:
        bench.row(WORK, setting, "daemon, round trips", trips, unit="", bound=1)
    bench.cost(WORK, setting, "syncd, daemon, a round", stretches)
    if theirs:
        is_bound = setting.mailboxes > 1 and setting.rtt_ms > 0
        bench.row(WORK, setting, "daemon / mbsync", ratios(ours, walls(theirs)), bound=0.02 if is_bound else None)
        bench.cost(WORK, setting, "mbsync", theirs, between)
    with Limit("unchanged", bench.directory("limit"), account) as limit:
        floor = [limit.step() for _ in range(rounds)]
    bench.row(WORK, setting, "daemon / limit", [one / statistics.median(floor) for one in ours])
    return statistics.median(ours)


def _round(syncd: Syncd, line: Wire, trips: list[int]) -> float:
    before = line.traffic()
    if before is not None:
        # What follows an answer (IDLE, say) is not waited for by anybody, and no round trip of the next.
        while True:
            time.sleep(_QUIET_S)
            before, earlier = line.traffic(), before
            if before == earlier:
                break
    took_s = syncd.ask()
    after = line.traffic()
    if before and after:
        trips.append((after - before).round_trips)
    return took_s


def _cold(bench: Bench, setting: Setting, syncd: Syncd, peer: Contender | None, line: Wire) -> None:
    """Measure `syncd sync` without a daemon."""
    ours: list[Effort] = []
    theirs: list[Effort] = []
    traffic: dict[str, Traffic] = {}
    for pair in range(bench.options.pairs):
        for contender in alternating((syncd, peer), pair):
            if contender is None:
                continue
            before = line.traffic()
            (ours if contender is syncd else theirs).append(contender.sync())
            if before and (after := line.traffic()):
                traffic[contender.name] = after - before
    bench.cost(WORK, setting, "syncd sync", ours, traffic.get("syncd"))
    if peer is not None:
        bound = 1.0 if setting.rtt_ms == 0 else 0.8
        bench.row(WORK, setting, f"syncd sync / {peer.name}", ratios(walls(ours), walls(theirs)), bound=bound)
        bench.cost(WORK, setting, peer.name, theirs, traffic.get(peer.name))
