"""Floor 3: what a server tells unasked of mailboxes that are not selected (NOTIFY), gathered in bounded space."""

import asyncio
from collections.abc import Mapping

from syncd.imap.events import KEPT_MAX
from syncd.imap.types import ListEntry, StatusRow, Untagged
from syncd.values import Value

_NOT_THERE = "\\nonexistent"


class News(Value):
    """What was told of other mailboxes than the selected one, by their names.

    counts: those that were told, which need not be all. names: whether the mailbox is there. is_partial: more was told
    than is kept.
    """

    counts: Mapping[bytes, StatusRow]
    names: Mapping[bytes, bool]
    is_partial: bool


class Elsewhere:
    """Gather news of mailboxes that are not selected, until they are taken."""

    def __init__(self) -> None:
        self.is_told = False
        """Whether the server was asked to tell of them, and does; else nothing is gathered."""
        self._heard = asyncio.Event()
        self._counts: dict[bytes, StatusRow] = {}
        self._names: dict[bytes, bool] = {}
        self._is_partial = False

    def __bool__(self) -> bool:
        """Tell whether there is anything to take."""
        return bool(self._counts or self._names or self._is_partial)

    def add(self, response: Untagged) -> None:
        """Take a response; those that say nothing of other mailboxes are passed over."""
        if not self.is_told:
            return
        match response:
            case StatusRow(octets=octets):
                known = self._counts.get(octets)
                self._counts[octets] = response if known is None else response.over(known)
            case ListEntry(octets=octets, attributes=attributes):
                self._names[octets] = all(one.lower() != _NOT_THERE for one in attributes)
            case _:
                return
        if len(self._counts) + len(self._names) > KEPT_MAX:
            self._is_partial = True
            self._counts.clear()
            self._names.clear()
        self._heard.set()

    def take(self) -> News:
        """Return what was told so far, and forget it."""
        news = News(self._counts, self._names, self._is_partial)
        self._counts, self._names, self._is_partial = {}, {}, False
        self._heard.clear()
        return news

    async def wait(self) -> bool:
        """Wait until there is anything to take."""
        return await self._heard.wait()
