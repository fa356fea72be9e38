"""Which mailboxes a device may remove, and when one that it removed goes from its server."""

import pytest

from syncd.mail.mailbox import MailboxName, SpecialUse
from syncd.reconcile.removals import Remainder, Verdict, is_kept, verdict_of


@pytest.mark.parametrize(
    ("left", "verdict"),
    [
        ({}, Verdict.DELETE),
        ({"messages": 3, "removed": 3}, Verdict.WAIT),
        ({"messages": 3, "removed": 2}, Verdict.RETURN),
        ({"messages": 1}, Verdict.RETURN),
        ({"is_used": True}, Verdict.WAIT),
        ({"is_held": True}, Verdict.WAIT),
        ({"messages": 2, "removed": 2, "is_held": True}, Verdict.WAIT),
        ({"inner_kept": 1}, Verdict.RETURN),
        ({"inner_kept": 1, "messages": 1, "removed": 1}, Verdict.WAIT),
        ({"inner_removed": 1}, Verdict.WAIT),
    ],
)
def test_mailbox_goes_only_when_nothing_is_left_in_it(left: dict[str, int], verdict: Verdict) -> None:
    """It comes back as soon as it has anything that the device did not remove, and waits for everybody else."""
    nothing = {"messages": 0, "removed": 0, "is_used": False, "is_held": False, "inner_kept": 0, "inner_removed": 0}

    assert verdict_of(Remainder(**{**nothing, **left})) is verdict


@pytest.mark.parametrize(
    ("name", "use", "kept"),
    [
        ("INBOX", None, True),
        ("Lists", None, False),
        ("Lists", SpecialUse.SENT, True),
        ("Sent Items", None, True),
        ("INBOX/Trash", None, True),
        ("INBOX/Lists", None, False),
        ("Projects/Archive", None, False),
    ],
)
def test_mailboxes_that_programs_rely_on_are_kept(name: str, use: SpecialUse | None, *, kept: bool) -> None:
    """By their use, or by what programs call them where the server tells no uses."""
    assert is_kept(MailboxName.parse(name), use) is kept
