"""A custody for tests: one account's INBOX and rows in memory, outliving any number of sessions."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

from syncd.errors import SyncdError
from syncd.pop3.custody import CustodyState, Known, Retrieved, Verdict
from syncd.pop3.ingest import Decide
from syncd.pop3.spool import Body
from syncd.values import replace


class Octets(NamedTuple):
    """A body on its way into the ledger."""

    octets: bytes

    def close(self) -> None: ...


class Ledger:
    """Hold messages as octets, each with the key of the row that brought it."""

    def __init__(self) -> None:
        self.rows: dict[str, Known] = {}
        self.inbox: dict[int, bytes] = {}
        self.message_of: dict[str, int] = {}
        self.errors: list[SyncdError] = []
        self.batches: list[int] = []
        self.now = 0.0
        self._next = 1

    @property
    def contents(self) -> Counter[bytes]:
        """Return what is in INBOX, counting equal messages."""
        return Counter(self.inbox.values())

    async def known(self, keys: Collection[str]) -> Sequence[Known]:
        return [self.rows[key] for key in keys if key in self.rows]

    async def standing(self) -> Sequence[Known]:
        return [row for row in self.rows.values() if row.state is CustodyState.COMMITTED or row.is_troubled]

    async def unlisted(self, keys: Collection[str]) -> None:
        for key in keys:
            if key in self.rows:
                self.rows[key] = replace(self.rows[key], state=CustodyState.UNLISTED, is_troubled=False)

    async def untroubled(self, keys: Collection[str]) -> None:
        for key in keys:
            row = self.rows[key]
            self.rows[key] = replace(row, is_troubled=False, tries=min(row.tries, 1))

    async def encode(self, bodies: Sequence[Body]) -> Sequence[Octets]:
        return [Octets(await asyncio.to_thread(lambda one=one: b"".join(one.pieces()))) for one in bodies]

    async def commit(self, encoded: Sequence[Octets], decide: Decide) -> Sequence[Retrieved]:
        octets = [one.octets for one in encoded]
        digests = [hashlib.sha256(each).digest() for each in octets]
        batch = decide(digests, [row for row in self.rows.values() if row.digest in digests])
        self.batches.append(len(batch))
        for each, body in zip(batch, octets, strict=True):
            if each.verdict is Verdict.REPLACES:
                del self.inbox[self.message_of[each.row.key]]
            if each.verdict is not Verdict.SAME:
                self.inbox[self._next] = body
                self.message_of[each.row.key] = self._next
                self._next += 1
            for key in each.takes_over:
                self.rows.pop(key)
                if key in self.message_of:
                    self.message_of[each.row.key] = self.message_of.pop(key)
            self.rows[each.row.key] = replace(each.row, since=self.now if each.row.since is None else each.row.since)
        return batch

    async def deletion_asked(self, keys: Collection[str]) -> None:
        for key in keys:
            self.rows[key] = replace(self.rows[key], state=CustodyState.ASKED)

    async def deletion_confirmed(self, keys: Collection[str]) -> None:
        for key in keys:
            self.rows[key] = replace(self.rows[key], state=CustodyState.DELETED)

    async def failed(self, row: Known, error: SyncdError) -> None:
        self.rows[row.key] = replace(row, is_troubled=True)
        self.errors.append(error)
