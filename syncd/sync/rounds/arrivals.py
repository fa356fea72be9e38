"""Floor 4: what devices added to the mailboxes of an account becomes messages there: planned, brought, and settled.

Theory. Everything that is taken in, not settled and due is read in each run, a page after the other, so that what
waits, was refused or was interrupted needs no memory of its own, nor a cursor. What was begun before is looked for
first. A file that the server refuses stays on its device, and is tried again later; what it would take the place of
stays as well (`successors`).
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial

from sqlalchemy import Connection

from syncd.log import log
from syncd.mail.uidset import UidSet
from syncd.reconcile.effects import Append, Arrival, Bind, Copy, Move, Recover
from syncd.reconcile.moves import Candidate, Origin, Way, origins
from syncd.reconcile.recoveries import ways_back
from syncd.store.engine.database import Database
from syncd.store.files import deletions, refused_uploads, settled_uploads, upload_candidates, uploads
from syncd.store.files.predecessors import predecessors, with_keywords_of
from syncd.store.files.settled_uploads import Settled
from syncd.store.files.uploads import Upload
from syncd.store.rounds import holds
from syncd.store.trees import accounts, history, server_tree
from syncd.store.trees.accounts import MailboxRow
from syncd.store.trees.history import Outcome, Verb
from syncd.sync.rounds.sides import ArrivalSide, Brought, Placement
from syncd.values import Value, field, replace

UNSEEN_S = 5.0
"""A server may still be at what it read before the connection ended; so much later it is not."""
_UNSEEN_MAX = 3
_LOST = "it was on its way to its mailbox several times, and is not there"


class Planned(Value):
    """What is to be done with an upload, and those of other devices that will be the same message.

    predecessor_id: of what is to be sent, the message elsewhere that had its octets, and whose keywords it has.
    """

    upload: Upload
    origin: Origin
    followers: tuple[Upload, ...] = ()
    predecessor_id: int | None = None


def planned(conn: Connection, found: Iterable[Upload], *, account_id: int) -> tuple[Planned, ...]:
    """Return what becomes of files that were taken in, but of those of which it is not known yet."""
    found = tuple(found)
    waiting = {one.own.file_id: one for one in found if one.own is not None}
    body_ids = {one.body_id for one in found}
    known = upload_candidates.candidates(conn, account_id=account_id, body_ids=body_ids)
    trash = accounts.trash_of(accounts.mailboxes(conn, account_id=account_id)) if known else None
    trash_id = None if trash is None else trash.id
    by_file = origins((one.own for one in waiting.values() if one.own is not None), known, trash_id=trash_id)
    followers: dict[tuple[int, int], dict[int | None, Upload]] = defaultdict(dict)
    for file_id, origin in by_file.items():
        one = waiting[file_id]
        if origin.way is Way.WAIT:
            followers[one.mailbox_id, one.body_id].setdefault(one.device_id, one)
    plans: list[Planned] = []
    for file_id, origin in by_file.items():
        one = waiting[file_id]
        if origin.way is not Way.WAIT:
            others = followers.pop((one.mailbox_id, one.body_id), {}) if origin.way is not Way.BIND else {}
            plans.append(Planned(one, origin, tuple(other for id_, other in others.items() if id_ != one.device_id)))
    wanted = {one.id: one for one in found if one.wanted_id is not None}
    back = ways_back((one.wanted for one in wanted.values() if one.wanted is not None), known, trash_id=trash_id)
    plans = _with_predecessors(conn, plans, account_id=account_id)
    return (*plans, *(Planned(wanted[id_], origin) for id_, origin in back.items()))


class Arrivals(Value):
    """Bring what devices added to the mailboxes of one account."""

    db: Database
    account_id: int
    side: ArrivalSide
    now: float
    lacking: set[int] = field(default_factory=set)
    """Mailboxes of which bodies are to be fetched: of what the server rewrote, and of what is not what was sent."""

    async def resolve(self, target: MailboxRow, begun: Sequence[Upload]) -> int:
        """Settle those of which it was unknown whether they came into a mailbox; return how many did."""
        late = {one.id for one in begun if one.begun_at + UNSEEN_S <= self.now}
        brought = await self.side.find(target, begun, late=late)
        self._note_rewritten(target, brought)
        found = [Planned(one, Origin(Way.APPEND)) for one in begun]
        plans = await self.db.read(partial(_with_predecessors, plans=found, account_id=self.account_id))
        there = await self.db.write(partial(self._settle, target=target, brought=brought, plans=plans))
        if brought.left:
            log.info("uploads_left", mailbox_id=target.id, count=len(brought.left))
        unseen = [one for one in begun if one.id in late and one.id not in there]
        if unseen:
            await self.db.write(partial(_give_up, unseen=unseen, now=self.now))
            self.lacking.add(target.id)
        return len(there)

    async def bring(self, target: MailboxRow, plans: Sequence[Planned]) -> int:
        """Bring files into a mailbox and return how many are messages now."""
        brought = Brought()
        placements = [Placement(one.upload, one.origin) for one in plans if one.origin.way is not Way.BIND]
        if placements:
            brought = await self.side.bring(target, placements)
            self._note_rewritten(target, brought)
        there = await self.db.write(partial(self._settle, target=target, brought=brought, plans=plans))
        for one in plans:
            if one.upload.id in there:
                way, wanted_id = one.origin.way.value, one.upload.wanted_id
                if wanted_id is None:
                    log.info("file_became_message", mailbox_id=target.id, file_id=one.upload.file_id, way=way)
                else:
                    log.info("message_restored", mailbox_id=target.id, message_id=wanted_id, way=way)
        for text in {str(brought.refused[one.upload.id]) for one in plans if _is_new_refusal(one.upload, brought)}:
            log.warning("upload_refused", mailbox_id=target.id, error=text)
        return len(there)

    def _note_rewritten(self, target: MailboxRow, brought: Brought) -> None:
        if brought.rewritten:
            log.warning("uploads_rewritten", mailbox_id=target.id, count=len(brought.rewritten))
            self.lacking.add(target.id)

    def _settle(
        self, conn: Connection, *, target: MailboxRow, brought: Brought, plans: Sequence[Planned]
    ) -> Collection[int]:
        """Settle what is there; return the uploads that are messages now."""
        ids = brought.record(conn) if brought.record is not None else {}
        settled: list[Settled] = []
        for one in plans:
            source = one.origin.source
            if one.origin.way is Way.BIND and source is not None:
                settled.append(Settled(one.upload, source.message_id))
            elif (message_id := ids.get(one.upload.id)) is not None:
                source_id = one.predecessor_id if source is None else source.message_id
                is_rewritten = one.upload.id in brought.rewritten
                settled += [
                    Settled(upload, message_id, source_id, is_rewritten) for upload in (one.upload, *one.followers)
                ]
        counted = settled_uploads.settle(conn, settled, now=self.now)
        made = {one.upload.id: one.message_id for one in settled if one.upload.id in ids or one.upload.id in counted}
        self._tell(conn, target, plans, made, brought)
        for one in plans:
            if one.origin.way is Way.BIND and one.origin.source is not None:
                # NOTE: its device may be past what the server changed while it had no file of the message.
                deletions.touch(conn, one.origin.source.mailbox_id, (one.origin.source.message_id,))
        settled_uploads.forget_filed(conn, account_id=self.account_id, now=self.now)
        refused_uploads.refuse(conn, {id_: str(error) for id_, error in brought.refused.items()}, now=self.now)
        self._depart(conn, [one.origin.source for one in plans if one.origin.source is not None], brought.gone)
        if brought.left:
            left, uidvalidity = UidSet.of(brought.left.values()), target.cursor.uidvalidity
            server_tree.record_vanished(conn, target.id, uidvalidity, left, now=self.now, is_told=True)
        return [one.upload.id for one in settled]

    def _tell(
        self,
        conn: Connection,
        target: MailboxRow,
        plans: Iterable[Planned],
        made: Mapping[int, int],
        brought: Brought,
    ) -> None:
        """Tell the history what files became, by upload, there where the message was that was moved or copied."""
        told: defaultdict[tuple[int, Outcome], list[tuple[history.Happening, tuple[int]]]] = defaultdict(list)
        for one in plans:
            if one.upload.device_id is None:
                self._tell_of_restored(conn, target, one, made, brought)
                continue
            source, device = one.origin.source, (one.upload.device_id,)
            effect = arrival_of(one, str(target.name))
            where = one.upload.mailbox_id if source is None else source.mailbox_id
            if one.upload.id in made:
                message_id = made[one.upload.id] if source is None else None
                told[where, Outcome.DONE].append((history.of(effect, message_id=message_id), device))
            elif _is_new_refusal(one.upload, brought):
                reason = str(brought.refused[one.upload.id])
                told[where, Outcome.REFUSED].append((history.of(effect, reason=reason), device))
        for (mailbox_id, outcome), those in told.items():
            history.tell_of_devices(conn, those, now=self.now, mailbox_id=mailbox_id, outcome=outcome)

    def _tell_of_restored(
        self, conn: Connection, target: MailboxRow, one: Planned, made: Mapping[int, int], brought: Brought
    ) -> None:
        """Tell what became of a message that is wanted back, in the mailbox that has it now."""
        origin = history.DEVICES if one.upload.is_for_device else history.PERSON
        tell = partial(history.tell, conn, now=self.now, origin=origin, mailbox_id=target.id)
        if one.upload.id in made:
            if one.origin.way is not Way.BIND:
                tell([history.Happening(Verb.RESTORE, made[one.upload.id])])
        elif _is_new_refusal(one.upload, brought):
            reason = str(brought.refused[one.upload.id])
            refused = history.Happening(Verb.RESTORE, one.upload.wanted_id, reason=reason)
            tell([refused], outcome=Outcome.REFUSED)

    def _depart(self, conn: Connection, sources: Iterable[Candidate], gone: Collection[int]) -> None:
        """Settle that messages left their mailboxes, because a device moved them."""
        by_mailbox: dict[int, dict[int, int]] = defaultdict(dict)
        for source in sources:
            if source.message_id in gone:
                by_mailbox[source.mailbox_id][source.message_id] = source.uid
        for mailbox_id, uids in by_mailbox.items():
            uidvalidity = accounts.mailbox_by_id(conn, mailbox_id=mailbox_id).cursor.uidvalidity
            server_tree.record_vanished(conn, mailbox_id, uidvalidity, UidSet.of(uids.values()), now=self.now)
            deletions.settle(conn, mailbox_id, uids)
            holds.take_out(conn, mailbox_id=mailbox_id, message_ids=frozenset(uids))


def arrival_of(one: Planned, to: str) -> Arrival:
    """Return what is planned as an effect; to: the name of the file's mailbox."""
    upload, source = one.upload, one.origin.source
    if upload.wanted_id is not None or upload.file_id is None:
        return Recover(upload.wanted_id or 0)
    match one.origin.way:
        case Way.MOVE if source is not None:
            return Move(source.message_id, source.uid, upload.mailbox_id, to)
        case Way.COPY if source is not None:
            return Copy(source.message_id, source.uid, upload.file_id, to)
        case Way.BIND if source is not None:
            return Bind(source.message_id, upload.file_id)
    return Append(upload.file_id, upload.size_bytes)


