"""Floor 2: mailboxes whose directories programs removed: which may go from their server, and when.

Theory. The messages of a removed mailbox leave it like any that a device deletes: judged by the guard, to Trash, with
their bodies in the store. The mailbox itself can only go when nothing is left in it and nobody is about to put
something there; as soon as it has anything that the device did not remove, it comes back to the device.
"""

from enum import Enum

from syncd.mail.mailbox import MailboxName, SpecialUse
from syncd.values import Value

_USUAL = frozenset(
    {
        "archive",
        "deleted items",
        "deleted messages",
        "drafts",
        "junk",
        "junk e-mail",
        "outbox",
        "sent",
        "sent items",
        "sent messages",
        "spam",
        "trash",
    }
)
"""What programs call the mailboxes that they need, where no server tells their use."""


class Verdict(Enum):
    """Say what becomes of a removed mailbox: the device has it again, it waits, or it goes from the server."""

    RETURN = "return"
    WAIT = "wait"
    DELETE = "delete"


class Remainder(Value):
    """Say what is left of a mailbox that a device removed.

    messages: those of the server. removed: those of them that the device had, and that are on their way out. is_used:
    a device is about to put something there, or has not removed yet what it has. is_held: a person is asked.
    inner_kept, inner_removed: mailboxes inside.
    """

    messages: int
    removed: int
    is_used: bool
    is_held: bool
    inner_kept: int
    inner_removed: int


def verdict_of(left: Remainder) -> Verdict:
    """Return what becomes of a removed mailbox."""
    if left.messages > left.removed or (left.inner_kept and not left.messages):
        return Verdict.RETURN
    if left.messages or left.is_used or left.is_held or left.inner_removed:
        return Verdict.WAIT
    return Verdict.DELETE


def is_kept(name: MailboxName, special_use: SpecialUse | None) -> bool:
    """Tell whether a mailbox is one that programs and servers rely on, so that no device removes it."""
    if name.is_inbox or special_use is not None:
        return True
    inner = name.parts[1:] if name.parts[0] == "INBOX" else name.parts
    return len(inner) == 1 and inner[0].lower() in _USUAL
