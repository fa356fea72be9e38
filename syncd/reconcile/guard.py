"""Floor 2: the guard: which absences are extraordinary, and which removals wait for a person.

Theory. An absence that a server reports is *extraordinary* when it is so large that the server may be ill: it is looked
at a second time before it is recorded. What is recorded leads to removals, and those are judged by what their device or
account loses within a window. So a lie that is told once costs a look, and one that is told twice costs a question.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from math import ceil

from syncd.values import Value, replace

_SMALL_MAILBOX = 10
_ALL = 2**53
"""More messages than anybody has."""


class Reason(StrEnum):
    """Say why removals are held."""

    TOO_MANY = "too_many"
    MAILBOXES_EMPTIED = "mailboxes_emptied"
    MAILBOX_EMPTIED = "mailbox_emptied"
    SERVER_WENT_BACK = "server_went_back"

    @property
    def is_judged(self) -> bool:
        """Tell whether the rule decides it; what a server lost by going back waits however little it is."""
        return self is not Reason.SERVER_WENT_BACK


_WORDS = {
    Reason.TOO_MANY: "more messages were deleted within a short time than the guard allows",
    Reason.MAILBOXES_EMPTIED: "several mailboxes lost all their messages",
    Reason.MAILBOX_EMPTIED: "the mailbox lost all its messages",
    Reason.SERVER_WENT_BACK: "the server went back to an older state, or made the mailbox anew, without them",
}


def as_words(reason: Reason) -> str:
    """Return a reason in plain words."""
    return _WORDS[reason]


class Rule(Value):
    """Allow `count` removals or `share` of what was there, whichever is more, in any `window_s` seconds."""

    count: int = 25
    share: float = 0.2
    window_s: float = 600.0

    def telling(self, lost: int) -> int:
        """Return how many messages of a mailbox are enough to know of, where no more than `lost` are judged together.

        Had it any more, they would be as far from all that it had, and within the same share.
        """
        of_share = ceil(min(lost / self.share, _ALL)) if self.share > 0 else 0
        return max(lost, _SMALL_MAILBOX, of_share) + 1


DEFAULT = Rule()


class MailboxLoss(Value):
    """Count what one mailbox lost within the window, with what is about to go, and had when the window began.

    may_empty: a Trash or Junk, which people empty on purpose.
    """

    mailbox_id: int
    removed: int
    had: int
    may_empty: bool

    @property
    def is_emptied(self) -> bool:
        return self.removed > 0 and self.removed >= self.had


def judge(losses: Iterable[MailboxLoss], rule: Rule, *, untouched: int) -> Reason | None:
    """Return why these removals of one device or account must wait for a person, None when they need not.

    untouched: messages of the same scope in mailboxes that lose nothing. A Trash or Junk does not count while
    other mailboxes keep what they had.
    """
    lost = tuple(losses)
    siblings_intact = untouched > 0 or any(not loss.may_empty and not loss.is_emptied for loss in lost)
    counted = tuple(loss for loss in lost if not (loss.may_empty and siblings_intact))
    emptied = tuple(loss for loss in counted if loss.is_emptied)
    if len(emptied) >= 2:
        return Reason.MAILBOXES_EMPTIED
    if any(loss.had > _SMALL_MAILBOX for loss in emptied):
        return Reason.MAILBOX_EMPTIED
    removed = sum(loss.removed for loss in counted)
    had = sum(loss.had for loss in lost) + untouched
    if removed > max(rule.count, rule.share * had):
        return Reason.TOO_MANY
    return None


def judge_planned(tallies: Sequence[MailboxLoss], planned: Mapping[int, int], rule: Rule) -> Reason | None:
    """Return why what is planned by mailbox must wait as a whole.

    tallies: what each mailbox lost already, also those that lost nothing.
    """
    losses = _with_planned(tallies, planned)
    return judge(
        (loss for loss in losses if loss.removed),
        rule,
        untouched=sum(loss.had for loss in losses if not loss.removed),
    )


def judge_part(
    mailbox_id: int, tallies: Sequence[MailboxLoss], planned: Mapping[int, int], rule: Rule
) -> Reason | None:
    """Return why what is planned for one mailbox must wait, given what is planned for all of its device.

    What makes others wait by themselves does not happen, so that it does not count against this one; but where several
    lose everything, each of them waits.
    """
    among_all = judge_planned(tallies, planned, rule)
    if among_all is None:
        return None
    mine = next((one for one in _with_planned(tallies, planned) if one.mailbox_id == mailbox_id), None)
    if among_all is Reason.MAILBOXES_EMPTIED and mine is not None and mine.is_emptied:
        return among_all
    here = {mailbox_id: planned.get(mailbox_id, 0)}
    others = {id_: count for id_, count in planned.items() if id_ != mailbox_id}
    happening = {id_: count for id_, count in others.items() if judge_planned(tallies, {id_: count}, rule) is None}
    if judge_planned(tallies, happening, rule) is Reason.MAILBOXES_EMPTIED:
        emptied = {one.mailbox_id for one in _with_planned(tallies, happening) if one.is_emptied}
        happening = {id_: count for id_, count in happening.items() if id_ not in emptied}
    return judge_planned(tallies, here | happening, rule)


def is_extraordinary(vanished: int, known: int, rule: Rule) -> bool:
    """Tell whether so many of the known messages of a mailbox vanished at once that a second look is due."""
    return vanished > 0 and (vanished >= known or vanished > max(rule.count, rule.share * known))


def _with_planned(tallies: Sequence[MailboxLoss], planned: Mapping[int, int]) -> tuple[MailboxLoss, ...]:
    return tuple(replace(one, removed=one.removed + planned.get(one.mailbox_id, 0)) for one in tallies)
