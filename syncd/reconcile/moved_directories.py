"""Floor 2: which directories that came on a device are those that went, under other names.

Theory. Names of files are minted and unique, so that a directory with the files of one that went is that one, whatever
it is called. A server that renames a mailbox renames those inside as well. So that is only asked of it where a program
did the same: else the new directory is a mailbox of its own, into which messages were moved.
"""

from collections.abc import Collection, Iterable, Mapping

from syncd.mail.mailbox import MailboxName
from syncd.values import Value

_NEARLY_ALL = 0.9


class WentDirectory(Value):
    """A mailbox whose directory went, and the names of the files that it had."""

    mailbox_id: int
    name: MailboxName
    files: frozenset[str]


def moved_directories(
    went: Iterable[WentDirectory], came: Mapping[MailboxName, Collection[str]], known: Collection[MailboxName]
) -> Mapping[int, MailboxName]:
    """Return the new names of mailboxes whose directories were renamed; came: file names by directory.

    known: all mailboxes of the account.
    """
    gone = {one.name: one for one in sorted(went, key=lambda one: one.name)}
    moved: dict[MailboxName, MailboxName] = {}
    for name, one in gone.items():
        to = None if name in moved else _found(one, came)
        if to is None or to in moved.values():
            continue
        inner = {each: MailboxName((*to.parts, *each.parts[len(name.parts) :])) for each in known if _is_in(each, name)}
        if inner.keys() <= gone.keys() and came.keys() >= set(inner.values()):
            moved |= {name: to, **inner}
    return {gone[name].mailbox_id: to for name, to in moved.items()}


def has_moved(files: Collection[str], source: Collection[str], target: Collection[str]) -> tuple[bool, bool]:
    """Return whether a directory is the one that has its new name now, and whether that is certain.

    files: of names that no other directory has. source, target: what is in the directories of the old and the new name.
    """
    in_source, in_target = (len(frozenset(files).intersection(each)) for each in (source, target))
    is_certain = not files or (in_source > 0) != (in_target > 0)
    return in_target > in_source, is_certain


def _found(one: WentDirectory, came: Mapping[MailboxName, Collection[str]]) -> MailboxName | None:
    """Return the directory that has nearly all files of one that went."""
    counts = {name: len(one.files.intersection(files)) for name, files in came.items()}
    best = max(counts, key=lambda name: counts[name], default=None)
    return best if best is not None and one.files and counts[best] >= _NEARLY_ALL * len(one.files) else None


def _is_in(name: MailboxName, outer: MailboxName) -> bool:
    return len(name.parts) > len(outer.parts) and name.parts[: len(outer.parts)] == outer.parts
