"""Floor 4: the mailboxes of one device: which it selects, and a replica with a directory for each."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

from sqlalchemy import Connection

from syncd.config.model import DeviceConfig, Layout
from syncd.errors import MailboxNameError, SyncdError
from syncd.log import log
from syncd.mail.mailbox import is_selected
from syncd.maildir.directories import are_same_directory
from syncd.maildir.files import CUR, NEW
from syncd.maildir.layout import Fs, MaildirPlusPlus, are_nearly_equal
from syncd.maildir.layout import Layout as DirectoryLayout
from syncd.maildir.root import ReplicaRoot
from syncd.reconcile.mailboxes import sync_order
from syncd.reconcile.planner import NOTHING, Selection
from syncd.store import accounts, adoption, devices, directories, leaving, mailbox_changes
from syncd.store.accounts import MailboxRow
from syncd.store.adoption import Unsettled
from syncd.store.database import Database
from syncd.store.devices import UNSERVED, ReplicaRow
from syncd.store.directories import Place
from syncd.store.mailbox_changes import ChangeKind, MailboxChange
from syncd.sync.attachment import Prove
from syncd.sync.mailbox_directories import MailboxDirectories
from syncd.sync.policies import selection_of, selection_text
from syncd.sync.remembered import Remembered
from syncd.sync.standstill import Standstill
from syncd.sync.thread import to_its_end


@dataclass(frozen=True, slots=True)
class Served:
    """A replica with its mailbox and the account that it belongs to."""

    replica: ReplicaRow
    mailbox: MailboxRow
    account: str

    @property
    def where(self) -> str:
        return f"{self.account}/{self.mailbox.name}"


class DeviceMailboxes:
    """Know what one device selects, and make what it lacks."""

    def __init__(
        self,
        db: Database,
        config: DeviceConfig,
        *,
        account_ids: Mapping[str, int],
        prover: Callable[[], Awaitable[Prove]],
        clock: Callable[[], float],
    ) -> None:
        """Take the ids of all accounts that are served, by name, and what gives proof of the root.

        What the device does not select of them, it gives up.
        """
        self._db = db
        self._config = config
        self._account_ids = account_ids
        mine = account_ids if config.accounts is None else config.accounts
        self._selected_ids = {name: id_ for name, id_ in account_ids.items() if name in mine}
        self._clock = clock
        self.layout: DirectoryLayout = Fs() if config.layout is Layout.FS else MaildirPlusPlus()
        """Says which directory is that of which mailbox."""
        self._directories = MailboxDirectories(db, config.path, self.layout, places=self._places, prover=prover)
        self._remembered = Remembered(db, self._read)
        self._selections: dict[int, str] = {}
        self.absent: frozenset[int] = frozenset()
        """The mailboxes whose directories were not there at the last look, though nothing is concluded from that."""
        self.is_giving_up = True
        """Whether there may be files of mailboxes that the device does not take."""

    @property
    def accounts(self) -> Collection[str]:
        """Return the accounts that the device selects."""
        return self._selected_ids.keys()

    def selection_of(self, served: Served) -> Selection:
        """Return what the device takes of a mailbox now."""
        return NOTHING if served.replica.is_leaving else selection_of(self._config, now=self._clock())

    async def served(self, device_id: int) -> list[Served]:
        """Return the replicas of the mailboxes that the device selects now, in the order in which they are synced.

        Without those whose directories a program removed, or renamed: there is nothing to be read or written.
        """
        known = await self._known(device_id)
        out = self.absent | known.out()
        return [one for one in known.served() if one.mailbox.id not in out]

    async def removed(self, device_id: int) -> list[Served]:
        """Return those whose directories a program removed, if that is concluded."""
        known = await self._known(device_id)
        removed = known.out({ChangeKind.REMOVE})
        return [one for one in known.served() if one.mailbox.id in removed]

    async def all_served(self, device_id: int) -> list[Served]:
        """Return the replicas of the mailboxes that the device selects now, with a directory or without.

        After them those that it does not take any more, for as long as it may have files of them.
        """
        return (await self._known(device_id)).served()

    async def changes(self, device_id: int) -> tuple[MailboxChange, ...]:
        """Return what the device did to its mailboxes and is not over."""
        return (await self._known(device_id)).changes

    async def unsettled(self, device_id: int) -> Unsettled:
        """Return what is left to do for files that the device had before us."""
        return (await self._known(device_id)).unsettled

    async def leaving(self, device_id: int) -> list[Served]:
        """Return the replicas that the device does not take any more and may have files of."""
        known = await self._known(device_id)
        here = {one.mailbox_id: one for one in known.replicas if one.is_leaving}
        return [Served(here[row.id], row, account) for account, row in known.others if row.id in here]

    async def have_left(self, device_id: int) -> list[ReplicaRow]:
        """Return the replicas of which the device has nothing any more, perhaps but for their directories."""
        known = await self._known(device_id)
        return [one for one in known.replicas if one.has_left and one.mailbox_id not in known.wanted]

    async def looked_at(self, device_id: int) -> list[Served]:
        """Return the replicas whose files are known: of the others nothing may be concluded yet."""
        return [one for one in await self.served(device_id) if one.replica.listed_at is not None]

    async def are_looked_at(self, device_id: int) -> bool:
        """Tell whether all that the device selects was listed by its servers, and looked at here, at least once."""
        # NOTE: in this order, for mailboxes that were listed after the others were read have no replica yet.
        if not await self._db.read(partial(accounts.are_listed, account_ids=list(self._selected_ids.values()))):
            return False
        known = await self._known(device_id)
        return known.wanted <= {one.mailbox_id for one in known.replicas if one.listed_at is not None}

    async def mark_unserved(self, device_id: int) -> None:
        """Remember at which replicas nobody looks: what becomes of their files meanwhile says nothing.

        That is where the account is not in the configuration, or the server has no such mailbox any more.
        """
        known = await self._known(device_id)
        served = known.wanted | {mailbox.id for _, mailbox in known.others}
        unserved = [
            one.id
            for one in known.replicas
            if one.mailbox_id not in served and one.selection != UNSERVED and not one.has_left
        ]
        if unserved:
            await self._db.write(partial(devices.mark_unserved, replica_ids=unserved))

    async def ensure_replicas(self, device_id: int, still: Standstill) -> frozenset[str]:
        """Rename the replicas of renamed mailboxes, make those that the device lacks, and record what it selects.

        A mailbox that cannot have one waits. Return the accounts of which something was renamed.
        """
        renamed = await self._directories.follow(device_id, still)
        text = selection_text(self._config)
        rows = await self._known(device_id)
        self.is_giving_up = await self._give_up(rows) or any(one.is_leaving for one in rows.replicas)
        owners = {replica.directory: replica.mailbox_id for replica in rows.replicas}
        known = {one.mailbox_id: PurePosixPath(one.directory) for one in rows.replicas if not one.has_left}
        selections = {one.mailbox_id: one.selection for one in rows.replicas}
        out = self.absent | rows.out()
        due = [
            (account, mailbox)
            for account, mailbox in rows.selected
            if mailbox.id not in out
            and mailbox.id not in still
            and not (mailbox.id in known and self._selections.get(mailbox.id) == text)
        ]
        unusable = await self._clean_directories([known[row.id] for _, row in due if row.id in known])
        for account, mailbox in due:
            with still.guard(mailbox.id, f"{account}/{mailbox.name}"):
                directory = known.get(mailbox.id) or self.layout.directory(account, mailbox.name)
                if owners.setdefault(str(directory), mailbox.id) != mailbox.id:
                    raise MailboxNameError("another mailbox has the directory that this one would have")
                if mailbox.id in known:
                    # NOTE: one that a replica had and that is gone is no empty one, so it is not made again.
                    if directory in unusable:
                        raise unusable[directory]
                    is_empty = False
                else:
                    others = [PurePosixPath(other) for other in owners if are_nearly_equal(other, str(directory))]
                    is_empty = await to_its_end(partial(self._make_directory, directory, others=others))
                if selections.get(mailbox.id) == text:
                    self._selections[mailbox.id] = text
                    continue
                make = partial(
                    devices.ensure_replica,
                    device_id=device_id,
                    mailbox_id=mailbox.id,
                    directory=str(directory),
                    selection=text,
                    listed_at=self._clock() if is_empty else None,
                )
                await self._db.write(make)
                self._selections[mailbox.id] = text
        return renamed

    async def _give_up(self, known: "_Known") -> bool:
        """Record which mailboxes the device does not take any more, though it may have files; tell if there are any."""
        others = {mailbox.id for _, mailbox in known.others}
        gone = [one for one in known.replicas if one.mailbox_id in others and not (one.is_leaving or one.has_left)]
        if gone:
            await self._db.write(partial(leaving.mark_leaving, replica_ids=[one.id for one in gone]))
            log.info("mailboxes_given_up", replicas=[one.directory for one in gone])
            for one in gone:
                self._selections.pop(one.mailbox_id, None)
        return bool(gone)

    async def remove_left(self, device_id: int, still: Standstill) -> None:
        """Remove the directories of mailboxes that their servers have no more, as far as nothing is left in them."""
        for one in await self.served(device_id):
            if not one.mailbox.is_there and one.mailbox.id not in still and not one.replica.has_server_news:
                with still.guard(one.mailbox.id, one.where):
                    if await self._directories.remove(one.replica.id, PurePosixPath(one.replica.directory)):
                        self._selections.pop(one.mailbox.id, None)

    async def restore(self, one: Served) -> None:
        """Make the directory of a replica again."""
        await to_its_end(partial(self._make_directory, PurePosixPath(one.replica.directory), others=()))

    def _make_directory(self, directory: PurePosixPath, *, others: Collection[PurePosixPath]) -> bool:
        """Make what is missing of a directory, and tell whether it holds no message.

        others: directories of mailboxes that a disk may take for this one.
        """
        with ReplicaRoot(self._config.path) as root, root.create(directory) as mailbox:
            if any(are_same_directory(root, directory, other) for other in others):
                raise MailboxNameError("the disk does not tell this name from that of another mailbox")
            mailbox.clean_tmp(now_s=self._clock())
            return not any(True for subdir in (CUR, NEW) for _ in mailbox.entries(subdir))

    async def _clean_directories(self, directories: Collection[PurePosixPath]) -> Mapping[PurePosixPath, SyncdError]:
        """Remove what interruptions have left in these directories; return what is wrong with those that have it."""
        return await to_its_end(self._cleaned, directories) if directories else {}

    def _cleaned(self, directories: Iterable[PurePosixPath]) -> Mapping[PurePosixPath, SyncdError]:
        unusable: dict[PurePosixPath, SyncdError] = {}
        with ReplicaRoot(self._config.path) as root:
            for directory in directories:
                try:
                    with root.mailbox(directory) as mailbox:
                        mailbox.clean_tmp(now_s=self._clock())
                except SyncdError as error:
                    unusable[directory] = error
        return unusable

    async def _places(self, device_id: int) -> tuple[Place, ...]:
        return (await self._known(device_id)).places

    async def _known(self, device_id: int) -> "_Known":
        return await self._remembered.get(device_id)

    def _read(self, conn: Connection, device_id: int) -> "_Known":
        changes = mailbox_changes.mailbox_changes(conn, device_id=device_id)
        replicas = devices.replicas(conn, device_id=device_id)
        selected: list[tuple[str, MailboxRow]] = []
        others: list[tuple[str, MailboxRow]] = []
        here = {replica.mailbox_id for replica in replicas}
        ids = tuple(self._account_ids.values())
        there, left = accounts.mailboxes_of(conn, ids), accounts.left_mailboxes_of(conn, ids)
        for account, account_id in self._account_ids.items():
            is_mine = account in self._selected_ids
            for row in there[account_id]:
                if is_mine and row.is_synced and is_selected(row.name, self._config.mailboxes):
                    selected.append((account, row))
                elif row.is_selectable:
                    others.append((account, row))
            for row in left[account_id]:
                is_taken = is_mine and row.is_selected and is_selected(row.name, self._config.mailboxes)
                if row.id in here:
                    (selected if is_taken else others).append((account, row))
        for found in (selected, others):
            found.sort(key=lambda one: sync_order(one[1].name, one[1].special_use))
        return _Known(
            replicas,
            changes,
            tuple(selected),
            tuple(others),
            directories.places(conn, device_id=device_id),
            adoption.unsettled(conn, device_id),
        )


@dataclass(frozen=True, slots=True)
class _Known:
    """The replicas that there are, and with its account each mailbox that the device selects, and each other one.

    Among the selected are those that their servers have no more, as long as they are on the device. NOTE: read at once,
    for what a pass asks one by one costs it a thread and a transaction each time.
    """

    replicas: tuple[ReplicaRow, ...]
    changes: tuple[MailboxChange, ...]
    selected: tuple[tuple[str, MailboxRow], ...]
    others: tuple[tuple[str, MailboxRow], ...]
    places: tuple[Place, ...]
    unsettled: Unsettled

    @property
    def wanted(self) -> frozenset[int]:
        return frozenset(mailbox.id for _, mailbox in self.selected)

    def served(self) -> list[Served]:
        """Return the replicas that are selected, and after them those that may have files still."""
        by_mailbox = {replica.mailbox_id: replica for replica in self.replicas if not replica.has_left}
        wanted = self.wanted
        return [
            Served(by_mailbox[mailbox.id], mailbox, account)
            for account, mailbox in (*self.selected, *self.others)
            if mailbox.id in by_mailbox and (mailbox.id in wanted or by_mailbox[mailbox.id].is_leaving)
        ]

    def out(self, kinds: Collection[ChangeKind] = frozenset(ChangeKind)) -> frozenset[int]:
        """Return the mailboxes whose directories went, by what was concluded from that."""
        return frozenset(one.mailbox_id for one in self.changes if one.mailbox_id is not None and one.kind in kinds)
