"""Ask the server for what has changed since the last time, and make that durable on all devices."""

import re
import sys
import time

from tests.benchmarks.limits.imap import Connection, arguments, row
from tests.benchmarks.limits.store import Disk

_MODSEQ = re.compile(rb"MODSEQ \(?(\d+)")
_UIDVALIDITY = re.compile(rb"UIDVALIDITY (\d+)")
_VANISHED = re.compile(rb"\* VANISHED \(EARLIER\) ([\d:,]+)")
_MAILBOX = "INBOX"


def main() -> None:
    """Bring everything at first, then what has changed, each time a line says so."""
    connection, mailboxes, directory, roots = arguments()
    disk = Disk(directory, roots, mailboxes)
    connection.send(f'S EXAMINE "{_MAILBOX}"\r\n')
    told = b"".join(connection.until("S"))
    uidvalidity, modseq = (int(found[1]) for found in (_UIDVALIDITY.search(told), _MODSEQ.search(told)) if found)
    connection.send("F UID FETCH 1:* (UID FLAGS BODY.PEEK[])\r\n")
    new = [(_MAILBOX, uid, flags, octets) for uid, flags, octets in connection.bodies("F")]
    disk.write(new)
    last = max(uid for _, uid, _, _ in new)
    print("ready", flush=True)
    for _ in sys.stdin:
        began = time.monotonic()
        # NOTE: Dovecot goes on to the next command before NOOP has looked for news, but not before EXAMINE has.
        connection.send(
            f'C EXAMINE "{_MAILBOX}" (QRESYNC ({uidvalidity} {modseq}))\r\n'
            f"B UID FETCH {last + 1}:* (UID FLAGS BODY.PEEK[])\r\n"
        )
        modseq, last = _take(connection, disk, modseq, last)
        print(time.monotonic() - began, flush=True)


def _take(connection: Connection, disk: Disk, modseq: int, last: int) -> tuple[int, int]:
    """Make durable what came after these, and return what is the highest now."""
    told = list(connection.until("C"))
    changed = [row(line) for line in told if b" FETCH (" in line]
    gone = [(_MAILBOX, uid) for line in told if (found := _VANISHED.match(line)) for uid in _uids(found[1].decode())]
    # NOTE: `n:*` gives the last message even where it is older than n.
    new = [(_MAILBOX, uid, flags, octets) for uid, flags, octets in connection.bodies("B") if uid > last]
    disk.write(new, [(_MAILBOX, uid, flags) for uid, flags in changed if uid <= last], gone)
    return _highest(told, modseq), max([last, *(uid for _, uid, _, _ in new)])


def _highest(lines: list[bytes], least: int) -> int:
    return max([least, *(int(found[1]) for line in lines if (found := _MODSEQ.search(line)))])


def _uids(text: str) -> list[int]:
    uids: list[int] = []
    for part in text.split(","):
        first, _, end = part.partition(":")
        uids.extend(range(int(first), int(end or first) + 1))
    return uids


if __name__ == "__main__":
    main()