def by_mailbox(plans: Iterable[Planned]) -> Mapping[int, Sequence[Planned]]:
    """Return the plans by mailbox, one of each source: a message is copied or moved once in a command."""
    chosen: dict[int, list[Planned]] = defaultdict(list)
    used: set[int] = set()
    for one in plans:
        source = one.origin.source
        if source is None or one.origin.way is Way.BIND or source.message_id not in used:
            chosen[one.upload.mailbox_id].append(one)
            if source is not None:
                used.add(source.message_id)
    return chosen


def _give_up(conn: Connection, *, unseen: Sequence[Upload], now: float) -> None:
    lost = {one.id: _LOST for one in unseen if one.attempts >= _UNSEEN_MAX}
    uploads.begin_again(conn, [one for one in unseen if one.id not in lost], now=now)
    refused_uploads.refuse(conn, lost, now=now)


def _with_predecessors(conn: Connection, plans: Sequence[Planned], *, account_id: int) -> list[Planned]:
    """Let what is to be sent, though its octets were in another mailbox, have the keywords that it had there."""
    sent = [one.upload for one in plans if one.origin.way is Way.APPEND]
    found = predecessors(conn, sent, account_id=account_id)
    return [
        replace(one, upload=with_keywords_of(one.upload, of), predecessor_id=of.message_id)
        if (of := found.get(one.upload.id)) is not None
        else one
        for one in plans
    ]


def _is_new_refusal(one: Upload, brought: Brought) -> bool:
    return one.id in brought.refused and str(brought.refused[one.id]) != one.error
