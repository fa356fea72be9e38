"""As much IMAP as the limit programs need: a socket, a login, and answers by the line."""

import re
import socket
import sys
from collections.abc import Iterator

_LITERAL = re.compile(rb"\{(\d+)\}\r\n$")
_UID = re.compile(rb"UID (\d+)")
_FLAGS = re.compile(rb"FLAGS \(([^)]*)\)")
_LETTERS = ((b"\\Answered", "R"), (b"\\Flagged", "F"), (b"\\Seen", "S"))


class Connection:
    """A connection that is logged in."""

    def __init__(self, host: str, port: str, user: str, password: str) -> None:
        self._socket = socket.create_connection((host, int(port)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._file = self._socket.makefile("rb", buffering=1 << 18)
        self._file.readline()
        self.send(f'L LOGIN "{user}" "{password}"\r\nE ENABLE QRESYNC\r\n')
        for _ in self.until("E"):
            pass

    def send(self, commands: str) -> None:
        """Send commands as they are."""
        self._socket.sendall(commands.encode())

    def until(self, tag: str) -> Iterator[bytes]:
        """Yield the lines of the answers up to the one of this command; RuntimeError if it was refused."""
        end = tag.encode() + b" "
        while not (line := self._file.readline()).startswith(end):
            if not line:
                raise RuntimeError("the server went away")
            yield line
        if not line.startswith(end + b"OK"):
            raise RuntimeError(line.decode())

    def bodies(self, tag: str) -> Iterator[tuple[int, str, bytes]]:
        """Yield UID, flags as Maildir letters, and octets of each message that a FETCH of all three answers."""
        for line in self.until(tag):
            if found := _LITERAL.search(line):
                octets = self._file.read(int(found[1]))
                yield *row(line + self._file.readline()), octets


def row(line: bytes) -> tuple[int, str]:
    """Return UID and flags, as Maildir letters, of an answer to FETCH."""
    uid, flags = _UID.search(line), _FLAGS.search(line)
    if uid is None or flags is None:
        raise RuntimeError(line.decode(errors="replace"))
    return int(uid[1]), "".join(sorted(letter for flag, letter in _LETTERS if flag in flags[1]))


def arguments() -> tuple[Connection, list[str], str, list[str]]:
    """Return a connection, the mailboxes, the directory of the store and those of the devices."""
    host, port, user, password, mailboxes, directory, *roots = sys.argv[1:]
    return Connection(host, port, user, password), mailboxes.split(","), directory, roots
