"""Floor 2: which mailboxes no directory of a device may take from its server, however it went."""

from syncd.mail.mailbox import MailboxName, SpecialUse

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


def is_kept(name: MailboxName, special_use: SpecialUse | None) -> bool:
    """Tell whether a mailbox is one that programs and servers rely on, so that no device removes it."""
    if name.is_inbox or special_use is not None:
        return True
    inner = name.parts[1:] if name.parts[0] == "INBOX" else name.parts
    return len(inner) == 1 and inner[0].lower() in _USUAL
