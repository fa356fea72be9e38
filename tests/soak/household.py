"""The mail of a few accounts: where each message should be, and what people do to it on the server and on devices.

Whoever acts chooses messages that nobody else touches in the same round, so it is known what all sides should have in
the end: every message once, in one mailbox, with these flags.
"""

import hashlib
import imaplib
import math
import random
import re
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from tests.servers.delivery import Delivery, append_all, quoted
from tests.servers.dovecot import Dovecot
from tests.servers.messages import Kind, Writer

_KEY = re.compile(rb"^X-Soak: (\S+)\r?$", re.MULTILINE)
_HEAD_BYTES = 400
_LARGE_BYTES = 1_500_000
_LARGE_SHARE = 0.002
_LETTERS = {"\\Seen": "S", "\\Answered": "R", "\\Flagged": "F"}
_NAMES = {letter: flag for flag, letter in _LETTERS.items()}
_ROW = re.compile(rb"UID (\d+) FLAGS \(([^)]*)\)")
_UID = re.compile(rb"UID (\d+)")

Layout = Literal["maildir++", "fs"]


class Place(NamedTuple):
    """Where a message is, with which flags (letters of Maildir), and what its octets are."""

    mailbox: str
    flags: str
    digest: bytes


Held = Counter[tuple[str, Place]]


@dataclass(slots=True)
class Account:
    """An account and what it should hold."""

    name: str
    user: str
    type: Literal["imap", "pop3"] = "imap"
    delete: Literal["trash", "expunge"] = "trash"
    held: dict[str, Place] = field(default_factory=dict)

    @property
    def mailboxes(self) -> tuple[str, ...]:
        return ("INBOX", "Archive", "Sent", "Trash") if self.type == "imap" else ("INBOX", "Sent", "Trash")


@dataclass(frozen=True, slots=True)
class Device:
    """A device and where its replicas are."""

    name: str
    root: Path
    layout: Layout = "maildir++"

    def directory(self, account: str, mailbox: str) -> Path:
        if self.layout == "fs":
            return self.root / account / mailbox
        return self.root / f".{account}.{mailbox}"

    def files(self, account: str, mailbox: str) -> Iterator[tuple[str, Path]]:
        """Yield the files of a mailbox, with the keys of their messages; one that is renamed now may come twice."""
        for subdir in ("new", "cur"):
            for path in (self.directory(account, mailbox) / subdir).glob("*"):
                try:
                    with path.open("rb") as file:
                        yield _key(file.read(_HEAD_BYTES)), path
                except FileNotFoundError:
                    continue


