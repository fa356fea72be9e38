"""A mail provider as another program of its user sees it: read and changed by IMAP, letters by their keys."""

import datetime
import imaplib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from syncd.mail.flags import Flags
from tests.contract.sync.letters import key_of, letter
from tests.servers.delivery import Delivery, append_all, quoted
from tests.servers.dovecot import Dovecot

_ROW = re.compile(rb"UID (\d+) FLAGS \(([^)]*)\)")


class Provider:
    """Act for one user on a server, beside syncd."""

    def __init__(self, server: Dovecot, user: str) -> None:
        self.server = server
        self.user = user

    def receive(
        self,
        *keys: str,
        mailbox: str = "INBOX",
        flags: tuple[str, ...] = (),
        date: datetime.datetime | None = None,
        lines: int = 3,
    ) -> None:
        """Append letters with these keys in order, making the mailbox if need be."""
        self.receive_raw((letter(key, lines=lines) for key in keys), mailbox=mailbox, flags=flags, date=date)

    def receive_raw(
        self,
        messages: Iterable[bytes],
        *,
        mailbox: str = "INBOX",
        flags: tuple[str, ...] = (),
        date: datetime.datetime | None = None,
    ) -> None:
        """Append messages in order."""
        with self.server.imap(self.user) as client:
            append_all(client, mailbox, (Delivery(message, flags, date) for message in messages))

    def store(self, key: str, change: str, *, mailbox: str = "INBOX") -> None:
        """Change flags of a letter; `change` is such as "+FLAGS (\\Seen)"."""
        item, _, flags = change.partition(" ")
        with self._selected(mailbox) as client:
            client.uid("STORE", str(_uids(client)[key]), f"{item}.SILENT", flags)

    def expunge(self, *keys: str, mailbox: str = "INBOX") -> None:
        """Delete letters for good."""
        with self._selected(mailbox) as client:
            known = _uids(client)
            uids = ",".join(str(known[key]) for key in keys)
            client.uid("STORE", uids, "+FLAGS.SILENT", "(\\Deleted)")
            client.uid("EXPUNGE", uids)

    def move(self, *keys: str, to: str, mailbox: str = "INBOX") -> None:
        """Move letters to a mailbox that exists."""
        with self._selected(mailbox) as client:
            known = _uids(client)
            client._simple_command("UID", "MOVE", ",".join(str(known[key]) for key in keys), quoted(to))

    def copy(self, *keys: str, to: str, mailbox: str = "INBOX") -> None:
        """Copy letters to a mailbox that exists."""
        with self._selected(mailbox) as client:
            known = _uids(client)
            client.uid("COPY", ",".join(str(known[key]) for key in keys), quoted(to))

    def flags(self, mailbox: str = "INBOX") -> Mapping[str, Flags]:
        """Return the flags of each letter by its key."""
        with self._selected(mailbox) as client:
            return {key: flags for key, (_, flags) in _rows(client).items()}

    def bodies(self, mailbox: str = "INBOX") -> tuple[bytes, ...]:
        """Return the octets that the server gives for each message, in the order of UIDs."""
        with self._selected(mailbox) as client:
            _, answer = client.uid("FETCH", "1:*", "(BODY.PEEK[])")
            return tuple(part[1] for part in answer if isinstance(part, tuple))

    def mailboxes(self) -> frozenset[str]:
        """Return the names of all mailboxes, as they are on the wire."""
        with self.server.imap(self.user) as client:
            return _names(client.list())

    def subscribed(self) -> frozenset[str]:
        """Return the names of the mailboxes that the user's programs show."""
        with self.server.imap(self.user) as client:
            return _names(client.lsub())

    def left_on_pop3(self) -> int:
        """Return how many messages the user's maildrop holds."""
        client = self.server.pop3(self.user)
        try:
            return client.stat()[0]
        finally:
            client.quit()

    def _selected(self, mailbox: str) -> imaplib.IMAP4:
        client = self.server.imap(self.user)
        client.select(quoted(mailbox))
        return client


def _names(answer: tuple[str, list[Any]]) -> frozenset[str]:
    return frozenset(line.decode().rpartition('" ')[2].strip('"') for line in answer[1] if isinstance(line, bytes))


def _uids(client: imaplib.IMAP4) -> Mapping[str, int]:
    return {key: uid for key, (uid, _) in _rows(client).items()}


def _rows(client: imaplib.IMAP4) -> Mapping[str, tuple[int, Flags]]:
    _, answer = client.uid("FETCH", "1:*", "(UID FLAGS BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")
    rows: dict[str, tuple[int, Flags]] = {}
    for part in answer:
        if isinstance(part, tuple) and (found := _ROW.search(part[0])):
            flags = frozenset(flag.decode() for flag in found[2].split() if flag != b"\\Recent")
            rows[key_of(part[1])] = (int(found[1]), flags)
    return rows
