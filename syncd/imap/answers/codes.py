"""Floor 3: the response codes of UIDPLUS: where messages went, believed only where it is certain."""

from collections.abc import Iterable
from itertools import pairwise

from syncd.imap.answers.parse import number
from syncd.imap.types import Appended, Copied, RespText
from syncd.mail.uidset import UidSet


def appended(text: RespText) -> Appended | None:
    """Return what an APPENDUID code says of one message, None when it says nothing usable."""
    places = appended_all(text, 1)
    return places[0] if places else None


def appended_all(text: RespText, count: int) -> tuple[Appended, ...] | None:
    """Return what an APPENDUID code says of `count` messages in their order (RFC 4315 §3), None when it is not certain.

    UIDs of new messages can only ascend.
    """
    uidvalidity, _, uids = text.arguments.strip().partition(b" ")
    validity, listed = number(uidvalidity), _listed(uids, count)
    if text.code != "APPENDUID" or not validity or listed is None:
        return None
    if len(listed) != count or any(after <= before for before, after in pairwise(listed)):
        return None
    return tuple(Appended(validity, uid) for uid in listed)


def copied(text: RespText, uids: UidSet) -> Copied | None:
    """Return what a COPYUID code says of some of `uids` (RFC 4315 §3), None when that is not certain."""
    words = text.arguments.split()
    if text.code != "COPYUID" or len(words) != 3:
        return None
    validity, sources, targets = number(words[0]), _listed(words[1], len(uids)), _listed(words[2], len(uids))
    if not validity or sources is None or targets is None or len(sources) != len(targets):
        return None
    if any(uid not in uids for uid in sources):
        return None
    return Copied(validity, tuple(zip(sources, targets, strict=True)))


def joined(told: Iterable[Copied]) -> Copied | None:
    """Return several answers as one, None when there is none or they contradict each other."""
    parts = tuple(told)
    pairs = tuple(dict.fromkeys(pair for part in parts for pair in part.pairs))
    is_paired = len(pairs) == len({source for source, _ in pairs}) == len({target for _, target in pairs})
    if not is_paired or len({part.uidvalidity for part in parts}) != 1:
        return None
    return Copied(parts[0].uidvalidity, pairs)


def _listed(octets: bytes, most: int) -> tuple[int, ...] | None:
    """Return the UIDs of a set in its order, None when it is malformed, repeats one or has more than `most`."""
    uids: list[int] = []
    for part in octets.split(b","):
        low, colon, high = part.partition(b":")
        first, last = number(low), number(high if colon else low)
        # NOTE: 4:2 is 2:4 by the RFC, but whoever writes it may mean that order: then the pairing is not certain.
        if not first or not last or not first <= last < first + most - len(uids):
            return None
        uids += range(first, last + 1)
    return tuple(uids) if len(uids) == len(set(uids)) else None
