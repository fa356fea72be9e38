"""Floor 2: deletions by a device: what they become on the server, and which changes of others are stronger.

Theory. A person who flags a message, answers it or files it under a keyword wants it; one who has seen it may as well
have deleted it after that. So a change of \\Seen, of \\Deleted (which an expunge that is owed sets itself) or of a
keyword that programs set by themselves yields to a deletion, and any other is stronger, whichever came first.
"""

from dataclasses import dataclass

from syncd.mail.flags import DELETED, SEEN, Flags

_YIELDING = frozenset(
    {
        SEEN.lower(),
        DELETED.lower(),
        "$junk",
        "$notjunk",
        "junk",
        "nonjunk",
        "notjunk",
        "$mdnsent",
        "$submitted",
        "$submitpending",
        "$phishing",
        "$autojunk",
        "receipt-handled",
    }
)


@dataclass(frozen=True, slots=True)
class ToTrash:
    """Deleted messages go to the Trash of the account; mailbox_id None: the server has none."""

    mailbox_id: int | None
    name: str


@dataclass(frozen=True, slots=True)
class ForGood:
    """Deleted messages are expunged."""


Deletion = ToTrash | ForGood


def is_personal(flags: Flags) -> bool:
    """Tell whether one of these changed flags is stronger than a deletion."""
    return any(flag.lower() not in _YIELDING for flag in flags)


def differ_personally(flags: Flags, others: Flags) -> bool:
    """Tell whether two states of a message differ in a flag that is stronger than a deletion."""
    return is_personal(frozenset({flag.lower() for flag in flags} ^ {flag.lower() for flag in others}))
