"""What a walk must end in of mailboxes: which there are, given what people and programs did to them, and what is one.

Theory. As of messages, no timing is foreseen. What one actor did alone has one outcome; where several met at the same
mailboxes, at those inside or around, or at the mail in them, each of the names may have been the last. Those that may
be one mailbox under several names have one name for the ledger of messages, so that it counts their mail.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum


class MailboxVerb(Enum):
    """What somebody did to a mailbox, and to those inside."""

    MAKE = "make"
    RENAME = "rename"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class MailboxDeed:
    """What web mail did, or a device by its name, to a mailbox and to those inside of it.

    to: its new name. untaken: the devices that do not take a mailbox of that name.
    """

    actor: str
    verb: MailboxVerb
    name: str
    to: str = ""
    untaken: frozenset[str] = frozenset()

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, self.to) if self.to else (self.name,)

    def __str__(self) -> str:
        return f"{self.actor}: {self.verb.value} the mailbox {self.name}{f' to {self.to}' if self.to else ''}"


class Mailboxes:
    """Know every mailbox of a walk that may be made, renamed or removed; fixed: the others, and what is around them."""

    def __init__(self, fixed: Collection[str]) -> None:
        self._fixed = {*fixed, *(outer for name in fixed for outer in outer_names(name))}
        self._before: set[str] = set()
        self.deeds: list[MailboxDeed] = []

    def deed(self, deed: MailboxDeed) -> None:
        self.deeds.append(deed)

    def one_name(self) -> Mapping[str, str]:
        """Return the name under which messages are counted of each that was or got another one."""
        names = {*self._before, *(name for deed in self.deeds for name in deed.names)}
        renamed: list[tuple[str, str]] = []
        for deed in (one for one in self.deeds if one.to):
            inner = [inside_of(name, deed.name) for name in names if is_in(name, deed.name)]
            renamed += [(deed.name + one, deed.to + one) for one in ("", *inner)]
            names.update(to for _, to in renamed)
        return _gathered(renamed)

    def removers(self, name: str) -> frozenset[str]:
        """Return who removed a mailbox, under any name that it had, or one around it."""
        return frozenset(deed.actor for deed in self._done_to(name) if deed.verb is MailboxVerb.REMOVE)

    def leavers(self, name: str) -> frozenset[str]:
        """Return which devices do not take a mailbox under a name that another gave it, or one around it."""
        return frozenset(device for deed in self._done_to(name) for device in deed.untaken)

    def rest(
        self, found: Collection[str], *, disturbed: Mapping[str, Collection[str]], is_disturbed: bool
    ) -> list[str]:
        """Compare with what there is at rest, in sentences, and begin anew from it.

        disturbed: who did something to single messages, by mailbox. is_disturbed: the engine, the server or
        the wire failed meanwhile, or a person put back what was to go.
        """
        found = {*found} - self._fixed
        families = self._families()
        wrong: list[str] = []
        for name in sorted({*self._before, *found, *families}):
            deeds = families.get(name, [])
            told = f"{'there' if name in found else 'not there'}: {'; '.join(map(str, deeds))}"
            if not deeds:
                around = any(is_in(one, name) for one in found)
                if name in self._before - found or (name in found - self._before and not around):
                    wrong.append(f"{name} is {told or 'untouched'}")
                continue
            is_open = is_disturbed or len({deed.actor for deed in deeds}) > 1 or _met(deeds, disturbed)
            if not is_open and (name in found) != (name in _in_turn(self._before, deeds)):
                wrong.append(f"{name} is {told}")
        self._before, self.deeds = found, []
        return wrong

    def _done_to(self, name: str) -> list[MailboxDeed]:
        """Return what was done to a mailbox, under any name that it had, or to one around it."""
        one_name = self.one_name()
        names = {each for each, of in one_name.items() if of == one_name.get(name)} | {name}
        return [deed for deed in self.deeds if any(one == deed.name or is_in(one, deed.name) for one in names)]

    def _families(self) -> Mapping[str, list[MailboxDeed]]:
        """Return the deeds that may bear on each mailbox."""
        names = {*self._before, *(name for deed in self.deeds for name in deed.names)}
        for deed in self.deeds:  # in turn, for what is inside may have got several names
            inner = {inside_of(name, deed.name) for name in names if is_in(name, deed.name)}
            names |= {to + one for to in deed.names[1:] for one in inner}
        pairs = [(name, to) for deed in self.deeds for name, to in [(deed.name, deed.names[-1])]]
        pairs += [(name, outer) for name in names for outer in outer_names(name) if outer in names]
        of = _gathered(pairs)
        families: dict[str, list[MailboxDeed]] = {}
        for deed in self.deeds:
            families.setdefault(of.get(deed.name, deed.name), []).append(deed)
        return {name: deeds for name in names if (deeds := families.get(of.get(name, name)))}


def is_in(name: str, outer: str) -> bool:
    """Tell whether a mailbox is inside another."""
    return name.startswith(f"{outer}/")


def inside_of(name: str, outer: str) -> str:
    """Return what the name of a mailbox adds to that of one around it."""
    return name.removeprefix(outer)


def outer_names(name: str) -> list[str]:
    """Return the names of the mailboxes around one."""
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _met(deeds: Iterable[MailboxDeed], disturbed: Mapping[str, Collection[str]]) -> bool:
    """Tell whether somebody else did something in the mailboxes of which one actor had all deeds."""
    names = {name for deed in deeds for name in deed.names}
    others = {one for one, actors in disturbed.items() if {*actors} - {deed.actor for deed in deeds}}
    return any(one == name or is_in(one, name) or is_in(name, one) for one in others for name in names)


def _in_turn(before: Collection[str], deeds: Iterable[MailboxDeed]) -> set[str]:
    names = {*before}
    for deed in deeds:
        mine = {name for name in names if name == deed.name or is_in(name, deed.name)}
        match deed.verb:
            case MailboxVerb.MAKE:
                names.add(deed.name)
            case MailboxVerb.REMOVE:
                names -= mine
            case MailboxVerb.RENAME:
                names = names - mine | {deed.to + inside_of(name, deed.name) for name in mine}
    return names


def _gathered(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the same name for all that are paired with each other."""
    of: dict[str, str] = {}
    for pair in pairs:
        one, other = (of.get(name, name) for name in pair)
        of |= dict.fromkeys(pair, min(one, other))
        of |= {name: min(one, other) for name, first in of.items() if first in {one, other}}
    return of
