"""What a LIST adds, changes and misses, and in which order mailboxes are synced."""

from syncd.mail.mailbox import MailboxName, SpecialUse
from syncd.reconcile.mailboxes import ListChanges, Listed, compare_listing, sync_order
from syncd.values import replace


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


def test_inbox_is_never_missed() -> None:
    """It can be neither deleted nor renamed away (RFC 9051 §6.3.5), whatever a LIST lacks."""
    assert compare_listing(KNOWN, [WORK]).missed == ()


def test_mailbox_that_is_only_a_name_any_more_is_missed_and_one_that_was_is_not() -> None:
    """A deleted mailbox stays as the parent of others; and a parent may become a mailbox, or go, without a word."""
    parent, plain = listed("Work", "\\Noselect"), listed("Work")

    assert compare_listing({b"Work": plain}, [INBOX, parent]).missed == (b"Work",)
    assert compare_listing({b"Work": plain}, [INBOX, parent]).changed == ()
    assert compare_listing({b"Work": parent}, [INBOX, plain]).changed == (plain,)
    assert compare_listing({b"Work": parent}, [INBOX]).missed == (b"Work",)


def test_special_use_and_object_id_that_are_told_later_are_changes() -> None:
    """One that is not told this time is what it was."""
    with_id = replace(WORK, object_id="M1")

    assert compare_listing(KNOWN, [INBOX, with_id]).changed == (with_id,)
    assert compare_listing({b"Work": with_id}, [INBOX, WORK]).changed == ()
    assert compare_listing(KNOWN, [INBOX, listed("Work", "\\Archive")]).changed == (listed("Work", "\\Archive"),)


def test_inbox_in_two_cases_is_one_mailbox() -> None:
    """The one that is known, else the first."""
    lower = replace(INBOX, wire_name=b"inbox")

    assert compare_listing({}, [lower, INBOX, WORK]).added == (lower, WORK)
    assert compare_listing(KNOWN, [lower, INBOX, WORK]) == ListChanges((), (), ())


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
