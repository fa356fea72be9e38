"""Floor 4: the mailboxes and replicas of one device as its task knows them: of what was written, only that is read.

Theory (law 5). What a pass asks is kept in the order and by the parts in which it is asked for, so that a pass costs
what has news, however many mailboxes there are. The store tells which rows were written (`store/engine/changed_rows`);
where it cannot tell, all are read. Rows are read in one snapshot, so that those and the ones known from before are of
one state of the store.
"""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum, auto
from functools import partial

from sqlalchemy import Connection

from syncd.mail.mailbox import is_selected
from syncd.reconcile.mailboxes import sync_order
from syncd.store.engine.changed_rows import ACCOUNT, DEVICE, MAILBOX, MAILBOX_CHANGE, REPLICA, ChangedRow, Topic
from syncd.store.engine.database import Database
from syncd.store.files import found_files
from syncd.store.mailboxes import directories, mailbox_changes
from syncd.store.mailboxes.directories import Place
from syncd.store.mailboxes.mailbox_changes import MailboxChange
from syncd.store.trees import accounts, devices
from syncd.store.trees.accounts import MailboxRow
from syncd.store.trees.devices import UNSERVED, DeviceRow, ReplicaRow
from syncd.values import Value

_Key = tuple[bool, tuple[int, str], int, int]
"""Sorts mailboxes: whether the device does not take it, its turn in a round, the turn of its account, its id."""


class Part(StrEnum):
    """What a mailbox of a device may be.

    WANTED: selected, with a replica or without. OTHER: not so, and the device may have files of it. HERE: it has a
    replica that has not left; LEAVING, LEFT: one of that selection. UNSEEN: nobody has looked at its files yet. SERVED:
    it has a replica to be kept; then it may be NOT_THERE, which its server has no more, and have news of either side.
    """

    WANTED = auto()
    OTHER = auto()
    HERE = auto()
    LEAVING = auto()
    LEFT = auto()
    UNSEEN = auto()
    SERVED = auto()
    NOT_THERE = auto()
    SERVER_NEWS = auto()
    REPLICA_NEWS = auto()


class Served(Value):
    """A replica with its mailbox and the account that it belongs to."""

    replica: ReplicaRow
    mailbox: MailboxRow
    account: str

    @property
    def where(self) -> str:
        return f"{self.account}/{self.mailbox.name}"


class Rows(Value):
    """Rows as they are now.

    mailbox_ids, replica_ids: those that were asked for, of which some may be there no more; None: all. changes: None
    where they are as they were. device: the device's own row; None: it is as it was.
    """

    mailbox_ids: frozenset[int] | None
    replica_ids: frozenset[int] | None
    mailboxes: Sequence[MailboxRow]
    placed: Sequence[tuple[ReplicaRow, Place]]
    changes: tuple[MailboxChange, ...] | None
    found: frozenset[int]
    device: DeviceRow | None


def parts_of(mailbox: MailboxRow | None, replica: ReplicaRow | None, *, is_taken: bool) -> Iterator[Part]:
    """Yield what a mailbox is to a device; None: it is of no account that is served, or has no replica.

    is_taken: the device takes mailboxes of this name and account.
    """
    is_wanted = is_other = False
    if mailbox is not None and (mailbox.is_there or replica is not None):
        is_anywhere = mailbox.is_there or (replica is not None and not replica.has_left)
        is_wanted = is_taken and mailbox.is_selected and is_anywhere
        is_other = not is_wanted
        yield Part.WANTED if is_wanted else Part.OTHER
    if replica is None:
        return
    if replica.listed_at is None and not replica.has_left and replica.selection != UNSERVED:
        yield Part.UNSEEN
    if replica.has_left:
        yield Part.LEFT
        return
    yield Part.HERE
    if replica.is_leaving:
        yield Part.LEAVING
    if mailbox is not None and (is_wanted or (is_other and replica.is_leaving)):
        yield Part.SERVED
        if not mailbox.is_there:
            yield Part.NOT_THERE
        if replica.has_server_news:
            yield Part.SERVER_NEWS
        if replica.has_replica_news:
            yield Part.REPLICA_NEWS


