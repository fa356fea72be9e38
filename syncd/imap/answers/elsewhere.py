"""Floor 3: what a server tells of mailboxes that are not selected (NOTIFY, RFC 5465), gathered in bounded space."""

import asyncio
from collections.abc import Iterable, Mapping

from syncd.imap.types import ListEntry, Status, StatusRow, Untagged

KEPT_MAX = 10_000
"""Mailboxes of which it is kept what was told."""
_NO_MAILBOXES = frozenset({"\\nonexistent", "\\noselect"})


class Elsewhere:
    """Gather what is told of mailboxes until it is forgotten; their names are a server's own octets.

    counts: the last that was told of a mailbox. names: whether a mailbox is there, by what was told of its name.
    is_partial: something was told that is not kept, or the server said that it could not tell it.
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
                # NOTE: what was said of it before is not kept: a server without mod-sequences for a moment says less.
                self._counts[octets] = response
            case ListEntry(octets=octets, attributes=attributes):
                self._names[octets] = _NO_MAILBOXES.isdisjoint(one.lower() for one in attributes)
            case Status(kind="NO" | "BAD"):
                self.miss()  # Dovecot: "NOTIFY error, some events may have got lost"
            case _:
                return False
        if len(self._counts) + len(self._names) > KEPT_MAX:
            self.forget()
            self.miss()
        self._heard.set()
        return True

    def miss(self) -> None:
        """Note that there may be something that was not told."""
        self.is_partial = True
        self._heard.set()

    def forget_counts(self, names: Iterable[bytes]) -> None:
        """Forget the counts of some mailboxes."""
        for octets in names:
            self._counts.pop(octets, None)

    def forget(self) -> None:
        """Forget what was told so far."""
        self._counts, self._names, self.is_partial = {}, {}, False

    async def heard(self) -> None:
        """Wait until something was told since the last call."""
        await self._heard.wait()
        self._heard.clear()
