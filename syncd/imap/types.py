"""Floor 3: what a server said, as values."""

from typing import NamedTuple

from syncd.mail.flags import Flags
from syncd.mail.uidset import EMPTY, UidSet
from syncd.values import Value


class RespText(Value):
    """Hold the human part of a status response and its response code (RFC 3501 §7.1)."""

    code: str
    arguments: bytes
    text: bytes


NEW_MAX = 1000
"""So many new messages are asked for at once where it is not known how many there are."""


class Resync(NamedTuple):
    """Up to where a mailbox is known, to be told what changed since (RFC 7162 §3.2.5).

    uidnext: rows of new messages are fetched in the same round trip; None: they are not.
    """

    uidvalidity: int
    highestmodseq: int
    uidnext: int | None = None


class Status(Value):
    """An untagged OK, NO, BAD, BYE or PREAUTH."""

    kind: str
    text: RespText


class Tagged(Value):
    """The end of a command."""

    tag: str
    kind: str
    text: RespText


class FetchRow(NamedTuple):
    """What one FETCH told of one UID; None is "not told". internaldate: seconds since 1970."""

    uid: int
    flags: Flags | None
    modseq: int | None
    size_bytes: int | None
    internaldate: int | None
    email_id: str | None


class SpooledLiteral(Value):
    """Stand in a response for a literal whose octets went to a sink."""

    sink: object
    size_bytes: int


Octets = bytes | SpooledLiteral


class Section(Value):
    """One `BODY[name]<origin>` item; value None is NIL."""

    name: str
    origin: int | None
    value: Octets | None


class Fetched(Value):
    """A FETCH response with more than a plain row: body sections, or no UID (uid 0)."""

    row: FetchRow
    sections: tuple[Section, ...]


class Vanished(Value):
    """Expunged UIDs (RFC 7162 §3.2.10); an open range ends at the highest possible UID."""

    earlier: bool
    uids: UidSet


class Exists(Value):
    count: int


class Expunge(Value):
    sequence: int


class Capability(Value):
    names: frozenset[str]


class Enabled(Value):
    names: frozenset[str]


class FlagsDefined(Value):
    """The FLAGS response of SELECT."""

    flags: Flags


class StatusRow(Value):
    """The answer to STATUS; None where the server did not say.

    object_id: MAILBOXID, which a mailbox keeps when it is renamed (RFC 8474 §4). append_limit: the size of the largest
    message that it takes (RFC 7889 §3.1).
    """

    octets: bytes
    messages: int | None = None
    uidnext: int | None = None
    uidvalidity: int | None = None
    highestmodseq: int | None = None
    object_id: str | None = None
    append_limit: int | None = None


class ListEntry(Value):
    """One mailbox of LIST. octets: the name as the server wrote it, the only form to send back to it."""

    octets: bytes
    delimiter: str | None
    attributes: frozenset[str]
    status: StatusRow | None = None


class Search(Value):
    """The answer to UID SEARCH, as SEARCH or as ESEARCH (RFC 4731 §3.1)."""

    uids: UidSet


class Other(Value):
    """An untagged response that syncd has no use for."""

    name: str


Untagged = (
    Status
    | FetchRow
    | Fetched
    | Vanished
    | Exists
    | Expunge
    | Capability
    | Enabled
    | FlagsDefined
    | StatusRow
    | ListEntry
    | Search
    | Other
)


class SelectResult(Value):
    """What SELECT or EXAMINE said.

    uidvalidity, uidnext: None when missing or not a number of their kind. highestmodseq: None without CONDSTORE or
    after NOMODSEQ. rows, vanished: the answer to the QRESYNC parameter. new: whole rows among the first `NEW_MAX` UIDs
    that may be new, None where they were not told. is_plain: it refused its parameters just then, is_of_the_moment: by
    a code that says nothing of them.
    """

    uidvalidity: int | None
    uidnext: int | None
    highestmodseq: int | None
    exists: int
    permanent_flags: Flags
    accepts_keywords: bool
    read_only: bool
    rows: tuple[FetchRow, ...] = ()
    vanished: UidSet = EMPTY
    new: tuple[FetchRow, ...] | None = None
    is_plain: bool = False
    is_of_the_moment: bool = False


class StoreResult(Value):
    """What STORE did: rows as the server has them now, and the UIDs that had changed after UNCHANGEDSINCE."""

    rows: tuple[FetchRow, ...]
    modified: UidSet = EMPTY


class Appended(Value):
    """Where APPEND or a move put a message, by the server's word (RFC 4315 §3): a hint to look, not a proof."""

    uidvalidity: int
    uid: int


class Copied(Value):
    """Where COPY or MOVE put messages, by the server's word (RFC 4315 §3).

    uidvalidity: the target's. pairs: old UIDs with their new ones; a UID not among them may be copied all the same.
    """

    uidvalidity: int
    pairs: tuple[tuple[int, int], ...]


class MailboxEvents(Value):
    """What the server reported of the selected mailbox without being asked, since it was last drained.

    exists: the last EXISTS, None if there was none. expunged: how many EXPUNGE responses came (they name no UID).
    is_partial: more came than is kept, or a FETCH without UID: look at the mailbox again.
    """

    exists: int | None = None
    expunged: int = 0
    vanished: UidSet = EMPTY
    rows: tuple[FetchRow, ...] = ()
    is_partial: bool = False

    def __bool__(self) -> bool:
        return self.exists is not None or bool(self.expunged or self.vanished or self.rows or self.is_partial)
