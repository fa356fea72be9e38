"""How soon everybody knows: from the server's announcement, from a device, and under fifty changes a second.

Another mailbox than INBOX gets every tenth as many messages: of that a server tells by NOTIFY.
"""

import imaplib
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.benchmarks import maildirs
from tests.benchmarks.arrivals import Arrivals
from tests.benchmarks.bench import Bench
from tests.benchmarks.corpus import digest
from tests.benchmarks.maildirs import flag_letters
from tests.benchmarks.measure import Stretch
from tests.benchmarks.peers import Account
from tests.benchmarks.peers.syncd import Syncd
from tests.benchmarks.proxy import Heard, Wire, wire
from tests.benchmarks.report import quantile
from tests.benchmarks.settings import Setting
from tests.benchmarks.works.mailbox import Mailbox
from tests.servers.delivery import Delivery, append_all

WORK = "latency"
SETTINGS = (Setting(500),)
"""Its messages are the events."""
_ELSEWHERE = "box1"
_SHARE_ELSEWHERE = 10
_LEAST_BYTES = 400
_WAIT_S = 30.0
_QUIET_S = 0.05
_STEP_S = 1 / 50
_P50_MS, _P99_MS, _END_TO_END_MS, _STREAM_MS = 60, 300, 700, 1000


def latency(bench: Bench) -> None:
    """Measure events one by one, then many at once."""
    for setting in bench.options.settings(SETTINGS):
        with ExitStack() as stack:
            _Scene(bench, setting, stack).play()


