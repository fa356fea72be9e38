"""Floor 4: under which names mailboxes of an IMAP server are deleted, and which of these a LIST still has.

Theory. Nobody else knows such a name, so that nothing comes there meanwhile. It says which mailbox it is, and of which
store: others that serve the same account know its mailboxes by the same numbers, and what one of them is about to
delete is no business of ours. Names that older versions gave do not say that; they are ours if we tried to delete it.
"""

from collections.abc import Callable, Collection, Iterable
from functools import partial

from syncd.store.engine.database import Database
from syncd.store.mailboxes import mailbox_changes
from syncd.store.trees import devices
from syncd.store.trees.accounts import MailboxRow

_MARK_LENGTH = 8


class HiddenNames:
    """Give mailboxes of one account such names, and find them again."""

    def __init__(self, db: Database, *, clock: Callable[[], float]) -> None:
        self._db = db
        self._clock = clock
        self._mark = ""

    async def name_of(self, mailbox: MailboxRow) -> bytes:
        """Return under which name a mailbox is deleted."""
        if not self._mark:
            store_id = await self._db.write(partial(devices.store_id, now=self._clock()))
            self._mark = store_id[:_MARK_LENGTH]
        return mailbox.wire_name + f" (removed {mailbox.id} {self._mark})".encode()

    async def find(self, unlisted: Iterable[MailboxRow], listed: Collection[bytes]) -> dict[bytes, MailboxRow]:
        """Return by the names that they have now those of the mailboxes that we were about to delete."""
        hidden = {await self.name_of(row): row for row in unlisted}
        older = {name: row for row in hidden.values() if (name := _older_name(row)) in listed}
        hidden |= {name: row for name, row in older.items() if await self._has_tried(row)}
        return {name: row for name, row in hidden.items() if name in listed}

    async def _has_tried(self, mailbox: MailboxRow) -> bool:
        found = await self._db.read(partial(mailbox_changes.mailbox_changes, account_id=mailbox.account_id))
        return any(one.mailbox_id == mailbox.id and one.is_removal and one.attempts for one in found)


def _older_name(mailbox: MailboxRow) -> bytes:
    return mailbox.wire_name + f" (removed {mailbox.id})".encode()
