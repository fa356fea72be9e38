"""A wire with a round trip time, which counts what passes: a process of its own between a client and a server.

Theory. Each chunk is held for half of the round trip time. Round trips are counted as a Lamport clock counts: what the
server says is one deeper than the deepest thing that it was asked before, what the client says is as deep as the
deepest thing that it has heard. So pipelined commands are one round trip however many they are, and the depth is the
length of the longest chain in which each had to wait for the one before. A connection is open for the server after one
and a half round trips, as with TCP.
"""

import argparse
import json
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from tests.servers.ports import HOST

_CHUNK_BYTES = 256 * 1024
_IN_FLIGHT_CHUNKS = 512
_LINE_BYTES = 60


@dataclass(frozen=True, slots=True)
class Traffic:
    """What has passed: octets to the server, octets from it, and the round trips that were waited for."""

    up_bytes: int = 0
    down_bytes: int = 0
    round_trips: int = 0

    def __sub__(self, other: "Traffic") -> "Traffic":
        return Traffic(
            self.up_bytes - other.up_bytes, self.down_bytes - other.down_bytes, self.round_trips - other.round_trips
        )


@dataclass(frozen=True, slots=True)
class Heard:
    """The beginning of a line that arrived at the proxy: when (monotonic), from the server or from the client."""

    at_s: float
    is_from_server: bool
    line: str


class Wire:
    """The way to a server. `port` is where to connect; `traffic` and `heard` tell what has passed."""

    def __init__(self, port: int, process: subprocess.Popen[str] | None) -> None:
        self.port = port
        self._process = process

    def traffic(self) -> Traffic | None:
        """Return what has passed until now; None where nobody counts."""
        return Traffic(*self._ask("traffic")) if self._process else None

    def heard(self) -> list[Heard]:
        """Return the lines that have passed since this was last asked."""
        return [Heard(*one) for one in self._ask("heard")]

    def _ask(self, what: str) -> list:  # type: ignore[type-arg]  # JSON
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        answer: list = json.loads(self._process.stdout.readline())  # type: ignore[type-arg]
        return answer


@contextmanager
def wire(port: int, rtt_ms: float, *, listens: bool = False) -> Iterator[Wire]:
    """Yield a way to a port of loopback: a direct one, unless it should take time or listen to lines."""
    if not rtt_ms and not listens:
        yield Wire(port, None)
        return
    command = [sys.executable, "-m", "tests.benchmarks.proxy", str(port), str(rtt_ms)]
    process = subprocess.Popen(
        command + ["--listen"] * listens, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        yield Wire(int(process.stdout.readline()), process)
        process.kill()


class _Proxy:
    def __init__(self, port: int, rtt_s: float, *, listens: bool) -> None:
        self.port = port
        self.half_s = rtt_s / 2
        self.listens = listens
        self.heard: list[tuple[float, bool, str]] = []
        self.bytes = {True: 0, False: 0}  # by whether from the server
        self.asked_depth = 0
        self.heard_depth = 0

    def serve(self, listener: socket.socket) -> None:
        while True:
            client, _ = listener.accept()
            threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        time.sleep(3 * self.half_s)
        try:
            server = socket.create_connection((HOST, self.port))
        except OSError:
            client.close()
            return
        for source, target, is_down in ((client, server, False), (server, client, True)):
            for end in (source, target):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            passing: _Passing = queue.Queue(_IN_FLIGHT_CHUNKS)
            threading.Thread(target=self._take, args=(source, passing, is_down), daemon=True).start()
            threading.Thread(target=self._give, args=(target, passing, is_down), daemon=True).start()

    def _take(self, source: socket.socket, passing: "_Passing", is_down: bool) -> None:
        rest = b""
        while True:
            try:
                chunk = source.recv(_CHUNK_BYTES)
            except OSError:
                chunk = b""
            now_s = time.monotonic()
            depth = self.asked_depth + 1 if is_down else self.heard_depth
            passing.put((now_s + self.half_s, depth, chunk))
            if not chunk:
                return
            self.bytes[is_down] += len(chunk)
            if self.listens:
                *lines, rest = (rest + chunk).split(b"\r\n")
                self.heard += [(now_s, is_down, line[:_LINE_BYTES].decode(errors="replace")) for line in lines]

    def _give(self, target: socket.socket, passing: "_Passing", is_down: bool) -> None:
        with suppress(OSError):
            while True:
                due_s, depth, chunk = passing.get()
                if (left_s := due_s - time.monotonic()) > 0:
                    time.sleep(left_s)
                if is_down:
                    self.heard_depth = max(self.heard_depth, depth)
                else:
                    self.asked_depth = max(self.asked_depth, depth)
                if not chunk:
                    target.shutdown(socket.SHUT_WR)
                    return
                target.sendall(chunk)

    def answer(self, question: str) -> object:
        if question == "traffic":
            return self.bytes[False], self.bytes[True], self.heard_depth
        heard, self.heard = self.heard, []
        return heard


_Passing = queue.Queue[tuple[float, int, bytes]]


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("rtt_ms", type=float)
    parser.add_argument("--listen", action="store_true")
    options = parser.parse_args()
    proxy = _Proxy(options.port, options.rtt_ms / 1000, listens=options.listen)
    listener = socket.create_server((HOST, 0))
    print(listener.getsockname()[1], flush=True)
    threading.Thread(target=proxy.serve, args=(listener,), daemon=True).start()
    for line in sys.stdin:
        print(json.dumps(proxy.answer(line.strip())), flush=True)


if __name__ == "__main__":
    _main()
