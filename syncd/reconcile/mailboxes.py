"""Floor 2: which mailboxes a LIST adds, changes and misses, and which of them are synced first."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from syncd.mail.mailbox import MailboxName, SpecialUse

_MANY = 4
"""Of fewer mailboxes a person may well delete more than half."""
_NOT_SELECTABLE = frozenset({"\\noselect", "\\nonexistent"})


@dataclass(frozen=True, slots=True)
class Listed:
    """Describe a mailbox as a LIST response or the store knows it."""

    wire_name: bytes
    name: MailboxName
    delimiter: str | None
    attributes: frozenset[str]
    is_selected: bool

    @property
    def special_use(self) -> SpecialUse | None:
        folded = {attribute.lower() for attribute in self.attributes}
        return next((use for use in SpecialUse if use.value.lower() in folded), None)

    @property
    def is_selectable(self) -> bool:
        return not any(attribute.lower() in _NOT_SELECTABLE for attribute in self.attributes)


@dataclass(frozen=True, slots=True)
class ListChanges:
    """Hold what a complete LIST says against what was known.

    is_doubtful: it misses so much that the server may be ill; it is believed when a later one says the same.
    """

    added: tuple[Listed, ...]
    changed: tuple[Listed, ...]
    missed: tuple[bytes, ...]
    is_doubtful: bool = False


def compare_listing(known: Mapping[bytes, Listed], listed: Iterable[Listed]) -> ListChanges:
    """Return what a LIST adds, changes and misses; an empty LIST misses nothing, since no server is without INBOX."""
    now = {entry.wire_name: entry for entry in listed}
    missed = tuple(wire_name for wire_name in known if wire_name not in now) if now else ()
    return ListChanges(
        added=tuple(entry for wire_name, entry in now.items() if wire_name not in known),
        changed=tuple(entry for wire_name, entry in now.items() if wire_name in known and known[wire_name] != entry),
        missed=missed,
        is_doubtful=_is_short(len(missed), len(known)) or any(known[wire_name].name.is_inbox for wire_name in missed),
    )


def sync_order(name: MailboxName, special_use: SpecialUse | None) -> tuple[int, str]:
    """Return the sort key of a mailbox in a round: INBOX, Drafts and Sent, the others, Trash and Junk."""
    if name.is_inbox:
        return 0, ""
    rank = {SpecialUse.DRAFTS: 1, SpecialUse.SENT: 1, SpecialUse.TRASH: 3, SpecialUse.JUNK: 3}
    return (rank.get(special_use, 2) if special_use else 2), str(name)


def _is_short(missed: int, known: int) -> bool:
    return known >= _MANY and missed > known / 2
