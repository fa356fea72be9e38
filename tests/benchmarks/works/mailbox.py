"""A mailbox of the server that changes while it is measured, and what it should hold."""

import imaplib
import re
from collections import Counter
from collections.abc import Collection, Sequence

from tests.benchmarks.corpus import Held, Message, digest, letters
from tests.servers.delivery import Delivery
from tests.servers.dovecot import Dovecot

_ROW = re.compile(rb"UID (\d+) FLAGS \(([^)]*)\)")


class Mailbox:
    """The INBOX of a user; `held` is what everybody should hold of it once all is synced."""

    def __init__(self, server: Dovecot, user: str, messages: Sequence[Message]) -> None:
        self._server = server
        self.user = user
        self.messages = dict(enumerate(messages, start=1))
        self.held: Held = Counter(messages)

    def change(self, *, flagged: Collection[int], gone: Collection[int], new: Sequence[bytes]) -> None:
        """Do what another mail program does on the server: turn flags round, append, expunge."""
        with self._server.imap(self.user) as client:
            client.select("INBOX")
            for sign, uids in (
                ("+", [uid for uid in flagged if "F" not in self.messages[uid][1]]),
                ("-", [uid for uid in flagged if "F" in self.messages[uid][1]]),
            ):
                if uids:
                    client.uid("STORE", _joined(uids), f"{sign}FLAGS.SILENT", r"(\Flagged)")
            for uid in flagged:
                known, before = self.messages[uid]
                self.messages[uid] = known, "".join(sorted(set(before) ^ {"F"}))
            client.uid("STORE", _joined(gone), "+FLAGS.SILENT", r"(\Deleted)")
            client.uid("EXPUNGE", _joined(gone))
            for uid in gone:
                del self.messages[uid]
        added = self._server.deliver_all(self.user, "INBOX", map(Delivery, new))
        self.messages |= {uid: (digest(octets), "") for uid, octets in zip(added, new, strict=True)}
        self.held = Counter(self.messages.values())

    def expect(self, before: Message | None, after: Message | None) -> None:
        """Note what a device did to a message: it was `before`, and should become `after`."""
        if before is not None:
            self.held[before] -= 1
            self.held = +self.held
        if after is not None:
            self.held[after] += 1

    def check(self, name: str) -> None:
        """Look what the server has; RuntimeError unless it is what it should be."""
        with self._server.imap(self.user) as client:
            client.select("INBOX", readonly=True)
            found: dict[int, str] = {}
            for line in client.uid("FETCH", "1:*", "(UID FLAGS)")[1]:
                row = _ROW.search(line)
                if row is not None:
                    found[int(row[1])] = letters(tuple(row[2].decode().split()))
            known = {uid: message[0] for uid, message in self.messages.items()}
            for uid in sorted(found.keys() - known.keys()):
                known[uid] = digest(_body(client, uid))
        self.messages = {uid: (known[uid], flags) for uid, flags in found.items()}
        if Counter(self.messages.values()) != self.held:
            missing = (self.held - Counter(self.messages.values())).total()
            raise RuntimeError(f"{name}: the server lacks {missing} messages, or has others")


def _joined(uids: Collection[int]) -> str:
    return ",".join(map(str, sorted(uids)))


def _body(client: imaplib.IMAP4, uid: int) -> bytes:
    octets: bytes = client.uid("FETCH", str(uid), "(BODY.PEEK[])")[1][0][1]
    return octets
