"""Floor 2: which mailboxes a LIST adds, changes and misses, and which of them are synced first."""

from collections.abc import Iterable, Mapping

from syncd.mail.mailbox import MailboxName, SpecialUse
from syncd.values import Value, replace

_NOT_SELECTABLE = frozenset({"\\noselect", "\\nonexistent"})


class Listed(Value):
    """Describe a mailbox as a LIST response or the store knows it.

    object_id: what it keeps when it is renamed (RFC 8474); None where the server did not tell.
    """

    wire_name: bytes
    name: MailboxName
    delimiter: str | None
    attributes: frozenset[str]
    is_selected: bool
    object_id: str | None = None

    @property
    def special_use(self) -> SpecialUse | None:
        folded = {attribute.lower() for attribute in self.attributes}
        return next((use for use in SpecialUse if use.value.lower() in folded), None)

    @property
    def is_selectable(self) -> bool:
        return not any(attribute.lower() in _NOT_SELECTABLE for attribute in self.attributes)


class ListChanges(Value):
    """Hold what a complete LIST says against what was known.

    missed: what is not listed, and what had messages and is only the name of a parent now; an absence, and no proof.
    """

    added: tuple[Listed, ...]
    changed: tuple[Listed, ...]
    missed: tuple[bytes, ...]


def compare_listing(known: Mapping[bytes, Listed], listed: Iterable[Listed]) -> ListChanges:
    """Return what a LIST adds, changes and misses.

    It never misses INBOX, without which no server is, and an empty one misses nothing.
    """
    now = {entry.wire_name: entry for entry in _distinct(listed, known)}
    missed = [
        wire_name
        for wire_name, before in known.items()
        if not before.name.is_inbox and (wire_name not in now or _is_emptied(before, now[wire_name]))
    ]
    return ListChanges(
        added=tuple(entry for wire_name, entry in now.items() if wire_name not in known),
        changed=tuple(
            entry
            for wire_name, entry in now.items()
            if wire_name in known and wire_name not in missed and _differ(known[wire_name], entry)
        ),
        missed=tuple(missed) if now else (),
    )


def sync_order(name: MailboxName, special_use: SpecialUse | None) -> tuple[int, str]:
    """Return the sort key of a mailbox in a round: INBOX, Drafts and Sent, the others, Trash and Junk."""
    if name.is_inbox:
        return 0, ""
    rank = {SpecialUse.DRAFTS: 1, SpecialUse.SENT: 1, SpecialUse.TRASH: 3, SpecialUse.JUNK: 3}
    return (rank.get(special_use, 2) if special_use else 2), str(name)


def _distinct(listed: Iterable[Listed], known: Mapping[bytes, Listed]) -> Iterable[Listed]:
    """Return one entry for each name: INBOX may be listed in two cases, and is one mailbox."""
    by_name: dict[MailboxName, Listed] = {}
    for entry in listed:
        other = by_name.get(entry.name)
        if other is None or (entry.wire_name in known and other.wire_name not in known):
            by_name[entry.name] = entry
    return by_name.values()


def _is_emptied(before: Listed, now: Listed) -> bool:
    """Tell whether a mailbox was deleted whose name stays, for it has others inside (RFC 3501 §6.3.4)."""
    return before.is_selectable and not now.is_selectable


def _differ(before: Listed, now: Listed) -> bool:
    return before != (now if now.object_id else replace(now, object_id=before.object_id))
