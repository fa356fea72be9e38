"""The mail of the story: a few letters that it tells of, and a seeded mailbox of years around them."""

import hashlib
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from tests.servers.delivery import Delivery
from tests.servers.messages import Writer

INBOX, ARCHIVE, SENT, TRASH, DRAFTS = "INBOX", "Archive/2025", "Sent", "Trash", "Drafts"
_SHARES = {ARCHIVE: 0.3, SENT: 0.1, INBOX: 0.6}
_LETTERS = {"\\Seen": "S", "\\Flagged": "F", "\\Answered": "R"}


@dataclass(frozen=True, slots=True)
class Letter:
    """A message that the story tells of."""

    name: str
    sender: str
    subject: str
    text: str

    @property
    def message_id(self) -> bytes:
        return f"<{self.name}.demo@example.org>".encode()

    def octets(self) -> bytes:
        """Return the message as it is on the wire."""
        lines = (
            f"From: {self.sender} <{self.name}@example.org>",
            "To: Ana <ana@example.org>",
            f"Subject: {self.subject}",
            f"Date: {datetime.now(UTC):%a, %d %b %Y %H:%M:%S +0000}",
            f"Message-ID: {self.message_id.decode()}",
            "",
            self.text,
        )
        return "".join(f"{line}\r\n" for line in lines).encode()


NEWEST = Letter("newest", "Bo", "See you tomorrow", "Nine o'clock at the harbour.")
LUNCH = Letter("lunch", "Chen", "Lunch on Thursday?", "The place beside the station?")
INVOICE = Letter("invoice", "Books & Co", "Invoice 2041", "Thank you for your order.")
PARCEL = Letter("parcel", "Parcel service", "Out for delivery", "Today between 9 and 17.")
DRAFT = Letter("draft", "Ana", "Re: Lunch on Thursday?", "With pleasure. Shall we say")
DRAFT_WHOLE = Letter("draft", "Ana", "Re: Lunch on Thursday?", "With pleasure. Shall we say half past twelve?")
POSTCARD = Letter("postcard", "Ana", "From the mountains", "No network up here, and snow.")
BILL = Letter("bill", "Telephone", "Your telephone bill", "Nothing to pay this month.")


class Fingerprint(NamedTuple):
    """What two copies of a message have in common: octets apart from line ends, and Maildir's letters of its flags."""

    digest: bytes
    letters: str


def fingerprint(octets: bytes, letters: str) -> Fingerprint:
    """Return the fingerprint of a message or of its file."""
    return Fingerprint(hashlib.sha256(octets.replace(b"\r\n", b"\n")).digest(), letters)


@dataclass(slots=True)
class Years:
    """A mailbox that has grown: `messages` of them, read for the most part, in three mailboxes; NEWEST is the last."""

    messages: int
    seed: int
    size_bytes: int = 0
    expected: Mapping[str, Counter[Fingerprint]] = field(
        default_factory=lambda: {mailbox: Counter() for mailbox in _SHARES}
    )
    """By mailbox, what every device should then have."""

    def deliveries(self) -> Iterator[tuple[str, Iterator[Delivery]]]:
        """Yield what to deliver into each mailbox; sums up while it is consumed."""
        writer, chooser = Writer(self.seed), random.Random(self.seed)
        left = self.messages
        for mailbox, share in _SHARES.items():
            count = left if mailbox == INBOX else round(self.messages * share)
            left -= count
            yield mailbox, self._of(mailbox, count, writer, chooser)

    def _of(self, mailbox: str, count: int, writer: Writer, chooser: random.Random) -> Iterator[Delivery]:
        is_inbox = mailbox == INBOX
        for position, octets in enumerate(writer.corpus(count - is_inbox)):
            flags: tuple[str, ...] = () if is_inbox and chooser.random() < 0.1 else ("\\Seen",)
            flags += tuple(flag for flag in ("\\Flagged", "\\Answered") if chooser.random() < 0.05)
            age = timedelta(minutes=(count - position) * 525)
            yield self._counted(mailbox, Delivery(octets, flags, datetime.now(UTC) - age))
        if is_inbox:
            yield self._counted(mailbox, Delivery(NEWEST.octets()))

    def _counted(self, mailbox: str, delivery: Delivery) -> Delivery:
        letters = "".join(sorted(_LETTERS[flag] for flag in delivery.flags))
        self.expected[mailbox][fingerprint(delivery.message, letters)] += 1
        self.size_bytes += len(delivery.message)
        return delivery


def maildrop(messages: int, *, seed: int) -> Iterator[Delivery]:
    """Yield the mail of a POP3 account, BILL the last."""
    yield from map(Delivery, Writer(seed + 1).corpus(messages - 1))
    yield Delivery(BILL.octets())
