"""Floor 3: the decisions of the chain of custody, pure: what to retrieve, what may be deleted, what is whose copy.

Theory. A listed message has a *key*: its UIDL, or, where it has no usable one, a key made of its size. A key made of
anything but a UIDL contains a space, which no UIDL does. The store keeps one `Known` per key; a message
without UIDL gets, once retrieved, a key made of its digest and a count, so that two equal messages are two rows.

Only a row that is COMMITTED, under a UIDL, and listed with its recorded size is deleted without being retrieved again,
or kept as long as `Term` says. Everything else that is listed is retrieved, and its content decides:

    the row's state   same digest                         another digest
    none, UNTAKEN     an unlisted committed row's copy    new
    COMMITTED         the same                            new: the server reused the UIDL
    DOUBTFUL          the same, committed now (*)         replaces the doubtful one
    ASKED, UNLISTED   the same, committed again           new: the server did delete, and reused the UIDL
    DELETED           the same, deleted again             new: the server reused the UIDL

(*) Unless it is empty, and listed as more: that is no message, however often it comes.

`tries` counts how often in a row a key got no further. Above zero it is retrieved in a session of its own, so that
what breaks the session breaks nothing else; from `max_tries` on it is set aside, also when only its DELE is refused.
Whoever lowers it in the store gives it new tries.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import count

from syncd.pop3.listing import Listed
from syncd.values import Value, replace

_NO_DIGEST = b""


class CustodyState(StrEnum):
    """Say how far a message of the server has come.

    untaken: nothing of it is in the store. doubtful: a body is, but shorter than listed, or listed without a
    size. committed: the whole body is. unlisted: and a later session did not list it, so that its UIDL may stand for
    another message when it does. asked: and the server was told to delete its copy, and may have. deleted: and it
    confirmed, by its answer to QUIT, that its copy is gone.
    """

    UNTAKEN = "untaken"
    DOUBTFUL = "doubtful"
    COMMITTED = "committed"
    UNLISTED = "unlisted"
    ASKED = "asked"
    DELETED = "deleted"


class Known(Value):
    """Hold what the store remembers of one key of an account.

    size_bytes: as listed. digest: of the body's octets, empty while untaken. since: when its message was committed
    first, None: just now, or it is not. is_troubled: an error of it is kept for `status`.
    """

    key: str
    state: CustodyState
    size_bytes: int | None
    digest: bytes
    tries: int = 0
    since: float | None = None
    is_troubled: bool = False


class Term(Value):
    """Say how long the server keeps its copy of what is committed, as of now. keep_s None: for ever."""

    keep_s: float | None = 0.0
    now: float = 0.0

    def is_over(self, row: Known) -> bool:
        """Tell whether the server's copy is to go once its message is committed."""
        if self.keep_s is None or self.keep_s <= 0:
            return self.keep_s is not None
        return row.since is not None and row.since + self.keep_s <= self.now


AT_ONCE = Term()


class Verdict(StrEnum):
    """Say what a retrieved body is: a new message, one the store has, or a better copy of a doubtful one."""

    NEW = "new"
    SAME = "same"
    REPLACES = "replaces"


class Candidate(Value):
    """Hold a listed message with its key; `is_anonymous` without a usable UIDL."""

    listed: Listed
    key: str
    is_anonymous: bool


class SessionPlan(Value):
    """Say what one session does; what is in none of these is retrieved by a later one.

    retrieve: in this order. delete: may go without being retrieved. too_large: to be set aside now. set_aside: left
    alone. waiting: how many need a session of their own, to be had soon. kept: committed, and their time is not over.
    """

    retrieve: tuple[Candidate, ...]
    delete: tuple[Candidate, ...]
    too_large: tuple[Candidate, ...]
    set_aside: tuple[Candidate, ...]
    waiting: int
    kept: tuple[Candidate, ...] = ()


class Retrieved(Value):
    """Hold one message for the store to commit: how long its body is, and the row that says that it is there.

    takes_over: keys of rows to be removed in the same transaction; the message of one of them becomes this row's.
    """

    candidate: Candidate
    size_bytes: int
    verdict: Verdict
    row: Known
    takes_over: tuple[str, ...] = ()

    @property
    def may_be_deleted(self) -> bool:
        """Tell whether the server's copy may go once this is committed, and its time is over."""
        return self.row.state is CustodyState.COMMITTED


