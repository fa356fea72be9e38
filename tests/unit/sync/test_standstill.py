"""Mailboxes that stand still: which errors do that, when they are tried again, and what is said of them."""

import pytest

from syncd.errors import Cause, FileError, MailboxLostError, MailboxNameError, Reach, SyncdError, Temper
from syncd.sync.device.standstill import Standstill

INBOX, PROJECT = 1, 2


def fail(still: Standstill, mailbox_id: int, error: SyncdError) -> None:
    with still.guard(mailbox_id, f"work/{mailbox_id}"):
        raise error


@pytest.mark.parametrize("reach", [Reach.DEVICE, Reach.ACCOUNT, Reach.STORE])
def test_error_that_reaches_further_passes(reach: Reach) -> None:
    """A full disk or a broken store is not one mailbox's trouble."""
    still = Standstill("laptop")
    with pytest.raises(FileError):
        fail(still, INBOX, FileError("no space", reach=reach))

    assert INBOX not in still
    assert still.error is None


def test_mailbox_stands_still_by_itself_until_its_wait_is_over() -> None:
    """It is left alone, the others are not; when somebody asks, it is tried at once, and then waits longer."""
    still = Standstill("laptop")
    fail(still, INBOX, FileError("locked", reach=Reach.MAILBOX))
    assert INBOX in still
    assert PROJECT not in still
    assert still.retry() == frozenset()
    assert 0.0 < still.wait_s(30.0) <= 1.0

    still.hurry()
    assert still.wait_s(30.0) == 0.0
    assert still.retry() == {INBOX}
    assert INBOX not in still
    fail(still, INBOX, FileError("locked", reach=Reach.MAILBOX))
    assert still.wait_s(30.0) > 0.9


def test_error_is_said_until_a_whole_pass_went_well() -> None:
    """One that is being tried again is still in trouble; of several the first is named."""
    still = Standstill("laptop")
    fail(still, INBOX, FileError("locked", reach=Reach.MAILBOX, temper=Temper.RETRY))
    fail(still, PROJECT, MailboxNameError("too long"))
    assert still.error == "work/1: locked (and 1 more)"

    still.passed()
    assert still.error == "work/1: locked (and 1 more)"
    still.hurry()
    assert still.retry() == {INBOX, PROJECT}
    assert still.error == "work/1: locked (and 1 more)"
    still.passed()
    assert still.error is None


def test_mailbox_that_a_person_has_to_bring_back_is_named_first_until_it_is_there() -> None:
    """Whatever else stands still is tried again by itself."""
    still = Standstill("laptop")
    fail(still, INBOX, FileError("locked", reach=Reach.MAILBOX))
    assert still.cause is None

    fail(still, PROJECT, MailboxLostError("its directory is not there"))
    assert (still.error, still.cause) == ("work/2: its directory is not there (and 1 more)", Cause.MAILBOX_LOST)
    assert 0.0 < still.wait_s(30.0) <= 1.0

    still.hurry()
    assert still.retry() == {INBOX, PROJECT}
    still.passed()
    assert (still.error, still.cause) == (None, None)
