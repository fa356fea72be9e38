"""The mail that is synced: seeded messages in threads, with flags and dates, spread over mailboxes.

Sizes are those of `tests.servers.messages`, lognormal with a mean of 29.5 KB; the light corpus has letters of 1 KB, for
works whose cost is in the number of messages.
"""

import datetime
import hashlib
import itertools
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.servers.delivery import Delivery
from tests.servers.dovecot import Dovecot
from tests.servers.messages import Kind, Writer

LIGHT_BYTES = 1_000
_NEWEST = datetime.datetime(2026, 3, 1, 12, 0, tzinfo=datetime.UTC)
_APART = datetime.timedelta(minutes=7)
_REPLIES = 0.4
# NOTE: mbsync skips a message whose header does not end in an empty line, and POP3 ends the last line of each.
_LEFT_OUT = frozenset({Kind.NO_BODY, Kind.NO_FINAL_LINE_END})
_REMEMBERED = 200
_FLAGS = (("\\Seen", 0.7), ("\\Answered", 0.1), ("\\Flagged", 0.05))
_LETTERS = {"\\Seen": "S", "\\Answered": "R", "\\Flagged": "F", "\\Deleted": "T", "\\Draft": "D"}
_MESSAGE_ID = re.compile(rb"^Message-ID: (<[^>]+>)", re.MULTILINE)
_TUID = re.compile(rb"^X-TUID: .*\n", re.MULTILINE)

Message = tuple[bytes, str]
"""What a message is apart from line ends and notes of programs, and its flags as Maildir letters."""
Held = Counter[Message]


def digest(octets: bytes) -> bytes:
    """Return what a message is apart from line ends and the mark that mbsync leaves in it."""
    return hashlib.sha256(_TUID.sub(b"", octets.replace(b"\r\n", b"\n"), count=1)).digest()


def letters(flags: tuple[str, ...]) -> str:
    """Return flags as Maildir says them."""
    return "".join(sorted(_LETTERS[flag] for flag in flags if flag in _LETTERS))


def mailbox_names(count: int) -> tuple[str, ...]:
    """Return INBOX and others."""
    return ("INBOX", *(f"box{number:03d}" for number in range(1, count)))


@dataclass(slots=True)
class Corpus:
    """Mail of one account; the same arguments give the same mail.

    large_bytes: sizes of a few messages more, which come first, that is: oldest.
    """

    seed: int
    messages: int
    mailboxes: int = 1
    is_light: bool = False
    large_bytes: tuple[int, ...] = ()
    held: Held = field(default_factory=Counter, init=False)
    """What was put on the server."""
    inbox: list[Message] = field(default_factory=list, init=False)
    """What was put in INBOX, in order: under the UIDs from 1 on."""
    total_bytes: int = field(default=0, init=False)

    def fill(self, server: Dovecot, user: str) -> None:
        """Put all of it on a server, for the first time or again for another user."""
        self.held, self.inbox, self.total_bytes = Counter(), [], 0
        writer = Writer(self.seed)
        for number, name in enumerate(mailbox_names(self.mailboxes)):
            server.deliver_all(user, name, self._deliveries(number, writer))

    def _deliveries(self, number: int, writer: Writer) -> Iterator[Delivery]:
        count = self.messages // self.mailboxes + (number < self.messages % self.mailboxes)
        chance = random.Random(f"{self.seed} {number}")
        kinds = writer.corpus(count, leave_out=_LEFT_OUT) if not self.is_light else _light(writer, count)
        large = (writer.message(Kind.ATTACHMENT, size) for size in self.large_bytes) if number == 0 else ()
        ids: list[bytes] = []
        age = count + len(self.large_bytes)
        for written in itertools.chain(large, kinds):
            octets = _answering(written, ids, chance)
            if found := _MESSAGE_ID.search(octets):
                ids = [*ids[-_REMEMBERED:], found[1]]
            flags = tuple(flag for flag, share in _FLAGS if chance.random() < share)
            age -= 1
            message = digest(octets), letters(flags)
            self.held[message] += 1
            self.total_bytes += len(octets)
            if number == 0:
                self.inbox.append(message)
            yield Delivery(octets, flags, _NEWEST - age * _APART)


def _light(writer: Writer, count: int) -> Iterator[bytes]:
    return (writer.message(Kind.PLAIN, LIGHT_BYTES) for _ in range(count))


def _answering(message: bytes, ids: list[bytes], chance: random.Random) -> bytes:
    """Return a message as part of a thread, now and then; one without header, or with other line ends, as it is."""
    if not ids or chance.random() > _REPLIES or message.startswith(b"\r\n") or b"\r\n" not in message[:200]:
        return message
    answered = chance.choice(ids)
    return b"In-Reply-To: " + answered + b"\r\nReferences: " + answered + b"\r\n" + message
