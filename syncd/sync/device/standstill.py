"""Floor 4: mailboxes of a device that stand still after an error of their own, and for how long; the others go on."""

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from syncd.errors import Cause, MailboxLostError, Reach, SyncdError
from syncd.log import log
from syncd.sync.backoff import Backoff
from syncd.values import Record, field

_OWN = frozenset({Reach.MESSAGE, Reach.MAILBOX})


class _Failing(Record):
    where: str
    error: str = ""
    is_lost: bool = False
    until: float = 0.0
    is_still: bool = False
    backoff: Backoff = field(default_factory=Backoff)


class Standstill:
    """Keep the errors of single mailboxes, by mailbox id; a wall clock that jumps changes no wait."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._failing: dict[int, _Failing] = {}
        self._notes: dict[int, str] = {}

    def __contains__(self, mailbox_id: int) -> bool:
        """Tell whether a mailbox is to be left alone for now."""
        return mailbox_id in self._failing and self._failing[mailbox_id].is_still

    @contextmanager
    def guard(self, mailbox_id: int, where: str) -> Iterator[None]:
        """Let a mailbox stand still after an error that reaches no further than itself; raise any other."""
        try:
            yield
        except SyncdError as error:
            if error.reach not in _OWN:
                raise
            one = self._failing.setdefault(mailbox_id, _Failing(where))
            wait_s = one.backoff.failed(error)
            one.error, one.until, one.is_still = str(error), time.monotonic() + wait_s, True
            one.is_lost = isinstance(error, MailboxLostError)
            log.warning(
                "mailbox_failed", device=self._device, mailbox=where, error=one.error, retry_in_s=round(wait_s, 1)
            )

    def note(self, mailbox_id: int, where: str, text: str) -> None:
        """Show something of a mailbox that is served all the same."""
        self._notes[mailbox_id] = f"{where}: {text}"

    def forget_notes(self) -> None:
        self._notes = {}

    def retry(self) -> frozenset[int]:
        """Return the mailboxes whose wait is over; what happened in them meanwhile was not looked at."""
        now = time.monotonic()
        over = {mailbox_id: one for mailbox_id, one in self._failing.items() if one.is_still and one.until <= now}
        for one in over.values():
            one.is_still = False
        return frozenset(over)

    def hurry(self) -> None:
        """End all waits: somebody asks."""
        for one in self._failing.values():
            one.until = 0.0

    def let_go(self, mailbox_ids: Collection[int]) -> None:
        """Forget mailboxes that nobody serves any more."""
        self._failing = {mailbox_id: one for mailbox_id, one in self._failing.items() if mailbox_id not in mailbox_ids}

    def passed(self) -> None:
        """Forget the mailboxes that do not stand still: a whole pass has just gone well for them."""
        self._failing = {mailbox_id: one for mailbox_id, one in self._failing.items() if one.is_still}

    def wait_s(self, most_s: float) -> float:
        """Return how long to wait for the next retry, at most `most_s`."""
        now = time.monotonic()
        return min([most_s, *(max(one.until - now, 0.0) for one in self._failing.values() if one.is_still)])

    @property
    def cause(self) -> Cause | None:
        """Say what kind of thing the error is, where that says what to do."""
        return Cause.MAILBOX_LOST if any(one.is_lost for one in self._failing.values()) else None

    @property
    def error(self) -> str | None:
        """Say what the first of them suffers from, one that a person has to bring back, and how many more there are."""
        failing = sorted(self._failing.values(), key=lambda one: not one.is_lost)
        texts = [f"{one.where}: {one.error}" for one in failing] + [*self._notes.values()]
        if len(texts) > 1:
            return f"{texts[0]} (and {len(texts) - 1} more)"
        return texts[0] if texts else None
