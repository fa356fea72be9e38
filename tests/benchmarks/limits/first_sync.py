"""Fetch everything of every mailbox, all commands at once, and make it durable on all devices."""

import re

from tests.benchmarks.limits.imap import arguments
from tests.benchmarks.limits.store import Store

_ROW = re.compile(rb"UID (\d+).*FLAGS \(([^)]*)\)|FLAGS \(([^)]*)\).*UID (\d+)")
_LITERAL = re.compile(rb"\{(\d+)\}\r\n$")
_LETTERS = ((b"\\Answered", "R"), (b"\\Flagged", "F"), (b"\\Seen", "S"))


def main() -> None:
    """Do it once."""
    connection, mailboxes, directory, roots = arguments()
    commands = (
        f'S{n} EXAMINE "{name}"\r\nF{n} UID FETCH 1:* (UID FLAGS BODY.PEEK[])\r\n' for n, name in enumerate(mailboxes)
    )
    connection.send("".join(commands).encode())
    with Store(directory, roots, mailboxes) as store:
        for number, mailbox in enumerate(mailboxes):
            for line in connection.until(b"F%d" % number):
                if found := _LITERAL.search(line):
                    octets = connection.file.read(int(found[1]))
                    row = _ROW.search(line + connection.file.readline())
                    assert row is not None
                    uid, flags = (row[1], row[2]) if row[1] else (row[4], row[3])
                    letters = "".join(letter for flag, letter in _LETTERS if flag in flags)
                    store.add((mailbox, int(uid), "".join(sorted(letters)), octets))


if __name__ == "__main__":
    main()
