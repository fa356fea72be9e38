"""Floor 5: what a hook is to be told of, looked for again and again, and what is recorded once it was told.

Theory. News is put together from what is committed, never from what was heard, so that it is the same after a kill.
The store is read only where something was written there since; what waits is told as a whole, with a bounded list.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Protocol

from syncd.config.model import Config
from syncd.daemon.hooks.troubles import (
    Patience,
    Standing,
    StoredErrors,
    auth_errors,
    held_messages,
    other_errors,
    stored_errors,
)
from syncd.daemon.status.config_status import ConfigStatus
from syncd.maildir.naming.names import FileName
from syncd.store.engine.database import Database
from syncd.store.people import hooks
from syncd.store.people.new_mail import NewInMailbox, NewMessage, new_mail
from syncd.store.people.report import HoldReport, held
from syncd.store.rounds import holds
from syncd.sync.activity import Activities
from syncd.values import Value

LISTED_MAX = 100
"""How many messages, or troubles, a hook is told of one by one."""
PATIENCE_S = 60.0


class Outside(Protocol):
    """The app, as far as hooks know it."""

    @property
    def config(self) -> Config: ...

    @property
    def config_state(self) -> ConfigStatus: ...

    @property
    def db(self) -> Database: ...

    @property
    def activities(self) -> Activities: ...

    @property
    def clock(self) -> Callable[[], float]: ...


class News(Value):
    """Hold what a hook is told: how many messages or troubles, and what of them.

    mark: another value as soon as there is more. settle: records that it was told, or in vain for the last time.
    """

    count: int
    document: Mapping[str, object]
    mark: Hashable
    settle: Callable[[], Awaitable[None]]


class Source(Protocol):
    """What one hook is told of."""

    async def look(self) -> News | None:
        """Return all that it was not told of yet; None: nothing."""


class NewMailSource:
    """Look for mail that was delivered to devices."""

    def __init__(self, name: str, app: Outside) -> None:
        self._name = name
        self._app = app
        self._after: int | None = None
        self._writes: int | None = None
        self._news: News | None = None

    async def look(self) -> News | None:
        db, config = self._app.db, self._app.config
        if self._after is None:
            self._after = await db.read(partial(hooks.told_upto, name=self._name))
        writes = db.writes
        if self._writes is None or writes != self._writes:
            query = partial(new_mail, after=self._after, accounts=config.accounts.keys(), devices=config.devices.keys())
            found = await db.read(partial(query, limit=LISTED_MAX))
            self._writes = writes  # counted before it is read
            document = {
                "count": found.count,
                "mailboxes": [_of_mailbox(one) for one in found.mailboxes],
                "messages": [_of_message(one) for one in found.messages],
                "is_whole": found.is_whole,
            }
            if found.count:
                self._news = News(found.count, document, found.count, partial(self._settle, found.upto))
            else:
                self._after, self._news = found.upto, None
        return self._news

    async def _settle(self, upto: int) -> None:
        await self._app.db.write(partial(hooks.advance, name=self._name, upto=upto))
        self._after, self._writes, self._news = upto, None, None


class _Troubles(ABC):
    """Look for troubles of one kind."""

    patience_s = 0.0
    rest_s = 0.0

    def __init__(self, name: str, app: Outside) -> None:
        self._name = name
        self._app = app
        self._patience = Patience(self.patience_s, self.rest_s)
        self._told: frozenset[str] | None = None
        self._writes: int | None = None

    @abstractmethod
    async def _standing(self) -> Standing:
        """Return what does not work now."""

    async def look(self) -> News | None:
        db, app = self._app.db, self._app
        if self._told is None:
            self._told = await db.read(partial(hooks.told_troubles, name=self._name))
        standing = await self._standing()
        now = asyncio.get_running_loop().time()
        due, over = self._patience.judge(standing, self._told, now=now, at=app.clock())
        if over:
            await db.write(partial(hooks.record_over, name=self._name, troubles=over))
            self._told -= over
        listed = dict(islice(due.items(), LISTED_MAX))
        document = {"troubles": [asdict(one) for one in listed.values()], "is_whole": len(listed) == len(due)}
        keys = frozenset(listed)
        return News(len(listed), document, keys, partial(self._settle, keys)) if listed else None

    async def _settle(self, told: frozenset[str]) -> None:
        await self._app.db.write(partial(hooks.record_told, name=self._name, troubles=told))
        self._told = told.union(self._told or ())

    def _is_written(self) -> bool:
        """Tell whether something was written to the store since the last time that it was."""
        before, self._writes = self._writes, self._app.db.writes
        return before is None or before != self._writes


class AuthErrors(_Troubles):
    """Look for accounts that have no password that their servers take; a login proves that one has."""

    patience_s = PATIENCE_S

    async def _standing(self) -> Standing:
        return auth_errors(self._app.config, self._app.activities)


class Holds(_Troubles):
    """Look for what waits for a person."""

    def __init__(self, name: str, app: Outside) -> None:
        super().__init__(name, app)
        self._mark: Hashable = None
        self._held: Sequence[HoldReport] = ()

    async def _standing(self) -> Standing:
        db = self._app.db
        if self._is_written() and (mark := await db.read(holds.mark)) != self._mark:
            self._held, self._mark = await db.read(held), mark
        return held_messages(self._app.config, self._held)


class OtherErrors(_Troubles):
    """Look for whatever else does not work."""

    patience_s = PATIENCE_S
    rest_s = PATIENCE_S

    def __init__(self, name: str, app: Outside) -> None:
        super().__init__(name, app)
        self._stored = StoredErrors()

    async def _standing(self) -> Standing:
        if self._is_written():
            self._stored = await self._app.db.read(stored_errors)
        return other_errors(self._app.config, self._app.activities, self._stored)


def _of_mailbox(one: NewInMailbox) -> Mapping[str, object]:
    return {
        "device": one.device,
        "account": one.account,
        "mailbox": one.mailbox,
        "directory": None if one.directory is None else str(Path(one.root, one.directory)),
        "count": one.count,
    }


def _of_message(one: NewMessage) -> Mapping[str, object]:
    return {
        "device": one.device,
        "account": one.account,
        "mailbox": one.mailbox,
        "message": one.id,
        "uid": one.uid,
        "path": str(Path(one.root, one.directory, one.subdir, str(FileName(one.name, one.info)))),
        "flags": sorted(one.flags),
        "size_bytes": one.size_bytes,
        "delivered_at": one.delivered_at,
    }
