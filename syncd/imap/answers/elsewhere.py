"""Floor 3: what a server tells of mailboxes that are not selected (NOTIFY, RFC 5465), gathered in bounded space."""

import asyncio
from collections.abc import Mapping

from syncd.imap.types import ListEntry, StatusRow, Untagged

KEPT_MAX = 10_000
"""Mailboxes of which it is kept what was told."""
_NOT_THERE = "\\nonexistent"


class Elsewhere:
    """Gather what is told of mailboxes until it is forgotten.

    counts: those that were told, which need not be all, by mailbox. names: whether a mailbox is there, by what was told
    of its name. is_partial: more was told than is kept.
    """

    def __init__(self) -> None:
        self.is_partial = False
        self._counts: dict[bytes, StatusRow] = {}
        self._names: dict[bytes, bool] = {}
        self._heard = asyncio.Event()

    @property
    def counts(self) -> Mapping[bytes, StatusRow]:
        return self._counts

    @property
    def names(self) -> Mapping[bytes, bool]:
        return self._names

    def __bool__(self) -> bool:
        """Tell whether anything was told that is not forgotten."""
        return bool(self._counts or self._names or self.is_partial)

    def take(self, response: Untagged) -> bool:
        """Take a response, as a collector does; those that say nothing of mailboxes are left to others."""
        match response:
            case StatusRow(octets=octets):
                known = self._counts.get(octets)
                self._counts[octets] = response if known is None else response.over(known)
            case ListEntry(octets=octets, attributes=attributes):
                self._names[octets] = all(one.lower() != _NOT_THERE for one in attributes)
            case _:
                return False
        if len(self._counts) + len(self._names) > KEPT_MAX:
            self.forget()
            self.is_partial = True
        self._heard.set()
        return True

    def forget(self) -> None:
        """Forget what was told so far."""
        self._counts, self._names, self.is_partial = {}, {}, False

    async def heard(self) -> None:
        """Wait until something was told since the last call."""
        await self._heard.wait()
        self._heard.clear()
