"""A server and three devices as a walk sees them: every message by its name, and what web mail does to it."""

import hashlib
import imaplib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from syncd.config.model import Layout
from syncd.mail.flags import Flags
from syncd.mail.mailbox import MailboxName, is_selected
from syncd.maildir.naming.layout import Fs, MaildirPlusPlus
from tests.contract.sync.house import House
from tests.contract.sync.letters import letter
from tests.contract.sync.provider import Provider
from tests.contract.sync.replica import MailFile
from tests.servers.delivery import quoted

MAILBOXES = ("INBOX", "Archive", "Drafts", "Sent", "Trash", "Projects/2026")
ANCHOR = "anchor"
_SUBDIRS = ("cur", "new", "tmp")
_LISTED = re.compile(rb'\(([^)]*)\) "/" "?([^"]+)"?')
_ROW = re.compile(rb"UID (\d+) FLAGS \(([^)]*)\)")
_NOTES = re.compile(rb"(?m)^(?:Content-Length: 36|Lines: 3)\n")
_LETTERS = {"D": "\\Draft", "F": "\\Flagged", "P": "$Forwarded", "R": "\\Answered", "S": "\\Seen", "T": "\\Deleted"}


class OnServer(NamedTuple):
    mailbox: str
    uid: int
    key: str
    flags: Flags


class OnDevice(NamedTuple):
    mailbox: str
    file: MailFile
    key: str
    flags: Flags


class Octets:
    """Know messages by their octets, with any line ends and without the notes that mutt keeps in the header."""

    def __init__(self) -> None:
        self._keys: dict[bytes, str] = {}
        self.whole: dict[str, bytes] = {}

    def letter(self, key: str, *, message_id: str | None = None, lines: int = 3) -> bytes:
        """Make a letter, with CRLF."""
        return self.known(key, letter(message_id or key, lines=lines))

    def known(self, key: str, octets: bytes) -> bytes:
        """Give octets a name."""
        self._keys[_bare(octets)] = key
        self.whole[key] = octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        return octets

    def key_of(self, octets: bytes) -> str:
        """Return the name of a message; of a strange one, its first octets."""
        return self._keys.get(_bare(octets)) or f"strange {octets[:300]!r}"

    def digests(self, key: str) -> set[bytes]:
        """Return the SHA-256 of what the store may have of a message."""
        return {hashlib.sha256(octets).digest() for octets in (self.whole[key], noted(self.whole[key]))}


