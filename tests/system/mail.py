"""Accounts on a test's Dovecot, and what a device's replica holds."""

from pathlib import Path

from tests.servers.delivery import Delivery
from tests.servers.dovecot import Dovecot


def imap_account(server: Dovecot, user: str, **keys: object) -> dict[str, object]:
    """Return the table of an IMAP account."""
    return {
        "type": "imap",
        "host": server.host,
        "port": server.imap_port,
        "tls": "none",
        "username": user,
        "password": server.password,
        **keys,
    }


def pop3_account(server: Dovecot, user: str, **keys: object) -> dict[str, object]:
    """Return the table of a POP3 account."""
    return {**imap_account(server, user), "type": "pop3", "port": server.pop3_port, **keys}


def letter(number: int, *, body_bytes: int = 20) -> bytes:
    """Return a message that no other number gives."""
    head = f"From: ana@example.org\r\nSubject: letter {number}\r\nMessage-ID: <{number}@example.org>\r\n\r\n"
    return head.encode() + (b"x" * 70 + b"\r\n") * (body_bytes // 72) + b"end\r\n"


def deliver(server: Dovecot, user: str, count: int, *, mailbox: str = "INBOX", first: int = 0) -> None:
    """Append letters `first` and following."""
    server.deliver_all(user, mailbox, [Delivery(letter(number)) for number in range(first, first + count)])


def files(root: Path, mailbox: str) -> list[Path]:
    """Return the message files of a replica in the default layout, such as `work.INBOX`."""
    return [file for subdir in ("new", "cur") for file in sorted((root / f".{mailbox}" / subdir).glob("*"))]


def seen(root: Path, mailbox: str) -> int:
    """Count the files that say that they were read."""
    return sum("S" in file.name.rpartition(":2,")[2] for file in files(root, mailbox) if ":2," in file.name)


def mark_seen(file: Path) -> None:
    """Do what a mail program does when a message is read."""
    name = file.name if ":2," in file.name else f"{file.name}:2,"
    file.rename(file.parent.parent / "cur" / f"{name}S")
