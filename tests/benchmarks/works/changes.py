"""A hundred flags, fifty new messages and twenty expunged ones: from the server, and from a device."""

import os
import random
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.benchmarks import maildirs
from tests.benchmarks.bench import Bench, alternating
from tests.benchmarks.corpus import Corpus, digest
from tests.benchmarks.measure import Effort
from tests.benchmarks.peers import Account
from tests.benchmarks.peers.mbsync import Mbsync
from tests.benchmarks.peers.syncd import Syncd
from tests.benchmarks.proxy import Traffic, Wire, wire
from tests.benchmarks.report import ratios, walls
from tests.benchmarks.settings import Setting
from tests.benchmarks.works.mailbox import Mailbox
from tests.servers.messages import Kind, Writer

WORK = "changes"
SETTINGS = tuple(Setting(messages, 1, rtt_ms) for messages in (10_000, 100_000) for rtt_ms in (0, 25))
_FLAGS, _NEW, _GONE = 100, 50, 20
_OLD_ENOUGH_S = 2.5  # mbsync sleeps a second when a Maildir has just changed
_BOUNDS = {("pull", False): 0.9, ("pull", True): 0.5, ("push", False): 0.8, ("push", True): 0.5}
_DIRECTIONS = ("pull", "push")


class _Side:
    """A contender with a mailbox of its own, which changes."""

    def __init__(self, name: str, contender: Mbsync | Syncd, mailbox: Mailbox) -> None:
        self.name = name
        self.contender = contender
        self.mailbox = mailbox
        self.efforts: dict[str, list[Effort]] = {direction: [] for direction in _DIRECTIONS}
        self.traffic: dict[str, Traffic] = {}

    def measure(self, direction: str, change: "_Change", line: Wire) -> None:
        """Change one side, have it synced, and compare every message."""
        if direction == "pull":
            change.on_server(self.mailbox)
        else:
            change.on_device(self.mailbox, self._maildir)
            if isinstance(self.contender, Mbsync):
                time.sleep(_OLD_ENOUGH_S)
        before = line.traffic()
        syncd = self.contender
        self.efforts[direction].append(syncd.sync() if isinstance(syncd, Mbsync) else syncd.measured_ask())
        if before and (after := line.traffic()):
            self.traffic[direction] = after - before
        self.mailbox.check(self.name)
        maildirs.check(self.name, self.contender.roots, self.mailbox.held)

    @property
    def _maildir(self) -> Path:
        return next(path.parent for path in self.contender.roots[0].rglob("cur") if "INBOX" in path.parent.name)


