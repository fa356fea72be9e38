"""Which removals are believed and which wait for a person."""

import pytest

from syncd.reconcile.guard import DEFAULT, MailboxLoss, Reason, Rule, is_extraordinary, judge, judge_part


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


PARTS = [
    # what each mailbox had, or lost already of that; what is planned; which mailboxes must wait
    ({1: 100, 2: 100}, {1: 1}, {}),
    ({1: 5, 2: 5, 3: 500}, {1: 5, 2: 5}, {1: Reason.MAILBOXES_EMPTIED, 2: Reason.MAILBOXES_EMPTIED}),
    ({1: 5, 2: 5, 3: 500}, {1: 5, 2: 5, 3: 1}, {1: Reason.MAILBOXES_EMPTIED, 2: Reason.MAILBOXES_EMPTIED}),
    ({1: 60, 2: 10}, {1: 35, 2: 1}, {1: Reason.TOO_MANY}),
    ({1: 60, 2: 60}, {1: 20, 2: 20}, {1: Reason.TOO_MANY, 2: Reason.TOO_MANY}),
    ({1: 12, 2: 60}, {1: 12, 2: 20}, {1: Reason.MAILBOX_EMPTIED}),
    ({1: 12, 2: 5, 3: 60}, {1: 12, 2: 5}, {1: Reason.MAILBOXES_EMPTIED, 2: Reason.MAILBOXES_EMPTIED}),
    ({1: 60, 2: (20, 60)}, {1: 10}, {1: Reason.TOO_MANY}),
]


@pytest.mark.parametrize(("had", "planned", "waiting"), PARTS)
def test_each_mailbox_is_judged_with_what_is_about_to_go_elsewhere(
    had: dict[int, int | tuple[int, int]], planned: dict[int, int], waiting: dict[int, Reason]
) -> None:
    """What is too much only together waits together; what is too much by itself holds up no other mailbox."""
    tallies = [
        loss(*(lost if isinstance(lost, tuple) else (0, lost)), mailbox_id=mailbox_id)
        for mailbox_id, lost in had.items()
    ]

    reasons = {mailbox_id: judge_part(mailbox_id, tallies, planned, DEFAULT) for mailbox_id in planned}

    assert {mailbox_id: reason for mailbox_id, reason in reasons.items() if reason is not None} == waiting


@pytest.mark.parametrize(
    ("vanished", "known", "verdict"),
    [(0, 0, False), (0, 9, False), (1, 1, True), (5, 6, False), (25, 100, False), (26, 100, True), (201, 1000, True)],
)
def test_absence_is_extraordinary_beyond_what_the_guard_lets_pass_or_when_nothing_is_left(
    vanished: int, known: int, verdict: bool
) -> None:
    """A mailbox that lost its only message is empty, too."""
    assert is_extraordinary(vanished, known, DEFAULT) is verdict


def test_only_what_a_server_lost_by_going_back_is_not_for_the_rule_to_decide() -> None:
    """It may be one message, and the last copy of it."""
    assert {reason for reason in Reason if not reason.is_judged} == {Reason.SERVER_WENT_BACK}
