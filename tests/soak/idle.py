"""Many accounts at rest in one daemon: what each costs in memory, and what all of them cost while nothing happens."""

import argparse
import signal
import ssl
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.benchmarks.measure import processor_s
from tests.servers.certificates import write_certificates
from tests.servers.daemon import Daemon, wait_until
from tests.servers.ports import HOST
from tests.soak import samples
from tests.soak.samples import Memory
from tests.soak.scripted import Counted, Server, scripted

_COME_S = 600.0
_EACH_KIB = 128.0
_REST_PERCENT = 1.0


@dataclass(frozen=True, slots=True)
class Rest:
    """A daemon that has come to rest, and what it took to come there; then what it does in a stretch of time."""

    came_s: float
    came_cpu_s: float
    memory: Memory
    descriptors: int
    threads: int
    counted: Counted
    cpu_share: float
    switches_per_s: float
    sync_cpu_s: float
    """Of a sync of all of them, in which nothing has changed."""
    news_cpu_s: float
    """Of one message in one of them, until the device has it."""


class Idle:
    """A daemon with so many accounts on a scripted server, each with one mailbox on one device."""

    def __init__(
        self, directory: Path, accounts: int, messages: int, *, is_tls: bool, watch_s: float, news: int = 20
    ) -> None:
        self._directory = directory
        self._accounts = accounts
        self._messages = messages
        self._is_tls = is_tls
        self._watch_s = watch_s
        self._news = news

    def measure(self) -> Iterator[Rest]:
        """Yield how a first start comes to rest, and how the next one does."""
        self._directory.mkdir()
        write_certificates(self._directory)
        authorities = self._directory / "authorities.pem"
        # NOTE: as for most people, our server's authority is one among all those that the system trusts.
        system = ssl.get_default_verify_paths().cafile
        ours = (self._directory / "ca.pem").read_bytes()
        authorities.write_bytes((Path(system).read_bytes() if system else b"") + ours)
        environment = {"SSL_CERT_FILE": str(authorities)}
        with scripted(self._messages, certificates=self._directory if self._is_tls else None) as server:
            daemon = Daemon(self._directory / "syncd", self._config(server), environment=environment)
            try:
                for _ in range(2):
                    with _running(daemon):
                        yield self._rest(daemon, server)
            finally:
                daemon.discard()

    def _config(self, server: Server) -> dict[str, dict[str, object]]:
        account = {
            "type": "imap",
            "host": HOST,
            "port": server.port,
            "tls": "implicit" if self._is_tls else "none",
            "password": "secret",
        }
        names = [f"a{number:04d}" for number in range(self._accounts)]
        return {
            "accounts": {name: {**account, "username": name} for name in names},
            "devices": {"box": {"path": str(self._directory / "box")}} if names else {},
            "daemon": {"log_format": "json"},
        }

    def _rest(self, daemon: Daemon, server: Server) -> Rest:
        began = time.monotonic()
        files = max(self._files(), self._accounts * self._messages)
        while not (self._all_wait(server) and self._has(files) and _is_in_sync(daemon, self._accounts)):
            if time.monotonic() - began > _COME_S:
                raise RuntimeError(f"not at rest: {server.counted()} {daemon.log()[-3000:]}")
            time.sleep(1)
        came_s, came_cpu_s = time.monotonic() - began, processor_s(daemon.pid)
        time.sleep(min(self._watch_s, 10))  # what follows a start is no rest
        cpu_s, switches, since = processor_s(daemon.pid), samples.switches_of(daemon.pid), time.monotonic()
        time.sleep(self._watch_s)
        cpu_share = (processor_s(daemon.pid) - cpu_s) / (time.monotonic() - since)
        switches_per_s = (samples.switches_of(daemon.pid) - switches) / (time.monotonic() - since)
        memory = samples.memory_of(daemon.pid)
        descriptors, threads = len(samples.descriptors_of(daemon.pid)), samples.threads_of(daemon.pid)
        counted = server.counted()
        return Rest(
            came_s,
            came_cpu_s,
            memory,
            descriptors,
            threads,
            counted,
            cpu_share,
            switches_per_s,
            self._sync_cpu_s(daemon),
            self._news_cpu_s(daemon, server),
        )

    def _sync_cpu_s(self, daemon: Daemon) -> float:
        before = processor_s(daemon.pid)
        asked = daemon.syncd("sync", timeout_s=_COME_S)
        if asked.returncode != 0:
            raise RuntimeError(f"no sync: {asked.stdout}{asked.stderr}")
        return processor_s(daemon.pid) - before

    def _news_cpu_s(self, daemon: Daemon, server: Server) -> float:
        time.sleep(1)
        before, files = processor_s(daemon.pid), self._files()
        for number in range(1, self._news + 1):
            wait_until(partial(self._all_wait, server), 30, "all wait for news")
            server.news(1)
            wait_until(partial(self._has, files + number), 30, "the device has what came")
        return (processor_s(daemon.pid) - before) / self._news

    def _all_wait(self, server: Server) -> bool:
        return server.counted().idling == self._accounts

    def _has(self, files: int) -> bool:
        return self._files() == files

    def _files(self) -> int:
        return sum(1 for subdir in ("new", "cur") for _ in (self._directory / "box").glob(f".*/{subdir}/*"))


