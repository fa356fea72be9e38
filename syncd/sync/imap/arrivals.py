"""Floor 4: files that devices added, appended to, copied or moved into a mailbox of an IMAP server, and seen there.

Theory (law 3). The journal says what is about to be sent, and above which UID it will be. Afterwards what came into the
mailbox is compared with what was sent: only a message that is seen counts, and what a command answered is a hint. So
the same look serves after an answer that was lost. What is not seen may have left again (`left`). Round trips are
what an upload takes longest for: a mailbox that is selected is not selected anew unless what was sent is not seen.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from operator import attrgetter

from sqlalchemy import Connection

from syncd.errors import Reach, RefusedError, StoreError, SyncdError
from syncd.imap.answers.refusals import OF_MAILBOX
from syncd.imap.commands.appends import REACHES_MAILBOX, NewMessage, NotAppended
from syncd.imap.connection import ImapConnection
from syncd.imap.effects.expunges import AT_ONCE
from syncd.imap.effects.moves import Moved, copy_messages, move_messages
from syncd.imap.news.presence import can_be_selected_anew, still_there
from syncd.imap.types import Appended, FetchRow, SelectResult
from syncd.imap.wire.arguments import Streamed
from syncd.log import log
from syncd.mail.flags import Flags
from syncd.mail.uidset import UidSet
from syncd.reconcile.arrivals import Arrival, Sent
from syncd.reconcile.moves import Way
from syncd.store.bodies import bodies
from syncd.store.engine.database import Database
from syncd.store.files import deletions, uploads
from syncd.store.files.uploads import Upload
from syncd.store.trees import accounts, server_tree
from syncd.store.trees.accounts import MailboxRow
from syncd.sync.bounded import bounded
from syncd.sync.imap.came import Arrived, LookBehind, fetch_headers, look
from syncd.sync.imap.foreseen import Foreseen, worth_a_look
from syncd.sync.imap.identity import RenumberedError, ensure_same, fetch_facts
from syncd.sync.imap.left import as_sent, left_again
from syncd.sync.imap.observed import observed_of
from syncd.sync.rounds.sides import Brought, Placement
from syncd.values import Record, field, replace

_BATCH_BYTES = 8 * 1024 * 1024
_BATCH_MESSAGES = 200
_SMALL_BYTES = 1024 * 1024
_NUL = "the file has NUL octets, which no mail has"
_READ_ONLY = "the mailbox is read-only on the server"
_KEPT = "the server does not copy the message"


class ImapArrivals:
    """Bring files into mailboxes on one connection."""

    def __init__(
        self,
        db: Database,
        connection: ImapConnection,
        *,
        foreseen: Foreseen,
        expunging: Collection[int],
        clock: Callable[[], float],
    ) -> None:
        """Take the mailboxes out of which a deletion is for good: what is missing there is looked at as well."""
        self._db = db
        self._connection = connection
        self._foreseen = foreseen
        self._expunging = expunging
        self._clock = clock

    async def bring(self, target: MailboxRow, placements: Sequence[Placement]) -> Brought:
        selected = await self._selected(target)
        if selected.read_only:
            refusal = RefusedError(_READ_ONLY, reach=Reach.MESSAGE)
            return Brought(refused={one.upload.id: refusal for one in placements})
        uidnext = selected.uidnext or target.cursor.uidnext or 1
        begin = partial(
            uploads.begin,
            sent={one.upload.id: _flags_sent(target, one.upload) for one in placements},
            uidvalidity=target.cursor.uidvalidity,
            uidnext=uidnext,
            now=self._clock(),
        )
        begun = await self._db.write(begin)
        sending = _Sending()
        try:
            return await self._bring(target, [one for one in placements if one.upload.id in begun], uidnext, sending)
        finally:
            if sending.hints:
                await self._db.write(partial(uploads.keep_told, uids=sending.hints, now=self._clock()))

    async def find(self, target: MailboxRow, uploads: Sequence[Upload], *, late: Collection[int]) -> Brought:
        ours = [one for one in uploads if one.uidvalidity == target.cursor.uidvalidity]
        if not ours:
            return Brought()  # under another UIDVALIDITY: `renumber` has bound it to what it may be
        return await self._seen(target, ours, min(one.uidnext for one in ours), _Sending(), late=late)

    async def _bring(
        self, target: MailboxRow, placements: Sequence[Placement], uidnext: int, sending: "_Sending"
    ) -> Brought:
        new = [one.upload for one in placements if one.origin.way is Way.APPEND]
        batches = tuple(bounded(new, attrgetter("size_bytes"), count=_BATCH_MESSAGES, size_bytes=_BATCH_BYTES))
        sources = _by_source(placements)
        await self._connection.settled()
        look_behind = LookBehind(self._connection, target, uidnext=uidnext, foreseen=self._foreseen)
        async with aclosing(look_behind) as behind:
            for batch in batches:
                may_look = batch is batches[-1] and not sources and can_be_selected_anew(self._connection)
                await self._append(target, batch, sending, behind=behind if may_look else None)
            arrived = await behind.arrived()
        for (mailbox_id, way), ones in sources.items():
            source = await self._db.read(partial(accounts.mailbox_by_id, mailbox_id=mailbox_id))
            await self._transfer(source, target, way, ones, sending)
        sent = [one.upload for one in placements if one.upload.id not in sending.flawed]
        if not sent:
            return Brought(refused=sending.flawed, gone=frozenset(sending.gone))
        brought = await self._seen(target, sent, uidnext, sending, arrived)
        return replace(brought, refused={**sending.flawed, **brought.refused}, gone=frozenset(sending.gone))

    async def _selected(self, mailbox: MailboxRow) -> SelectResult:
        """Return what SELECT said of a mailbox if it is selected and nothing was told since, else what it says now.

        NOTE: from its UIDNEXT on a message is looked for, so what the store has of the same octets must be below.
        """
        connection, uidvalidity = self._connection, mailbox.cursor.uidvalidity
        would_be_told = connection.selected == mailbox.wire_name and "IDLE" in connection.capabilities
        selection = connection.selection if would_be_told and not connection.has_events else None
        if selection is None or selection.uidnext is None or selection.uidvalidity != uidvalidity:
            return await self._select(mailbox)
        ask = partial(server_tree.has_from, mailbox_id=mailbox.id, uidvalidity=uidvalidity, uid=selection.uidnext)
        return await self._select(mailbox) if await self._db.read(ask) else selection

    async def _select(self, mailbox: MailboxRow) -> SelectResult:
        selected = await self._connection.select(mailbox.wire_name)
        if selected.uidvalidity != mailbox.cursor.uidvalidity:
            raise RenumberedError("the server gave this mailbox a new uidvalidity")
        return selected

    async def _append(
        self, target: MailboxRow, batch: Sequence[Upload], sending: "_Sending", *, behind: LookBehind | None
    ) -> None:
        """Send bodies, and a look behind them; after a refusal that reaches the mailbox the others are not sent."""
        is_expunging = behind is not None and target.id in self._expunging
        small = [one.body_id for one in batch if one.size_bytes <= _SMALL_BYTES]
        octets, missing = await self._db.read(partial(_read, ids=small, missing_of=target if is_expunging else None))
        limit = await self._connection.append_limit(target.wire_name)
        fit: list[Upload] = []
        for one in batch:
            if sending.of_mailbox is not None:
                sending.flawed[one.id] = sending.of_mailbox
            elif (flaw := await self._flaw(one, octets.get(one.body_id), limit)) is not None:
                sending.flawed[one.id] = RefusedError(flaw, reach=Reach.MESSAGE)
            else:
                fit.append(one)
        new = [self._new(target, one, octets.get(one.body_id)) for one in fit]
        begin = partial(behind.begin, len(fit), beside=missing) if behind is not None else None
        async with aclosing(self._connection.append_many(target.wire_name, new, behind=begin)) as outcomes:
            at = 0
            async for outcome in outcomes:
                one, at = fit[at], at + 1
                match outcome:
                    case NotAppended(error):
                        sending.refuse(one, error)
                        if error.code in REACHES_MAILBOX:
                            sending.of_mailbox = error
                    case Appended() as place:
                        sending.hint(one, place, target)

    def _new(self, target: MailboxRow, one: Upload, octets: bytes | None) -> NewMessage:
        body = Streamed(one.size_bytes, self._pieces(one.body_id)) if octets is None else octets
        return NewMessage(body, _flags_sent(target, one), one.mtime, is_alone=one.error is not None)

    async def _flaw(self, one: Upload, octets: bytes | None, limit: int | None) -> str | None:
        """Return why a message is not to be sent; a large one is read for that."""
        if limit is not None and one.size_bytes > limit:
            return f"the server takes no message above {limit:,} bytes"
        if octets is not None:
            return _NUL if b"\0" in octets else None
        pieces = bodies.stream_body(self._db.read_now, one.body_id)
        try:
            has_nul = await asyncio.to_thread(lambda: any(b"\0" in piece for piece in pieces))
        except StoreError as error:
            if error.reach is not Reach.MESSAGE:
                raise
            return str(error)
        return _NUL if has_nul else None

    async def _pieces(self, body_id: int) -> AsyncIterator[bytes]:
        pieces = bodies.stream_body(self._db.read_now, body_id)
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            yield piece

    async def _transfer(
        self, source: MailboxRow, target: MailboxRow, way: Way, ones: Mapping[int, Upload], sending: "_Sending"
    ) -> None:
        """Move or copy messages, by UID, from another mailbox, and prove which of them left it."""
        await self._select(source)
        uids = UidSet.of(ones)
        rows = await fetch_facts(self._connection, uids)
        await ensure_same(self._db, self._connection, source, observed_of(rows))
        transfer = move_messages if way is Way.MOVE else copy_messages
        # NOTE: what was refused before, perhaps because of others, goes alone.
        alone = [UidSet.of((uid,)) for uid, one in ones.items() if one.error is not None]
        for some in (uids - UidSet.union(alone), *alone):
            for outcome in await transfer(self._connection, some, target.wire_name) if some else ():
                one = ones[outcome.uid]
                if outcome.moved is Moved.REFUSED:
                    sending.refuse(one, RefusedError(outcome.text or _KEPT, code=outcome.code, reach=Reach.MESSAGE))
                elif outcome.target is not None:
                    sending.hint(one, outcome.target, target)
        if way is Way.MOVE:
            left = await still_there(self._connection, uids)
            sending.gone |= await self._messages(source, uids - left)

    async def _messages(self, mailbox: MailboxRow, uids: UidSet) -> frozenset[int]:
        find = partial(
            server_tree.message_ids_of, mailbox_id=mailbox.id, uidvalidity=mailbox.cursor.uidvalidity, uids=uids
        )
        return frozenset((await self._db.read(find)).values())

    async def _seen(
        self,
        target: MailboxRow,
        sent: Sequence[Upload],
        uidnext: int,
        sending: "_Sending",
        arrived: Arrived | None = None,
        *,
        late: Collection[int] = (),
    ) -> Brought:
        """Return what of that is there, refused or not; arrived: what a look behind it has found. late: see `find`."""
        wanted = [_sent(one, uidnext, sending.hints.get(one.id, one.told_uid)) for one in sent]
        accepted = {one.id for one in sent} - sending.refused.keys()
        rows, found = (arrived.rows, arrived.found(wanted)) if arrived is not None else ({}, {})
        has_looked = arrived is not None
        # NOTE: a selected mailbox shows what was appended to it (RFC 3501 §6.3.11); where it does not, SELECT does.
        selection = self._connection.selection if self._connection.selected == target.wire_name else None
        is_selected = selection is not None and selection.uidvalidity == target.cursor.uidvalidity
        if is_selected and not (has_looked and accepted <= found.keys()):
            rows, found = await self._find(wanted, uidnext)
            has_looked = True
        if not (has_looked and accepted <= found.keys()):
            await self._select(target)
            rows, found = await self._find(wanted, uidnext)
        refused = {id_: error for id_, error in sending.refused.items() if id_ not in found}
        if len(refused) < len(sending.refused):
            log.info("refusal_contradicted", mailbox_id=target.id, count=len(sending.refused) - len(refused))
        unseen = [one for one in sent if one.id in late and one.id not in found]
        left = await left_again(self._db, self._connection, target, unseen)
        for id_ in found:
            sending.hints.pop(id_, None)
        if not (found or left):
            return Brought(refused=refused)
        by_id = {one.id: one for one in sent}
        return Brought(
            record=partial(
                _record,
                mailbox=target,
                uidnext=uidnext,
                rows=rows,
                uploads=by_id,
                found=found,
                left=left,
                now=self._clock(),
            ),
            rewritten=frozenset(id_ for id_, arrival in found.items() if arrival.is_rewritten),
            refused=refused,
            left={one.id: uid for uid, one in left.items()},
        )

    async def _find(self, wanted: Sequence[Sent], uidnext: int) -> tuple[Mapping[int, FetchRow], Mapping[int, Arrival]]:
        """Return what the selected mailbox has from a UID on, and what of it is what was sent.

        The headers of what the server named are asked for at once, those of others only as far as they are needed.
        """
        named = UidSet.of(one.hint for one in wanted if one.hint is not None)
        arrived = await look(self._connection, uidnext, named=named)
        rows, headers, sizes = arrived.rows, dict(arrived.headers), {one.size_bytes for one in wanted}
        found: Mapping[int, Arrival] = {}
        for uids in ([uid for uid, row in rows.items() if row.size_bytes in sizes], rows):
            lacking = UidSet.of(uid for uid in uids if uid not in headers)
            headers |= await fetch_headers(self._connection, lacking)
            found = Arrived(rows, headers).found(wanted)
            if len(found) == len(wanted):
                break
        return rows, found


class _Sending(Record):
    """Gather what the server answers: by upload id, and the sources that are gone by message id.

    flawed: what is surely not there. refused: a server in trouble may have done what it says NO to.
    """

    flawed: dict[int, SyncdError] = field(default_factory=dict)
    refused: dict[int, SyncdError] = field(default_factory=dict)
    hints: dict[int, int] = field(default_factory=dict)
    """Where what is not seen yet came by the server's word."""
    gone: frozenset[int] = frozenset()
    of_mailbox: RefusedError | None = None

    def refuse(self, one: Upload, error: RefusedError) -> None:
        (self.flawed if error.code in OF_MAILBOX else self.refused)[one.id] = error

    def hint(self, one: Upload, place: Appended, target: MailboxRow) -> None:
        if place.uidvalidity == target.cursor.uidvalidity:
            self.hints[one.id] = place.uid


