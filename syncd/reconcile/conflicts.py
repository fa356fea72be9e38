"""Floor 2: conflicts: what comes of a message that two sides change before they hear of each other, as a table.

Theory. A side is a device, or the server with everybody who reaches it otherwise: the web mail, and the other devices.
Most of the table is the planner seen from above: flags are merged one by one, and a deletion is weighed against them by
`deletions`. The rest is how moves are told (`moves`, `shifts`). A test runs these for each row; `docs/conflicts.md` is
what this file prints: python -m syncd.reconcile.conflicts > docs/conflicts.md
"""

import sys
from enum import Enum
from textwrap import fill

from syncd.reconcile.deletions import YIELDING
from syncd.reconcile.effects import ORDER
from syncd.values import Value


class Rule(Enum):
    """Why a conflict ends as it does."""

    FLAGS = "Flags are merged one by one, each compared with what both sides last agreed on."
    WEAK = "A deletion is stronger than what one does to mail in passing, and than what programs note."
    STRONG = "Any other change is stronger than a deletion, whoever deleted, and whichever came first."
    MOVED = "What moves takes everything along that was done to it, and is not deleted."
    BOTH = "Two things that a message can be, it is: nothing is thrown away to choose between them."
    OWN = "A copy is a message of its own, and so is a file with other octets."
    PROVED = "An absence is no deletion until it is proved."


class Conflict(Value):
    """One row: what one side did, what the other did before it heard of that, and what comes of it."""

    key: str
    one: str
    other: str
    outcome: str
    rule: Rule


_STRONG = "a person flags or answers it, gives it a keyword, or takes such a flag back"
_WEAK = "it is marked as read or as deleted, or a program sets its keyword"

CONFLICTS = (
    Conflict("flags", "sets or takes back a flag", "sets or takes back another", "both hold", Rule.FLAGS),
    Conflict("same flag", "changes a flag", "changes it as well", "it is changed, once", Rule.FLAGS),
    Conflict("unsaid", "has more keywords than the other can hold", "changes a flag", "no keyword goes", Rule.FLAGS),
    Conflict("deleted, weak", "a device deletes it", _WEAK, "it is deleted", Rule.WEAK),
    Conflict("deleted, strong", "a device deletes it", _STRONG, "it stays, and the device has it again", Rule.STRONG),
    Conflict("trashed, weak", "the server has it in Trash now", f"on a device {_WEAK}", "it is in Trash", Rule.WEAK),
    Conflict(
        "trashed, strong",
        "the server has it in Trash now",
        f"on a device {_STRONG}",
        "it comes back from Trash, with the flags of both",
        Rule.STRONG,
    ),
    Conflict("expunged, weak", "the server has expunged it", f"on a device {_WEAK}", "it is gone", Rule.WEAK),
    Conflict(
        "expunged, strong",
        "the server has expunged it",
        f"on a device {_STRONG}",
        "it is put back from the store, once, with the flags of both",
        Rule.STRONG,
    ),
    Conflict("deleted twice", "a device deletes it", "the server deleted it", "it is deleted, once", Rule.WEAK),
    Conflict("moved, flagged", "the server moves it", "a device changes any flag", "it has the flag there", Rule.MOVED),
    Conflict(
        "moved in two steps, flagged",
        "the server copies it, and expunges it within ten minutes",
        "a device changes any flag",
        "it has the flag there, as if it had been moved",
        Rule.MOVED,
    ),
    Conflict("moved, deleted", "the server moves it", "a device deletes it", "it is where it was moved", Rule.MOVED),
    Conflict("moved twice", "a device moves it", "another side moves it elsewhere", "it is in both", Rule.BOTH),
    Conflict("same move", "a device moves it", "another moves it to the same mailbox", "it is there once", Rule.MOVED),
    Conflict("flagged, moved", "a device moves it", "any flag is changed", "it has the flag there", Rule.MOVED),
    Conflict(
        "deleted, moved",
        "a device moves it",
        "another deletes it",
        "it is where it was moved; in Trash as well, if the deletion was carried out first",
        Rule.STRONG,
    ),
    Conflict("expunged, moved", "a device moves it", "the server expunged it", "it is where it was moved", Rule.STRONG),
    Conflict(
        "edited, deleted", "a device edits its file", "the server deleted it", "the edited one stays", Rule.STRONG
    ),
    Conflict("edited, flagged", "a device edits its file", "any flag is changed", "both are there", Rule.OWN),
    Conflict("draft twice", "a device saves a newer version", "so does another", "both newer ones stay", Rule.BOTH),
    Conflict("draft, deleted", "a device saves a newer version", "the old one is deleted", "the newer stays", Rule.OWN),
    Conflict("draft, flagged", "a device saves a newer version", _STRONG, "both versions stay", Rule.STRONG),
    Conflict("copies", "has the same message in two mailboxes", "changes one", "the other is as it was", Rule.OWN),
    Conflict("not there", "a file is missing, nobody looked again", "anything", "nothing is deleted", Rule.PROVED),
    Conflict(
        "away",
        "a device is away for months",
        "anything",
        "the same as after a second: its rows say what it has heard of",
        Rule.PROVED,
    ),
)


def as_markdown() -> str:
    """Return the page of the conflicts, the flags that yield, and the order of effects."""
    rows = "\n".join(f"| {one.one} | {one.other} | {one.outcome} | {_number(one.rule)} |" for one in CONFLICTS)
    rules = "\n".join(f"{_number(rule)}. {rule.value}" for rule in Rule)
    yielding = ", ".join(f"`{flag}`" for flag in YIELDING)
    weak = fill(f"A deletion is stronger than changes of these flags and keywords, in any case: {yielding}.", 120)
    order = "\n".join(f"{at}. *{kind.__name__.lower()}*: {_sentence(kind)}" for at, kind in enumerate(ORDER, 1))
    return f"""# When two sides change the same message

This page is printed from `syncd/reconcile/conflicts.py`. A side is a device, or the server with everybody who reaches
it otherwise: the web mail, and the other devices.

| one side does this to a message | the other does this before it hears of it | what comes of it | rule |
|---|---|---|---|
{rows}

## The rules

{rules}

{weak}
Every other one is a person's.

## In which order

What one round has to do is done in this order, mailboxes before the messages in them, INBOX first:

{order}
"""


def _number(rule: Rule) -> int:
    return list(Rule).index(rule) + 1


def _sentence(kind: type) -> str:
    first = (kind.__doc__ or "").partition("\n")[0]
    return f"{first.partition(';')[0].rstrip('.')}."


if __name__ == "__main__":
    sys.stdout.write(as_markdown())
