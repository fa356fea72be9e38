"""Floor 2: the guard: which removals are too many to be believed without a person."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

_SMALL_MAILBOX = 10


class Reason(StrEnum):
    """Say why removals are held."""

    TOO_MANY = "too_many"
    MAILBOXES_EMPTIED = "mailboxes_emptied"
    MAILBOX_EMPTIED = "mailbox_emptied"


_WORDS = {
    Reason.TOO_MANY: "more messages were deleted within a short time than the guard allows",
    Reason.MAILBOXES_EMPTIED: "several mailboxes lost all their messages",
    Reason.MAILBOX_EMPTIED: "the mailbox lost all its messages",
}


def as_words(reason: Reason) -> str:
    """Return a reason in plain words."""
    return _WORDS[reason]


@dataclass(frozen=True, slots=True)
class Rule:
    """Allow `count` removals or `share` of what was there, whichever is more, in any `window_s` seconds."""

    count: int = 25
    share: float = 0.2
    window_s: float = 600.0


DEFAULT = Rule()


@dataclass(frozen=True, slots=True)
class MailboxLoss:
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
