"""Floor 4: when passes over one account ended well, recorded now and then, and at once where devices wait for that."""

from functools import partial

from sqlalchemy import Connection

from syncd.store.engine.changed_rows import Topic
from syncd.store.files import found_waits, settled_uploads
from syncd.store.trees import accounts
from syncd.sync.accounts.served_account import ServedAccount
from syncd.sync.remembered import Remembered

_RECORD_EVERY_S = 60.0


class Successes:
    """Record that whole passes ended well; not each time, for it is all that a pass without news would write."""

    def __init__(self, account: ServedAccount) -> None:
        self._account = account
        self._db = account.db
        self._recorded_at: float | None = None
        self._awaited = Remembered(
            account.db,
            lambda conn, id_: found_waits.wait_for_reading(conn, account_id=id_),
            reads=lambda _: {Topic.LISTED, Topic.FOUND},
        )

    def begin(self) -> None:
        """Record the next one at once: it is the first over another connection."""
        self._recorded_at = None

    async def are_awaited(self) -> bool:
        """Tell whether devices found files of which only a server that was read since tells whether it has them."""
        return await self._awaited.get(self._account.id)

    async def record(self) -> bool:
        """Record that a pass has just ended well, and tell whether devices waited for that."""
        self._account.activity.succeeded_at = now = self._account.clock()
        is_awaited = await self.are_awaited()
        if is_awaited or self._recorded_at is None or not 0 <= now - self._recorded_at < _RECORD_EVERY_S:
            # NOTE: only who waited for it looks anew because all is well once more: of a thousand accounts none would
            # ever be at rest, nor one alone, whose own pass wrote this.
            record = partial(_record, account_id=self._account.id, now=now)
            await self._db.write(record, unremembered_rows=0 if is_awaited else 1)
            self._recorded_at = now
        return is_awaited


def _record(conn: Connection, *, account_id: int, now: float) -> None:
    accounts.record_success(conn, account_id=account_id, now=now)
    settled_uploads.forget_filed(conn, account_id=account_id, now=now)
