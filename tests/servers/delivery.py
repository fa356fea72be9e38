"""Bulk delivery into an IMAP server: MULTIAPPEND with non-synchronizing literals, whatever the server announces."""

import datetime
import imaplib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from syncd.mail.mailbox import encode_utf7

BATCH_BYTES = 16 * 1024 * 1024
BATCH_MESSAGES = 1000
_APPENDUID = re.compile(rb"\[APPENDUID \d+ ([\d:,]+)\]")


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message to append, with the flags and the INTERNALDATE that it gets (now, when None)."""

    message: bytes
    flags: tuple[str, ...] = ()
    internaldate: datetime.datetime | None = None

    def literal(self) -> bytes:
        """Return the part of an APPEND command that gives this message."""
        date = f' "{self.internaldate:%d-%b-%Y %H:%M:%S %z}"' if self.internaldate else ""
        return f" ({' '.join(self.flags)}){date} {{{len(self.message)}+}}\r\n".encode() + self.message


def append_all(client: imaplib.IMAP4, mailbox: str, deliveries: Iterable[Delivery]) -> tuple[int, ...]:
    """Append everything in order and return the UIDs; the mailbox is made if it does not exist."""
    name = quoted(mailbox)
    if name.upper() != '"INBOX"':
        client.create(name)
    uids: list[int] = []
    for batch in _batches(deliveries):
        tag = f"D{len(uids)}".encode()
        client.send(tag + b" APPEND " + name.encode() + b"".join(d.literal() for d in batch) + b"\r\n")
        while not (line := client.readline()).startswith(tag + b" "):
            if not line:
                raise ConnectionError("server closed the connection during a delivery")
        found = _APPENDUID.search(line)
        if not found:
            raise imaplib.IMAP4.error(line.decode(errors="replace").strip())
        uids.extend(_expand(found[1].decode()))
    return tuple(uids)


def quoted(mailbox: str) -> str:
    """Return a mailbox name as imaplib wants it: in modified UTF-7, quoted."""
    text = encode_utf7(mailbox).decode()
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _batches(deliveries: Iterable[Delivery]) -> Iterator[list[Delivery]]:
    batch: list[Delivery] = []
    size_bytes = 0
    for delivery in deliveries:
        batch.append(delivery)
        size_bytes += len(delivery.message)
        if size_bytes >= BATCH_BYTES or len(batch) >= BATCH_MESSAGES:
            yield batch
            batch, size_bytes = [], 0
    if batch:
        yield batch


def _expand(uid_set: str) -> Iterator[int]:
    for part in uid_set.split(","):
        first, _, last = part.partition(":")
        yield from range(int(first), int(last or first) + 1)