class _Change:
    """What happens in one pair, the same for every contender."""

    def __init__(self, seed: str, messages: int) -> None:
        self._seed = seed
        self._counts = tuple(min(count, max(1, messages // 20)) for count in (_FLAGS, _NEW, _GONE))

    def on_server(self, mailbox: Mailbox) -> None:
        chance, (flags, new, gone) = random.Random(self._seed), self._counts
        chosen = chance.sample(sorted(mailbox.messages), flags + gone)
        mailbox.change(flagged=chosen[:flags], gone=chosen[flags:], new=self._letters(new))

    def on_device(self, mailbox: Mailbox, maildir: Path) -> None:
        """Do what a mail program does to files, and tell the mailbox what it should hold then."""
        chance, (flags, new, gone) = random.Random(self._seed), self._counts
        chosen = chance.sample(sorted(maildirs.mail_files(maildir.parent / maildir.name)), flags + gone)
        for file in chosen[:flags]:
            known, before = digest(file.read_bytes()), maildirs.flag_letters(file.name)
            after = "".join(sorted(set(before) ^ {"F"}))
            file.rename(maildir / "cur" / f"{file.name.partition(':2,')[0]}:2,{after}")
            mailbox.expect((known, before), (known, after))
        for file in chosen[flags:]:
            mailbox.expect((digest(file.read_bytes()), maildirs.flag_letters(file.name)), None)
            file.unlink()
        for number, octets in enumerate(self._letters(new)):
            name = f"{int(time.time())}.{os.getpid()}_{self._seed.replace(' ', '_')}_{number}.bench"
            (maildir / "tmp" / name).write_bytes(octets.replace(b"\r\n", b"\n"))
            (maildir / "tmp" / name).rename(maildir / "cur" / f"{name}:2,S")
            mailbox.expect(None, (digest(octets), "S"))

    def _letters(self, count: int) -> list[bytes]:
        writer = Writer(random.Random(self._seed).getrandbits(32))
        return list(writer.corpus(count, leave_out={Kind.NO_BODY, Kind.BARE_LF, Kind.NO_MESSAGE_ID}))


def changes(bench: Bench) -> None:
    """Measure changes to and from the server, in mailboxes of several sizes."""
    settings = bench.options.settings(SETTINGS)
    took: dict[tuple[Setting, str], Sequence[float]] = {}
    for messages in dict.fromkeys(setting.messages for setting in settings):
        mine = [setting for setting in settings if setting.messages == messages]
        took |= _in_one_size(bench, mine)
    smallest = min(setting.messages for setting in settings)
    for (setting, direction), ours in took.items():
        base = took.get((Setting(smallest, setting.mailboxes, setting.rtt_ms), direction))
        if base is not None and base is not ours:
            bench.row(WORK, setting, f"{direction} / {direction} in {smallest:,}", ratios(ours, base), bound=1.2)


def _in_one_size(bench: Bench, settings: Sequence[Setting]) -> dict[tuple[Setting, str], Sequence[float]]:
    corpus = Corpus(bench.options.seed, settings[0].messages, is_light=True)
    counts = dict.fromkeys((bench.options.devices,) if bench.options.is_smoke else (1, bench.options.devices))
    made: list[tuple[str, Callable[[], Mbsync | Syncd]]] = [("mbsync", lambda: Mbsync(bench.directory("mbsync")))]
    made += [(_name(count), _making(bench, count)) for count in counts]
    took: dict[tuple[Setting, str], Sequence[float]] = {}
    with ExitStack() as stack:
        sides: list[_Side] = []
        for name, make in made:
            contender = bench.peer(name, make) if name == "mbsync" else make()
            if contender is None:
                continue
            user = bench.user(corpus)
            if isinstance(contender, Syncd):
                stack.callback(contender.discard)
            contender.configure(Account(bench.server.imap_port, user))
            if isinstance(contender, Mbsync):
                contender.sync(is_durable=False)
            else:
                with contender:
                    pass
            sides.append(_Side(name, contender, Mailbox(bench.server, user, corpus.inbox)))
            maildirs.check(name, contender.roots, corpus.held)
        for setting in settings:
            took |= _in_one_setting(bench, setting, sides)
    return took


def _in_one_setting(
    bench: Bench, setting: Setting, sides: Sequence[_Side]
) -> dict[tuple[Setting, str], Sequence[float]]:
    with wire(bench.server.imap_port, setting.rtt_ms) as line, ExitStack() as stack:
        for side in sides:
            side.efforts = {direction: [] for direction in _DIRECTIONS}
            side.contender.configure(Account(line.port, side.mailbox.user))
            if isinstance(side.contender, Syncd):
                stack.enter_context(side.contender)
        for pair in range(bench.options.pairs):
            for direction in _DIRECTIONS:
                change = _Change(f"{setting} {pair} {direction}", setting.messages)
                for side in alternating(sides, pair):
                    side.measure(direction, change, line)
    theirs = next((side for side in sides if side.name == "mbsync"), None)
    took: dict[tuple[Setting, str], Sequence[float]] = {}
    for direction in _DIRECTIONS:
        for side in sides:
            bench.cost(WORK, setting, f"{side.name}, {direction}", side.efforts[direction], side.traffic.get(direction))
            if side is theirs:
                continue
            ours = walls(side.efforts[direction])
            took[setting, direction] = ours
            if theirs is not None:
                ratio = ratios(ours, walls(theirs.efforts[direction]))
                bound = _BOUNDS[direction, setting.rtt_ms > 0]
                bench.row(WORK, setting, f"{direction}, {side.name} / mbsync", ratio, bound=bound)
    return took


def _name(devices: int) -> str:
    return f"syncd, {devices} device{'s' if devices > 1 else ''}"


def _making(bench: Bench, devices: int) -> Callable[[], Syncd]:
    return lambda: Syncd(bench.directory(f"syncd-{devices}"), devices)