class _Scene:
    """A mailbox of letters that can be told by their size, a daemon that keeps devices like it, and who watches."""

    def __init__(self, bench: Bench, setting: Setting, stack: ExitStack) -> None:
        self._bench = bench
        self._setting = setting
        self._events = setting.messages
        self._user = f"latency{setting.messages}"
        server = bench.server
        self._flags: dict[int, str] = dict.fromkeys(range(3 * self._events), "")
        self._untouched = iter(tuple(self._flags))
        server.deliver_all(self._user, "INBOX", (Delivery(_letter(number)) for number in self._flags))
        self._elsewhere = [10 * self._events]  # numbers that no message of INBOX has
        server.deliver_all(self._user, _ELSEWHERE, map(Delivery, map(_letter, self._elsewhere)))
        self._syncd = Syncd(bench.directory("syncd"), bench.options.devices)
        stack.callback(self._syncd.discard)
        self._line: Wire = stack.enter_context(wire(server.imap_port, setting.rtt_ms, listens=True))
        self._syncd.configure(Account(self._line.port, self._user))
        stack.enter_context(self._syncd)
        self._devices = range(bench.options.devices)
        self._arrivals = stack.enter_context(Arrivals(self._syncd.maildirs(), _sighting))
        self._arrivals_elsewhere = stack.enter_context(Arrivals(self._syncd.maildirs(_ELSEWHERE), _sighting))
        self._client: imaplib.IMAP4 = stack.enter_context(server.imap(self._user))
        self._client.select("INBOX")
        self._file_of: dict[int, Path] = {}

    def play(self) -> None:
        """Measure everything, and look in the end that nothing is lost."""
        self._file_of = {_number(file.name): file for file in maildirs.mail_files(self._syncd.roots[0])}
        for round_ in (self._from_server, self._from_elsewhere, self._from_device, self._stream):
            with Stretch.over(self._syncd.pid) as stretch:
                round_()
            self._bench.cost(
                WORK, self._setting, f"syncd, {round_.__name__.strip('_').replace('_', ' ')}", [stretch.effort]
            )
            self._check()

    def _from_server(self) -> None:
        """Deliver and flag in turn, each only when nobody says anything any more."""
        announced: list[float] = []
        delivered: list[float] = []
        for event in range(self._events):
            self._quiet()
            if event % 2 == 0:
                began_s, sighting = time.monotonic(), (self._deliver(), "")
            else:
                began_s, sighting = time.monotonic(), self._flag_on_server()
            arrived_s = self._arrivals.wait(sighting, self._devices, _WAIT_S)
            told = "EXISTS" if event % 2 == 0 else "FETCH"
            announced.append(arrived_s - _first(self._line.heard(), told, since_s=began_s))
            if event % 2 == 0:
                delivered.append(arrived_s - began_s)
        self._quantiles("from the announcement to all devices", announced)
        self._row("from the delivery to all devices, p50", quantile(delivered, 0.5), _END_TO_END_MS)

    def _from_elsewhere(self) -> None:
        """Deliver into a mailbox that is not selected."""
        announced: list[float] = []
        delivered: list[float] = []
        for _ in range(max(self._events // _SHARE_ELSEWHERE, 1)):
            self._quiet()
            began_s, number = time.monotonic(), self._elsewhere[-1] + 1
            self._elsewhere.append(number)
            append_all(self._client, _ELSEWHERE, [Delivery(_letter(number))])
            arrived_s = self._arrivals_elsewhere.wait((number, ""), self._devices, _WAIT_S)
            announced.append(arrived_s - _first(self._line.heard(), "STATUS", since_s=began_s))
            delivered.append(arrived_s - began_s)
        self._quantiles("from the announcement of another mailbox to all devices", announced)
        self._row(
            "from the delivery into another mailbox to all devices, p50", quantile(delivered, 0.5), _END_TO_END_MS
        )

    def _from_device(self) -> None:
        """Flag on one device, each message only when nobody says anything any more."""
        others, stored = [], []
        for _ in range(self._events):
            self._quiet()
            began_s = time.monotonic()
            sighting = self._flag_on_device()
            others.append(self._arrivals.wait(sighting, self._devices[1:], _WAIT_S) - began_s)
            stored.append(self._stored_s(since_s=began_s) - began_s)
        self._quantiles("from a device's flag to the server", stored)
        self._quantiles("from a device's flag to the other devices", others)

    def _stream(self) -> None:
        """Change something fifty times a second, without waiting for anybody."""
        made: list[tuple[float, tuple[int, str], Sequence[int]]] = []
        starts_s = time.monotonic()
        for event in range(self._events):
            time.sleep(max(0.0, starts_s + event * _STEP_S - time.monotonic()))
            match event % 3:
                case 0:
                    sighting, devices = (self._deliver(), ""), self._devices
                case 1:
                    sighting, devices = self._flag_on_server(), self._devices
                case _:
                    sighting, devices = self._flag_on_device(), self._devices[1:]
            made.append((time.monotonic(), sighting, devices))
        rate = self._events / (time.monotonic() - starts_s)
        took = [self._arrivals.wait(sighting, devices, _WAIT_S) - at_s for at_s, sighting, devices in made]
        self._row(f"{rate:.0f} changes a second, from each to everywhere, p50", quantile(took, 0.5))
        self._row(f"{rate:.0f} changes a second, from each to everywhere, the slowest", max(took), _STREAM_MS)

    def _deliver(self) -> int:
        number = len(self._flags)
        self._flags[number] = ""
        append_all(self._client, "INBOX", [Delivery(_letter(number))])
        return number

    def _flag_on_server(self) -> tuple[int, str]:
        number = next(self._untouched)
        self._client.uid("STORE", str(number + 1), "+FLAGS.SILENT", r"(\Flagged)")
        self._flags[number] = "F"
        return number, "F"

    def _flag_on_device(self) -> tuple[int, str]:
        number = next(self._untouched)
        file = self._file_of[number]
        file.rename(file.parent.parent / "cur" / f"{file.name.partition(':2,')[0]}:2,F")
        self._flags[number] = "F"
        return number, "F"

    def _quiet(self) -> None:
        while self._line.heard():
            time.sleep(_QUIET_S)

    def _stored_s(self, *, since_s: float) -> float:
        """Return when the server had done the first STORE after a moment."""
        tag = ""
        for heard in self._heard(since_s):
            if not tag and not heard.is_from_server and " UID STORE " in heard.line:
                tag = heard.line.partition(" ")[0]
            elif tag and heard.is_from_server and heard.line.startswith(f"{tag} "):
                return heard.at_s
        raise RuntimeError("no STORE was heard")

    def _heard(self, since_s: float) -> Iterator[Heard]:
        deadline_s = time.monotonic() + _WAIT_S
        while time.monotonic() < deadline_s:
            yield from (heard for heard in self._line.heard() if heard.at_s >= since_s)
            time.sleep(_QUIET_S)

    def _check(self) -> None:
        self._syncd.ask()
        messages = [(digest(_letter(number)), flags) for number, flags in self._flags.items()]
        Mailbox(self._bench.server, self._user, messages).check("latency")
        elsewhere = ((digest(_letter(number)), "") for number in self._elsewhere)
        maildirs.check("latency", self._syncd.roots, Counter([*messages, *elsewhere]))

    def _quantiles(self, what: str, seconds: Sequence[float]) -> None:
        self._row(f"{what}, p50", quantile(seconds, 0.5), _P50_MS)
        self._row(f"{what}, p99", quantile(seconds, 0.99), _P99_MS)

    def _row(self, what: str, seconds: float, bound_ms: float | None = None) -> None:
        self._bench.row(WORK, self._setting, what, [1000 * seconds], unit="ms", bound=bound_ms)


def _letter(number: int) -> bytes:
    """Return a letter whose file has `_LEAST_BYTES` and `number` octets."""
    head = f"From: ana@example.org\r\nSubject: letter {number}\r\nMessage-ID: <{number}@example.org>\r\n\r\n"
    fill = _LEAST_BYTES + number - len(head.replace("\r\n", "\n")) - 1
    return f"{head}{'x' * fill}\r\n".encode()


def _number(name: str) -> int:
    return int(name.partition(",S=")[2].partition(",")[0].partition(":")[0]) - _LEAST_BYTES


def _sighting(name: str) -> tuple[int, str]:
    return _number(name), flag_letters(name)


def _first(heard: Sequence[Heard], word: str, *, since_s: float) -> float:
    untagged = (one for one in heard if one.is_from_server and one.line.startswith("* ") and one.at_s >= since_s)
    for one in untagged:
        if word in one.line:
            return one.at_s
    raise RuntimeError(f"no {word} was heard")
