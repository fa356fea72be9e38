"""Floor 4: devices for which nothing is fetched yet, because what they have has to be compared first."""

from syncd.reconcile.planner import Selection
from syncd.store.engine.changed_rows import Topic
from syncd.store.trees import devices
from syncd.store.trees.accounts import MailboxRow
from syncd.sync.accounts.served_account import ServedAccount
from syncd.sync.remembered import Remembered


class Latecomers:
    """Know which devices were left out of which mailboxes of an account."""

    def __init__(self, account: ServedAccount) -> None:
        self._account = account
        self._left_out: dict[int, frozenset[str]] = {}
        self._late = Remembered(
            account.db,
            lambda conn, id_: devices.without_part(conn, mailbox_id=id_),
            reads=lambda _: {Topic.LISTED},
        )

    def __bool__(self) -> bool:
        """Tell whether some device was left out of any mailbox."""
        return bool(self._left_out)

    def __contains__(self, mailbox_id: int) -> bool:
        """Tell whether some device was left out of a mailbox when it was last asked for."""
        return mailbox_id in self._left_out

    async def selections(self, mailbox: MailboxRow, *, now: float) -> tuple[Selection, ...]:
        """Return what devices take of a mailbox, without those that are left out."""
        left_out = await self._of(mailbox.id)
        self._left_out.pop(mailbox.id, None)
        if left_out:
            self._left_out[mailbox.id] = left_out
        return self._account.takers.selections(self._account.name, mailbox.name, now=now, without=left_out)

    async def have_come(self) -> bool:
        """Tell once whether a device that was left out of a mailbox takes its mail by now."""
        for mailbox_id, left_out in self._left_out.items():
            if left_out - await self._of(mailbox_id):
                del self._left_out[mailbox_id]
                return True
        return False

    async def _of(self, mailbox_id: int) -> frozenset[str]:
        late = await self._late.get(mailbox_id)
        return late.intersection(self._account.takers.devices_of(self._account.name))