def _read(conn: Connection, *, ids: Sequence[int], missing_of: MailboxRow | None) -> tuple[Mapping[int, bytes], UidSet]:
    """Return bodies, and the messages of a mailbox that are likely to be deleted next."""
    limit = AT_ONCE + 1
    uids = () if missing_of is None else deletions.missing_uids(conn, mailbox_id=missing_of.id, limit=limit)
    return bodies.read_bodies(conn, ids=ids), worth_a_look(uids)


def _record(
    conn: Connection,
    *,
    mailbox: MailboxRow,
    uidnext: int,
    rows: Mapping[int, FetchRow],
    uploads: Mapping[int, Upload],
    found: Mapping[int, Arrival],
    left: Mapping[int, Upload],
    now: float,
) -> Mapping[int, int]:
    """Write the rows of messages that are there, with the bodies that they have unless they were rewritten.

    rows: of all that is there from `uidnext` on. Where it is all ours, the next look need not ask for it again.
    left: by UID what is there no more, and is written as it was.
    """
    uidvalidity = mailbox.cursor.uidvalidity
    observed = [*observed_of(rows[arrival.uid] for arrival in found.values()), *as_sent(conn, mailbox, left)]
    server_tree.record_messages(conn, mailbox.id, uidvalidity, observed, now=now)
    uids = [arrival.uid for arrival in found.values()]
    all_uids = [*uids, *left]
    ids = server_tree.message_ids_of(conn, mailbox_id=mailbox.id, uidvalidity=uidvalidity, uids=all_uids)
    same = {ids[one.uid]: uploads[id_].body_id for id_, one in found.items() if not one.is_rewritten}
    server_tree.bind_bodies(conn, mailbox.id, same | {ids[uid]: one.body_id for uid, one in left.items()})
    if uids and rows.keys() == set(uids):
        accounts.pass_by(conn, mailbox.id, uidvalidity, uidnext=uidnext, uids=uids)
    seen = {id_: ids[arrival.uid] for id_, arrival in found.items()}
    return seen | {one.id: ids[uid] for uid, one in left.items()}


def _flags_sent(target: MailboxRow, one: Upload) -> Flags:
    return target.holdable.part_of(one.flags)


def _sent(one: Upload, uidnext: int, hint: int | None) -> Sent:
    return Sent(
        one.id,
        one.size_bytes,
        one.header_digest,
        one.header_message_id,
        one.mtime,
        max(one.uidnext, uidnext),
        hint,
    )


def _by_source(placements: Iterable[Placement]) -> Mapping[tuple[int, Way], dict[int, Upload]]:
    """Return the moves and copies by mailbox and way, each by the UID of its source."""
    found: dict[tuple[int, Way], dict[int, Upload]] = defaultdict(dict)
    for one in placements:
        source = one.origin.source
        if source is not None and one.origin.way in {Way.MOVE, Way.COPY}:
            found[source.mailbox_id, one.origin.way].setdefault(source.uid, one.upload)
    return found