class KnownMailboxes:
    """Know what the store has of one device; `refresh` reads what was written since. Lists it returns never change."""

    def __init__(
        self,
        db: Database,
        patterns: tuple[str, ...],
        *,
        account_ids: Mapping[str, int],
        selected: Collection[str],
        learn: Callable[[DeviceRow, int | None], None] = lambda _, __: None,
    ) -> None:
        """Take what says which mailboxes the device selects, and of which accounts; account_ids: of all served ones.

        learn: is told the device's own row when it was read, and as of which write.
        """
        self._db = db
        self._learn = learn
        self._patterns = patterns
        self._accounts = {id_: (name, turn) for turn, (name, id_) in enumerate(account_ids.items())}
        self._selected = frozenset(selected)
        self._upto: tuple[int, int] | None = None
        self.changes: tuple[MailboxChange, ...] = ()
        """What the device did to its mailboxes and is not over."""
        self.moves = 0
        """Another number as soon as any place is another one."""
        self._found: frozenset[int] = frozenset()
        self._of_others: set[int] = set()
        """Replicas that turned out not to be the device's."""
        self._clear()

    def _clear(self) -> None:
        self._mailboxes: dict[int, MailboxRow] = {}
        self._replicas: dict[int, ReplicaRow] = {}
        self._replica_ids: dict[int, int] = {}
        self._places: dict[int, Place] = {}
        self._parts: dict[Part, set[int]] = {part: set() for part in Part}
        self._parts_by_id: dict[int, frozenset[Part]] = {}
        self._served: dict[int, Served] = {}
        self._turns: dict[int, _Turn] = {}
        self._ordered: defaultdict[str | None, list[_Key]] = defaultdict(list)
        self._lists: dict[str | None, Sequence[Served]] = {}

    @property
    def mailboxes(self) -> Collection[MailboxRow]:
        """Return the mailboxes of accounts that are served, those that their servers have no more as well."""
        return self._mailboxes.values()

    @property
    def replicas(self) -> Collection[ReplicaRow]:
        """Return all replicas of the device."""
        return self._replicas.values()

    @property
    def places(self) -> Collection[Place]:
        """Return where the replicas are."""
        return self._places.values()

    @property
    def found(self) -> frozenset[int]:
        """Return the mailboxes with files of which nobody knows yet whether they are messages'."""
        return frozenset(self.of_replicas(self._found))

    def of(self, part: Part) -> Collection[int]:
        """Return the ids of the mailboxes that are this."""
        return self._parts[part]

    def mailbox(self, mailbox_id: int) -> tuple[str, MailboxRow]:
        """Return a mailbox of an account that is served, with that account."""
        row = self._mailboxes[mailbox_id]
        return self._accounts[row.account_id][0], row

    def replica(self, mailbox_id: int) -> ReplicaRow | None:
        """Return the replica of a mailbox, if there is one."""
        replica_id = self._replica_ids.get(mailbox_id)
        return None if replica_id is None else self._replicas[replica_id]

    def of_replicas(self, replica_ids: Iterable[int]) -> list[int]:
        """Return the ids of the mailboxes that these replicas of the device are of."""
        return [self._replicas[one].mailbox_id for one in replica_ids if one in self._replicas]

    def in_order(self, mailbox_ids: Iterable[int]) -> list[int]:
        """Return mailboxes of accounts that are served in the order in which they are synced."""
        return sorted((one for one in mailbox_ids if one in self._turns), key=lambda one: self._turns[one].key)

    def served(self, account: str | None = None) -> Sequence[Served]:
        """Return the replicas that are kept, of an account or all: those selected, then those that may have files."""
        found = self._lists.get(account)
        if found is None:
            keys = self._ordered[account]
            found = self._lists[account] = tuple(self._served[key[-1]] for key in keys if key[-1] in self._served)
        return found

    def served_of(self, mailbox_ids: Iterable[int]) -> list[Served]:
        """Return the replicas that are kept of these mailboxes, in the same order."""
        return [self._served[one] for one in self.in_order(mailbox_ids) if one in self._served]

    async def refresh(self, device_id: int) -> None:
        """Read what was written since the last time."""
        writes = self._db.writes
        if writes is not None and self._upto == (writes, device_id):
            return
        since = self._upto[0] if self._upto is not None and self._upto[1] == device_id else None
        if writes is not None and since is not None and self._is_as_it_was(device_id, since):
            self._upto = (writes, device_id)
            return
        # NOTE: counted before it is read, so that a write in between lets it be read again.
        rows = await self._db.read(partial(self._read, device_id=device_id, since=since))
        self._upto = None if writes is None else (writes, device_id)
        if rows.device is not None:
            self._learn(rows.device, writes)
        self.take(rows)

    def _is_as_it_was(self, device_id: int, since: int) -> bool:
        """Tell whether nothing was written but of other devices, of which most is."""
        changed = self._db.changed_since(since)
        if changed is None or self._db.has_changed({Topic.FOUND}, since=since):
            return False
        return all(
            (row.table == REPLICA and row.id in self._of_others) or (row.table == DEVICE and row.id != device_id)
            for row in changed
        )

    def _read(self, conn: Connection, *, device_id: int, since: int | None) -> Rows:
        found = found_files.with_found(conn)
        # NOTE: after a statement, for with the first one the snapshot is made.
        changed = None if since is None else self._db.changed_since(since)
        mailbox_ids = replica_ids = changes = None
        if changed is not None and not any(row.table == ACCOUNT for row in changed):
            mailbox_ids = frozenset(row.id for row in changed if row.table == MAILBOX)
            replica_ids = frozenset(row.id for row in changed if row.table == REPLICA)
            replica_ids |= devices.replica_ids(conn, device_id=device_id, mailbox_ids=mailbox_ids)
        if changed is None or any(row.table == MAILBOX_CHANGE for row in changed):
            changes = mailbox_changes.mailbox_changes(conn, device_id=device_id)
        placed = directories.placed_replicas(conn, device_id=device_id, only=replica_ids)
        # NOTE: what its server has no more and no device had is not known, until a device has it.
        unknown = {of.mailbox_id for of, _ in placed} - self._mailboxes.keys()
        also = None if mailbox_ids is None else mailbox_ids | unknown
        mailboxes = accounts.mailboxes_of(conn, tuple(self._accounts), only=also)
        is_same = changed is not None and ChangedRow(DEVICE, device_id) not in changed
        device = None if is_same else devices.device_of(conn, device_id)
        return Rows(mailbox_ids, replica_ids, mailboxes, placed, changes, found, device)

    def take(self, rows: Rows) -> None:
        """Know these rows from now on."""
        is_whole = rows.mailbox_ids is None or rows.replica_ids is None
        replicas, places = [row for row, _ in rows.placed], {row.id: place for row, place in rows.placed}
        before = self._places if is_whole else {id_: self._places.get(id_) for id_ in rows.replica_ids or ()}
        self.moves += any(places.get(id_) != one for id_, one in before.items()) or len(before) < len(places)
        if is_whole:
            self._clear()
        touched: set[int] = set(rows.mailbox_ids or ())
        for mailbox_id in rows.mailbox_ids or ():
            self._mailboxes.pop(mailbox_id, None)
        for replica_id in rows.replica_ids or ():
            if (old := self._replicas.pop(replica_id, None)) is not None:
                del self._replica_ids[old.mailbox_id]
                touched.add(old.mailbox_id)
            self._places.pop(replica_id, None)
        self._mailboxes.update((row.id, row) for row in rows.mailboxes if row.account_id in self._accounts)
        self._replicas.update((row.id, row) for row in replicas)
        self._replica_ids.update((row.mailbox_id, row.id) for row in replicas)
        self._places.update(places)
        self._of_others.update(rows.replica_ids or ())
        self._of_others.difference_update(row.id for row in replicas)
        self._found = rows.found
        if rows.changes is not None:
            self.changes = rows.changes
        touched.update(row.id for row in rows.mailboxes)
        touched.update(row.mailbox_id for row in replicas)
        for mailbox_id in touched:
            self._sort_in(mailbox_id)

    def _sort_in(self, mailbox_id: int) -> None:
        row, replica = self._mailboxes.get(mailbox_id), self.replica(mailbox_id)
        account, turn = self._accounts[row.account_id] if row is not None else (None, 0)
        is_taken = row is not None and account in self._selected and is_selected(row.name, self._patterns)
        parts = frozenset(parts_of(row, replica, is_taken=is_taken))
        for part in self._parts_by_id.pop(mailbox_id, parts) - parts:
            self._parts[part].discard(mailbox_id)
        for part in parts:
            self._parts[part].add(mailbox_id)
        if parts:
            self._parts_by_id[mailbox_id] = parts
        turn_of = None
        if row is not None and account is not None:
            key = (Part.WANTED not in parts, sync_order(row.name, row.special_use), turn, mailbox_id)
            turn_of = _Turn(account, key)
        self._take_turn(mailbox_id, turn_of)
        if Part.SERVED in parts and row is not None and replica is not None and account is not None:
            self._served[mailbox_id] = Served(replica, row, account)
        else:
            self._served.pop(mailbox_id, None)

    def _take_turn(self, mailbox_id: int, turn: "_Turn | None") -> None:
        before = self._turns.pop(mailbox_id, None)
        if turn is not None:
            self._turns[mailbox_id] = turn
        for of in {None, *(one.account for one in (before, turn) if one is not None)}:
            self._lists.pop(of, None)
        if turn == before:
            return
        if before is not None:
            for keys in (self._ordered[None], self._ordered[before.account]):
                del keys[bisect_left(keys, before.key)]
        if turn is not None:
            for keys in (self._ordered[None], self._ordered[turn.account]):
                insort(keys, turn.key)


class _Turn(Value):
    account: str
    key: _Key