def is_anonymous(key: str) -> bool:
    """Tell whether a key is none of a UIDL."""
    return " " in key


def candidates_of(listing: Iterable[Listed]) -> tuple[Candidate, ...]:
    """Return the listed messages with their keys, all distinct."""
    found: list[Candidate] = []
    of_size: dict[int | None, int] = {}
    for listed in listing:
        if listed.uidl is not None:
            found.append(Candidate(listed, listed.uidl, is_anonymous=False))
        else:
            nth = of_size[listed.size_bytes] = of_size.get(listed.size_bytes, 0) + 1
            size = "unknown" if listed.size_bytes is None else listed.size_bytes
            found.append(Candidate(listed, f"size {size} {nth}", is_anonymous=True))
    return tuple(found)


def plan_session(
    candidates: Sequence[Candidate],
    known: Mapping[str, Known],
    *,
    max_message_bytes: int,
    max_tries: int,
    term: Term = AT_ONCE,
    recalled: Collection[str] = (),
) -> SessionPlan:
    """Decide what a session does with what is listed.

    Messages on trial are retrieved only in a session that has nothing else to do, the least tried first.
    recalled: keys of messages without UIDL that an earlier session found to be kept.
    """
    retrieve: list[Candidate] = []
    trial: list[tuple[int, Candidate]] = []
    delete: list[Candidate] = []
    too_large: list[Candidate] = []
    set_aside: list[Candidate] = []
    kept: list[Candidate] = []
    for candidate in candidates:
        row = known.get(candidate.key)
        size = candidate.listed.size_bytes
        tries = row.tries if row else 0
        is_committed = row is not None and row.state is CustodyState.COMMITTED and size == row.size_bytes
        if candidate.key in recalled or (row and is_committed and not term.is_over(row)):
            kept.append(candidate)
        elif tries >= max_tries:
            set_aside.append(candidate)
        elif is_committed and size is not None:
            delete.append(candidate)
        elif size is not None and size > max_message_bytes:
            (set_aside if row and row.size_bytes == size else too_large).append(candidate)
        elif tries:
            trial.append((tries, candidate))
        else:
            retrieve.append(candidate)
    waiting = len(trial)
    if not retrieve and not delete:
        retrieve, waiting = [candidate for _, candidate in sorted(trial, key=lambda each: each[0])], 0
    return SessionPlan(tuple(retrieve), tuple(delete), tuple(too_large), tuple(set_aside), waiting, tuple(kept))


def after_failure(candidate: Candidate, known: Known | None) -> Known:
    """Return the row of a message that could not be taken; what is stored of it already stays known."""
    if known is None or known.state is CustodyState.UNTAKEN:
        tries = known.tries + 1 if known else 1
        return Known(candidate.key, CustodyState.UNTAKEN, candidate.listed.size_bytes, _NO_DIGEST, tries)
    # NOTE: its recorded size stays as it is: the new one would allow a DELE of what was never retrieved.
    return replace(known, tries=known.tries + 1)


def after_refused_delete(row: Known) -> Known:
    """Return the row of a message that is stored, and that the server would not delete."""
    return replace(row, tries=row.tries + 1)


def when_too_large(candidate: Candidate, known: Known | None) -> Known:
    """Return the row of a message that is not tried at all; it is, once the limit is raised."""
    row = after_failure(candidate, known)
    return replace(row, tries=known.tries if known else 0)


