"""A wire that can be cut: it hands on every connection to a port of loopback until told to cut them all."""

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

from tests.servers.ports import HOST

_CHUNK_BYTES = 256 * 1024


class Relay:
    """Listen on `port` while entered, and connect to `target` for each that connects."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server((HOST, 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._ends: set[socket.socket] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        self.cut()

    def cut(self) -> int:
        """End all connections in the middle of whatever they say, and return how many there were."""
        with self._lock:
            ends, self._ends = self._ends, set()
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        return len(ends) // 2

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection((HOST, self._target), timeout=5) as server:
            server.settimeout(None)
            with self._lock:
                self._ends |= {client, server}
            down = threading.Thread(target=_hand_on, args=(server, client), daemon=True)
            down.start()
            _hand_on(client, server)
            down.join()
            with self._lock:
                self._ends -= {client, server}


def _hand_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while octets := source.recv(_CHUNK_BYTES):
            target.sendall(octets)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
