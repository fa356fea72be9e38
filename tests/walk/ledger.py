"""What a walk must end in: for each message, the mailboxes in which it may be at rest, given what was done to it.

Theory. It foresees no timing. What one actor did alone, in whatever steps, has one outcome, and so have the deeds of
two who met at a message, but for what `_MET` lists. A message is named by its octets; copies are counted. Nothing else
is taken for right: a message that is nowhere is lost, and one that is there once more is doubled.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import combinations, product

from syncd.values import replace
from tests.walk.mailboxes import Mailboxes

TRASH = "Trash"
WEB = "web mail"
_DEEDS_MAX = 3
_YIELDING = frozenset({"\\Seen", "\\Deleted", "$Junk"})
Places = tuple[str, ...]
"""The mailboxes in which a message is, sorted; one for each copy."""


class Verb(Enum):
    """What somebody did to a message. From DELETE on: by the files of a device."""

    ADD = "add"
    EXPUNGE = "expunge"
    WEB_MOVE = "web move"
    WEB_COPY = "web copy"
    DELETE = "delete"
    MOVE = "move"
    COPY = "copy"
    RENAME = "rename"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True)
class Deed:
    """What one actor did: web mail, or a device by its name."""

    actor: str
    verb: Verb
    source: str = ""
    to: str = ""
    is_whole: bool = False
    """Whether it was done to the mailbox with all that is in it, so that it may be carried as one deed."""

    @property
    def is_deletion(self) -> bool:
        """Tell whether people call this a deletion, which loses against what a person changed elsewhere."""
        return self.verb in {Verb.DELETE, Verb.EXPUNGE} or (
            self.verb in {Verb.MOVE, Verb.WEB_MOVE} and self.to == TRASH
        )

    @property
    def end(self) -> str:
        """Return the mailbox that it brings the message to."""
        return TRASH if self.verb is Verb.DELETE and self.source != TRASH else self.to

    def __str__(self) -> str:
        where = "".join((f" in {self.source}" if self.source else "", f" to {self.to}" if self.to else ""))
        return f"{self.actor}: {self.verb.value}{where}{' with its mailbox' if self.is_whole else ''}"


_V = Verb
_MET: Mapping[tuple[Verb, Verb], Sequence[str]] = {
    # Two deeds at one message in A, the first to B, the second to C; T: Trash. Each word is an outcome, - is nowhere.
    (_V.EXPUNGE, _V.DELETE): ("-",),
    (_V.EXPUNGE, _V.MOVE): ("C",),
    (_V.EXPUNGE, _V.COPY): ("C",),
    (_V.EXPUNGE, _V.RENAME): ("-", "A"),  # known again by its octets before, or sent after
    (_V.WEB_MOVE, _V.DELETE): ("B",),
    (_V.WEB_MOVE, _V.MOVE): ("BC",),
    (_V.WEB_MOVE, _V.COPY): ("BC",),
    (_V.WEB_MOVE, _V.RENAME): ("B", "AB"),
    (_V.WEB_COPY, _V.DELETE): ("TB",),
    (_V.WEB_COPY, _V.MOVE): ("BC",),
    (_V.WEB_COPY, _V.COPY): ("ABC",),
    (_V.WEB_COPY, _V.RENAME): ("AB",),
    (_V.DELETE, _V.DELETE): ("T",),
    (_V.DELETE, _V.MOVE): ("C", "TC"),  # a move that comes after is a copy of what is in Trash
    (_V.DELETE, _V.COPY): ("TC",),
    (_V.DELETE, _V.RENAME): ("T", "AT"),
    (_V.MOVE, _V.MOVE): ("BC",),
    (_V.MOVE, _V.COPY): ("BC",),
    (_V.MOVE, _V.RENAME): ("B", "AB"),
    (_V.COPY, _V.COPY): ("ABC",),
    (_V.COPY, _V.RENAME): ("AB",),
    (_V.RENAME, _V.RENAME): ("A",),
}


@dataclass(slots=True)
class Entry:
    """One message: where it was when all was at rest, with which flags, and what was done to it since."""

    places: Places = ()
    flags: frozenset[str] | None = None
    """None: not known, for there are several copies."""
    deeds: list[Deed] = field(default_factory=list)
    marks: list[tuple[str, str, bool]] = field(default_factory=list)
    """Who set a flag, or took it back."""
    is_frozen: bool = False

    @property
    def placing(self) -> list[Deed]:
        return [deed for deed in self.deeds if deed.verb is not Verb.ADD]

    @property
    def begun(self) -> Places:
        """Return where it is without what was done to it but that it was added."""
        return _sorted(*self.places, *(deed.to for deed in self.deeds if deed.verb is Verb.ADD))

    def may_be_placed(self, actor: str) -> bool:
        """Tell whether another deed of an actor has an outcome that can be told."""
        deeds = self.placing
        if self.is_frozen or len(deeds) >= _DEEDS_MAX:
            return False
        if {deed.actor for deed in deeds} <= {actor}:
            return True
        return len(deeds) == 1 and len(self.begun) == 1

    def under(self, one_name: Mapping[str, str]) -> "Entry":
        """Return what it would be if the mailboxes that may be one had one name."""
        deeds = [
            replace(deed, source=one_name.get(deed.source, deed.source), to=one_name.get(deed.to, deed.to))
            for deed in self.deeds
        ]
        return replace(self, places=_sorted(*(one_name.get(place, place) for place in self.places)), deeds=deeds)

    def without(self, *left_out: Deed) -> "Entry":
        """Return what it would be if some deeds had not been done."""
        return replace(self, deeds=[deed for deed in self.deeds if not any(deed is one for one in left_out)])

    def outcomes(self, *, is_interrupted: bool) -> frozenset[Places]:
        """Return where it may be at rest; is_interrupted: the engine, the server or the wire failed meanwhile."""
        deeds = self.placing
        found = _outcomes(self.begun, deeds) | _outcomes(self.begun, _joined(deeds))
        losing = [at for at, deed in enumerate(deeds) if deed.is_deletion and self._is_wanted_by_others(deed.actor)]
        for count in range(1, len(losing) + 1):
            for lost in combinations(losing, count):
                found |= _outcomes(self.begun, [deed for at, deed in enumerate(deeds) if at not in lost])
        for at in losing:
            if deeds[at].verb is Verb.WEB_MOVE and deeds[at + 1 :]:  # it was moved on while it came back
                found |= _outcomes(self.begun, [*deeds[:at], *_undone(deeds[at]), *deeds[at + 1 :]])
        for at, deed in enumerate(deeds):
            if deed.verb in {Verb.DELETE, Verb.EXPUNGE} and self._is_wanted_by_others(deed.actor):
                for before in range(at + 1):  # of what is moved and deleted at once, only the deletion is seen
                    found |= _outcomes(self.begun, [*deeds[:before], *deeds[at + 1 :]])
            if deed.verb in {Verb.MOVE, Verb.REPLACE} and self._is_wanted_by_others(deed.actor):
                found |= _outcomes(self.begun, [*deeds[:at], *_undone(deed), *deeds[at + 1 :]])
                won = [[one] if i not in losing else [] for i, one in enumerate(deeds)]
                won[at] = _undone(deed)  # its file is where it was moved to, and the message where others want it
                found |= _outcomes(self.begun, [one for each in won for one in each])
        (first, *_), verbs = self.deeds or (None,), {deed.verb for deed in self.deeds}
        is_own = first is not None and {deed.actor for deed in self.deeds} == {first.actor} != {WEB}
        if is_own and Verb.ADD in verbs and (Verb.DELETE in verbs or self.is_frozen):
            found |= {()}  # it went, or was edited, before it was a message
        if is_interrupted and deeds and len({deed.actor for deed in self.deeds}) > 1:
            # What was begun, and not known to be done, is done again after the other moved or removed it.
            found |= _outcomes(self.begun, [*deeds[:-1], *_undone(deeds[-1])])
        return found

    def flags_may_be(self) -> Mapping[str, frozenset[bool]]:
        """Return whether each flag that was ever there may be set; nothing where that is not known."""
        if self.flags is None:
            return {}
        is_contended = len({deed.actor for deed in self.placing}) > 1 or self.is_frozen
        # A file that another's deed has taken the message from is sent, and its letters may say nothing where it is.
        may_be = {flag: {True, not (is_contended and not flag.startswith("\\"))} for flag in self.flags}
        for actor, flag, is_set in self.marks:
            others = {who for who, what, _ in self.marks if what == flag} - {actor}
            is_keyword = not flag.startswith("\\")  # its letter says nothing where its file is moved to
            went = any(deed.is_deletion for deed in self.placing)  # perhaps before its new name or flags were seen
            is_loose = is_contended or others or went or (is_keyword and self.placing)
            before = may_be.get(flag, {False}) if is_loose else set()
            may_be[flag] = before | {is_set}
        return {flag: frozenset(values) for flag, values in may_be.items()}

    def _is_wanted_by_others(self, actor: str) -> bool:
        return any(flag not in _YIELDING and who != actor for who, flag, _ in self.marks)


class Ledger:
    """Know every message of a walk."""

    def __init__(self) -> None:
        self.entries: defaultdict[str, Entry] = defaultdict(Entry)

    def deed(self, key: str, deed: Deed) -> None:
        self.entries[key].deeds.append(deed)

    def mark(self, key: str, actor: str, flag: str, *, is_set: bool) -> None:
        self.entries[key].marks.append((actor, flag, is_set))

    def met_in(self) -> Mapping[str, set[str]]:
        """Return who did something to single messages, by the mailbox."""
        found: defaultdict[str, set[str]] = defaultdict(set)
        for entry in self.entries.values():
            for deed in (one for one in entry.deeds if not one.is_whole):
                found[deed.source].add(deed.actor)
                found[deed.to].add(deed.actor)
            for place in entry.begun:
                found[place].update(actor for actor, _, _ in entry.marks)
        return found

    def rest(
        self,
        found: Mapping[str, Sequence[tuple[str, frozenset[str]]]],
        mailboxes: Mailboxes,
        *,
        is_interrupted: bool,
        is_put_back: bool,
    ) -> list[str]:
        """Compare with what there is of each message at rest, in sentences, and begin anew from it.

        is_put_back: a person put something back that was to go.
        """
        wrong: list[str] = []
        one_name = mailboxes.one_name()
        for key in sorted({*self.entries, *found}):
            entry, copies = self.entries[key], found.get(key, ())
            places = _sorted(*(place for place, _ in copies))
            done = "; ".join(map(str, entry.deeds))
            allowed = _allowed(entry.under(one_name), mailboxes, is_interrupted=is_interrupted, is_put_back=is_put_back)
            if _sorted(*(one_name.get(place, place) for place in places)) not in allowed:
                wrong.append(f"{key} is in {places}, not in one of {sorted(allowed)}; was in {entry.places}; {done}")
            flags = copies[0][1] if len(copies) == 1 else None
            if flags is not None and entry.flags is not None and len(entry.begun) == 1:
                may_be = entry.flags_may_be()
                odd = [flag for flag in {*flags, *may_be} if (flag in flags) not in may_be.get(flag, {False})]
                if odd:
                    wrong.append(f"{key} has {odd} or not: {sorted(flags)}; {entry.flags} {entry.marks}; {done}")
            self.entries[key] = Entry(places, flags)
        return wrong


def _allowed(entry: Entry, mailboxes: Mailboxes, *, is_interrupted: bool, is_put_back: bool) -> frozenset[Places]:
    """Return where a message may be at rest, as far as what became of mailboxes may have taken it along."""
    optional = [deed for deed in entry.deeds if deed.is_whole or (is_put_back and deed.is_deletion)]
    found: set[Places] = set()
    for count in range(len(optional) + 1):
        for left_out in combinations(optional, count):
            left = entry.without(*left_out)
            found |= left.outcomes(is_interrupted=is_interrupted)
            # What a device renames while another gives it a name that the device does not take is in both.
            deeds = [one for deed in left.deeds for one in (_undone(deed) if _is_left(deed, mailboxes) else [deed])]
            found |= replace(left, deeds=deeds).outcomes(is_interrupted=is_interrupted)
    moved = {deed.to for deed in entry.deeds if deed.verb is Verb.MOVE}
    return frozenset(
        _sorted(*sum(ends, ()))
        for one in found
        for ends in product(*(_ends(each, mailboxes, is_moved=each in moved) for each in one))
    )


def _is_left(deed: Deed, mailboxes: Mailboxes) -> bool:
    return deed.is_whole and deed.verb is Verb.MOVE and deed.actor in mailboxes.leavers(deed.source)


def _ends(place: str, mailboxes: Mailboxes, *, is_moved: bool) -> list[Places]:
    """Return what may become of what is in a mailbox when somebody removes that.

    is_moved: a device moved it there, which may be seen as its deletion where it was.
    """
    removers = mailboxes.removers(place)
    is_in_trash = removers - {WEB} or (removers and is_moved)
    return [(place,), *([()] if WEB in removers else []), *([(TRASH,)] if is_in_trash else [])]


def _outcomes(places: Places, deeds: Sequence[Deed]) -> frozenset[Places]:
    if len(deeds) == 2 and len({deed.actor for deed in deeds}) == 2 and {deed.source for deed in deeds} == {*places}:
        return _met(*sorted(deeds, key=lambda deed: list(Verb).index(deed.verb)))
    return frozenset(_in_turn(places, deeds))


def _met(one: Deed, other: Deed) -> frozenset[Places]:
    means = {"-": (), "A": (one.source,), "B": (one.to,), "C": (other.to,), "T": (TRASH,)}
    if one.source == TRASH:
        means["T"] = ()
    words = _MET[one.verb, other.verb]
    if one.end and one.end == other.end:
        # What both bring to the same place is known again there, but where a device has that of the other already.
        words = (*words, *(word.replace("C", "") or word for word in words))
    return frozenset(_sorted(*(place for letter in word for place in means[letter])) for word in words)


def _joined(deeds: Sequence[Deed]) -> Sequence[Deed]:
    """Return what is seen of files that were moved and deleted at once: that they were deleted where they had been."""
    seen: list[Deed] = []
    for deed in deeds:
        source = deed.source
        while deed.verb is Verb.DELETE and seen and (seen[-1].verb, seen[-1].to) == (Verb.MOVE, source):
            source = seen.pop().source
        seen.append(replace(deed, source=source))
    return seen


def _undone(deed: Deed) -> list[Deed]:
    """Return what is left of a deed when what it took away is put back."""
    match deed.verb:
        case Verb.MOVE | Verb.WEB_MOVE:
            return [replace(deed, verb=Verb.COPY)]
        case Verb.DELETE | Verb.REPLACE | Verb.EXPUNGE:
            return []
        case _:
            return [deed]


def _in_turn(places: Places, deeds: Iterable[Deed]) -> set[Places]:
    found = {places}
    for deed in deeds:
        found = {after for before in found for after in _after(before, deed)}
    return found


def _after(places: Places, deed: Deed) -> set[Places]:
    if deed.source not in places:
        return {places}
    left = list(places)
    left.remove(deed.source)
    match deed.verb:
        case Verb.EXPUNGE | Verb.REPLACE:
            return {_sorted(*left)}
        case Verb.MOVE | Verb.WEB_MOVE:
            return {_sorted(*left, deed.to)}
        case Verb.COPY | Verb.WEB_COPY:
            return {_sorted(*places, deed.to)}
        case Verb.DELETE if deed.source == TRASH:
            return {_sorted(*left)}
        case Verb.DELETE:
            # Where the device has another one, it may be that which it put in its place.
            return {_sorted(*left, TRASH)} | ({_sorted(*left)} if left else set())
        case _:
            return {places}


def _sorted(*places: str) -> Places:
    return tuple(sorted(places))
