"""Trees in a tiny notation: capital letters are system flags as in Maildir, small ones keywords; None is no row."""

from syncd.mail.flags import ANSWERED, DELETED, DRAFT, FLAGGED, SEEN, SYSTEM, Flags
from syncd.mail.tree import BaseMessage, BodyForm, Holdable, Pair, ReplicaMessage, ReplicaState, ServerMessage
from syncd.reconcile.deletions import Deletion
from syncd.reconcile.planner import Policy, Selection

_FLAGS = {"S": SEEN, "F": FLAGGED, "R": ANSWERED, "T": DELETED, "D": DRAFT}
MESSAGE, UID, FILE = 7, 70, 700


def flags(letters: str) -> Flags:
    """Return the flags that letters stand for."""
    return frozenset(_FLAGS.get(letter, letter) for letter in letters)


def pair(
    server: str | None,
    base: str | None,
    replica: str | None,
    *,
    state: ReplicaState = ReplicaState.PRESENT,
    is_gone: bool = False,
    has_body: bool = True,
    size_bytes: int = 100,
    internaldate: int = 1000,
) -> Pair:
    """Return one message by the flags that it has in each tree."""
    return Pair(
        None
        if server is None
        else ServerMessage(
            MESSAGE, UID, flags(server), size_bytes, internaldate, 1 if has_body else None, version=1, is_gone=is_gone
        ),
        None if base is None else BaseMessage(flags(base)),
        None
        if replica is None
        else ReplicaMessage(
            id=FILE,
            message_id=None if server is None else MESSAGE,
            name="name",
            info=None,
            subdir="cur",
            flags=flags(replica),
            state=state,
            size_bytes=100,
            mtime=1000,
            form=BodyForm.LF,
            version=1,
        ),
    )


def policy(
    *,
    server_keywords: bool = True,
    server: str = "",
    replica_keywords: bool = True,
    replica: str = "",
    selection: Selection = Selection(),  # noqa: B008 - a frozen value
    deletion: Deletion | None = None,
    is_outgrown: bool = False,
    is_read_only: bool = False,
) -> Policy:
    """Return a policy: each side holds the system flags, the letters given, and any keyword if so."""
    return Policy(
        server=Holdable(SYSTEM | flags(server), server_keywords),
        replica=Holdable(SYSTEM | flags(replica), replica_keywords),
        selection=selection,
        deletion=deletion,
        outgrown=frozenset({MESSAGE} if is_outgrown else ()),
        is_read_only=is_read_only,
    )
