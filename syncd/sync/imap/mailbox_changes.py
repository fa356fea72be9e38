"""Floor 4: the mailboxes that programs made or removed on devices, made or deleted on the server of an IMAP account.

Theory. What came of a command says only LIST: a mailbox counts as made when the server lists it under the very name
that its directory stands for, whatever was answered, or not answered because the wire was cut. Then it is subscribed
to, for most programs show no other, and the pass that follows reads it. One that was removed is deleted only after
its messages have left it one by one, and under a name that nobody else knows, where the server says that it is empty.
What it refuses is set aside.
"""

from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial

from sqlalchemy import Connection

from syncd.errors import RefusedError
from syncd.imap.connection import ImapConnection
from syncd.log import log
from syncd.mail.mailbox import MailboxName, is_selected, to_wire
from syncd.reconcile.removals import Verdict, verdict_of
from syncd.store.engine.changed_rows import Topic
from syncd.store.mailboxes import mailbox_changes, mailbox_removals
from syncd.store.mailboxes.mailbox_changes import ChangeKind, ChangeState, MailboxChange
from syncd.store.trees import accounts
from syncd.store.trees.accounts import MailboxRow
from syncd.store.trees.devices import device_names
from syncd.sync.accounts.served_account import ServedAccount
from syncd.sync.imap.hidden_names import HiddenNames
from syncd.sync.imap.listing import listed_of
from syncd.sync.remembered import Remembered

_NOT_DELETED = "the server lists the mailbox still, though it did not refuse to delete it"
_AGAIN_S = 1.0
"""When what waits for others, such as a device that has mail in a removed mailbox, is looked at again at the latest."""
_NOT_LISTED = "the server does not list a mailbox of this name, though it did not refuse it"