class World:
    """Look at both sides."""

    def __init__(self, house: House, provider: Provider) -> None:
        self.house = house
        self.provider = provider
        self.octets = Octets()

    def mailboxes_of_server(self) -> frozenset[str]:
        """Return the names of the mailboxes of the server that can have messages."""
        with self.provider.server.imap(self.provider.user) as client:
            return _selectable(client)

    def takes(self, device: str, mailbox: str) -> bool:
        """Tell whether a device selects a mailbox."""
        return is_selected(MailboxName.parse(mailbox), self.house.config.devices[device].mailboxes)

    def mailboxes_of_device(self, device: str) -> frozenset[str]:
        """Return the names of the mailboxes that a device selects and has a directory of."""
        return frozenset(name for name in self.directories_of(device) if self.takes(device, name))

    def directories_of(self, device: str) -> frozenset[str]:
        """Return the names of the mailboxes that have a directory on a device, whether it selects them or not."""
        root, layout, found = self.house.config.devices[device].path, self.layout(device), set[str]()
        for path, inside, _ in os.walk(root):
            place = layout.mailbox(PurePosixPath(Path(path).relative_to(root)))
            if "cur" in inside and place is not None:
                found.add(str(place[1]))
            inside[:] = [one for one in inside if one not in _SUBDIRS]
        return frozenset(found)

    def layout(self, device: str) -> Fs | MaildirPlusPlus:
        """Return how a device keeps mailboxes."""
        return Fs() if self.house.config.devices[device].layout is Layout.FS else MaildirPlusPlus()

    def on_server(self) -> list[OnServer]:
        """Return every message of the server."""
        found: list[OnServer] = []
        with self.provider.server.imap(self.provider.user) as client:
            for mailbox in sorted(_selectable(client)):
                if client.select(quoted(mailbox), readonly=True)[0] != "OK":
                    continue  # renamed or removed in this moment
                _, answer = client.uid("FETCH", "1:*", "(UID FLAGS BODY.PEEK[])")
                for part in answer:
                    if isinstance(part, tuple) and (row := _ROW.search(part[0])):
                        flags = frozenset(flag.decode() for flag in row[2].split()) - {"\\Recent"}
                        found.append(OnServer(mailbox, int(row[1]), self.octets.key_of(part[1]), flags))
        return found

    def on_device(self, device: str) -> list[OnDevice]:
        """Return every message of a device."""
        return list(self._on_device(device))

    def assert_equal(self) -> Mapping[str, Sequence[tuple[str, Flags]]]:
        """Check that every device has what it takes of the server, and return where each message is, with its flags."""
        server, mailboxes = self.on_server(), self.mailboxes_of_server()
        for device in self.house.config.devices:
            here, taken = self.directories_of(device), {one for one in mailboxes if self.takes(device, one)}
            assert here == taken, f"{device} has more {here - taken} less {taken - here}"
            expected = Counter((one.mailbox, one.key, one.flags) for one in server if one.mailbox in taken)
            found = Counter((one.mailbox, one.key, one.flags) for one in self._on_device(device))
            assert found == expected, f"{device} has more {_told(found - expected)} less {_told(expected - found)}"
            for mailbox in here:
                half_written = self.house.replica(device, mailbox).half_written()
                assert not half_written, f"{device} has {half_written} in {mailbox}"
        places: dict[str, list[tuple[str, Flags]]] = defaultdict(list)
        for one in server:
            places[one.key].append((one.mailbox, one.flags))
        return places

    def change(self, of: OnServer, command: str, *arguments: str) -> bool:
        """Let web mail do one thing to a message, and tell whether it was still there."""
        with self.provider.server.imap(self.provider.user) as client:
            if client.select(quoted(of.mailbox))[0] != "OK":
                return False
            _, (found, *_) = client.uid("SEARCH", f"UID {of.uid}")
            if found:
                return bool(client._simple_command("UID", command, str(of.uid), *arguments)[0] == "OK")
            return False

    def change_mailbox(self, command: str, *names: str) -> bool:
        """Let web mail do one thing to a mailbox, and tell whether it was done."""
        with self.provider.server.imap(self.provider.user) as client:
            return bool(client._simple_command(command, *map(quoted, names))[0] == "OK")

    def _on_device(self, device: str) -> Iterator[OnDevice]:
        for mailbox in sorted(self.mailboxes_of_device(device)):
            replica = self.house.replica(device, mailbox)
            keywords = replica.keywords()
            for file in replica.files():
                flags = (_LETTERS.get(each) or keywords.get(each) for each in file.letters)
                yield OnDevice(mailbox, file, self.octets.key_of(file.octets), frozenset(filter(None, flags)))


def _selectable(client: imaplib.IMAP4) -> frozenset[str]:
    lines = (_LISTED.match(line) for line in client.list()[1] if isinstance(line, bytes))
    return frozenset(
        found[2].decode()
        for found in lines
        if found and not {b"\\noselect", b"\\nonexistent"} & {*found[1].lower().split()}
    )


def noted(octets: bytes) -> bytes:
    """Return a message as mutt saves it in another mailbox."""
    end = b"\r\n" if b"\r\n" in octets else b"\n"
    return octets.replace(end * 2, end.join((b"", b"Content-Length: 36", b"Lines: 3", b"", b"")), 1)


def _bare(octets: bytes) -> bytes:
    return _NOTES.sub(b"", octets.replace(b"\r\n", b"\n"))


def _told(counted: Counter[tuple[str, str, Flags]]) -> list[str]:
    return [f"{count} {key} in {mailbox} {sorted(flags)}" for (mailbox, key, flags), count in counted.items()]
