"""What memory syncd takes with large messages, many messages, many accounts; and whether time grows as their number."""

from contextlib import ExitStack

from tests.benchmarks import maildirs
from tests.benchmarks.bench import Bench
from tests.benchmarks.corpus import Corpus, mailbox_names
from tests.benchmarks.measure import Effort, Stretch
from tests.benchmarks.peers import Account
from tests.benchmarks.peers.syncd import Syncd
from tests.benchmarks.settings import Setting

WORK = "footprint"
SETTINGS = (Setting(10_000), Setting(100_000))
_LARGE_BYTES = (50_000_000,) * 5
_ACCOUNTS, _MAILBOXES, _MESSAGES = 20, 5, 1_000
_PEAK_MIB = 200e6 / 2**20
_LINEAR = 1.2


def footprint(bench: Bench) -> None:
    """Measure first syncs of unusual mail."""
    seed = bench.options.seed
    settings = bench.options.settings(SETTINGS)
    smallest, largest = min(settings), max(settings)
    if largest != smallest:
        took = [
            _first_sync(bench, one, "light", Corpus(seed, one.messages, is_light=True)) for one in (smallest, largest)
        ]
        each = [effort.wall_s / one.messages for effort, one in zip(took, (smallest, largest), strict=True)]
        what = f"time for a message / in {smallest.messages:,}"
        bench.row(WORK, largest, what, [each[1] / each[0]], bound=_LINEAR, against=smallest)
    large = (1_000_000,) if bench.options.is_smoke else _LARGE_BYTES
    _first_sync(bench, smallest, "with large messages", Corpus(seed, smallest.messages, large_bytes=large))
    _many_accounts(bench)


def _first_sync(bench: Bench, setting: Setting, kind: str, corpus: Corpus) -> Effort:
    user = bench.user(corpus)
    syncd = Syncd(bench.directory("syncd"), bench.options.devices)
    with ExitStack() as stack:
        stack.callback(syncd.discard)
        syncd.configure(Account(bench.server.imap_port, user))
        effort = syncd.sync()
        maildirs.check("syncd", syncd.roots, corpus.held)
    bench.row(WORK, setting, f"{kind}: peak memory", [effort.peak_bytes / 2**20], unit="MiB", bound=_PEAK_MIB)
    bench.cost(WORK, setting, f"syncd, first sync, {kind}", [effort])
    return effort


def _many_accounts(bench: Bench) -> None:
    """Measure a daemon with many accounts and mailboxes, through its first sync."""
    messages = 10 if bench.options.is_smoke else min(_MESSAGES, *(bench.options.messages or (_MESSAGES,)))
    accounts = 2 if bench.options.is_smoke else _ACCOUNTS
    setting = Setting(messages, _MAILBOXES)
    corpora = [Corpus(bench.options.seed + number, messages, _MAILBOXES, is_light=True) for number in range(accounts)]
    users = [bench.user(corpus) for corpus in corpora]
    syncd = Syncd(bench.directory("syncd"), bench.options.devices)
    with ExitStack() as stack:
        stack.callback(syncd.discard)
        port, names = bench.server.imap_port, mailbox_names(_MAILBOXES)
        syncd.configure_all({f"bench{number}": Account(port, user, names) for number, user in enumerate(users)})
        syncd.start()
        with Stretch.over(syncd.pid) as stretch:
            syncd.ask()
        held = sum((corpus.held for corpus in corpora), start=type(corpora[0].held)())
        maildirs.check("syncd", syncd.roots, held)
    what = f"{accounts} accounts of {_MAILBOXES} mailboxes"
    peak_mib = stretch.effort.peak_bytes / 2**20
    bench.row(WORK, setting, f"{what}: peak memory", [peak_mib], unit="MiB", bound=_PEAK_MIB)
    bench.cost(WORK, setting, f"syncd, daemon, first sync, {what}", [stretch.effort])