class ImapMailboxChanges:
    """Do on one server what devices did to mailbox directories; the account's task says when."""

    def __init__(
        self,
        account: ServedAccount,
        patterns: tuple[str, ...],
        *,
        list_mailboxes: Callable[[ImapConnection], Awaitable[object]],
    ) -> None:
        """Call `list_mailboxes` for a LIST that is recorded."""
        self._account = account
        self._db = account.db
        self._takers = account.takers
        self.patterns = patterns
        self._list_mailboxes = list_mailboxes
        self._clock = account.clock
        self._wanted = Remembered(
            account.db,
            lambda conn, id_: mailbox_changes.mailbox_changes(conn, account_id=id_),
            reads=lambda _: {Topic.MAILBOX_CHANGES},
        )
        self._hidden = HiddenNames(account.db, clock=account.clock)
        self._again_at: float | None = None

    def wait_s(self) -> float | None:
        """Return the time until something that was refused is to be tried again, None when nothing is."""
        return None if self._again_at is None else max(self._again_at - self._clock(), 0.0)

    async def run(self, connection: ImapConnection) -> bool:
        """Do what is due, and tell whether there are other mailboxes than before, so that they are to be read."""
        self._again_at = None
        if not await self._wanted.get(self._account.id):
            return False
        wanted = await self._db.write(self._sort_out)
        now = self._clock()
        due = [one for one in wanted if one.due_at <= now]
        makes = [one for one in due if one.kind is ChangeKind.MAKE]
        renames = [one for one in due if one.kind is ChangeKind.RENAME and one.state is not ChangeState.RETURNED]
        has_changed = bool(renames) and await self._rename(connection, renames)
        has_changed |= bool(makes) and await self._make(connection, makes)
        has_changed |= await self._remove(connection, [one for one in due if one.is_removal])
        left = await self._db.read(partial(mailbox_changes.mailbox_changes, account_id=self._account.id))
        # NOTE: an account that never rests would always be between two halves, and its devices put off for ever.
        soonest = self._clock() + _AGAIN_S
        waits = (max(one.due_at, soonest) for one in left if one.state is ChangeState.WANTED)
        self._again_at = min(waits, default=None)
        return has_changed

    def _sort_out(self, conn: Connection) -> list[MailboxChange]:
        """Return the changes that are still wanted, and write down which are not."""
        mailbox_changes.set_back(conn, account_id=self._account.id, now=self._clock())
        found, names = mailbox_changes.mailbox_changes(conn, account_id=self._account.id), device_names(conn)
        taken = [one for one in found if self._takers.writes(names[one.device_id], self._account.name, one.name)]
        mailbox_removals.forget(conn, [one for one in found if one not in taken])
        made = [one for one in taken if one.kind is not ChangeKind.REMOVE and one.state is not ChangeState.RETURNED]
        selected = [one for one in made if is_selected(one.name, self.patterns)]
        mailbox_changes.leave(
            conn, [one for one in made if one not in selected and one.state is not ChangeState.LEFT], is_left=True
        )
        mailbox_changes.leave(conn, [one for one in selected if one.state is ChangeState.LEFT], is_left=False)
        return selected + [one for one in taken if one.is_removal]

    async def _make(self, connection: ImapConnection, due: Iterable[MailboxChange]) -> bool:
        """Make mailboxes, outermost first, and settle those that the server lists then."""
        by_name: dict[MailboxName, list[MailboxChange]] = {}
        for one in sorted(due, key=lambda one: one.name):
            by_name.setdefault(one.name, []).append(one)
        if any(one.state is ChangeState.BEGUN for one in due):
            await self._list_mailboxes(connection)  # an answer may have been lost
        known = await self._rows()
        delimiter = next((row.delimiter for row in known.values() if row.name.is_inbox), None)
        refused: dict[MailboxName, str] = {}
        for name, changes in by_name.items():
            await self._db.write(partial(mailbox_changes.begin, ids=[one.id for one in changes], now=self._clock()))
            if not _is_there(known, name):
                try:
                    await self._create(connection, name, delimiter, known=known.keys())
                except (RefusedError, ValueError) as error:
                    refused[name] = str(error)
        await self._list_mailboxes(connection)
        known = await self._rows()
        has_made = False
        for name, changes in by_name.items():
            ids = [one.id for one in changes]
            if _is_there(known, name):
                await self._subscribe(connection, known[name])
                await self._db.write(partial(mailbox_changes.drop, ids=ids))
                has_made = True
                log.info("mailbox_made", account=self._account.name, mailbox_id=known[name].id)
            else:
                reason = refused.get(name, _NOT_LISTED)
                await self._db.write(partial(mailbox_changes.refuse, ids=ids, error=reason))
                log.warning("mailbox_not_made", account=self._account.name, error=reason)
        return has_made

    async def _create(
        self, connection: ImapConnection, name: MailboxName, delimiter: str | None, *, known: Iterable[MailboxName]
    ) -> None:
        """Make one mailbox, and those around it where the server does not do that by itself (RFC 3501 §6.3.3)."""
        octets = to_wire(name, delimiter)
        outer = [MailboxName(name.parts[:count]) for count in range(1, len(name.parts))]
        missing = [one for one in outer if one not in known]
        try:
            await connection.create(octets)
        except RefusedError:
            if not missing:
                raise
            for one in missing:
                try:
                    await connection.create(to_wire(one, delimiter))
                except RefusedError:
                    continue  # what matters is whether the innermost can be made
            await connection.create(octets)

    async def _subscribe(self, connection: ImapConnection, row: MailboxRow) -> None:
        try:
            await connection.subscribe(row.wire_name)
        except RefusedError as error:
            log.warning("mailbox_not_subscribed", account=self._account.name, mailbox_id=row.id, error=str(error))

    async def _rename(self, connection: ImapConnection, renames: Iterable[MailboxChange]) -> bool:
        """Rename mailboxes, outermost first, and let their devices have those again that are called so then.

        What was renamed, the listing that follows finds: the rows are those of the mailbox that they were.
        """
        refused: dict[int, str] = {}
        begun: list[MailboxChange] = []
        unclear: set[int] = set()
        for one in sorted(renames, key=lambda one: one.name):
            row = await self._db.read(partial(accounts.mailbox_by_id, mailbox_id=one.mailbox_id or 0))
            begun.append(one)
            await self._db.write(partial(mailbox_changes.begin, ids=[one.id], now=self._clock()))
            entries = {each.octets for each in await connection.list_mailboxes()}
            try:
                octets = to_wire(one.name, row.delimiter)
                if octets in entries and row.wire_name in entries:
                    continue  # somebody was faster: then what is there has come into a mailbox that is known
                if entries.isdisjoint({octets, row.wire_name}) and not row.is_gone:
                    unclear.add(one.id)  # whether it is gone is known soon
                    continue
                if row.wire_name in entries:
                    await connection.unselect()
                    await connection.rename(row.wire_name, octets)
                await self._subscribe_instead(connection, row.wire_name, octets)
            except (RefusedError, ValueError) as error:
                refused[one.id] = str(error)
        await self._list_mailboxes(connection)
        await self._db.write(partial(mailbox_changes.put_off, ids=unclear))
        for one in begun:
            if one.id in unclear:
                continue
            if (reason := refused.get(one.id)) is not None:
                await self._db.write(partial(mailbox_changes.refuse, ids=[one.id], error=reason))
                log.warning("mailbox_not_renamed", account=self._account.name, mailbox_id=one.mailbox_id, error=reason)
            else:
                await self._db.write(partial(mailbox_changes.return_all, ids=[one.id]))
                log.info("mailbox_renamed", account=self._account.name, mailbox_id=one.mailbox_id)
        self._account.wake_devices()
        return True

    async def _subscribe_instead(self, connection: ImapConnection, old: bytes, new: bytes) -> None:
        try:
            await connection.subscribe(new)
            await connection.unsubscribe(old)
        except RefusedError as error:
            log.info("subscription_not_moved", account=self._account.name, error=str(error))

    async def _remove(self, connection: ImapConnection, removals: Iterable[MailboxChange]) -> bool:
        """Delete removed mailboxes that are empty, innermost first, and give back those that have got something."""
        has_changed = False
        for one in sorted(removals, key=lambda one: one.name, reverse=True):
            if one.mailbox_id is None:
                continue
            row = await self._db.read(partial(accounts.mailbox_by_id, mailbox_id=one.mailbox_id))
            devices = self._takers.devices_with(self._account.name, one.name)
            left = await self._db.read(partial(mailbox_removals.remainder, change=one, devices=devices))
            match verdict_of(left):
                case Verdict.RETURN:
                    give_back = partial(mailbox_removals.give_back, mailbox_id=row.id, device_id=one.device_id)
                    await self._db.write(give_back)
                    self._account.wake_devices()
                case Verdict.DELETE if (row.is_listed or not row.is_there) and row.error is None:
                    has_changed |= await self._delete(connection, row, one)
                case _:
                    continue
        return has_changed

    async def _delete(self, connection: ImapConnection, row: MailboxRow, change: MailboxChange) -> bool:
        """Delete one mailbox, and tell whether its server is to be read: it is gone, or not as empty as it seemed."""
        hidden = await self._hidden.name_of(row)
        listed = await self._listed(connection)
        left = next(iter(await self._hidden.find((row,), listed)), hidden)
        if not listed.isdisjoint({row.wire_name, left}):
            await self._db.write(partial(mailbox_changes.begin, ids=[change.id], now=self._clock()))
            reason = _NOT_DELETED
            try:
                if row.wire_name not in listed:
                    await connection.rename(left, row.wire_name)  # we were interrupted
                if not await self._delete_if_empty(connection, row.wire_name, hidden, row.delimiter):
                    await self._db.write(partial(mailbox_changes.put_off, ids=[change.id]))
                    return True
            except RefusedError as error:
                reason = str(error)
            if not (await self._listed(connection)).isdisjoint({row.wire_name, hidden, left}):
                await self._db.write(partial(mailbox_changes.refuse, ids=[change.id], error=reason))
                log.warning("mailbox_not_deleted", account=self._account.name, mailbox_id=row.id, error=reason)
                return False
        try:
            await connection.unsubscribe(row.wire_name)
        except RefusedError as error:
            log.info("mailbox_not_unsubscribed", account=self._account.name, mailbox_id=row.id, error=str(error))
        await self._db.write(partial(mailbox_removals.settle, mailbox_id=row.id, now=self._clock()))
        log.info("mailbox_deleted", account=self._account.name, mailbox_id=row.id)
        self._account.wake_devices()
        return True

    async def _delete_if_empty(
        self, connection: ImapConnection, octets: bytes, hidden: bytes, delimiter: str | None
    ) -> bool:
        """Delete a mailbox unless there is anything in it, and tell whether it was deleted.

        NOTE: DELETE takes along what has come since one looked, and RENAME mailboxes that were made inside. Under a
        name that nobody knows nothing comes any more.
        """
        if await self._is_in_use(connection, octets, delimiter):
            return False
        await connection.rename(octets, hidden)
        try:
            if not await self._is_in_use(connection, hidden, delimiter):
                await self._delete_names_inside(connection, hidden, delimiter)
                await connection.delete(hidden)
                return True
        except RefusedError:
            await connection.rename(hidden, octets)
            raise
        await connection.rename(hidden, octets)
        return False

    async def _delete_names_inside(self, connection: ImapConnection, octets: bytes, delimiter: str | None) -> None:
        """Delete what are only names inside of a mailbox, innermost first: else its own would stay because of them."""
        if delimiter is None:
            return
        entries = await connection.list_mailboxes()
        names = [one.octets for one in entries if not listed_of(one, self.patterns).is_selectable]
        for name in sorted(names, reverse=True):
            if name.startswith(octets + delimiter.encode()):
                with suppress(RefusedError):  # what matters is the mailbox
                    await connection.delete(name)

    async def _is_in_use(self, connection: ImapConnection, octets: bytes, delimiter: str | None) -> bool:
        selected = await connection.select(octets, read_only=True)
        await connection.unselect()
        if selected.exists or delimiter is None:
            return selected.exists > 0
        return any(one.startswith(octets + delimiter.encode()) for one in await self._listed(connection))

    async def _listed(self, connection: ImapConnection) -> frozenset[bytes]:
        """Return which mailboxes the server has, and not only their names."""
        entries = await connection.list_mailboxes()
        return frozenset(one.octets for one in entries if listed_of(one, self.patterns).is_selectable)

    async def _rows(self) -> dict[MailboxName, MailboxRow]:
        rows = await self._db.read(partial(accounts.mailboxes, account_id=self._account.id))
        return {row.name: row for row in rows}


def _is_there(known: dict[MailboxName, MailboxRow], name: MailboxName) -> bool:
    return name in known and known[name].is_selectable
