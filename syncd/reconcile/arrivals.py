"""Floor 2: arrivals: which of the messages that came into a mailbox are those that were sent there.

Theory. The answer to a command may be lost, and it may lie, so what counts is seen: a message above the UIDNEXT of
before with the size and the header of what was sent. A server may rewrite what it takes; then its Message-ID tells,
together with its date or the server's word, for another version of a draft may come at the same time.
"""

from collections.abc import Iterable, Mapping, Sequence

from syncd.values import Value


class Sent(Value):
    """A message that was sent to a mailbox, by the row of its journal. hint: its UID by the server's word."""

    id: int
    size_bytes: int
    header_digest: bytes
    message_id: str | None
    internaldate: int
    uidnext: int
    hint: int | None = None


class Came(Value):
    """A message that is in the mailbox now."""

    uid: int
    size_bytes: int | None
    header_digest: bytes
    message_id: str | None
    internaldate: int | None


class Arrival(Value):
    """Where a message that was sent is. is_rewritten: under other octets than those sent."""

    uid: int
    is_rewritten: bool


def arrivals(sent: Iterable[Sent], came: Sequence[Came]) -> Mapping[int, Arrival]:
    """Return where each message is, by the row of its journal, of those that came; equal messages are counted."""
    waiting = sorted(sent, key=lambda one: one.id)
    left = {one.uid: one for one in sorted(came, key=lambda one: one.uid)}
    found: dict[int, Arrival] = {}
    for is_alike, is_rewritten in ((_is_same, False), (_is_rewritten, True)):
        for hinted in (True, False):
            for one in waiting:
                if one.id in found:
                    continue
                alike = (
                    uid
                    for uid, other in left.items()
                    if uid >= one.uidnext and (uid == one.hint or not hinted) and is_alike(one, other)
                )
                uid = next(alike, None)
                if uid is not None:
                    found[one.id] = Arrival(uid, is_rewritten)
                    del left[uid]
    return found


def _is_same(sent: Sent, came: Came) -> bool:
    return (sent.size_bytes, sent.header_digest) == (came.size_bytes, came.header_digest)


def _is_rewritten(sent: Sent, came: Came) -> bool:
    if sent.message_id != came.message_id:
        return False
    return sent.hint == came.uid or (sent.message_id is not None and sent.internaldate == came.internaldate)
