"""Floor 3: what waits for the answers of one command, and takes them by content."""

from collections.abc import Iterable

from syncd.errors import ProtocolError, Reach
from syncd.imap.answers.codes import copied, joined
from syncd.imap.answers.events import EventLog
from syncd.imap.answers.parse import MODSEQ_MAX, number, permanent_flags
from syncd.imap.types import (
    Copied,
    Exists,
    Expunge,
    Fetched,
    FetchRow,
    FlagsDefined,
    ListEntry,
    RespText,
    Search,
    SelectResult,
    Status,
    StatusRow,
    Tagged,
    Untagged,
    Vanished,
)
from syncd.mail.flags import NONE
from syncd.mail.uidset import EMPTY, UidSet
from syncd.values import replace


class Selecting:
    """Gather what SELECT says; what came before the last CLOSED belongs to the mailbox before (RFC 7162 §3.2.11)."""

    def __init__(self, events: EventLog, *, is_anew: bool = False) -> None:
        """Let `events` count from what is said here, for what is told behind the end goes on from that.

        is_anew: that is the same mailbox, and what is told of it until then counts as events, too.
        """
        self._events = events
        self._is_open = is_anew
        self._start()

    def _start(self) -> None:
        self._exists: int | None = None
        self._flags = NONE
        self._codes: dict[str, bytes] = {}
        self._rows: list[FetchRow] = []
        self._vanished: list[UidSet] = []

    def take(self, response: Untagged) -> bool:
        match response:
            case Status(text=text):
                if text.code == "CLOSED":
                    self._is_open = False
                    self._start()
                elif text.code:
                    self._codes[text.code] = text.arguments
            case Exists(count):
                self._exists = count
                if not self._is_open:
                    self._events.exists = count
            case FlagsDefined(flags):
                self._flags = flags
            case FetchRow():
                self._rows.append(response)
            case Vanished(uids=uids):
                self._vanished.append(uids)
            case Expunge() | Fetched():
                pass  # of the mailbox before: the one being selected has nothing to take back yet
            case _:
                return False
        return not self._is_open

    def result(self, end: Tagged) -> SelectResult:
        """Return what was said once SELECT ended in OK; without an EXISTS it is ProtocolError, not 0."""
        if self._exists is None:
            raise ProtocolError("the server did not say how many messages a mailbox has", reach=Reach.MAILBOX)
        codes = {**self._codes, end.text.code: end.text.arguments}
        if "PERMANENTFLAGS" in codes:
            permanent, accepts_keywords = permanent_flags(codes["PERMANENTFLAGS"])
        else:
            permanent, accepts_keywords = self._flags, False
        modseq = None if "NOMODSEQ" in codes else number(codes.get("HIGHESTMODSEQ"), MODSEQ_MAX)
        return SelectResult(
            uidvalidity=number(codes.get("UIDVALIDITY")) or None,
            uidnext=number(codes.get("UIDNEXT")) or None,
            highestmodseq=modseq or None,
            exists=self._exists,
            permanent_flags=permanent,
            accepts_keywords=accepts_keywords,
            read_only="READ-ONLY" in codes,
            rows=tuple(self._rows),
            vanished=UidSet.union(self._vanished),
        )


class Listing:
    """Gather LIST and the STATUS rows that come with it; a mailbox that is listed twice counts once."""

    def __init__(self) -> None:
        self._told: list[ListEntry | StatusRow] = []
        self._entries: tuple[ListEntry, ...] | None = None

    def take(self, response: Untagged) -> bool:
        if not isinstance(response, (ListEntry, StatusRow)):
            return False
        self._told.append(response)
        return True

    def entries(self, before: "Listing | None" = None) -> tuple[ListEntry, ...]:
        """Return the mailboxes with their counts, as those of an answer before where this one says the very same."""
        if before is not None and self._told == before._told:
            self._told, self._entries = before._told, before.entries()
        if self._entries is None:
            self._entries = _entries(self._told)
        return self._entries


def _entries(told: Iterable[ListEntry | StatusRow]) -> tuple[ListEntry, ...]:
    entries: dict[bytes, ListEntry] = {}
    rows: dict[bytes, StatusRow] = {}
    for one in told:
        if isinstance(one, StatusRow):
            rows[one.octets] = one
        elif (before := entries.get(one.octets)) is None:
            entries[one.octets] = one
        else:
            entries[one.octets] = replace(one, attributes=one.attributes | before.attributes)
    return tuple(
        ListEntry(octets, entry.delimiter, entry.attributes, rows.get(octets)) for octets, entry in entries.items()
    )


class Counting:
    """Take the STATUS rows of one mailbox; INBOX is INBOX in any case."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self.row: StatusRow | None = None

    def take(self, response: Untagged) -> bool:
        if not isinstance(response, StatusRow):
            return False
        if response.octets == self._octets or response.octets.upper() == self._octets.upper() == b"INBOX":
            self.row = response
        return True


class Searching:
    """Take the one answer to SEARCH, in either form; uids is None until there is one."""

    def __init__(self) -> None:
        self.uids: UidSet | None = None

    def take(self, response: Untagged) -> bool:
        if not isinstance(response, Search):
            return False
        self.uids = (self.uids or EMPTY) | response.uids
        return True


class Storing:
    """Take the rows that STORE changed; other rows are events."""

    def __init__(self, uids: UidSet) -> None:
        self._uids = uids
        self.rows: dict[int, FetchRow] = {}

    def take(self, response: Untagged) -> bool:
        if not isinstance(response, FetchRow) or response.uid not in self._uids:
            return False
        self.rows[response.uid] = response
        return True


class Copying:
    """Take what COPY or MOVE tells of new UIDs, in untagged OKs before the EXPUNGEs too (RFC 6851 §4.3)."""

    def __init__(self, uids: UidSet) -> None:
        self._uids = uids
        self._told: list[RespText] = []

    def take(self, response: Untagged) -> bool:
        if not isinstance(response, Status) or response.text.code != "COPYUID":
            return False
        self._told.append(response.text)
        return True

    def copied(self, end: Tagged) -> Copied | None:
        """Return what was told once the command has ended, None when nothing was or any of it is not certain."""
        texts = (*self._told, end.text) if end.text.code == "COPYUID" else self._told
        parts = [copied(text, self._uids) for text in texts]
        certain = [part for part in parts if part is not None]
        return joined(certain) if len(certain) == len(parts) else None
