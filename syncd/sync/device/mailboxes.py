"""Floor 4: the mailboxes of one device: which it selects, and a replica with a directory for each."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import PurePosixPath

from syncd.config.model import DeviceConfig, Layout
from syncd.errors import MailboxNameError, SyncdError
from syncd.log import log
from syncd.mail.mailbox import MailboxName
from syncd.mail.paths import path_of
from syncd.maildir.disk.files import CUR, NEW
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.effects.directories import Renaming, are_same_directory, rename_directory
from syncd.maildir.naming.layout import Fs, MaildirPlusPlus, are_nearly_equal
from syncd.maildir.naming.layout import Layout as DirectoryLayout
from syncd.reconcile.planner import NOTHING, Selection
from syncd.reconcile.removals import is_kept
from syncd.store.engine.database import Database
from syncd.store.mailboxes.mailbox_changes import ChangeKind, MailboxChange
from syncd.store.rounds import leaving
from syncd.store.trees import accounts, devices
from syncd.store.trees.accounts import MailboxRow
from syncd.store.trees.devices import UNSERVED, DeviceRow, ReplicaRow
from syncd.sync.device.attachment import Prove
from syncd.sync.device.known_mailboxes import KnownMailboxes, Part, Served
from syncd.sync.device.mailbox_directories import MailboxDirectories
from syncd.sync.device.standstill import Standstill
from syncd.sync.device.thread import to_its_end
from syncd.sync.policies import selection_of, selection_text

Place = tuple[str, MailboxName]
"""An account and a mailbox of it."""


class DeviceMailboxes:
    """Know what one device selects, and make what it lacks."""

    def __init__(
        self,
        db: Database,
        config: DeviceConfig,
        *,
        account_ids: Mapping[str, int],
        prover: Callable[[], Awaitable[Prove]],
        learn: Callable[[DeviceRow, int | None], None],
        clock: Callable[[], float],
    ) -> None:
        """Take the ids of all accounts that are served, by name, and what gives proof of the root.

        What the device does not select of them, it gives up. learn: is told its own row, which is read with those of
        its mailboxes.
        """
        self._db = db
        self._config = config
        mine = account_ids if config.accounts is None else config.accounts
        self._selected_ids = {name: id_ for name, id_ in account_ids.items() if name in mine}
        self._clock = clock
        self.layout: DirectoryLayout = Fs() if config.layout is Layout.FS else MaildirPlusPlus()
        """Says which directory is that of which mailbox."""
        self._directories = MailboxDirectories(db, config.path, self.layout, known=self.known, prover=prover)
        self._known = KnownMailboxes(
            db, config.mailboxes, account_ids=account_ids, selected=self._selected_ids, learn=learn
        )
        self._ensured: set[int] = set()
        """The mailboxes of which this task made sure that the device has a replica as it selects it now."""
        self.absent: frozenset[int] = frozenset()
        """The mailboxes whose directories were not there at the last look, though nothing is concluded from that."""
        self.made: set[Place] = set()
        """Those that a program made here, and that have no replica yet: it may have removed them again meanwhile."""
        self.unmade: set[int] = set()
        """Those whose directories were not there any more when they got their replica, and were not made again."""
        self.unlooked: set[int] = set()
        """Those that were just given up, or renamed, which are looked at first: nobody has seen what happened there."""
        self.is_giving_up = True
        """Whether there may be files of mailboxes that the device does not take."""

    @property
    def accounts(self) -> Collection[str]:
        """Return the accounts that the device selects."""
        return self._selected_ids.keys()

    def selection_of(self, served: Served) -> Selection:
        """Return what the device takes of a mailbox now."""
        return NOTHING if served.replica.is_leaving else selection_of(self._config, now=self._clock())

    async def known(self, device_id: int) -> KnownMailboxes:
        """Return what the store has of the device now."""
        await self._known.refresh(device_id)
        return self._known

    async def served(self, device_id: int, account: str | None = None) -> Sequence[Served]:
        """Return the replicas of the mailboxes that the device selects now, in the order in which they are synced.

        Without those whose directories a program removed, or renamed: there is nothing to be read or written. account:
        only those of this one.
        """
        known = await self.known(device_id)
        out = self._out(known)
        return [one for one in known.served(account) if one.mailbox.id not in out] if out else known.served(account)

    async def served_of(self, device_id: int, mailbox_ids: Iterable[int]) -> Sequence[Served]:
        """Return what `served` returns, of these mailboxes."""
        known = await self.known(device_id)
        out = self._out(known)
        return [one for one in known.served_of(mailbox_ids) if one.mailbox.id not in out]

    async def removed(self, device_id: int) -> Sequence[Served]:
        """Return those whose directories a program removed, if that is concluded."""
        known = await self.known(device_id)
        return known.served_of(_out_of(known.changes, {ChangeKind.REMOVE}))

    async def all_served(self, device_id: int) -> Sequence[Served]:
        """Return the replicas of the mailboxes that the device selects now, with a directory or without.

        After them those that it does not take any more, for as long as it may have files of them.
        """
        return (await self.known(device_id)).served()

    async def changes(self, device_id: int) -> tuple[MailboxChange, ...]:
        """Return what the device did to its mailboxes and is not over."""
        return (await self.known(device_id)).changes

    async def leaving(self, device_id: int) -> list[Served]:
        """Return the replicas that the device does not take any more and may have files of."""
        known = await self.known(device_id)
        return [one for one in known.served_of(known.of(Part.LEAVING)) if one.mailbox.id in known.of(Part.OTHER)]

    async def have_left(self, device_id: int) -> list[ReplicaRow]:
        """Return the replicas of which the device has nothing any more, perhaps but for their directories."""
        known = await self.known(device_id)
        left = [known.replica(id_) for id_ in known.of(Part.LEFT) if id_ not in known.of(Part.WANTED)]
        return [one for one in left if one is not None]

    async def looked_at(self, device_id: int, account: str | None = None) -> Sequence[Served]:
        """Return the replicas whose files are known, of `served`: of the others nothing may be concluded yet."""
        known = await self.known(device_id)
        served = await self.served(device_id, account)
        return [one for one in served if one.replica.listed_at is not None] if known.of(Part.UNSEEN) else served

    async def are_looked_at(self, device_id: int) -> bool:
        """Tell whether all that the device selects was listed by its servers, and looked at here, at least once."""
        # NOTE: in this order, for mailboxes that were listed after the others were read have no replica yet.
        if not await self._db.read(partial(accounts.are_listed, account_ids=list(self._selected_ids.values()))):
            return False
        known = await self.known(device_id)
        return all((of := known.replica(id_)) is not None and of.listed_at is not None for id_ in known.of(Part.WANTED))

    async def mark_unserved(self, device_id: int) -> None:
        """Remember at which replicas nobody looks: what becomes of their files meanwhile says nothing.

        That is where the account is not in the configuration, or the server has no such mailbox any more.
        """
        known = await self.known(device_id)
        served = {*known.of(Part.WANTED), *known.of(Part.OTHER)}
        unserved = [
            one.id
            for one in known.replicas
            if one.mailbox_id not in served and one.selection != UNSERVED and not one.has_left
        ]
        if unserved:
            await self._db.write(partial(devices.mark_unserved, replica_ids=unserved))

    async def settle_renames(self, device_id: int) -> None:
        """Record which directory has which name, where all ended in the middle of that; call it before any look."""
        await self._directories.settle(device_id)

    async def ensure_replicas(self, device_id: int, still: Standstill) -> frozenset[str]:
        """Rename the replicas of renamed mailboxes, make those that the device lacks, and record what it selects.

        A mailbox that cannot have one waits. Return the accounts of which something was renamed.
        """
        renamed = await self._directories.follow(device_id, still)
        known = await self.known(device_id)
        self.is_giving_up = await self._give_up(known) or bool(known.of(Part.LEAVING))
        out = self._out(known)
        lacking = set(known.of(Part.WANTED)).difference(self._ensured.intersection(known.of(Part.HERE)))
        if not lacking:
            return renamed
        text = selection_text(self._config)
        due = [
            (account, mailbox)
            for account, mailbox in map(known.mailbox, known.in_order(lacking))
            if mailbox.id not in out and mailbox.id not in still
        ]
        here = {
            mailbox.id: path_of(of.directory)
            for _, mailbox in due
            if (of := known.replica(mailbox.id)) is not None and not of.has_left
        }
        unusable = await self._clean_directories(here.values())
        owners = {replica.directory: replica.mailbox_id for replica in known.replicas}
        names = set(_names(known))
        for account, mailbox in due:
            with still.guard(mailbox.id, f"{account}/{mailbox.name}"):
                of = known.replica(mailbox.id)
                directory = here.get(mailbox.id) or self.layout.directory(account, mailbox.name)
                if owners.setdefault(str(directory), mailbox.id) != mailbox.id:
                    raise MailboxNameError("another mailbox has the directory that this one would have")
                if mailbox.id in here:
                    # NOTE: one that a replica had and that is gone is no empty one, so it is not made again.
                    if directory in unusable:
                        raise unusable[directory]
                    is_empty = False
                elif of is None and await self._is_unmade(account, mailbox, directory):
                    is_empty = True
                    self.unmade.add(mailbox.id)
                    self.absent |= {mailbox.id}
                else:
                    await to_its_end(self._take_over, account, mailbox.name, names)
                    others = [PurePosixPath(other) for other in owners if are_nearly_equal(other, str(directory))]
                    is_empty = await to_its_end(partial(self._make_directory, directory, others=others))
                if of is None or of.selection != text:
                    make = partial(
                        devices.ensure_replica,
                        device_id=device_id,
                        mailbox_id=mailbox.id,
                        directory=str(directory),
                        selection=text,
                        listed_at=self._clock() if is_empty else None,
                    )
                    await self._db.write(make)
                self._ensured.add(mailbox.id)
                self.made.discard((account, mailbox.name))
        return renamed

    async def _is_unmade(self, account: str, mailbox: MailboxRow, directory: PurePosixPath) -> bool:
        """Tell whether a program has removed a directory since, of which its server has made a mailbox."""
        if (account, mailbox.name) not in self.made or is_kept(mailbox.name, mailbox.special_use):
            return False
        return await asyncio.to_thread(self._lacks, directory)

    def _lacks(self, directory: PurePosixPath) -> bool:
        with ReplicaRoot(self._config.path) as root:
            return root.lacks(directory)

    async def _give_up(self, known: KnownMailboxes) -> bool:
        """Record which mailboxes the device does not take any more, though it may have files; tell if there are any."""
        others = set(known.of(Part.OTHER)).intersection(known.of(Part.HERE)).difference(known.of(Part.LEAVING))
        gone = [one for id_ in sorted(others) if (one := known.replica(id_)) is not None]
        if gone:
            await self._db.write(partial(leaving.mark_leaving, replica_ids=[one.id for one in gone]))
            log.info("mailboxes_given_up", replicas=[one.directory for one in gone])
            self._ensured.difference_update(one.mailbox_id for one in gone)
            self.unlooked.update(one.mailbox_id for one in gone)
        return bool(gone)

    async def remove_left(self, device_id: int, still: Standstill) -> None:
        """Remove the directories of mailboxes that their servers have no more, as far as nothing is left in them."""
        for one in await self.served_of(device_id, (await self.known(device_id)).of(Part.NOT_THERE)):
            if one.mailbox.id not in still and not one.replica.has_server_news:
                with still.guard(one.mailbox.id, one.where):
                    if await self._directories.remove(one.replica.id, PurePosixPath(one.replica.directory)):
                        self._ensured.discard(one.mailbox.id)

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

    def _take_over(self, account: str, name: MailboxName, names: Collection[tuple[str, MailboxName]]) -> None:
        """Give a mailbox the directory that an older program had for it; MailboxNameError where both are there."""
        spellings = self.layout.older_spellings(account, name)
        if not spellings:
            return
        with ReplicaRoot(self._config.path) as root:
            for old, here in spellings:
                if self.layout.mailbox(old) in names:
                    continue  # the server has one of that name
                how = rename_directory(root, old, here)
                if how is Renaming.DONE:
                    log.info("directory_renamed", replica=str(old), to=str(here), how=how.value)
                elif how not in {Renaming.MISSING, Renaming.FOUND}:
                    raise MailboxNameError(
                        f"{old} and {here} are both there and one mailbox: put the files of the first into the other"
                    )

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

    def _out(self, known: KnownMailboxes) -> frozenset[int]:
        return self.absent | _out_of(known.changes)


def _out_of(changes: Iterable[MailboxChange], kinds: Collection[ChangeKind] = frozenset(ChangeKind)) -> frozenset[int]:
    """Return the mailboxes whose directories went, by what was concluded from that."""
    return frozenset(one.mailbox_id for one in changes if one.mailbox_id is not None and one.kind in kinds)


def _names(known: KnownMailboxes) -> Iterator[tuple[str, MailboxName]]:
    for account, mailbox in map(known.mailbox, (*known.of(Part.WANTED), *known.of(Part.OTHER))):
        yield account, mailbox.name
