"""A hundred flags, fifty new messages and twenty expunged ones: from the server, and from a device."""

import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.benchmarks import maildirs
from tests.benchmarks.bench import Bench, alternating
from tests.benchmarks.corpus import Corpus, digest
from tests.benchmarks.limits.programs import Limit
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
PULL, PUSH = "pull", "push"
_FLAGS, _NEW, _GONE = 100, 50, 20
_OLD_ENOUGH_S = 2.5  # mbsync sleeps a second when a Maildir has just changed
_BOUNDS = {(PULL, False): 0.9, (PULL, True): 0.5, (PUSH, False): 0.8, (PUSH, True): 0.5}
Took = dict[tuple[Setting, str, str], Sequence[float]]
"""Seconds of each pair, by setting, direction and name."""


def changes(bench: Bench) -> None:
    """Measure changes to and from the server, in mailboxes of several sizes."""
    settings = bench.options.settings(SETTINGS)
    took: Took = {}
    for messages in dict.fromkeys(setting.messages for setting in settings):
        with ExitStack() as stack:
            scene = _Scene(bench, messages, stack)
            for setting in settings:
                if setting.messages == messages:
                    took |= scene.measure(setting)
    smallest = min(setting.messages for setting in settings)
    for (setting, direction, name), seconds in took.items():
        small = Setting(smallest, setting.mailboxes, setting.rtt_ms)
        base = took.get((small, direction, name))
        if name.startswith("syncd") and base is not None and base is not seconds:
            what = f"{direction}, {name} / in {smallest:,}"
            bench.row(WORK, setting, what, ratios(seconds, base), bound=1.2, against=small)


class _Side:
    """Somebody who keeps devices like a mailbox of his own; both change, and he makes them equal again."""

    def __init__(self, name: str, mailbox: Mailbox, roots: Sequence[Path], sync: Callable[[], Effort]) -> None:
        self.name = name
        self.efforts: dict[str, list[Effort]] = {}
        self.traffic: dict[str, Traffic] = {}
        self._mailbox = mailbox
        self._roots = roots
        self._sync = sync

    def measure(self, direction: str, change: "_Change", line: Wire) -> None:
        """Change one side, have it synced, and compare every message."""
        if direction == PULL:
            change.on_server(self._mailbox)
        else:
            change.on_device(self._mailbox, next(path.parent for path in self._roots[0].rglob("*INBOX/cur")))
            if self.name == Mbsync.name:
                time.sleep(_OLD_ENOUGH_S)
        before = line.traffic()
        self.efforts.setdefault(direction, []).append(self._sync())
        if before and (after := line.traffic()):
            self.traffic[direction] = after - before
        self._mailbox.check(self.name)
        maildirs.check(self.name, self._roots, self._mailbox.held)


class _Change:
    """What happens in one pair, the same for everybody."""

    def __init__(self, seed: str, messages: int) -> None:
        self._seed = seed
        self._counts = tuple(min(count, max(1, messages // 20)) for count in (_FLAGS, _NEW, _GONE))

    def on_server(self, mailbox: Mailbox) -> None:
        """Do what another mail program does."""
        chance, (flags, new, gone) = random.Random(self._seed), self._counts
        chosen = chance.sample(sorted(mailbox.messages), flags + gone)
        mailbox.change(flagged=chosen[:flags], gone=chosen[flags:], new=self._letters(new))

    def on_device(self, mailbox: Mailbox, maildir: Path) -> None:
        """Do what a mail program does to files, and tell the mailbox what it should hold then."""
        chance, (flags, new, gone) = random.Random(self._seed), self._counts
        chosen = chance.sample(sorted(maildirs.mail_files(maildir)), flags + gone)
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


class _Scene:
    """Mailboxes of one size, which all begin with the same messages, and who keeps devices like them."""

    def __init__(self, bench: Bench, messages: int, stack: ExitStack) -> None:
        self._bench = bench
        self._corpus = Corpus(bench.options.seed, messages, is_light=True)
        devices = bench.options.devices
        self._syncds = {
            f"syncd, {count} device{'s' * (count > 1)}": Syncd(bench.directory("syncd"), count)
            for count in ((devices,) if bench.options.is_smoke else dict.fromkeys((1, devices)))
        }
        self._mbsync = bench.peer(Mbsync.name, lambda: Mbsync(bench.directory("mbsync")))
        self._mailboxes: Mapping[str, Mailbox] = {name: self._mailbox() for name in (Mbsync.name, *self._syncds)}
        for name, syncd in self._syncds.items():
            stack.callback(syncd.discard)
            syncd.configure(Account(bench.server.imap_port, self._mailboxes[name].user))
            with syncd:
                pass
            maildirs.check(name, syncd.roots, self._corpus.held)
        if self._mbsync is not None:
            self._mbsync.configure(Account(bench.server.imap_port, self._mailboxes[Mbsync.name].user))
            self._mbsync.sync(is_durable=False)
            maildirs.check(Mbsync.name, self._mbsync.roots, self._corpus.held)

    def measure(self, setting: Setting) -> Took:
        """Measure both directions in one setting."""
        with wire(self._bench.server.imap_port, setting.rtt_ms) as line, ExitStack() as stack:
            sides = self._sides(line, stack)
            for pair in range(self._bench.options.pairs):
                for direction in (PULL, PUSH):
                    change = _Change(f"{setting} {pair} {direction}", setting.messages)
                    for side in alternating(sides, pair):
                        if direction == PULL or side.name != "limit":
                            side.measure(direction, change, line)
        took: Took = {
            (setting, direction, side.name): walls(efforts)
            for side in sides
            for direction, efforts in side.efforts.items()
        }
        for side in sides:
            for direction, efforts in side.efforts.items():
                what = f"{side.name}, {direction}"
                self._bench.cost(WORK, setting, what, efforts, side.traffic.get(direction))
        for (_, direction, name), seconds in took.items():
            if not name.startswith("syncd"):
                continue
            if theirs := took.get((setting, direction, Mbsync.name)):
                bound = _BOUNDS[direction, setting.rtt_ms > 0]
                self._bench.row(WORK, setting, f"{direction}, {name} / mbsync", ratios(seconds, theirs), bound=bound)
            if least := took.get((setting, direction, "limit")):
                self._bench.row(WORK, setting, f"{direction}, {name} / limit", ratios(seconds, least))
        return took

    def _sides(self, line: Wire, stack: ExitStack) -> list[_Side]:
        sides: list[_Side] = []
        if self._mbsync is not None:
            mailbox = self._mailboxes[Mbsync.name]
            self._mbsync.configure(Account(line.port, mailbox.user))
            sides.append(_Side(Mbsync.name, mailbox, self._mbsync.roots, self._mbsync.sync))
        for name, syncd in self._syncds.items():
            syncd.configure(Account(line.port, self._mailboxes[name].user))
            stack.enter_context(syncd)
            sides.append(_Side(name, self._mailboxes[name], syncd.roots, syncd.measured_ask))
        mailbox, directory = self._mailbox(), self._bench.directory("limit")
        account = Account(line.port, mailbox.user)
        limit = stack.enter_context(Limit("changes", directory, account, self._bench.options.devices))
        sides.append(_Side("limit", mailbox, limit.roots, limit.step))
        return sides

    def _mailbox(self) -> Mailbox:
        user = self._bench.user(self._corpus)
        return Mailbox(self._bench.server, user, self._corpus.inbox)
