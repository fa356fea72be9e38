"""Floor 2: deletions: what those of a device become on the server, and which changes of the other side are stronger.

Theory. A person who flags a message, answers it or files it under a keyword wants it; one who has seen it may as well
have deleted it after that. So a change of \\Seen, of \\Deleted (which an expunge that is owed sets itself) or of a
keyword that programs set by themselves yields to a deletion, and any other is stronger, whichever came first.
"""

from syncd.mail.flags import DELETED, SEEN, Flags
from syncd.values import Value

YIELDING = (
    SEEN,
    DELETED,
    "$Junk",
    "$NotJunk",
    "Junk",
    "NonJunk",
    "NotJunk",
    "$MDNSent",
    "$Submitted",
    "$SubmitPending",
    "$Phishing",
    "$AutoJunk",
    "Receipt-Handled",
    "JunkRecorded",
    "$HasAttachment",
    "$HasNoAttachment",
    "$AutoSent",
    "$CanUnsubscribe",
    "$Imported",
    "$IsTrusted",
    "$MaskedEmail",
    "$New",
)
"""What is no cause to keep a message: flags that one sets in passing, and keywords that programs set by themselves.

The latter are of RFC 5550, 5788, 8621 and 9979, and what Apple Mail and KMail have beside them.
"""
_YIELDING = frozenset(flag.lower() for flag in YIELDING)


class ToTrash(Value):
    """Deleted messages go to the Trash of the account; mailbox_id None: the server has none."""

    mailbox_id: int | None
    name: str


class ForGood(Value):
    """Deleted messages are expunged."""


Deletion = ToTrash | ForGood


def is_personal(flags: Flags) -> bool:
    """Tell whether one of these changed flags is stronger than a deletion."""
    return any(flag.lower() not in _YIELDING for flag in flags)


def differ_personally(flags: Flags, others: Flags) -> bool:
    """Tell whether two states of a message differ in a flag that is stronger than a deletion."""
    return is_personal(frozenset({flag.lower() for flag in flags} ^ {flag.lower() for flag in others}))
