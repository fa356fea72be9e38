"""A server that lies about what is there, for as many looks as it is told to; a tap alters what a real one says."""

import re

from syncd.mail.uidset import EMPTY, UidSet
from tests.contract.sync.tap import Tap

_EXISTS = re.compile(rb"(?i)^\* \d+ EXISTS")
_UIDNEXT = re.compile(rb"(?i)\[UIDNEXT \d+\]")
_FETCHED = re.compile(rb"(?i)^\* \d+ FETCH \(.*?UID (\d+)")
_FOUND = re.compile(rb"(?i)^(\* ESEARCH \(TAG [^)]*\) UID)(?: ALL ([\d:,]+))?|^\* SEARCH((?: \d+)*)")
_LISTED = re.compile(rb'(?i)^\* (?:LIST \([^)]*\) \S+|STATUS) "?([^"(]+?)"?(?: \(|\r?\n)')


class Liar:
    """Say of one mailbox that only the UIDs `here` are left, at each of its next `times` SELECTs; by default none.

    uidnext: say this, too.
    """

    def __init__(self, tap: Tap, mailbox: str = "INBOX", *, here: UidSet = EMPTY, uidnext: int | None = None) -> None:
        self.times = 0
        self.told = 0
        """How often it lied."""
        self._mailbox = mailbox.encode()
        self._here = here
        self._uidnext = uidnext
        self._is_lying = False
        tap.before_line, tap.says = self._hear, self._say

    async def _hear(self, line: bytes) -> None:
        if b" SELECT " in line:
            is_mine = b'"%s"' % self._mailbox in line
            self._is_lying = is_mine and self.told < self.times
            self.told += self._is_lying

    def _say(self, line: bytes) -> bytes:
        if not self._is_lying:
            return line
        if _EXISTS.match(line):
            return b"* %d EXISTS\r\n" % len(self._here)
        if self._uidnext is not None and _UIDNEXT.search(line):
            return _UIDNEXT.sub(b"[UIDNEXT %d]" % self._uidnext, line)
        if found := _FETCHED.match(line):
            return line if int(found[1]) in self._here else b""
        if found := _FOUND.match(line):
            if found[1] is None:
                left = UidSet.of(map(int, found[3].split())) & self._here
                return b"* SEARCH%s\r\n" % b"".join(b" %d" % uid for uid in left)
            left = UidSet.parse(found[2].decode()) & self._here if found[2] else EMPTY
            return found[1] + (b" ALL " + str(left).encode() if left else b"") + b"\r\n"
        return line


class ListLiar:
    """Leave mailboxes out of the next `times` LISTs, and refuse their STATUS after that; by default all of them."""

    def __init__(self, tap: Tap, *, names: frozenset[str] | None = None) -> None:
        self.times = 0
        self.told = 0
        self._names = names
        self._is_lying = False
        tap.before_line, tap.says, tap.refuses = self._hear, self._say, self._refuse

    def _refuse(self, line: bytes) -> bool:
        return self._is_lying and line.split()[1:2] == [b"STATUS"]

    async def _hear(self, line: bytes) -> None:
        if b" LIST " in line:
            self._is_lying = self.told < self.times
            self.told += self._is_lying

    def _say(self, line: bytes) -> bytes:
        found = _LISTED.match(line) if self._is_lying else None
        if found and (self._names is None or found[1].decode() in self._names):
            return b""
        return line
