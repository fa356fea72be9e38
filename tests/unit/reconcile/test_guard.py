"""Which removals are believed and which wait for a person."""

import pytest

from syncd.reconcile.guard import DEFAULT, MailboxLoss, Reason, Rule, judge


def loss(removed: int, had: int, *, mailbox_id: int = 1, may_empty: bool = False) -> MailboxLoss:
    return MailboxLoss(mailbox_id, removed, had, may_empty)


def trash(removed: int, had: int) -> MailboxLoss:
    return loss(removed, had, mailbox_id=9, may_empty=True)


VERDICTS = [
    # what is lost, what other mailboxes keep: the verdict
    ([], 0, None),
    ([loss(1, 2)], 0, None),
    ([loss(25, 100)], 0, None),
    ([loss(26, 100)], 0, Reason.TOO_MANY),
    ([loss(26, 100)], 30, None),
    ([loss(26, 100)], 29, Reason.TOO_MANY),
    ([loss(200, 1000)], 0, None),
    ([loss(201, 1000)], 0, Reason.TOO_MANY),
    ([loss(13, 50), loss(13, 50, mailbox_id=2)], 0, Reason.TOO_MANY),
    ([loss(1, 1)], 0, None),
    ([loss(10, 10)], 0, None),
    ([loss(11, 11)], 0, Reason.MAILBOX_EMPTIED),
    ([loss(11, 11)], 10_000, Reason.MAILBOX_EMPTIED),
    ([loss(1, 1), loss(1, 1, mailbox_id=2)], 10_000, Reason.MAILBOXES_EMPTIED),
    ([loss(1, 1), loss(1, 2, mailbox_id=2)], 0, None),
    ([trash(500, 500)], 100, None),
    ([trash(500, 500), loss(3, 100)], 0, None),
    ([trash(500, 500)], 0, Reason.MAILBOX_EMPTIED),
    ([trash(5, 5), loss(1, 1)], 0, Reason.MAILBOXES_EMPTIED),
    ([trash(500, 500), loss(26, 100)], 0, None),
    ([trash(500, 500), loss(150, 600)], 0, None),
    ([trash(500, 500), loss(300, 600)], 0, Reason.TOO_MANY),
]


@pytest.mark.parametrize(("lost", "untouched", "verdict"), VERDICTS)
def test_verdict(lost: list[MailboxLoss], untouched: int, verdict: Reason | None) -> None:
    """More than 25 and a fifth, a whole mailbox, or two: held; a Trash emptied beside its intact siblings: not."""
    assert judge(lost, DEFAULT, untouched=untouched) is verdict


def test_rule_is_the_larger_of_count_and_share() -> None:
    """Either bound alone allows removals."""
    assert judge([loss(5, 100)], Rule(count=5, share=0.01), untouched=0) is None
    assert judge([loss(50, 100)], Rule(count=1, share=0.5), untouched=0) is None
    assert judge([loss(51, 100)], Rule(count=5, share=0.5), untouched=0) is Reason.TOO_MANY
