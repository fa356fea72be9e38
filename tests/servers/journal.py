"""What takes the place of systemd's journal: a socket that understands its native protocol."""

import array
import os
import queue
import socket
import struct
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

Record = dict[str, str]

_LOOK, _END = b"look", b"end"


class Journal:
    """Receive records on a socket at a path, whether somebody looks at them or not: a full socket stops its writers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._received: queue.SimpleQueue[Record | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()

    def records(self) -> list[Record]:
        """Return what was sent since the last call: fields by name, each once."""
        self._send(_LOOK)
        return list(iter(self._received.get, None))

    def close(self) -> None:
        self._send(_END)
        self._thread.join()
        self._socket.close()

    def _send(self, sign: bytes) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(sign, str(self.path))

    def _receive(self) -> None:
        while True:
            octets, ancillary, _, _ = self._socket.recvmsg(1 << 20, socket.CMSG_SPACE(4))
            if octets == _END:
                return
            for _, _, data in ancillary:
                octets = _content(array.array("i", data)[0])
            self._received.put(None if octets == _LOOK else _parsed(octets))


@contextmanager
def temporary() -> Iterator[Journal]:
    """Yield a journal at a path that is short enough for a socket."""
    with (
        tempfile.TemporaryDirectory(prefix="syncd-test-", dir="/tmp") as directory,
        closing(Journal(Path(directory) / "socket")) as journal,
    ):
        yield journal


def _content(file: int) -> bytes:
    try:
        return os.pread(file, os.fstat(file).st_size, 0)
    finally:
        os.close(file)


def _parsed(octets: bytes) -> Record:
    record: Record = {}
    while octets:
        line, _, rest = octets.partition(b"\n")
        name, is_line, value = line.partition(b"=")
        if not is_line:
            (size,) = struct.unpack_from("<Q", rest)
            value, rest = rest[8 : 8 + size], rest[8 + size :]
            assert rest[:1] == b"\n"
            rest = rest[1:]
        assert name.decode() not in record
        record[name.decode()], octets = value.decode(), rest
    return record
