"""Floor 2: which mailboxes that a LIST misses are those that it adds: renamed ones, told by what they are.

Theory. A mailbox that was renamed keeps its MAILBOXID (RFC 8474), and where there is none its UIDVALIDITY and its UIDs.
Equal UIDVALIDITYs prove nothing by themselves, for some servers give one to all that was made in the same second. So
what may be a renamed mailbox is looked at (`sync/imap/renames`): what has known UIDs must have known messages. What is
not proved is a deletion and a new mailbox, of which devices lose nothing either: it only costs more.
"""

from collections import Counter
from collections.abc import Mapping

from syncd.mail.mailbox import MailboxName
from syncd.mail.uidset import UidSet
from syncd.values import Value


class Standing(Value):
    """Say what tells a mailbox from others, apart from its name: what is recorded, or what its server says now."""

    name: MailboxName
    uidvalidity: int
    uidnext: int
    object_id: str | None = None


class Candidate(Value):
    """A mailbox that may have this name now. is_proven: it has; is_only: neither of the two may be another."""

    mailbox_id: int
    wire_name: bytes
    is_proven: bool
    is_only: bool


def candidates(lost: Mapping[int, Standing], new: Mapping[bytes, Standing]) -> tuple[Candidate, ...]:
    """Return which lost mailboxes may be which new ones: the proven ones, then of each the most likely first."""
    pairs = [
        (mailbox_id, wire_name)
        for mailbox_id, before in lost.items()
        for wire_name, now in new.items()
        if _may_be(before, now)
    ]
    proven = [(one, name) for one, name in pairs if _has_same_id(lost[one], new[name])]
    ids, names = {one for one, _ in proven}, {name for _, name in proven}
    others = [(one, name) for one, name in pairs if one not in ids and name not in names]
    others.sort(key=lambda pair: (str(lost[pair[0]].name), *_unlikeness(lost[pair[0]].name, new[pair[1]].name)))
    of_id, of_name = Counter(one for one, _ in others), Counter(name for _, name in others)
    return (
        *(Candidate(one, name, is_proven=True, is_only=True) for one, name in proven),
        *(Candidate(one, name, is_proven=False, is_only=of_id[one] == of_name[name] == 1) for one, name in others),
    )


def are_same_messages(known: UidSet, here: UidSet, *, unlike: int, is_only: bool) -> bool:
    """Tell whether a mailbox is a known one, of which at least half is left.

    known: the recorded UIDs; here: those below the recorded UIDNEXT; unlike: how many of both were looked at and
    have another size or date. Two mailboxes without messages are one if they can be no others.
    """
    if unlike or here - known:
        return False
    return 2 * len(here & known) >= len(known) if known else is_only


def _may_be(before: Standing, now: Standing) -> bool:
    if before.object_id and now.object_id:
        return before.object_id == now.object_id
    return 0 < before.uidvalidity == now.uidvalidity and before.uidnext <= now.uidnext


def _has_same_id(before: Standing, now: Standing) -> bool:
    return before.object_id is not None and before.object_id == now.object_id


def _unlikeness(before: MailboxName, now: MailboxName) -> tuple[int, int, str]:
    """Return the sort key by which what was moved, or is inside of what was renamed, comes first."""
    return -_alike(before.parts[::-1], now.parts[::-1]), -_alike(before.parts, now.parts), str(now)


def _alike(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count