def _is_in_sync(daemon: Daemon, accounts: int) -> bool:
    status = daemon.status()
    rested = sum(one["doing"] == "idle" for one in status["accounts"])
    return rested == accounts and all(not one["waiting"] for one in status["devices"])


@contextmanager
def _running(daemon: Daemon) -> Iterator[None]:
    daemon.start()
    try:
        yield
    finally:
        daemon.stop()


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what it says of the connections without TLS, and of those with it."""

    name: str
    unit: str
    plain: float
    tls: float
    most: float | None = None

    @property
    def is_held(self) -> bool:
        return self.most is None or max(self.plain, self.tls) <= self.most


def rows_of(accounts: int, alone: Mapping[bool, Rest], plain: Sequence[Rest], tls: Sequence[Rest]) -> Iterator[Row]:
    """Yield what was measured: of a daemon with one account, and of the first and the next start with all of them.

    alone: by whether it has TLS.
    """

    def row(name: str, unit: str, figure: Callable[[Rest], float], *, start: int = 1, most: float | None = None) -> Row:
        return Row(name, unit, figure(plain[start]), figure(tls[start]), most)

    def each(name: str, *, start: int, most: float | None = None) -> Row:
        kib = [
            (rest[start].memory.uss_kib - alone[is_tls].memory.uss_kib) / max(accounts - 1, 1)
            for is_tls, rest in ((False, plain), (True, tls))
        ]
        return Row(name, "KiB", kib[0], kib[1], most)

    yield row("first start: processor time until all is in sync", "s", lambda rest: rest.came_cpu_s, start=0)
    yield row("a later start: the same", "s", lambda rest: rest.came_cpu_s)
    yield row("connections that were opened at once", "", lambda rest: rest.counted.most_coming)
    kib = [alone[is_tls].memory.uss_kib for is_tls in (False, True)]
    yield Row("memory of its own with one account", "MiB", kib[0] / 1024, kib[1] / 1024)
    yield row("with all of them", "MiB", lambda rest: rest.memory.uss_kib / 1024)
    yield each("for each account", start=1, most=_EACH_KIB)
    yield each("for each account, after the first start", start=0)
    yield row("descriptors", "", lambda rest: rest.descriptors)
    yield row("threads", "", lambda rest: rest.threads)
    yield row("at rest: of one processor", "%", lambda rest: rest.cpu_share * 100, most=_REST_PERCENT)
    yield row("at rest: how often threads are woken in a second", "", lambda rest: rest.switches_per_s)
    yield row("a sync of all, nothing new: processor time", "s", lambda rest: rest.sync_cpu_s)
    yield row("a new message in one of them: processor time", "ms", lambda rest: rest.news_cpu_s * 1000)


def markdown(rows: Iterable[Row]) -> str:
    """Return a table."""
    lines = ["| | plain | TLS | bound | |", "|---|---|---|---|---|"]
    for one in rows:
        bound, told = ("", "") if one.most is None else (f"{one.most:g}", "held" if one.is_held else "not held")
        unit = f", {one.unit}" if one.unit else ""
        lines.append(f"| {one.name}{unit} | {one.plain:,.1f} | {one.tls:,.1f} | {bound} | {told} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Measure and print the table; 1 means that a bound is not held."""
    given = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="syncd-idle-", dir=given.directory) as temporary:

        def measured(accounts: int, *, is_tls: bool) -> list[Rest]:
            home = Path(temporary) / f"{'tls' if is_tls else 'plain'}-{accounts}"
            idle = Idle(home, accounts, given.messages, is_tls=is_tls, watch_s=given.seconds, news=given.news)
            return list(idle.measure())

        alone = {is_tls: measured(1, is_tls=is_tls)[1] for is_tls in (False, True)}
        plain, tls = (measured(given.accounts, is_tls=is_tls) for is_tls in (False, True))
    rows = list(rows_of(given.accounts, alone, plain, tls))
    print(markdown(rows), end="")
    return int(not given.smoke and not all(row.is_held for row in rows))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make idle", description=__doc__)
    parser.add_argument("--accounts", type=int, default=1000, help="how many (default: 1000)")
    parser.add_argument("--messages", type=int, default=10, help="in the mailbox of each account (default: 10)")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long it is looked at, at rest (default: 60)")
    parser.add_argument("--news", type=int, default=20, help="how many messages come in the end (default: 20)")
    parser.add_argument("--directory", type=Path, help="where everything is written")
    parser.add_argument("--smoke", action="store_true", help="whether it runs at all; its figures say nothing")
    return parser


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # with what it started, and what it wrote
    sys.exit(main())
