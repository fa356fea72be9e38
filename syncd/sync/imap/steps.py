"""Floor 4: the steps of which a pass over an IMAP account is made: what is done with one mailbox, and how far that is.

Theory. A step is done by `run`: what devices changed goes to the server first, and trouble that reaches no further than
the mailbox is recorded there. What a step has read is remembered only as a version that the store gives, so that a
mailbox in which nothing came since is complete without being asked again.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol

from sqlalchemy import Connection

from syncd.imap.connection import ImapConnection
from syncd.imap.news.observe import Rung, resync_of
from syncd.imap.quirks import NONE, Quirks
from syncd.imap.types import Resync, SelectResult
from syncd.log import log
from syncd.reconcile.planner import Selection
from syncd.store.bodies.wanted_bodies import mailboxes_without_bodies
from syncd.store.due.backlog import mailboxes_with_due_bodies
from syncd.store.engine.changed_rows import MAILBOX, ChangedRow
from syncd.store.trees import accounts, server_tree
from syncd.store.trees.accounts import MailboxRow
from syncd.sync.accounts.incoming_bodies import IncomingBodies
from syncd.sync.accounts.served_account import ServedAccount
from syncd.sync.body_batches import BodyBatches
from syncd.sync.imap.foreseen import Foreseen
from syncd.sync.imap.identity import RenumberedError
from syncd.sync.imap.latecomers import Latecomers
from syncd.sync.imap.losses import Losses
from syncd.sync.imap.mailbox_failures import MailboxFailures, Work
from syncd.sync.imap.observed import known_cursor
from syncd.sync.imap.suspicions import Suspicions
from syncd.sync.remembered import Remembered
from syncd.values import Value

if TYPE_CHECKING:
    from syncd.imap.news.few_rows import RowsAhead
    from syncd.sync.imap.first_listing import Coming
    from syncd.sync.imap.mailbox import ImapMailbox

_NEWEST_BODIES = 100

Step = Callable[["ImapMailbox", MailboxRow], Awaitable[bool]]
"""What is done with one mailbox; tells whether the server was asked, and so whether it can be well with it."""


class OnChange(Protocol):
    """Is told that something is new to devices; is_more_coming: there will be more at once."""

    def __call__(self, *, is_more_coming: bool = False) -> None: ...


class ImapSteps:
    """Do one thing with one mailbox of an account; who reads the account says what, and when."""

    def __init__(
        self,
        account: ServedAccount,
        *,
        incoming: IncomingBodies,
        losses: Losses,
        failures: MailboxFailures,
        suspicions: Suspicions,
        push: Callable[[ImapConnection], Awaitable[None]],
        glance: Callable[[ImapConnection], Awaitable[None]],
        on_change: OnChange,
    ) -> None:
        """Call `push` before each step, and with `glance` between two batches of one; `on_change` for what is new."""
        self._account = account
        self._db = account.db
        self._activity = account.activity
        self._clock = account.clock
        self._spool_directory = incoming.spool_directory
        self._losses = losses
        self._failures = failures
        self._suspicions = suspicions
        self._push = push
        self._glance = glance
        self._on_change = on_change
        self._quirks = NONE
        self._row = Remembered(
            account.db,
            lambda conn, id_: accounts.mailbox_by_id(conn, mailbox_id=id_),
            reads=lambda id_: {ChangedRow(MAILBOX, id_)},
        )
        self._ceilings: dict[int, Rung] = {}
        """What a server contradicted or refused over this connection, which may have been of the moment."""
        self._complete_at: dict[int, int] = {}
        self._fetched = 0
        self.batches = BodyBatches(
            account.db,
            encoder=incoming.encoder,
            recent=incoming.recent,
            on_commit=self._on_commit,
            clock=account.clock,
        )
        """Whoever does several steps enters it, so that no step waits for the bodies of the one before."""
        self.seen: set[int] = set()
        """The mailboxes that were observed over this connection."""
        self.vanished: set[int] = set()
        """The mailboxes from which messages were seen to have gone since whoever wants to know took them out of it."""
        self._observed: SelectResult | None = None
        """What SELECT said when a mailbox was observed last."""
        self.latecomers = Latecomers(account)
        self._rows_ahead: RowsAhead | None = None
        """The rows of a mailbox that is about to be listed, or which of them there are."""

    def begin(self, quirks: Quirks) -> None:
        """Begin on another connection."""
        self._quirks = quirks
        self._rows_ahead = None
        self.seen.clear()
        self._ceilings.clear()
        self._activity.demoted.clear()

    def adjust(self) -> None:
        """Take no mailbox for complete any more: devices may take other messages by now."""
        self._complete_at = {}

    async def run(self, connection: ImapConnection, mailbox: MailboxRow, step: Step) -> None:
        """Do a step; trouble that reaches no further than the mailbox is recorded there, and the others go on."""
        await self._push(connection)
        if self._failures.is_waiting(mailbox.id, Work.READ):
            return
        fresh = await self._row.get(mailbox.id)
        observer = self.observer(connection, fresh)
        async with self._failures.kept(connection, fresh, Work.READ):
            was_asked = True
            try:
                was_asked = await step(observer, fresh)
            except RenumberedError:
                self._suspicions.forget(fresh.id)
                await observer.renumber()
                self.vanished.add(fresh.id)  # what it has no more may be in another mailbox
                self._on_change()
            if was_asked:
                await self._failures.succeeded(fresh, Work.READ)

    async def tell_errors(self, connection: ImapConnection, synced: Iterable[MailboxRow]) -> None:
        """Record what went wrong with bodies that were still under way when the step of their mailbox ended."""
        for mailbox in synced:
            if (error := self.batches.take_error(mailbox.id)) is not None:
                async with self._failures.kept(connection, mailbox, Work.READ):
                    raise error

    def resync_of(self, connection: ImapConnection, synced: Iterable[MailboxRow]) -> Resync | None:
        """Return with what the selected mailbox is to be selected anew so that it tells what changed, if it can."""
        for mailbox in synced:
            if mailbox.is_listed and mailbox.wire_name == connection.selected:
                ceiling = self._ceilings.get(mailbox.id, Rung.QRESYNC)
                return resync_of(connection, known_cursor(mailbox), ceiling=ceiling, quirks=self._quirks)
        return None

    def has_observed(self, connection: ImapConnection) -> bool:
        """Tell whether all was observed that happened in the selected mailbox before it was selected."""
        return connection.selection is not None and connection.selection is self._observed

    async def incomplete(self, synced: Iterable[MailboxRow]) -> list[MailboxRow]:
        """Return those of the mailboxes of which bodies may have to be fetched."""
        synced, now = tuple(synced), self._clock()
        due, lacking = await self._db.read(
            lambda conn: (
                mailboxes_with_due_bodies(conn, account_id=self._account.id, now=now),
                mailboxes_without_bodies(conn, account_id=self._account.id),
            )
        )
        # NOTE: read after the versions were, so that what came in between has a version of its own.
        self._complete_at |= {row.id: row.version for row in synced if row.is_listed and row.id not in lacking}
        return [row for row in synced if row.id in due or self._complete_at.get(row.id) != row.version]

    def observer(
        self, connection: ImapConnection, mailbox: MailboxRow, *, foreseen: Foreseen | None = None
    ) -> "ImapMailbox":
        """Return what observes a mailbox over this connection; foreseen: see `ImapMailbox`."""
        from syncd.sync.imap.mailbox import ImapMailbox  # noqa: PLC0415  # a sync that finds nothing needs none

        return ImapMailbox(
            self._db,
            connection,
            mailbox,
            quirks=self._quirks,
            batches=self.batches,
            losses=self._losses,
            suspicions=self._suspicions,
            foreseen=Foreseen() if foreseen is None else foreseen,
            is_first=mailbox.id not in self.seen,
            spool_directory=self._spool_directory,
            clock=self._clock,
        )

    async def list_newest(
        self,
        observer: "ImapMailbox",
        mailbox: MailboxRow,
        *,
        count: int | None = None,
        then: "Coming | None" = None,
    ) -> bool:
        """List the newest rows of a mailbox that was never read, or all of few, and fetch the newest bodies.

        count: of messages, as far as the server told. then: the mailbox that is listed next.
        """
        self._activity.now(f"listing {mailbox.name}", self._clock())
        eager = partial(self.latecomers.selections, mailbox, now=self._clock())
        ahead, self._rows_ahead = self._rows_ahead, None
        self._rows_ahead = await observer.list_rows(only_newest=True, count=count, eager=eager, ahead=ahead, then=then)
        listed = await self._row.get(mailbox.id)
        if listed.is_listed:
            self._on_change()
        await self.read_newest_bodies(self.observer(observer.connection, listed), listed)
        return True

    async def read_rows(self, observer: "ImapMailbox", mailbox: MailboxRow) -> bool:
        """Record what changed in a mailbox, or all rows of one that was never read."""
        self._activity.now(f"reading {mailbox.name}", self._clock())
        if not mailbox.is_listed:
            ahead, self._rows_ahead = self._rows_ahead, None
            await observer.list_rows(only_newest=False, ahead=ahead)
        else:
            ceiling = self._ceilings.get(mailbox.id, Rung.QRESYNC)
            ceiling = await observer.observe(ceiling, eager=self._eager(mailbox))
            self._ceilings[mailbox.id] = ceiling
            self._observed = observer.connection.selection
            if ceiling is not Rung.QRESYNC:
                self._activity.demoted[mailbox.id] = ceiling.name.lower()
            self.seen.add(mailbox.id)
        if self._row.known(mailbox.id) != mailbox:
            _, told = await self._row.read(mailbox.id, partial(_what_was_told, before=mailbox))
            if told.is_told:
                # NOTE: of what is new they hear when its body is there.
                self._on_change(is_more_coming=observer.connection.has_bodies_ahead)
            if told.has_vanished:
                self.vanished.add(mailbox.id)
        return True

    def _eager(self, mailbox: MailboxRow) -> Sequence[Selection]:
        """Return what devices take of new mail at once; what comes elsewhere was mostly moved there, and is known."""
        if not mailbox.name.is_inbox:
            return ()
        return self._account.takers.selections(self._account.name, mailbox.name, now=self._clock())

    async def read_known_bodies(self, observer: "ImapMailbox", mailbox: MailboxRow) -> bool:
        """Bind the bodies that the store has already."""
        selections = self._account.takers.selections(self._account.name, mailbox.name, now=self._clock())
        await observer.bind_bodies(selections, on_commit=self._on_commit)
        return False  # mostly there are none

    async def read_newest_bodies(self, observer: "ImapMailbox", mailbox: MailboxRow) -> bool:
        """Fetch the newest bodies that devices take."""
        selections = await self.latecomers.selections(mailbox, now=self._clock())
        self._activity.pace.begin(self._clock())
        return bool((await observer.fetch_bodies(selections, newest=_NEWEST_BODIES, on_commit=self._on_commit)).wanted)

    async def read_bodies(self, observer: "ImapMailbox", mailbox: MailboxRow) -> bool:
        """Fetch all bodies that devices take, newest first; between batches devices and INBOX have their turn."""
        was_asked = False
        while mailbox.is_listed:
            complete_at = self._complete_at  # another one by the end if devices take something else by then
            selections = await self.latecomers.selections(mailbox, now=self._clock())
            self._activity.now(f"fetching {mailbox.name}", self._clock(), done=self._fetched)
            self._activity.pace.begin(self._clock())
            found = await observer.fetch_bodies(selections, on_commit=self._on_commit)
            if not found.wanted:
                # NOTE: bodies set aside come again by their time, and age only leaves out more.
                if mailbox.id not in self.latecomers and not found.is_any_left:
                    complete_at[mailbox.id] = found.version
                break
            was_asked = True
            await self._push(observer.connection)
            await self._glance(observer.connection)
        return was_asked

    def _on_commit(self, count: int, size_bytes: int, *, is_more_coming: bool = False) -> None:
        self._fetched += count
        self._activity.done = self._fetched
        self._activity.pace.add(self._clock(), count, size_bytes)
        log.info("bodies_committed", account=self._account.name, count=count)
        self._on_change(is_more_coming=is_more_coming)


class _Told(Value):
    """Whether devices are to hear at once of what became of a mailbox, and whether messages went from there."""

    is_told: bool
    has_vanished: bool


def _what_was_told(conn: Connection, now_known: MailboxRow, *, before: MailboxRow) -> _Told:
    """Return what became of a mailbox; of what has no body yet devices are not to hear."""
    if now_known.version == before.version:
        return _Told(now_known.is_listed is not before.is_listed, has_vanished=False)
    where = {"mailbox_id": before.id, "since": before.version}
    is_told = now_known.is_listed is not before.is_listed or server_tree.has_told(conn, **where)
    return _Told(is_told, server_tree.has_vanished(conn, **where))
