"""As much IMAP as the limit programs need: a socket, a login, and answers by the line."""

import socket
import sys
from collections.abc import Iterator


class Connection:
    """A connection that is logged in."""

    def __init__(self, host: str, port: str, user: str, password: str) -> None:
        self._socket = socket.create_connection((host, int(port)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.file = self._socket.makefile("rb", buffering=1 << 18)
        self.file.readline()
        self.send(f'L LOGIN "{user}" "{password}"\r\nE ENABLE QRESYNC\r\n'.encode())
        for _ in self.until(b"E"):
            pass

    def send(self, octets: bytes) -> None:
        """Send octets as they are."""
        self._socket.sendall(octets)

    def until(self, tag: bytes) -> Iterator[bytes]:
        """Yield the lines of the answers up to the one of this command; RuntimeError if it was refused."""
        while not (line := self.file.readline()).startswith(tag + b" "):
            if not line:
                raise RuntimeError("the server went away")
            yield line
        if not line.startswith(tag + b" OK"):
            raise RuntimeError(line.decode())


def arguments() -> tuple[Connection, list[str], str, list[str]]:
    """Return a connection, the mailboxes, the directory of the store and those of the devices."""
    host, port, user, password, mailboxes, directory, *roots = sys.argv[1:]
    return Connection(host, port, user, password), mailboxes.split(","), directory, roots
