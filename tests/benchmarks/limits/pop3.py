"""Retrieve a whole maildrop, many commands at once, make it durable on all devices, then delete it."""

import socket
import sys
from io import IOBase

from tests.benchmarks.limits.store import Intake

_WINDOW = 400
_MAILBOX = "INBOX"


def main() -> None:
    """Do it once."""
    host, port, user, password, _, directory, *roots = sys.argv[1:]
    connection = socket.create_connection((host, int(port)))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    with connection, connection.makefile("rb", buffering=1 << 18) as answers:
        connection.sendall(f"USER {user}\r\nPASS {password}\r\nUIDL\r\n".encode())
        for _ in range(4):  # the greeting is the first
            _expect_ok(answers)
        count = len(_text(answers).splitlines())
        with Intake(directory, roots, (_MAILBOX,)) as intake:
            asked = 0
            for number in range(1, count + 1):
                if asked < min(number + _WINDOW // 2, count):
                    more = range(asked + 1, min(number + _WINDOW, count) + 1)
                    connection.sendall("".join(f"RETR {one}\r\n" for one in more).encode())
                    asked = more[-1]
                _expect_ok(answers)
                intake.add((_MAILBOX, number, "", _text(answers)))
        connection.sendall("".join(f"DELE {number}\r\n" for number in range(1, count + 1)).encode() + b"QUIT\r\n")
        for _ in range(count + 1):
            _expect_ok(answers)


def _expect_ok(answers: IOBase) -> None:
    if not (line := answers.readline()).startswith(b"+OK"):
        raise RuntimeError(line.decode())


def _text(answers: IOBase) -> bytes:
    lines: list[bytes] = []
    while (line := answers.readline()) != b".\r\n":
        lines.append(line[1:] if line.startswith(b".") else line)
    return b"".join(lines)


if __name__ == "__main__":
    main()
