"""A maildrop is retrieved, committed, delivered to every device, and deleted."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from tests.benchmarks import maildirs
from tests.benchmarks.bench import Bench, alternating
from tests.benchmarks.corpus import Corpus
from tests.benchmarks.limits import programs
from tests.benchmarks.measure import Effort
from tests.benchmarks.peers import Account, Contender
from tests.benchmarks.peers.fetchmail import Fetchmail
from tests.benchmarks.peers.getmail6 import Getmail6
from tests.benchmarks.peers.mpop import Mpop
from tests.benchmarks.peers.syncd import Syncd
from tests.benchmarks.proxy import Traffic, wire
from tests.benchmarks.report import ratios, walls
from tests.benchmarks.settings import Setting

WORK = "pop3"
SETTINGS = (Setting(5_000, 1, 0), Setting(5_000, 1, 25), Setting(500, 1, 25))
_SLOW = frozenset({"getmail6", "fetchmail"})
_REWRITING = _SLOW  # both put lines into the header
_TRIES = 2  # on a busy machine getmail6 now and then loses sight of a process of its own
_SLOW_MESSAGES_MAX = 500  # over a wire that takes time, for they wait for it once or three times for each message


def pop3(bench: Bench) -> None:
    """Measure the drain of a maildrop."""
    for setting in bench.options.settings(SETTINGS):
        with ExitStack() as stack:
            _in_one_setting(bench, setting, stack)


def _in_one_setting(bench: Bench, setting: Setting, stack: ExitStack) -> None:
    makes: dict[str, Callable[[], Contender]] = {
        "mpop": lambda: Mpop(bench.directory("mpop")),
        "getmail6": lambda: Getmail6(bench.directory("getmail6")),
        "fetchmail": lambda: Fetchmail(bench.directory("fetchmail")),
        "limit": lambda: programs.Once("pop3", bench.directory("limit"), bench.options.devices),
        "syncd": lambda: Syncd(bench.directory("syncd"), bench.options.devices, "pop3"),
    }
    efforts: dict[str, list[Effort]] = {}
    traffic: dict[str, Traffic] = {}
    for pair in range(bench.options.pairs):
        for name in alternating(tuple(makes), pair):
            if name in _SLOW and (pair > 0 or (setting.rtt_ms > 0 and setting.messages > _SLOW_MESSAGES_MAX)):
                continue
            drained = _drained(bench, setting, name, makes[name], stack)
            if drained is None:
                continue
            effort, passed = drained
            efforts.setdefault(name, []).append(effort)
            if passed is not None:
                traffic[name] = passed
    ours = walls(efforts["syncd"])
    row = partial(bench.row, WORK, setting)
    if "mpop" in efforts:
        row("syncd / mpop", ratios(ours, walls(efforts["mpop"])), bound=0.35 if setting.rtt_ms else 0.9)
    if "getmail6" in efforts:
        row("syncd / getmail6", ratios(ours[:1], walls(efforts["getmail6"])), bound=0.1)
    if "fetchmail" in efforts:
        row("syncd / fetchmail", ratios(ours[:1], walls(efforts["fetchmail"])))
    row("syncd / limit", ratios(ours, walls(efforts["limit"])), bound=2)
    for name, runs in efforts.items():
        bench.cost(WORK, setting, name, runs, traffic.get(name))


def _drained(
    bench: Bench, setting: Setting, name: str, make: Callable[[], Contender], stack: ExitStack
) -> tuple[Effort, Traffic | None] | None:
    """Return what a contender took; None of a peer that is not wanted, cannot be had, or fails again and again."""
    for left in reversed(range(_TRIES if name in _SLOW else 1)):
        contender = make() if name in ("syncd", "limit") else bench.peer(name, make)
        if contender is None:
            return None
        if isinstance(contender, Syncd):
            stack.callback(contender.discard)
        try:
            return _drain(bench, setting, contender)
        except RuntimeError as error:
            if name not in _SLOW:
                raise
            if not left:
                bench.absent(name, error)
    return None


def _drain(bench: Bench, setting: Setting, contender: Contender) -> tuple[Effort, Traffic | None]:
    """Fill a maildrop, have it drained, and compare every message; nothing may be left."""
    corpus = Corpus(bench.options.seed, setting.messages)
    user = bench.user(corpus)
    with wire(bench.server.pop3_port, setting.rtt_ms) as line:
        contender.configure(Account(line.port, user))
        effort = contender.sync()
        passed = line.traffic()
    if contender.name in _REWRITING:
        maildirs.check_count(contender.name, contender.roots, corpus.held.total())
    else:
        maildirs.check(contender.name, contender.roots, corpus.held, with_flags=False)
    with bench.server.imap(user) as client:
        left = client.select("INBOX", readonly=True)[1][0]
    if left != b"0":
        raise RuntimeError(f"{contender.name} left {left!r} messages on the server")
    return effort, passed
