"""Floor 4: the mailboxes of one device: which it selects, a replica with a directory for each, and which it makes."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePosixPath

from sqlalchemy import Connection

from syncd.config.model import DeviceConfig, Layout
from syncd.errors import MailboxNameError
from syncd.log import log
from syncd.mail.mailbox import MailboxName, is_selected, to_wire
from syncd.maildir.files import CUR, NEW
from syncd.maildir.layout import Fs, MaildirPlusPlus
from syncd.maildir.layout import Layout as DirectoryLayout
from syncd.maildir.root import ReplicaRoot
from syncd.reconcile.mailboxes import sync_order
from syncd.reconcile.planner import NOTHING, Selection
from syncd.store import accounts, devices, history, leaving, served_mailboxes
from syncd.store.accounts import MailboxRow
from syncd.store.database import Database
from syncd.store.devices import UNSERVED, ReplicaRow
from syncd.sync.attachment import Prove
from syncd.sync.policies import selection_of, selection_text
from syncd.sync.standstill import Standstill


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
        clock: Callable[[], float],
    ) -> None:
        """Take the ids of all accounts that are served, by name: what the device does not select, it gives up."""
        self._db = db
        self._config = config
        self._account_ids = account_ids
        mine = account_ids if config.accounts is None else config.accounts
        self._selected_ids = {name: id_ for name, id_ in account_ids.items() if name in mine}
        self._clock = clock
        self._layout: DirectoryLayout = Fs() if config.layout is Layout.FS else MaildirPlusPlus()
        self._selections: dict[int, str] = {}
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

        After them those that it does not take any more, for as long as it may have files of them.
        """
        known = await self._known(device_id)
        by_mailbox = {replica.mailbox_id: replica for replica in known.replicas if not replica.has_left}
        wanted = known.wanted
        return [
            Served(by_mailbox[mailbox.id], mailbox, account)
            for account, mailbox in (*known.selected, *known.others)
            if mailbox.id in by_mailbox and (mailbox.id in wanted or by_mailbox[mailbox.id].is_leaving)
        ]

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

    async def make_mailboxes(self, prove: Prove) -> frozenset[str]:
        """Make the mailboxes for which a program made directories, and return the accounts that have them now.

        Only where the store is the server; on others nothing is made.
        """
        served = await self._db.read(served_mailboxes.served_accounts)
        ids = {account: id_ for account, id_ in self._selected_ids.items() if id_ in served}
        if not ids or self._config.read_only:
            return frozenset()
        named = await asyncio.to_thread(self._named_directories, prove)
        found = {(account, name) for account, name in named if account in ids}
        for account, id_ in ids.items():
            rows = await self._db.read(partial(accounts.mailboxes, account_id=id_))
            found -= {(account, row.name) for row in rows}
        patterns = self._config.mailboxes
        wanted = sorted(one for one in found if is_selected(one[1], patterns) and _is_plain(one[1]))

        def make(conn: Connection) -> frozenset[str]:
            now = self._clock()
            return frozenset(
                account
                for account, name in wanted
                if served_mailboxes.ensure_mailbox(conn, ids[account], name, now=now, origin=history.DEVICES)
            )

        made = await self._db.write(make) if wanted else frozenset()
        if made:
            log.info("mailboxes_made", accounts=sorted(made), count=len(wanted))
        return made

    async def ensure_replicas(self, device_id: int, still: Standstill) -> None:
        """Make the replicas that the device lacks, and record what it selects; a mailbox that cannot have one waits."""
        text = selection_text(self._config)
        rows = await self._known(device_id)
        self.is_giving_up = await self._give_up(rows) or any(one.is_leaving for one in rows.replicas)
        owners = {replica.directory: replica.mailbox_id for replica in rows.replicas}
        known = {replica.mailbox_id for replica in rows.replicas if not replica.has_left}
        for account, mailbox in rows.selected:
            if mailbox.id in still or (mailbox.id in known and self._selections.get(mailbox.id) == text):
                continue
            with still.guard(mailbox.id, f"{account}/{mailbox.name}"):
                directory = self._layout.directory(account, mailbox.name)
                if owners.setdefault(str(directory), mailbox.id) != mailbox.id:
                    raise MailboxNameError("another mailbox has the directory that this one would have")
                # NOTE: one that a replica had and that is gone is no empty one, so it is not made again.
                prepare = self._clean_directory if mailbox.id in known else self._make_directory
                is_empty = await asyncio.to_thread(prepare, directory)
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

    def _named_directories(self, prove: Prove) -> set[tuple[str, MailboxName]]:
        """Return the mailboxes that directories of the root stand for, whoever made them."""
        with ReplicaRoot(self._config.path) as root:
            prove(root)
            return {named for one in root.directories() if (named := self._layout.mailbox(one)) is not None}

    def _make_directory(self, directory: PurePosixPath) -> bool:
        """Make what is missing of a directory, and tell whether it holds no message."""
        with ReplicaRoot(self._config.path) as root, root.create(directory) as mailbox:
            mailbox.clean_tmp(now_s=self._clock())
            return not any(True for subdir in (CUR, NEW) for _ in mailbox.entries(subdir))

    def _clean_directory(self, directory: PurePosixPath) -> bool:
        with ReplicaRoot(self._config.path) as root, root.mailbox(directory) as mailbox:
            mailbox.clean_tmp(now_s=self._clock())
        return False

    async def _known(self, device_id: int) -> "_Known":
        return await self._db.read(lambda conn: self._read(conn, device_id))

    def _read(self, conn: Connection, device_id: int) -> "_Known":
        known = _Known(devices.replicas(conn, device_id=device_id))
        for account, account_id in self._account_ids.items():
            for row in accounts.mailboxes(conn, account_id=account_id):
                if account in self._selected_ids and row.is_synced and is_selected(row.name, self._config.mailboxes):
                    known.selected.append((account, row))
                elif row.is_selectable:
                    known.others.append((account, row))
        for found in (known.selected, known.others):
            found.sort(key=lambda one: sync_order(one[1].name, one[1].special_use))
        return known


@dataclass(frozen=True, slots=True)
class _Known:
    """The replicas that there are, and with its account each mailbox that the device selects, and each other one."""

    replicas: tuple[ReplicaRow, ...]
    selected: list[tuple[str, MailboxRow]] = field(default_factory=list)
    others: list[tuple[str, MailboxRow]] = field(default_factory=list)

    @property
    def wanted(self) -> frozenset[int]:
        return frozenset(mailbox.id for _, mailbox in self.selected)


def _is_plain(name: MailboxName) -> bool:
    """Tell whether a server could have a mailbox of this name; a directory can stand for any, NUL included."""
    try:
        to_wire(name, "/")
    except ValueError:
        return False
    return True