class Household:
    """Deliver and change mail; `seed` chooses everything."""

    def __init__(self, server: Dovecot, seed: int) -> None:
        self.delivered = 0
        self._server = server
        self._chance = random.Random(seed)
        self._writer = Writer(seed)

    def deliver(self, account: Account, count: int) -> None:
        """Let messages arrive on the server, most of them in INBOX."""
        others = ["Archive", "Sent"] if account.type == "imap" else []
        wanted: dict[str, list[tuple[str, bytes]]] = {}
        for _ in range(count):
            mailbox = self._chance.choice(others) if others and self._chance.random() < 0.2 else "INBOX"
            wanted.setdefault(mailbox, []).append(self._letter())
        with self._server.imap(account.user) as client:
            for mailbox in others:
                client.create(quoted(mailbox))
            for mailbox, letters in wanted.items():
                append_all(client, mailbox, [Delivery(octets) for _, octets in letters])
                for key, octets in letters:
                    account.held[key] = Place(mailbox, "", _digest(octets))

    def change_on_server(self, account: Account, keys: Sequence[str], *, gone: int) -> None:
        """Let another program expunge some of these messages, move a few, and turn flags round on the rest."""
        with self._server.imap(account.user) as client:
            uids = {
                key: (mailbox, uid)
                for mailbox in {account.held[key].mailbox for key in keys}
                for key, uid in _uids(client, mailbox).items()
            }
            for number, key in enumerate(keys):
                place, (mailbox, uid) = account.held[key], uids[key]
                client.select(quoted(mailbox))
                if number < gone:
                    client.uid("STORE", uid, "+FLAGS.SILENT", r"(\Deleted)")
                    client.uid("EXPUNGE", uid)
                    del account.held[key]
                elif number % 3 == 0:
                    target = self._chance.choice([one for one in account.mailboxes if one != place.mailbox])
                    client.uid("MOVE", uid, quoted(target))
                    account.held[key] = place._replace(mailbox=target)
                else:
                    letter = self._chance.choice("SRF")
                    sign = "-" if letter in place.flags else "+"
                    client.uid("STORE", uid, f"{sign}FLAGS.SILENT", f"({_NAMES[letter]})")
                    account.held[key] = _turned(place, letter)

    def change_on_device(self, device: Device, account: Account, keys: Sequence[str], *, gone: int) -> None:
        """Let a mail program delete some of these messages, move a few, and turn flags round on the rest."""
        files = {mailbox: dict(device.files(account.name, mailbox)) for mailbox in account.mailboxes}
        for number, key in enumerate(keys):
            place = account.held[key]
            path = files[place.mailbox][key]
            stem, _, info = path.name.partition(":2,")
            if number < gone:
                path.unlink()
                if account.delete == "expunge" or place.mailbox == "Trash":
                    del account.held[key]
                else:
                    account.held[key] = place._replace(mailbox="Trash")
            elif number % 4 == 0:
                target = self._chance.choice([one for one in account.mailboxes if one != place.mailbox])
                path.rename(device.directory(account.name, target) / "cur" / f"{stem}:2,{info}")
                account.held[key] = place._replace(mailbox=target)
            else:
                turned = _turned(place, self._chance.choice("SRF"))
                path.rename(path.parent.parent / "cur" / f"{stem}:2,{turned.flags}")
                account.held[key] = turned

    def write_on_device(self, device: Device, account: Account) -> str:
        """Save a new message on a device, and return its key."""
        key, octets = self._letter()
        directory = device.directory(account.name, "Sent")
        written = directory / "tmp" / f"{time.time_ns()}.{key}.soak"
        written.write_bytes(octets.replace(b"\r\n", b"\n"))
        written.rename(directory / "cur" / f"{written.name}:2,S")
        account.held[key] = Place("Sent", "S", _digest(octets))
        return key

    def chosen(self, account: Account, count: int, *, but: Collection[str] = ()) -> list[str]:
        """Return keys of messages, old ones and new ones alike; first those in Trash, up to a half."""
        trash = [key for key, place in account.held.items() if key not in but and place.mailbox == "Trash"]
        others = [key for key, place in account.held.items() if key not in but and place.mailbox != "Trash"]
        first = self._chance.sample(trash, min(count // 2, len(trash)))
        return first + self._chance.sample(others, min(count - len(first), len(others)))

    def on_server(self, account: Account) -> Held:
        """Return what the server has of an IMAP account."""
        found: Held = Counter()
        with self._server.imap(account.user) as client:
            for mailbox in account.mailboxes:
                if client.select(quoted(mailbox), readonly=True)[0] != "OK":
                    continue
                for part in client.uid("FETCH", "1:*", "(UID FLAGS BODY.PEEK[])")[1]:
                    if isinstance(part, tuple) and (row := _ROW.search(part[0])):
                        flags = "".join(sorted(_LETTERS.get(flag, "") for flag in row[2].decode().split()))
                        found[_key(part[1]), Place(mailbox, flags, _digest(part[1]))] += 1
        return found

    def _letter(self) -> tuple[str, bytes]:
        self.delivered += 1
        key = f"m{self.delivered}"
        size = (
            _LARGE_BYTES if self._chance.random() < _LARGE_SHARE else self._chance.lognormvariate(math.log(4000), 1.2)
        )
        octets = self._writer.message(Kind.PLAIN, max(200, min(int(size), _LARGE_BYTES)))
        return key, f"X-Soak: {key}\r\n".encode() + octets


def on_device(device: Device, account: Account) -> Held:
    """Return what a device has of an account."""
    found: Held = Counter()
    for mailbox in account.mailboxes:
        for key, path in device.files(account.name, mailbox):
            flags = "".join(sorted(set(path.name.partition(":2,")[2]) & set(_NAMES)))
            found[key, Place(mailbox, flags, _digest(path.read_bytes()))] += 1
    return found


def difference(found: Held, account: Account) -> str:
    """Say what is not as it should be, nothing if all is."""
    expected: Held = Counter(account.held.items())
    more, less = [*(found - expected).elements()][:3], [*(expected - found).elements()][:3]
    return f"has more {more} less {less}" if more or less else ""


def _turned(place: Place, letter: str) -> Place:
    return place._replace(flags="".join(sorted(set(place.flags) ^ {letter})))


def _key(octets: bytes) -> str:
    found = _KEY.search(octets)
    return found[1].decode() if found else f"strange {octets[:80]!r}"


def _digest(octets: bytes) -> bytes:
    return hashlib.sha256(octets.replace(b"\r\n", b"\n")).digest()


def _uids(client: imaplib.IMAP4, mailbox: str) -> dict[str, str]:
    return dict(_keys_and_uids(client, mailbox))


def _keys_and_uids(client: imaplib.IMAP4, mailbox: str) -> Iterator[tuple[str, str]]:
    client.select(quoted(mailbox), readonly=True)
    for part in client.uid("FETCH", "1:*", "(UID BODY.PEEK[HEADER.FIELDS (X-SOAK)])")[1]:
        if isinstance(part, tuple):
            found = _UID.search(part[0])
            assert found is not None
            yield _key(part[1]), found[1].decode()
