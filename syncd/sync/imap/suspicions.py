"""Floor 4: extraordinary absences that a server reported once: doubted until a second look says the same.

Theory. A server that is ill may say that a mailbox is empty, or list half of its mailboxes, and be well a moment later.
So what is extraordinary is not recorded at first sight: the cursor stays, and a new SELECT or LIST some seconds later
has to say it again, unless the messages have just come into other mailboxes: then they were moved. What several
mailboxes lost is recorded together, for devices judge it together, so all of them wait until it is time for the last.
Suspicions live in memory: to forget one only means to look twice once more.
"""

from collections.abc import Callable, Collection
from enum import Enum

from sqlalchemy import Connection

from syncd.log import log
from syncd.mail.uidset import UidSet
from syncd.reconcile.guard import Rule, is_extraordinary
from syncd.values import Value

SECOND_LOOK_S = 5.0

Record = Callable[[Connection], None]


class Verdict(Enum):
    """Say what to do with an absence: record it with what else was seen, not yet, or together with others."""

    ORDINARY = "ordinary"
    DOUBTED = "doubted"
    CONFIRMED = "confirmed"


class _Missing(Value):
    uids: UidSet
    known: int
    since: float


class Suspicions:
    """Hold what the server of one account seems to have lost. Times are those of a clock that nobody sets."""

    def __init__(self, account: str, *, rule: Rule, second_look_s: float = SECOND_LOOK_S) -> None:
        self._account = account
        self.rule = rule
        self._second_look_s = second_look_s
        self._mailboxes: dict[int, _Missing] = {}
        self._confirmed: dict[int, Record] = {}
        self._unrecorded: dict[int, tuple[int, Record]] = {}
        """What would record what is doubted, with its UIDVALIDITY, of mailboxes that were just looked at."""
        self._unlisted: tuple[frozenset[bytes], float] | None = None
        self._gone: tuple[Record, ...] = ()

    def __bool__(self) -> bool:
        return bool(self._mailboxes) or self._unlisted is not None

    def has(self, mailbox_id: int) -> bool:
        """Tell whether a mailbox is to be looked at again, whatever its counts say."""
        return mailbox_id in self._mailboxes

    def wait_s(self, now: float) -> float | None:
        """Return the time until the second looks are due, 0 when they are, None when none is to come."""
        since = [one.since for one in self._mailboxes.values()]
        if self._unlisted is not None:
            since.append(self._unlisted[1])
        return max(max(since) + self._second_look_s - now, 0.0) if since else None

    def judge(self, mailbox_id: int, vanished: UidSet, *, known: int, now: float) -> Verdict:
        """Say whether to believe that these messages of so many known ones are gone, as one look at a mailbox says."""
        self._confirmed.pop(mailbox_id, None)
        self._unrecorded.pop(mailbox_id, None)
        before = self._mailboxes.get(mailbox_id)
        if not is_extraordinary(len(vanished), known, self.rule):
            if self._mailboxes.pop(mailbox_id, None) is not None:
                log.warning("absence_not_believed", account=self._account, mailbox_id=mailbox_id)
            return Verdict.ORDINARY
        if before is None:
            log.info("absence_doubted", account=self._account, mailbox_id=mailbox_id, count=len(vanished))
            self._mailboxes[mailbox_id] = _Missing(vanished, known, now)
            return Verdict.DOUBTED
        if now - max(one.since for one in self._mailboxes.values()) < self._second_look_s:
            self._mailboxes[mailbox_id] = _Missing(before.uids & vanished, known, before.since)
            return Verdict.DOUBTED
        if is_extraordinary(len(vanished - before.uids), known, self.rule):
            self._mailboxes[mailbox_id] = _Missing(vanished, known, now)
            return Verdict.DOUBTED
        del self._mailboxes[mailbox_id]
        log.info("absence_confirmed", account=self._account, mailbox_id=mailbox_id, count=len(vanished))
        return Verdict.CONFIRMED

    def believe_unlisted(self, missed: Collection[bytes], *, now: float) -> frozenset[bytes]:
        """Return the mailboxes that are believed to be gone, of those that a LIST misses.

        What was to be recorded of others before is not any more.
        """
        self._gone = ()
        doubted, since = self._unlisted or (frozenset(), now)
        both, new = doubted.intersection(missed), frozenset(missed) - doubted
        self._unlisted = None
        if doubted - both:
            log.warning("absence_not_believed", account=self._account, mailboxes=len(doubted - both))
        if both and now - since < self._second_look_s:
            self._unlisted = both, since
            return frozenset()
        if new:
            log.info("absence_doubted", account=self._account, mailboxes=len(new))
            self._unlisted = new, now
        if both:
            log.info("absence_confirmed", account=self._account, mailboxes=len(both))
        return both

    def confirm_gone(self, record: Record) -> None:
        """Keep what records that a mailbox is gone, until all others were looked at, or the next LIST."""
        self._gone += (record,)

    def confirm(self, mailbox_id: int, record: Record) -> None:
        """Keep what records a confirmed absence, until all mailboxes were looked at."""
        self._confirmed[mailbox_id] = record

    def doubt(self, mailbox_id: int, uidvalidity: int, record: Record) -> None:
        """Keep what would record a doubted absence, should it turn out that the messages are elsewhere."""
        self._unrecorded[mailbox_id] = uidvalidity, record

    def doubted(self) -> tuple[tuple[int, int, UidSet], ...]:
        """Return the absences that were doubted since the last call: mailbox, UIDVALIDITY and UIDs."""
        return tuple(
            (mailbox_id, uidvalidity, self._mailboxes[mailbox_id].uids)
            for mailbox_id, (uidvalidity, _) in self._unrecorded.items()
            if mailbox_id in self._mailboxes
        )

    def explain(self, mailbox_id: int, *, moved: int) -> None:
        """Confirm an absence if so many of its messages have come into other mailboxes that the rest is ordinary."""
        _, record = self._unrecorded.pop(mailbox_id)
        one = self._mailboxes[mailbox_id]
        if moved and not is_extraordinary(len(one.uids) - moved, one.known - moved, self.rule):
            log.info("absence_explained", account=self._account, mailbox_id=mailbox_id, moved=moved)
            del self._mailboxes[mailbox_id]
            self._confirmed[mailbox_id] = record

    def take_confirmed(self) -> tuple[Record, ...]:
        """Return what is to be recorded in one transaction."""
        taken = (*self._confirmed.values(), *self._gone)
        self._confirmed, self._gone = {}, ()
        return taken

    def forget(self, mailbox_id: int) -> None:
        """Doubt nothing of a mailbox any more: it is read anew by other means."""
        for doubts in (self._mailboxes, self._confirmed, self._unrecorded):
            doubts.pop(mailbox_id, None)

    def end_pass(self, began: float) -> None:
        """Forget what it was time for when the pass began, and was not looked at: it cannot be, or is not there."""
        older = {mailbox_id: one for mailbox_id, one in self._mailboxes.items() if one.since <= began}
        if older and began - max(one.since for one in older.values()) >= self._second_look_s:
            for mailbox_id in older:
                del self._mailboxes[mailbox_id]
