"""Floor 4: what devices changed in the mailboxes of an IMAP account, brought to its server."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

from sqlalchemy import Connection

from syncd.errors import RefusedError
from syncd.imap.connection import ImapConnection
from syncd.log import log
from syncd.mail.mailbox import to_wire
from syncd.store.due.pending import is_anything_set_aside
from syncd.store.engine.changed_rows import Topic
from syncd.store.files import refused_uploads, uploads
from syncd.store.files.uploads import Bringers, Upload
from syncd.store.mailboxes import listings
from syncd.store.rounds import pairs
from syncd.store.trees import accounts
from syncd.store.trees.accounts import MailboxRow
from syncd.store.trees.devices import device_names
from syncd.store.trees.journal import UploadState
from syncd.sync.accounts.served_account import ServedAccount
from syncd.sync.imap.foreseen import Foreseen
from syncd.sync.imap.mailbox_failures import MailboxFailures, Work
from syncd.sync.policies import Bringable
from syncd.sync.rounds.sides import RoundResult
from syncd.values import Value

if TYPE_CHECKING:
    from syncd.sync.imap.mailbox import ImapMailbox
    from syncd.sync.rounds.arrivals import Planned

_ROUNDS_MAX = 100
_OVERTAKEN_MAX = 4
_MADE_FOR_MAX = 1000
_MADE_ONCE_S = 300.0
_NOTHING_S = 1.0
_WHAT_DEVICES_DO = frozenset({Topic.DEVICE_NEWS, Topic.LISTED, Topic.JOURNAL, Topic.SET_ASIDE})


class _ByDevices(Value):
    """What devices did: whether they added anything, the mailboxes that they changed, and how many changes that is.

    is_more_waiting: there is something else, which comes due by its time, or when a mailbox is another one.
    """

    has_added: bool
    changed: tuple[MailboxRow, ...]
    changes: int
    is_more_waiting: bool


class _Nothing(NamedTuple):
    """As of which write and which configuration devices had changed nothing, when that was, and whether that lasts."""

    writes: int
    adjustments: int
    at: float
    lasts: bool


class _Page(Value):
    """Some of what is to be brought now, and as what."""

    due: Sequence[Upload]
    plans: Sequence["Planned"]


class _End(Value):
    """Nothing is to be brought now: when there will be, None for nothing that waits, and what devices did by then."""

    again_at: float | None
    there: _ByDevices


class Observes(Protocol):
    """Return what observes a mailbox over a connection, with how messages were that are to depart."""

    def __call__(self, connection: ImapConnection, mailbox: MailboxRow, *, foreseen: Foreseen) -> "ImapMailbox": ...


class OnChange(Protocol):
    """Is told that something is new to devices, apart from some, by name."""

    def __call__(self, *, apart_from: Collection[str] = ()) -> None: ...


class ImapPush:
    """Bring the changes of devices to a server; a mailbox that refuses is left alone for a while."""

    def __init__(
        self,
        account: ServedAccount,
        *,
        failures: MailboxFailures,
        observer: Observes,
        look: Callable[["ImapMailbox", MailboxRow], Awaitable[None]],
        is_doubted: Callable[[int], bool],
        on_change: OnChange,
    ) -> None:
        """Call `look` for a mailbox in which the server was faster, and `on_change` when something was stored.

        is_doubted: tells of a mailbox, by id, whether it is to be known first what is there.
        """
        self._account = account
        self._db = account.db
        self._takers = account.takers
        self._failures = failures
        self._activity = account.activity
        self._clock = account.clock
        self._observer = observer
        self._look = look
        self._is_doubted = is_doubted
        self._put_off: frozenset[int] = frozenset()
        self._on_change = on_change
        self._filled: set[int] = set()
        self._unseen: set[int] = set()
        self._unmoved: frozenset[int] = frozenset()
        self._is_pushing = False
        self._adjustments = 0
        self._nothing: _Nothing | None = None
        self._done = self._total = 0
        self._again_at: float | None = None
        self.has_made_mailboxes = False
        """Whether there are mailboxes on the server that are to be listed before what they are for can be brought."""
        self._made_at: dict[int, float] = {}
        self._foreseen = Foreseen()

    @property
    def is_quiet(self) -> bool:
        """Tell whether nothing that was pushed is to be followed or tried again, but for what the store says."""
        is_waiting = self._filled or self._unseen or self._put_off or self.has_made_mailboxes
        return not is_waiting and self._again_at is None

    def wait_s(self) -> float | None:
        """Return the time until something that was added is to be tried again, None when nothing is."""
        return None if self._again_at is None else max(self._again_at - self._clock(), 0.0)

    @property
    def may_go_on(self) -> bool:
        """Tell whether a mailbox was put off because of a doubt that is over."""
        return any(not self._is_doubted(mailbox_id) for mailbox_id in self._put_off)

    @property
    def has_to_follow(self) -> bool:
        """Tell whether a mailbox is to be looked at, or a message to be put back, because of what was pushed."""
        return bool(self._filled or self._unseen)

    def adjust(self) -> None:
        """Look anew at what devices changed: by another configuration, other changes count."""
        self._adjustments += 1

    async def push(self, connection: ImapConnection) -> None:
        """Go through the mailboxes that devices changed until none is left but those that failed.

        What devices added comes first: a file that was removed may be what another one has taken the place of.
        """
        if self._is_pushing:
            return  # whoever asks reads something on our behalf
        there = await self._look_what_is_there()
        if there is None:
            self._again_at, self._put_off = None, frozenset()
            return
        self._is_pushing = True
        try:
            await self._push(connection, there)
        finally:
            self._is_pushing = False

    async def _look_what_is_there(self) -> _ByDevices | None:
        """Return what devices changed, None for nothing; asked again and again between the steps of reading."""
        if self._is_as_it_was():
            return None
        # NOTE: counted before it is read.
        writes, adjustments, now = self._db.writes, self._adjustments, self._clock()
        there = await self._db.read(self._by_devices)
        if there.has_added or there.changed:
            return there
        self._nothing = None if writes is None else _Nothing(writes, adjustments, now, not there.is_more_waiting)
        return None

    def _is_as_it_was(self) -> bool:
        """Tell whether devices have changed nothing since they had changed nothing."""
        writes, before = self._db.writes, self._nothing
        if writes is None or before is None or before.adjustments != self._adjustments:
            return False
        if before.lasts and not self._db.has_changed(_WHAT_DEVICES_DO, since=before.writes):
            self._nothing = before._replace(writes=writes)
            return True
        # NOTE: what a server refused is due at some time, which nobody needs to hit.
        return before.writes == writes and 0 <= self._clock() - before.at < _NOTHING_S

    def _by_devices(self, conn: Connection, *, is_counted: bool = True) -> _ByDevices:
        id_ = self._account.id
        changed = self._takers.changed(conn, account=self._account.name, account_id=id_, now=self._clock())
        count = pairs.count_replica_news(conn, account_id=id_) if changed and is_counted else 0
        is_more_waiting = pairs.are_any_replica_news(conn, account_id=id_) or is_anything_set_aside(conn)
        return _ByDevices(uploads.are_any(conn, account_id=id_), changed, count, is_more_waiting)

    async def restore(self, connection: ImapConnection, unmoved: Collection[int]) -> None:
        """Push, and put back those of these messages that the server did not move: it was looked for them since."""
        self._unmoved = frozenset(unmoved)
        self._unseen -= self._unmoved
        try:
            await self.push(connection)
        finally:
            self._unmoved = frozenset()

    def take_unseen(self) -> frozenset[int]:
        """Return the messages to put back since the last call, unless the server moved them, which is to be seen."""
        taken, self._unseen = frozenset(self._unseen), set()
        return taken

    async def _push(self, connection: ImapConnection, there: _ByDevices) -> None:
        overtaken, self._done, self._total = 0, 0, 0
        waiting: set[int] = set()
        for _ in range(_ROUNDS_MAX):
            self._again_at, goes_on = None, False
            if there.has_added:
                goes_on, there = await self._arrive(connection)
            awake = [each for each in there.changed if not self._failures.is_waiting(each.id, Work.PUSH)]
            self._put_off = frozenset(each.id for each in awake if self._is_doubted(each.id))
            ready = [each for each in awake if each.id not in self._put_off | waiting]
            if not ready and not goes_on:
                return
            was_overtaken, is_whole = False, not goes_on and len(ready) == len(there.changed)
            self._total = self._total or there.changes
            for mailbox in ready:
                result = await self._push_mailbox(connection, mailbox, is_last=overtaken >= _OVERTAKEN_MAX)
                was_overtaken |= result.is_stale
                is_whole &= result.is_whole
                if result.unseen and not result.is_stale:
                    waiting.add(mailbox.id)
                    self._unseen |= result.unseen
            if is_whole:
                return  # who changes anything since wakes us
            overtaken += was_overtaken
            there = await self._db.read(partial(self._by_devices, is_counted=not self._total))

    def take_filled(self) -> frozenset[int]:
        """Return the mailboxes to look at, because something came there since the last call that the store lacks."""
        taken, self._filled = frozenset(self._filled), set()
        return taken

    async def _arrive(self, connection: ImapConnection) -> tuple[bool, _ByDevices]:
        """Bring what devices added, and tell whether to go on, and what devices did by then.

        To go on: any of it is a message now, or had to let one go first.

        NOTE: what is left then and was due waits for its mailbox or its device, and these end that. Nothing here may
        ask for another turn because of it: an account that never rests hears of no new mail.
        """
        from syncd.sync.imap.arrivals import ImapArrivals  # noqa: PLC0415
        from syncd.sync.rounds.arrivals import Arrivals, by_mailbox  # noqa: PLC0415  # see `_push_mailbox`

        account_id, now = self._account.id, self._clock()
        is_any_ahead, left, bringable, all_begun = await self._db.read(partial(self._on_their_way, now=now))
        if is_any_ahead:
            await self._db.write(partial(refused_uploads.set_back, account_id=account_id, now=now))
        # NOTE: what is listed since may be made once more as soon as it is lost again.
        self._made_at = {row.id: self._made_at[row.id] for row in left if row.id in self._made_at}
        if left:
            await self._make_again(connection, left)
        open_, of = bringable.mailboxes, bringable.of
        side = ImapArrivals(
            self._db, connection, foreseen=self._foreseen, expunging=bringable.expunging, clock=self._clock
        )
        work = Arrivals(self._db, self._account.id, side, now)
        count = 0
        begun: dict[int, list[Upload]] = defaultdict(list)
        for one in _apart_from(self._asleep(), all_begun):
            begun[one.mailbox_id].append(one)
        for mailbox_id, ones in begun.items():
            async with self._failures.kept(connection, open_[mailbox_id], Work.ARRIVE):
                count += await work.resolve(open_[mailbox_id], ones)
        is_any_left = False
        ask = partial(self._next_page, of=of, now=now)
        page = await self._db.read(partial(ask, asleep=self._asleep(), after=0))
        while isinstance(page, _Page):
            chosen_by = by_mailbox(page.plans)
            is_any_left |= sum(map(len, chosen_by.values())) < len(page.plans)
            for mailbox_id, chosen in chosen_by.items():
                self._activity.now(f"bringing what devices added to {open_[mailbox_id].name}", now, done=count)
                async with self._failures.kept(connection, open_[mailbox_id], Work.ARRIVE):
                    count += await work.bring(open_[mailbox_id], chosen)
                    await self._failures.succeeded(open_[mailbox_id], Work.ARRIVE)
            page = await self._db.read(partial(ask, asleep=self._asleep(), after=page.due[-1].id))
        self._filled |= work.lacking
        self._again_at = page.again_at
        if count or work.lacking:
            self._on_change()  # a device whose file was given up may miss what that took the place of
        return count > 0 or is_any_left, page.there

    def _next_page(
        self, conn: Connection, *, of: Bringers, now: float, asleep: Collection[int], after: int
    ) -> _Page | _End:
        from syncd.sync.rounds.arrivals import UNSEEN_S, planned  # noqa: PLC0415

        id_ = self._account.id
        due = uploads.due(conn, account_id=id_, of=of, now=now, after=after)
        if due:
            return _Page(due, planned(conn, _apart_from(asleep, due), account_id=id_))
        again_at = uploads.next_at(conn, account_id=id_, of=of, unseen_s=UNSEEN_S, now=now)
        return _End(again_at, self._by_devices(conn))

    def _asleep(self) -> frozenset[int]:
        """Return the mailboxes that wait after a failure, and to which nothing is brought meanwhile."""
        return self._failures.waiting(Work.ARRIVE)

    def _on_their_way(
        self, conn: Connection, *, now: float
    ) -> tuple[bool, Sequence[MailboxRow], Bringable, Sequence[Upload]]:
        """Return whether any was begun later than now, mailboxes to make again, what may be brought, what is begun."""
        id_ = self._account.id
        bringable = self._takers.bringable(conn, account=self._account.name, account_id=id_)
        return (
            refused_uploads.is_any_ahead(conn, account_id=id_, now=now),
            [row for row in accounts.left_mailboxes(conn, account_id=id_) if row.is_selected],
            bringable,
            uploads.uploads(conn, state=UploadState.BEGUN, account_id=id_, of=bringable.of),
        )

    async def _make_again(self, connection: ImapConnection, rows: Iterable[MailboxRow]) -> None:
        """Make the mailboxes again that the server has no more, and to which devices add; who refuses is asked later.

        A person who discards a hold of such a mailbox adds what is in it, and one who restores what was in it as well.
        """
        lost: dict[int, list[int]] = defaultdict(list)
        left = {row.id: row for row in rows}
        find = partial(uploads.uploads, account_id=self._account.id, mailbox_ids=left.keys(), limit=_MADE_FOR_MAX)
        names, now = await self._db.read(device_names), self._clock()
        for one in await self._db.read(find):
            row, is_begun = left.get(one.mailbox_id), one.state is UploadState.BEGUN
            if row is None:
                continue
            device = None if one.device_id is None else names[one.device_id]
            if device is not None and not self._takers.writes(device, self._account.name, row.name):
                continue
            # NOTE: a server that does not list what it made would be asked without end.
            was_made = now - self._made_at.get(row.id, -_MADE_ONCE_S) < _MADE_ONCE_S
            if (is_begun or one.due_at <= now) and not was_made:
                lost[row.id] += [] if is_begun else [one.id]
        for mailbox_id, upload_ids in lost.items():
            row = left[mailbox_id]
            wire_name = row.wire_name
            try:
                if listings.is_nowhere(wire_name):
                    wire_name = to_wire(row.name, row.delimiter)
                    give = partial(listings.give_name, mailbox_id=row.id, wire_name=wire_name)
                    await self._db.write(give)
                await connection.create(wire_name, special_use=row.special_use)
                await connection.subscribe(wire_name)
            except (RefusedError, ValueError) as error:
                errors = dict.fromkeys(upload_ids, str(error))
                await self._db.write(partial(refused_uploads.refuse, errors=errors, now=now))
            else:
                log.info("mailbox_made_again", account=self._account.name, mailbox_id=row.id)
                self._made_at[row.id], self.has_made_mailboxes = now, True

    async def _push_mailbox(self, connection: ImapConnection, mailbox: MailboxRow, *, is_last: bool) -> RoundResult:
        """Push one mailbox, and read it where the server was faster."""
        from syncd.sync.rounds.server_round import ServerRound  # noqa: PLC0415  # a sync that finds nothing needs none of it

        doing = f"pushing changes of {mailbox.name}"
        self._activity.now(doing, self._clock(), done=self._done, total=self._total)
        self._activity.pace.begin(self._clock())
        result = RoundResult(0, 0, is_stale=False)
        async with self._failures.kept(connection, mailbox, Work.PUSH):
            observer = self._observer(connection, mailbox, foreseen=self._foreseen)
            now = self._clock()
            result = await ServerRound(
                self._db,
                observer,
                mailbox,
                partial(self._takers.replicas, account=self._account.name, mailbox=mailbox, now=now),
                now=now,
                rule=self._takers.rule,
                sets_overtaken_aside=is_last,
                unmoved=self._unmoved,
            ).run()
            self._done += result.planned
            self._activity.pace.add(self._clock(), result.planned)
            self._filled |= {one.to_id for one in result.moved if one.to_id is not None}
            if result.is_stale:
                await self._look(observer, mailbox)
            await self._failures.succeeded(mailbox, Work.PUSH)
        if result.effects:
            self._on_change(apart_from=result.spared)
        return result


def _apart_from(mailbox_ids: Collection[int], found: Iterable[Upload]) -> list[Upload]:
    return [one for one in found if one.mailbox_id not in mailbox_ids]
