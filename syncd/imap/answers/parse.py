"""Floor 3: response text to typed values: pure, synchronous, and nothing but ProtocolError on bad input."""

import calendar
import re
from collections.abc import Callable, Iterable, Sequence

from syncd.errors import ProtocolError
from syncd.imap.answers.lexer import Atom, Item, items
from syncd.imap.types import (
    Capability,
    Enabled,
    Exists,
    Expunge,
    Fetched,
    FetchRow,
    FlagsDefined,
    ListEntry,
    Octets,
    Other,
    RespText,
    Search,
    Section,
    SpooledLiteral,
    Status,
    StatusRow,
    Tagged,
    Untagged,
    Vanished,
)
from syncd.mail.flags import Flags, flags_of, remembered
from syncd.mail.mailbox import SpecialUse
from syncd.mail.uidset import UID_MAX, UidSet

MODSEQ_MAX = 2**63 - 1
_SAID_AGAIN = (b"LIST ", b"STATUS ")
_SAID_AGAIN_MAX_BYTES = 512
_SAID_MAX = 4096
_STATUS_KINDS = frozenset({"OK", "NO", "BAD", "BYE", "PREAUTH"})
_ROW = re.compile(
    rb"""(\d{1,10})\ FETCH\ \((?>(?:(?:
      UID\ (\d{1,10}) | FLAGS\ \(([^()"{}]*+)\) | MODSEQ\ \((\d{1,20})\)
    | RFC822\.SIZE\ (\d{1,19}) | INTERNALDATE\ "([^"\\]{20,32})"
    | (?:EMAILID\ \(([^()"{} ]{1,255})\) | X-GM-MSGID\ (\d{1,20}))
    )(?:\ (?!\))|(?=\)))){1,16})\)""",
    re.VERBOSE,
)
_BODY = re.compile(rb"\d{1,10} FETCH \(UID (\d{1,10}) BODY\[([0-9A-Z.]{0,100})\] \{\d+\}")
_SECTION = re.compile(r"(?:BODY|BINARY)\[([^\]]*)\](?:<(\d+)>)?")
_DATE = re.compile(rb" ?(\d{1,2})-([A-Za-z]{3})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)")
_MONTHS = {name: at for at, name in enumerate(b"jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)}
_ATTRIBUTES = {
    name.lower(): name
    for name in (
        *(use.value for use in SpecialUse),
        *("\\Noselect", "\\NonExistent", "\\Noinferiors", "\\HasChildren", "\\HasNoChildren"),
        *("\\Marked", "\\Unmarked", "\\Subscribed", "\\Remote"),
    )
}


def parse_untagged(pieces: Sequence[Octets]) -> Untagged:
    """Return the value of an untagged response, given without its `* ` as text, literal, text, ... ."""
    text = pieces[0]
    if not isinstance(text, bytes):
        raise ProtocolError("a response starts with a literal")
    if len(pieces) == 1:
        if text.startswith(_SAID_AGAIN) and len(text) <= _SAID_AGAIN_MAX_BYTES:
            return _said(text)
        row = _ROW.fullmatch(text)
        if row is not None:
            return _fast_row(row)
    elif len(pieces) == 3 and pieces[2] == b")":
        body = _BODY.fullmatch(text)
        if body is not None and 1 <= (uid := int(body[1])) <= UID_MAX:
            row_of_uid = FetchRow(uid, None, None, None, None, None)
            return Fetched(row_of_uid, (Section(body[2].decode("ascii"), None, pieces[1]),))
    name, _, rest = text.partition(b" ")
    if name.isdigit():
        verb = rest[:8].partition(b" ")[0].upper().decode("ascii", "replace")
        if verb == "FETCH":
            return _fetched(items(pieces))
        if verb == "EXISTS":
            return Exists(_required(name))
        if verb == "EXPUNGE":
            return Expunge(_required(name))
        return Other(verb)
    verb = name.upper().decode("ascii", "replace")
    if verb in _STATUS_KINDS:
        return Status(verb, resp_text(rest))
    if verb == "SEARCH":
        return Search(_search(rest))
    if verb in {"CAPABILITY", "ENABLED"}:
        names = words(rest)
        return Capability(names) if verb == "CAPABILITY" else Enabled(names)
    reader = _READERS.get(verb)
    return reader(items(pieces)[1:]) if reader is not None else Other(verb[:40])


def parse_tagged(line: bytes) -> Tagged | None:
    """Return the end of a command, or None when the line is no tagged status response."""
    tag, _, rest = line.partition(b" ")
    kind, _, text = rest.partition(b" ")
    if not tag.isalnum() or kind.upper() not in {b"OK", b"NO", b"BAD"}:
        return None
    return Tagged(tag.decode(), kind.upper().decode(), resp_text(text))


def resp_text(text: bytes) -> RespText:
    """Return a status response's text with its code taken apart; a code that does not end is text."""
    if text.startswith(b"["):
        end = text.find(b"] ")
        if end < 0:
            end = len(text) - 1 if text.endswith(b"]") else text.find(b"]")
        if end > 0:
            code, _, arguments = text[1:end].partition(b" ")
            return RespText(code.upper().decode("ascii", "replace"), arguments, text[end + 1 :].lstrip())
    return RespText("", b"", text)


def words(text: bytes) -> frozenset[str]:
    """Return space-separated words in upper case; what is not ASCII becomes U+FFFD."""
    return frozenset(text.decode("ascii", "replace").upper().split())


def number(octets: object, most: int = UID_MAX) -> int | None:
    """Return a number of at most `most`, or None for anything else."""
    if not isinstance(octets, bytes) or not octets.isdigit() or len(octets) > 20:
        return None
    value = int(octets)
    return value if value <= most else None


def uid_set(octets: bytes) -> UidSet:
    """Return a sequence-set of a server, where `*` is the highest possible UID; ValueError for anything else."""
    return UidSet.parse(octets.decode("ascii").replace("*", str(UID_MAX)))


def permanent_flags(arguments: bytes) -> tuple[Flags, bool]:
    """Return the flags of PERMANENTFLAGS and whether new keywords may be made (`\\*`)."""
    names = arguments.strip().removeprefix(b"(").removesuffix(b")").decode("ascii", "replace").split()
    return flags_of(names), "\\*" in names


def internaldate(octets: bytes) -> int | None:
    """Return seconds since 1970 for a date-time (RFC 3501 §9), None when it is none."""
    match = _DATE.fullmatch(octets)
    if match is None:
        return None
    day, month, year, hour, minute, second = (
        int(match[1]),
        _MONTHS.get(match[2].lower(), 0),
        *(int(match[at]) for at in range(3, 7)),
    )
    if not (1 <= day <= 31 and month and year >= 1 and hour < 24 and minute < 60 and second <= 60):
        return None
    offset = (int(match[8]) * 60 + int(match[9])) * (60 if match[7] == b"+" else -60)
    return calendar.timegm((year, month, day, hour, minute, second)) - offset


@remembered(most=_SAID_AGAIN_MAX_BYTES)
def flag_list(octets: bytes) -> Flags:
    """Return the flags of a flag list's inside; equal texts give the same object."""
    return flags_of(octets.decode("ascii", "replace").split())


def _fast_row(match: re.Match[bytes]) -> Untagged:
    _, uid, flags, modseq, size, date, email_id, gmail_id = match.groups()
    row = FetchRow(
        int(uid) if uid is not None else 0,
        flag_list(flags) if flags is not None else None,
        number(modseq, MODSEQ_MAX),
        number(size, MODSEQ_MAX),
        internaldate(date) if date is not None else None,
        (email_id or gmail_id or b"").decode("ascii", "replace") or None,
    )
    if 1 <= row.uid <= UID_MAX:
        return row
    return Fetched(row._replace(uid=0), ()) if uid is None else Other("FETCH")


def _fetched(found: tuple[Item, ...]) -> Untagged:
    if len(found) != 3 or not isinstance(found[2], tuple) or len(found[2]) % 2:
        raise ProtocolError("malformed FETCH response")
    uid, told_uid = 0, False
    flags: Flags | None = None
    modseq = size = date = None
    email_id: str | None = None
    sections: list[Section] = []
    pairs = iter(found[2])
    for key, value in zip(pairs, pairs, strict=True):
        name = key.upper().decode("ascii", "replace") if isinstance(key, Atom) else ""
        if name == "UID":
            uid, told_uid = number(value) or 0, True
        elif name == "FLAGS" and isinstance(value, tuple):
            flags = flag_list(b" ".join(flag for flag in value if isinstance(flag, Atom)))
        elif name == "MODSEQ" and isinstance(value, tuple) and value:
            modseq = number(value[0], MODSEQ_MAX)
        elif name == "RFC822.SIZE":
            size = number(value, MODSEQ_MAX)
        elif name == "INTERNALDATE" and isinstance(value, bytes):
            date = internaldate(value)
        elif name in {"EMAILID", "X-GM-MSGID"}:
            email_id = _identity(value)
        elif (section := _SECTION.fullmatch(name)) is not None:
            # NOTE: an atom or a list is no string, so it is no body either.
            content = value if isinstance(value, bytes | SpooledLiteral) and not isinstance(value, Atom) else None
            sections.append(Section(section[1], int(section[2]) if section[2] else None, content))
    if told_uid and not uid:
        return Other("FETCH")
    row = FetchRow(uid, flags, modseq, size, date, email_id)
    return row if uid and not sections else Fetched(row, tuple(sections))


def _identity(value: Item) -> str | None:
    single = value[0] if isinstance(value, tuple) and len(value) == 1 else value
    return single[:255].decode("ascii", "replace") if isinstance(single, bytes) and single else None


def _required(octets: bytes) -> int:
    value = number(octets)
    if value is None:
        raise ProtocolError("number out of range in a response")
    return value


def _search(rest: bytes) -> UidSet:
    uids, _, _ = rest.partition(b"(")
    try:
        return UidSet.of(map(int, uids.split()))
    except ValueError as error:
        raise ProtocolError("malformed SEARCH response") from error


def _esearch(found: tuple[Item, ...]) -> Untagged:
    rest = found[1:] if found and isinstance(found[0], tuple) else found  # without the tag of the command
    upper = [part.upper() if isinstance(part, Atom) else part for part in rest]
    if b"UID" not in upper:
        return Other("ESEARCH")  # sequence numbers: not what was asked
    uids = UidSet()
    if b"ALL" in upper:
        at = upper.index(b"ALL") + 1
        value = rest[at] if at < len(rest) else None
        try:
            if not isinstance(value, bytes) or b"*" in value:
                raise ValueError("no set")
            uids = uid_set(value)
        except ValueError as error:
            raise ProtocolError("malformed ESEARCH response") from error
    return Search(uids)


def said_again(texts: Iterable[bytes]) -> list[Untagged | None]:
    """Return the values of those lines of LIST and STATUS that were said before, and None for every other line.

    NOTE: servers say the same of each mailbox at each look, for as long as nothing changed there. To go through parser
    and receiver line by line takes more than twice the time of that.
    """
    return list(map(_before.get, texts))


_before: dict[bytes, Untagged] = {}


def _said(text: bytes) -> Untagged:
    """Return the value of a line of LIST or STATUS, and remember it."""
    said = _READERS["LIST" if text.startswith(b"LIST ") else "STATUS"](items((text,))[1:])
    if len(_before) >= _SAID_MAX:
        _before.clear()
    _before[text] = said
    return said


def _vanished(found: tuple[Item, ...]) -> Untagged:
    earlier = bool(found) and isinstance(found[0], tuple)
    uids = found[-1] if found else None
    try:
        return Vanished(earlier, uid_set(uids) if isinstance(uids, bytes) else UidSet())
    except ValueError:
        # NOTE: iCloud has sent malformed sets. What it hides is found by counting, so the connection may live.
        return Other("VANISHED")


def _list_entry(found: tuple[Item, ...]) -> Untagged:
    if len(found) < 3 or not isinstance(found[0], tuple) or isinstance(found[1], tuple | SpooledLiteral):
        raise ProtocolError("malformed LIST response")
    attributes = [word.decode("ascii", "replace") for word in found[0] if isinstance(word, Atom)]
    delimiter = found[1].decode("latin-1") if found[1] else None
    if delimiter is not None and len(delimiter) != 1:
        raise ProtocolError("malformed delimiter in a LIST response")
    return ListEntry(_name(found[2]), delimiter, frozenset(_ATTRIBUTES.get(name.lower(), name) for name in attributes))


def _status_row(found: tuple[Item, ...]) -> Untagged:
    if len(found) != 2 or not isinstance(found[1], tuple):
        raise ProtocolError("malformed STATUS response")
    told = {
        key.upper(): value
        for key, value in zip(found[1][::2], found[1][1::2], strict=False)
        if isinstance(key, Atom) and isinstance(value, Atom)
    }
    pairs = zip(found[1][::2], found[1][1::2], strict=False)
    ids = [value for key, value in pairs if isinstance(key, Atom) and key.upper() == b"MAILBOXID"]
    return StatusRow(
        _name(found[0]),
        messages=number(told.get(b"MESSAGES")),
        uidnext=number(told.get(b"UIDNEXT")) or None,
        uidvalidity=number(told.get(b"UIDVALIDITY")) or None,
        highestmodseq=number(told.get(b"HIGHESTMODSEQ"), MODSEQ_MAX) or None,
        object_id=_identity(ids[-1]) if ids else None,
        append_limit=number(told.get(b"APPENDLIMIT")),
    )


def _name(value: Item) -> bytes:
    if value is None:
        return b"NIL"
    if not isinstance(value, bytes):
        raise ProtocolError("malformed mailbox name in a response")
    return bytes(value)


def _flags_defined(found: tuple[Item, ...]) -> Untagged:
    listed = found[0] if found and isinstance(found[0], tuple) else ()
    return FlagsDefined(flag_list(b" ".join(flag for flag in listed if isinstance(flag, Atom))))


_READERS: dict[str, Callable[[tuple[Item, ...]], Untagged]] = {
    "ESEARCH": _esearch,
    "VANISHED": _vanished,
    "LIST": _list_entry,
    "STATUS": _status_row,
    "FLAGS": _flags_defined,
}
