"""What a LIST adds, changes and misses, and in which order mailboxes are synced."""

from syncd.mail.mailbox import MailboxName, SpecialUse
from syncd.reconcile.mailboxes import ListChanges, Listed, compare_listing, sync_order


def listed(name: str, *attributes: str, is_selected: bool = True) -> Listed:
    return Listed(name.encode(), MailboxName.parse(name), "/", frozenset(attributes), is_selected)


INBOX, WORK = listed("INBOX"), listed("Work")
KNOWN = {entry.wire_name: entry for entry in (INBOX, WORK)}


def test_same_list_says_nothing() -> None:
    """The order of a LIST does not matter."""
    assert compare_listing(KNOWN, [WORK, INBOX]) == ListChanges((), (), ())


def test_added_changed_and_missed() -> None:
    """A new name, another attribute or selection, and a name that is not listed."""
    sent, unselected = listed("Sent", "\\Sent"), listed("INBOX", is_selected=False)

    assert compare_listing(KNOWN, [unselected, sent]) == ListChanges((sent,), (unselected,), (b"Work",))


def test_empty_list_misses_nothing() -> None:
    """No server is without INBOX, so an empty LIST proves nothing."""
    assert compare_listing(KNOWN, []) == ListChanges((), (), ())


def test_list_without_inbox_or_with_less_than_half_is_doubtful() -> None:
    """A server that lists so little may be ill; of three mailboxes a person may delete two."""
    others = [listed(name) for name in ("Work", "Sent", "Drafts", "Junk", "Trash")]

    def is_doubtful(known: list[Listed], now: list[Listed]) -> bool:
        return compare_listing({entry.wire_name: entry for entry in known}, now).is_doubtful

    assert is_doubtful([INBOX, *others[:2]], others[:2])
    assert not is_doubtful([INBOX, *others[:2]], [INBOX])
    assert is_doubtful([INBOX, *others[:3]], [INBOX])
    assert not is_doubtful([INBOX, *others[:3]], [INBOX, WORK])
    assert is_doubtful([INBOX, *others], [INBOX, listed("New")])
    assert not is_doubtful([INBOX, *others], [])


def test_attributes_in_any_case() -> None:
    """Special use and selectability are told by attributes, whose case does not matter."""
    assert listed("T", "\\TRASH").special_use is SpecialUse.TRASH
    assert listed("T", "\\HasNoChildren").special_use is None
    assert not listed("T", "\\NOSELECT").is_selectable
    assert not listed("T", "\\NonExistent").is_selectable
    assert listed("T", "\\Noinferiors").is_selectable


def test_order_of_sync() -> None:
    """INBOX comes first, then Drafts and Sent, then others by name, and Trash and Junk at the end."""
    uses = {"Drafts": SpecialUse.DRAFTS, "Sent": SpecialUse.SENT, "Bin": SpecialUse.TRASH, "A-Spam": SpecialUse.JUNK}
    names = ["Zoo", "A-Spam", "Sent", "Archive", "INBOX", "Bin", "Drafts", "INBOX/Sub"]

    ordered = sorted(names, key=lambda name: sync_order(MailboxName.parse(name), uses.get(name)))

    assert ordered == ["INBOX", "Drafts", "Sent", "Archive", "INBOX/Sub", "Zoo", "A-Spam", "Bin"]
