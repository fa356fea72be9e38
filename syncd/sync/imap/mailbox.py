"""Floor 4: one mailbox of an IMAP account on its connection: rows and bodies observed into the server tree."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path

from sqlalchemy import Connection

from syncd.errors import ConnectionLostError, ProtocolError, Reach, RefusedError, Temper, TooSlowError
from syncd.imap.commands.bodies import Body, Lack, NoBody, Wanted
from syncd.imap.connection import ImapConnection
from syncd.imap.effects.perform import FlagChange, Stored, store_changes
from syncd.imap.news.few_rows import RowsAhead
from syncd.imap.news.observe import Rung
from syncd.imap.quirks import Quirks
from syncd.imap.types import FetchRow, SelectResult
from syncd.log import log
from syncd.mail.uidset import UidSet
from syncd.reconcile.effects import Departure, Store
from syncd.reconcile.planner import Selection
from syncd.store.bodies.wanted_bodies import WantedBody, wanted_bodies
from syncd.store.engine.database import Database
from syncd.store.trees import server_tree, troubles
from syncd.store.trees.accounts import MailboxRow
from syncd.sync.body_batches import BodyBatches, FetchedBody, FileSpool
from syncd.sync.imap.departures import depart
from syncd.sync.imap.early_bodies import EarlyBodies
from syncd.sync.imap.first_listing import Coming, Eager, FirstListing
from syncd.sync.imap.foreseen import Foreseen
from syncd.sync.imap.identity import RenumberedError, ensure_same, fetch_facts
from syncd.sync.imap.known_bodies import bind_known_bodies
from syncd.sync.imap.look import Look
from syncd.sync.imap.losses import Losses
from syncd.sync.imap.next_bodies import NextBodies, may_be_known, next_bodies
from syncd.sync.imap.observed import observed_of
from syncd.sync.imap.renumbering import reclaim_lost, renumber
from syncd.sync.imap.suspicions import Suspicions
from syncd.sync.rounds.sides import Departed, StoreOutcome
from syncd.values import Value

_FOUND_AT_ONCE = 5000
_BOUND_AT_ONCE = 5000
_UNDER_WAY_BYTES = 4 * 1024 * 1024
_WHOLE_SHARE = 0.75
"""A body with less than this of what RFC822.SIZE says is doubted; some servers only estimate it."""
_SHORT_MAX = 2


class _Found(Value):
    """Bodies that were found to be wanted, by what devices took then, and what SELECT had said by then."""

    bodies: NextBodies
    selections: Sequence[Selection]
    selection: SelectResult | None


class ImapMailbox:
    """Observe one mailbox; it is selected first, or in the same round trip, where it is not, and is needed."""

    def __init__(
        self,
        db: Database,
        connection: ImapConnection,
        mailbox: MailboxRow,
        *,
        quirks: Quirks,
        batches: BodyBatches,
        losses: Losses,
        suspicions: Suspicions,
        foreseen: Foreseen,
        is_first: bool,
        spool_directory: Path | None,
        clock: Callable[[], float],
    ) -> None:
        """Take whether this mailbox was not observed on this connection: UIDs may name other messages then.

        foreseen: how messages were that are to depart, as far as whoever lets them has looked before.
        """
        self.connection = connection
        self._db = db
        self._mailbox = mailbox
        self._quirks = quirks
        self._batches = batches
        self._losses = losses
        self._suspicions = suspicions
        self._foreseen = foreseen
        self._is_first = is_first
        self._found: _Found | None = None
        self._spool_directory = spool_directory
        self._clock = clock

    async def list_rows(
        self,
        *,
        only_newest: bool,
        count: int | None = None,
        eager: Eager | None = None,
        ahead: RowsAhead | None = None,
        then: Coming | None = None,
    ) -> RowsAhead | None:
        """Record the rows that the tree does not have; see `FirstListing`."""
        listing = FirstListing(self._db, self.connection, self._mailbox, self._batches.under_way(), self._clock)
        return await listing.run(only_newest=only_newest, count=count, eager=eager, ahead=ahead, then=then)

    async def observe(self, ceiling: Rung, *, eager: Sequence[Selection] = ()) -> Rung:
        """Record what changed since the cursor, and return the highest rung to try the next time.

        eager: bodies that these take of few new messages are asked for before their rows are recorded.
        """
        early = EarlyBodies(self._db, self.connection, self._mailbox, eager)
        look = Look(
            self._db,
            self.connection,
            self._mailbox,
            self._suspicions,
            self._quirks,
            self._clock,
            is_first=self._is_first,
            # NOTE: a body that ends the connection is found out by who asks for it after its row is recorded.
            on_new=None if self._is_first or not eager else early.ask,
        )
        return await look.run(ceiling)

    async def bind_bodies(self, selections: Sequence[Selection], *, on_commit: Callable[[int, int], None]) -> None:
        """Bind the newest bodies that the store has from other mailboxes; nothing is fetched but headers."""
        uidvalidity = self._mailbox.cursor.uidvalidity

        def find(conn: Connection) -> Sequence[WantedBody]:
            wanted = wanted_bodies(
                conn,
                mailbox_id=self._mailbox.id,
                uidvalidity=uidvalidity,
                selections=selections,
                limit=_BOUND_AT_ONCE,
                now=self._clock(),
            )
            return wanted if wanted and may_be_known(conn, self._mailbox, wanted) else ()

        wanted = await self._db.read(find)
        if not wanted:
            return
        selected = await self._select()
        if selected.uidvalidity != uidvalidity:
            raise RenumberedError("the server gave this mailbox a new uidvalidity")
        await self._bind_known(wanted, on_commit=on_commit)

    async def fetch_bodies(
        self, selections: Sequence[Selection], *, newest: int | None = None, on_commit: Callable[[int, int], None]
    ) -> NextBodies:
        """Fetch the next bodies that some device takes, newest first, and return what was asked for.

        They are in the store at the latest when the outermost context of the batches ends. Raises what went wrong with
        those before.
        """
        self._raise_error_of_batches()
        uidvalidity = self._mailbox.cursor.uidvalidity
        find = partial(
            next_bodies,
            mailbox=self._mailbox,
            selections=selections,
            limit=newest or _FOUND_AT_ONCE,
            under_way=self._batches.under_way(),
            now=self._clock(),
        )
        found = self._found_before(selections)
        if found is None:
            found = await self._db.read(find)
        wanted = found.wanted
        if not wanted:
            return found
        if found.may_be_known:
            selected = await self._select()
            if selected.uidvalidity != uidvalidity:
                raise RenumberedError("the server gave this mailbox a new uidvalidity")
            wanted = await self._bind_known(wanted, on_commit=on_commit)
        async with self._batches:
            unsuspected = [one for one in wanted if not self._losses.is_suspected(one.message_id)]
            suspected = sorted(wanted, key=lambda one: self._losses.lost_alone(one.message_id))
            for together in (unsuspected,) if unsuspected else ((one,) for one in suspected):
                await self._bring(together)
            self._losses.was_read(self._mailbox.id)
            await self._batches.hand_over()
        self._raise_error_of_batches()
        self._found = _Found(found, selections, self.connection.selection)
        return found

    def _found_before(self, selections: Sequence[Selection]) -> NextBodies | None:
        """Return what was found with the bodies before, if since then nothing can have been learnt of the mailbox."""
        before, self._found = self._found, None
        if before is None or before.selections != selections or before.selection is not self.connection.selection:
            return None
        return before.bodies.rest()

    def _raise_error_of_batches(self) -> None:
        if (error := self._batches.take_error(self._mailbox.id)) is not None:
            raise error

    async def _bind_known(
        self, wanted: Sequence[WantedBody], *, on_commit: Callable[[int, int], None]
    ) -> Sequence[WantedBody]:
        """Give back what the server had lost, bind what is known, and return the rest."""
        left = await reclaim_lost(
            self._db,
            self.connection,
            self._mailbox,
            wanted,
            spool_directory=self._spool_directory,
            clock=self._clock,
        )
        return await bind_known_bodies(self._db, self.connection, self._mailbox, left, on_commit=on_commit)

    async def _bring(self, wanted: Sequence[WantedBody]) -> None:
        """Fetch bodies into batches; when the connection ends, what was on its way is suspected.

        Unless the mailbox was not selected yet, which then comes first.
        """
        left = {one.uid: one for one in wanted}
        self._batches.expect(sum(one.size_bytes for one in wanted))
        try:
            async with aclosing(self._bodies(wanted)) as outcomes:
                async for outcome in outcomes:
                    one = left.pop(outcome.uid)
                    self._losses.came(one.message_id)
                    match outcome:
                        case Body(_, bytes() | FileSpool() as content, size_bytes):
                            if not await self._is_short(one, content, size_bytes):
                                await self._batches.put(
                                    FetchedBody(self._mailbox.id, one.message_id, content, size_bytes)
                                )
                        case NoBody():
                            await self._set_aside(one, _why(outcome))
        except (ConnectionLostError, ProtocolError, TooSlowError) as error:
            if self.connection.is_usable:
                raise
            if not self._is_selected:
                self._losses.at_selection(self._mailbox.id)
            elif len(wanted) > 1:
                self._losses.lost(one.message_id for one in _under_way(left.values()))
            elif self._losses.is_culprit(wanted[0].message_id):
                await self._set_aside(wanted[0], f"the connection ended in the middle of the message: {error}")
            raise

    async def _bodies(self, wanted: Sequence[WantedBody]) -> AsyncGenerator[Body | NoBody, None]:
        """Yield an outcome for each of these bodies; a mailbox that is not selected is so in the same round trip."""
        asked = [Wanted(one.uid, one.size_bytes) for one in wanted]
        while True:
            if not self._is_selected and self._losses.was_at_selection(self._mailbox.id):
                await self._select_as_known(is_pipelined=False)
            is_behind = not self._is_selected
            outcomes = self.connection.fetch_bodies(
                asked,
                spool=lambda _: FileSpool(self._spool_directory),
                place=(self._mailbox.wire_name, self._mailbox.cursor.uidvalidity),
                selecting=self._select_as_known if is_behind else None,
            )
            has_any = False
            async with aclosing(outcomes):
                async for outcome in outcomes:
                    has_any = True
                    yield outcome
            if has_any or not is_behind:
                return

    async def _select_as_known(self, *, is_pipelined: bool = True) -> bool:
        """Select the mailbox beside what is asked of it, and tell whether that was asked when it was selected."""
        selected = await self.connection.select(self._mailbox.wire_name, is_pipelined=is_pipelined)
        if selected.uidvalidity != self._mailbox.cursor.uidvalidity:
            raise RenumberedError("the server gave this mailbox a new uidvalidity")
        return not selected.is_plain  # else the one before it was refused, and with it what followed

    async def _is_short(self, wanted: WantedBody, content: bytes | FileSpool, size_bytes: int) -> bool:
        """Set aside what is far from whole, and tell so; what stays as short is believed in the end: sizes lie, too."""
        if size_bytes >= wanted.size_bytes * _WHOLE_SHARE:
            return False
        known = await self._db.read(partial(troubles.attempts, message_id=wanted.message_id, device_id=None))
        if known >= _SHORT_MAX:
            return False
        if isinstance(content, FileSpool):
            await asyncio.to_thread(content.discard)
        await self._set_aside(
            wanted, f"the server gave only {size_bytes:,} of {wanted.size_bytes:,} bytes of the message"
        )
        return True

    async def renumber(self) -> None:
        """Bind the rows to the UIDs that their messages have under a new UIDVALIDITY."""
        await renumber(
            self._db, self.connection, self._mailbox, spool_directory=self._spool_directory, clock=self._clock
        )

    async def store(self, mailbox: MailboxRow, effects: Sequence[Store], *, modseq: int) -> StoreOutcome:
        """Change flags on the server; a message that it does not tell of is left for the next observation."""
        selected = await self._select()
        if selected.uidvalidity != self._mailbox.cursor.uidvalidity:
            raise RenumberedError("the server gave this mailbox a new uidvalidity")
        if selected.read_only:
            refusal = RefusedError("the mailbox is read-only on the server", reach=Reach.MESSAGE)
            return StoreOutcome(refused={effect.message_id: refusal for effect in effects})
        by_uid = {effect.uid: effect for effect in effects}
        if self._is_first:
            rows = await fetch_facts(self.connection, UidSet.of(by_uid))
            await ensure_same(self._db, self.connection, self._mailbox, observed_of(rows))
        highest = self._mailbox.cursor.highestmodseq  # up to which all messages were observed, but for our own stores
        unchanged_since = None if highest is None else max(highest, modseq)
        changes = [FlagChange(effect.uid, effect.add, effect.remove) for effect in effects]
        outcomes = await store_changes(self.connection, changes, unchanged_since=unchanged_since)
        ours, others = (
            [one.row for one in outcomes if one.row is not None and (one.stored is Stored.APPLIED) is is_ours]
            for is_ours in (True, False)
        )
        applied = frozenset(by_uid[one.uid].message_id for one in outcomes if one.stored is Stored.APPLIED)
        refused = {
            by_uid[one.uid].message_id: RefusedError(
                one.text or "the server keeps the flags of this message as they are", reach=Reach.MESSAGE
            )
            for one in outcomes
            if one.stored is Stored.REFUSED
        }
        return StoreOutcome(applied, refused, partial(self._record_told, ours=ours, others=others, now=self._clock()))

    async def depart(self, mailbox: MailboxRow, effects: Sequence[Departure]) -> Departed:
        """Move to Trash or expunge; a message that a person changed on the server meanwhile is left as it is."""
        selected = await self._select()
        if selected.uidvalidity != self._mailbox.cursor.uidvalidity:
            raise RenumberedError("the server gave this mailbox a new uidvalidity")
        if selected.read_only:
            refusal = RefusedError("the mailbox is read-only on the server", reach=Reach.MESSAGE)
            return Departed(refused={effect.message_id: refusal for effect in effects})
        here = (self._db, self.connection, self._mailbox)
        return await depart(*here, effects, foreseen=self._foreseen, now=self._clock())

    @property
    def _is_selected(self) -> bool:
        return self.connection.selected == self._mailbox.wire_name

    async def _select(self) -> SelectResult:
        """Return what SELECT said; a mailbox that is selected stays so, for each SELECT forgets what was reported."""
        selection = self.connection.selection
        if selection is not None and self._is_selected:
            return selection
        return await self.connection.select(self._mailbox.wire_name)

    def _record_told(
        self, conn: Connection, *, ours: Sequence[FetchRow], others: Sequence[FetchRow], now: float
    ) -> None:
        """Record what the server told of messages when we changed some, and of others: that is news."""
        of, uidvalidity = self._mailbox.id, self._mailbox.cursor.uidvalidity
        for rows, is_told in ((ours, False), (others, True)):
            if rows:
                server_tree.record_messages(conn, of, uidvalidity, observed_of(rows), now=now, is_told=is_told)

    async def _set_aside(self, wanted: WantedBody, error: str) -> None:
        log.warning("body_not_fetched", mailbox_id=self._mailbox.id, uid=wanted.uid, error=error)
        await self._db.write(
            partial(
                troubles.set_aside,
                mailbox_id=self._mailbox.id,
                message_id=wanted.message_id,
                device_id=None,
                error=error,
                temper=Temper.WAIT,
                now=self._clock(),
            )
        )


def _why(lack: NoBody) -> str:
    return {
        Lack.NIL: "the server gave NIL instead of the message",
        Lack.ABSENT: "the server lists the message but did not give it",
        Lack.REFUSED: f"the server refused to give the message: {lack.text}",
    }[lack.lack]


def _under_way(left: Iterable[WantedBody]) -> Iterator[WantedBody]:
    """Yield those of the bodies that did not come which may have been asked for."""
    size_bytes = 0
    for one in left:
        yield one
        size_bytes += min(one.size_bytes, _UNDER_WAY_BYTES)
        if size_bytes > _UNDER_WAY_BYTES:
            return