class Matcher:
    """Decide, over one session, which retrieved body is new and which is a copy the store already has."""

    def __init__(
        self, candidates: Sequence[Candidate], known: Mapping[str, Known], recalled: Iterable[str] = ()
    ) -> None:
        """recalled: keys of rows whose messages are listed without UIDL, and are not retrieved."""
        self._known = known
        self._taken = {candidate.key for candidate in candidates}.union(recalled)

    def decide(self, candidate: Candidate, size_bytes: int, digest: bytes, copies: Sequence[Known]) -> Retrieved:
        """Return what to commit. `copies`: the account's rows with this digest, up to the previous batch."""
        known = self._known.get(candidate.key)
        if known is None or known.state is CustodyState.UNTAKEN:
            return self._by_content(candidate, size_bytes, digest, copies)
        listed_bytes = candidate.listed.size_bytes
        if known.digest == digest:
            state = _state_again(candidate, size_bytes, known)
            # NOTE: a server that says it deleted, and lists again, must not be believed for ever.
            is_no_further = state is CustodyState.DOUBTFUL or known.state is CustodyState.DELETED
            tries = known.tries + 1 if is_no_further else 0
            row = Known(candidate.key, state, listed_bytes, digest, tries, known.since)
            return Retrieved(candidate, size_bytes, Verdict.SAME, row)
        state = _state_of(candidate, size_bytes)
        if known.state is CustodyState.DOUBTFUL and known.size_bytes in (listed_bytes, None):
            tries = known.tries + 1 if state is CustodyState.DOUBTFUL else 0
            return Retrieved(
                candidate, size_bytes, Verdict.REPLACES, Known(candidate.key, state, listed_bytes, digest, tries)
            )
        return Retrieved(candidate, size_bytes, Verdict.NEW, Known(candidate.key, state, listed_bytes, digest))

    def _by_content(self, candidate: Candidate, size_bytes: int, digest: bytes, copies: Sequence[Known]) -> Retrieved:
        listed_bytes = candidate.listed.size_bytes
        takes_over = {candidate.key} if candidate.is_anonymous and candidate.key in self._known else set()
        if _is_short(candidate, size_bytes):
            # NOTE: two messages cut to the same octets are two; but half of one is never all of another.
            is_some = size_bytes > 0
            copies = [
                copy
                for copy in copies
                if copy.size_bytes == listed_bytes or (is_some and copy.state is not CustodyState.DOUBTFUL)
            ]
        copy = self._unlisted_copy(candidate, copies)
        if copy is None:
            key = self._mint_key(digest, copies) if candidate.is_anonymous else candidate.key
            row, verdict = Known(key, _state_of(candidate, size_bytes), listed_bytes, digest), Verdict.NEW
        else:
            key = copy.key if candidate.is_anonymous else candidate.key
            state = _state_again(candidate, size_bytes, copy)
            tries = copy.tries + 1 if state is CustodyState.DOUBTFUL else 0
            row, verdict = Known(key, state, listed_bytes, digest, tries, copy.since), Verdict.SAME
            takes_over |= {copy.key} - {key}
            self._taken.add(copy.key)
        self._taken.add(key)
        return Retrieved(candidate, size_bytes, verdict, row, tuple(sorted(takes_over)))

    def _unlisted_copy(self, candidate: Candidate, copies: Sequence[Known]) -> Known | None:
        """Return the row that this message has under another key: not listed now, and the server had it last.

        Where there is no UIDL, a deleted one counts as well: nothing else would stop a server that never deletes.
        """
        free = [
            copy
            for copy in copies
            if copy.key not in self._taken
            and (copy.state is not CustodyState.DELETED or (candidate.is_anonymous and is_anonymous(copy.key)))
        ]
        return min(free, key=lambda copy: (is_anonymous(copy.key) != candidate.is_anonymous, copy.key), default=None)

    def _mint_key(self, digest: bytes, copies: Sequence[Known]) -> str:
        used = self._taken | {copy.key for copy in copies}
        return next(key for nth in count(1) if (key := f"sha256 {digest.hex()} {nth}") not in used)


def _state_of(candidate: Candidate, size_bytes: int) -> CustodyState:
    return CustodyState.DOUBTFUL if _is_short(candidate, size_bytes) else CustodyState.COMMITTED


def _state_again(candidate: Candidate, size_bytes: int, earlier: Known) -> CustodyState:
    """Return the state of a body whose octets came in an earlier session too.

    A short one is believed then, if LIST says the same as before; one without any octet never is.
    """
    is_believed = size_bytes > 0 and earlier.size_bytes == candidate.listed.size_bytes
    return CustodyState.COMMITTED if is_believed else _state_of(candidate, size_bytes)


def _is_short(candidate: Candidate, size_bytes: int) -> bool:
    listed_bytes = candidate.listed.size_bytes
    return listed_bytes is None or size_bytes < listed_bytes
