"""Floor 3: messages on their way into a mailbox, with an outcome for each of them.

Theory. MULTIAPPEND takes all of a batch or nothing (RFC 3502), so after a NO each message is sent again alone, and only
the guilty one stays refused. A large or streamed body is sent alone from the beginning: sending it twice costs more
than a round trip, and a stream can be read once. A server in trouble may have what it said NO to: then nothing is sent
again before somebody has looked. Round trips are what uploads take longest for, so commands that need
no leave of the server for their literals (RFC 7888) go a few megabytes at once, and all are answered before any of
their outcomes is told. After a refusal that reaches the whole mailbox nothing more is sent.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from typing import TypeGuard

from syncd.errors import Reach, RefusedError
from syncd.imap.answers.codes import appended, appended_all
from syncd.imap.answers.refusals import OF_MAILBOX, OF_TROUBLE, refusal
from syncd.imap.commands.session import Session
from syncd.imap.types import Appended, Tagged
from syncd.imap.wire.arguments import Argument, Literal, Streamed, date_time, flag_list, string
from syncd.log import log
from syncd.mail.flags import NONE, Flags
from syncd.values import Opaque, Value

_BATCH_MESSAGES = 100
_BATCH_BYTES = 1024 * 1024
_AT_ONCE_BYTES = 4 * 1024 * 1024
_AT_ONCE = 32
REACHES_MAILBOX = OF_MAILBOX | {"OVERQUOTA"}
"""Codes of refusals that every further message would get."""


class NewMessage(Opaque):
    """A message to append; internaldate: seconds since 1970, None for the server's own time.

    is_alone: it was refused before, perhaps because of others that it was sent together with.
    """

    body: bytes | Streamed
    flags: Flags = NONE
    internaldate: int | None = None
    is_alone: bool = False

    @property
    def size_bytes(self) -> int:
        return len(self.body) if isinstance(self.body, bytes) else self.body.size_bytes


class Accepted(Value):
    """The server has the message; under which UID it did not say, or not in a way that can be right."""


class NotAppended(Value):
    """The server refused this message; in trouble (`OF_TROUBLE`) it may have it all the same."""

    error: RefusedError


AppendOutcome = Appended | Accepted | NotAppended


async def append_many(
    session: Session, octets: bytes, messages: Iterable[NewMessage], *, behind: Callable[[], None] | None = None
) -> AsyncGenerator[AppendOutcome, None]:
    """Yield an outcome for each message, all of which are taken at once; see `ImapConnection.append_many`."""
    is_trusted = "MULTIAPPEND" in session.capabilities
    waiting = deque(_batches(messages, count=_BATCH_MESSAGES if is_trusted else 1))
    of_mailbox: NotAppended | None = None
    while waiting and of_mailbox is None:
        window = _window(session, waiting)
        size_bytes = sum(map(_size_of, window))
        sent = asyncio.gather(
            *(_send(session, octets, batch, at_once_bytes=size_bytes) for batch in window), return_exceptions=True
        )
        try:
            if behind is not None and not waiting and all(_is_unasked(session, batch) for batch in window):
                await asyncio.sleep(0)  # NOTE: each has its place by then, and what is said now comes behind them
                behind()
            ends = await sent
        finally:
            sent.cancel()
        for batch, end in zip(window, ends, strict=True):
            if isinstance(end, BaseException):
                raise end
            if end.kind != "OK" and len(batch) > 1 and end.text.code not in OF_MAILBOX | OF_TROUBLE:
                outcomes = [of_mailbox] * len(batch) if of_mailbox else await _one_by_one(session, octets, batch)
                if is_trusted and not any(isinstance(one, NotAppended) for one in outcomes):
                    # NOTE: it refused together what it takes one by one, and would have every further batch sent twice.
                    log.info("multiappend_contradicted")
                    is_trusted, waiting = False, deque([one] for later in waiting for one in later)
            else:
                outcomes = _outcomes(end, len(batch))
            for outcome in outcomes:
                of_mailbox = outcome if _reaches_mailbox(outcome) else of_mailbox
                yield outcome
    for _ in (message for batch in waiting for message in batch):
        assert of_mailbox is not None  # noqa: S101  # else everything was sent
        yield of_mailbox


async def _one_by_one(session: Session, octets: bytes, messages: Sequence[NewMessage]) -> Sequence[AppendOutcome]:
    outcomes: list[AppendOutcome] = []
    for message in messages:
        outcomes += _outcomes(await _send(session, octets, (message,)), 1)
        if _reaches_mailbox(outcomes[-1]):
            outcomes += [outcomes[-1]] * (len(messages) - len(outcomes))
            break
    return outcomes


def _outcomes(end: Tagged, count: int) -> Sequence[AppendOutcome]:
    """Return what became of so many messages by the end of their command."""
    if end.kind != "OK":
        return [NotAppended(refusal("append", end, reach=Reach.MESSAGE))] * count
    places = appended_all(end.text, count) if count > 1 else (appended(end.text),)
    return [place or Accepted() for place in places or (None,) * count]


def _reaches_mailbox(outcome: AppendOutcome) -> TypeGuard[NotAppended]:
    return isinstance(outcome, NotAppended) and outcome.error.code in REACHES_MAILBOX


def _window(session: Session, waiting: deque[list[NewMessage]]) -> list[list[NewMessage]]:
    """Take the batches that are sent at once: several only where none has to wait for the server's leave."""
    window = [waiting.popleft()]
    size_bytes = _size_of(window[0])
    while waiting and len(window) < _AT_ONCE and _is_unasked(session, window[0]) and _is_unasked(session, waiting[0]):
        size_bytes += _size_of(waiting[0])
        if size_bytes > _AT_ONCE_BYTES:
            break
        window.append(waiting.popleft())
    return window


def _size_of(batch: Iterable[NewMessage]) -> int:
    return sum(message.size_bytes for message in batch)


def _is_unasked(session: Session, batch: Iterable[NewMessage]) -> bool:
    limit_bytes = session.wire.non_sync_max_bytes
    return all(isinstance(one.body, bytes) and len(one.body) <= limit_bytes for one in batch)


async def _send(
    session: Session, octets: bytes, messages: Sequence[NewMessage], *, at_once_bytes: int | None = None
) -> Tagged:
    """Send a command, and return its end; at_once_bytes: how much is sent together with it, if anything is."""
    arguments: list[Argument] = [string(octets)]
    for message in messages:
        if message.flags:
            arguments.append(flag_list(message.flags))
        if message.internaldate is not None:
            arguments.append(date_time(message.internaldate))
        arguments.append(Literal(message.body))
    limits, size_bytes = session.limits, at_once_bytes or _size_of(messages)
    return await session.attempt(
        "APPEND",
        *arguments,
        is_pipelined=_is_unasked(session, messages),
        deadline_s=limits.command_s + size_bytes / limits.bytes_per_s,
    )


def _batches(messages: Iterable[NewMessage], *, count: int) -> Iterator[list[NewMessage]]:
    batch: list[NewMessage] = []
    size_bytes = 0
    for message in messages:
        # NOTE: an empty literal would cancel the whole of a MULTIAPPEND (RFC 3502 §6.3.11).
        is_large = isinstance(message.body, Streamed) or not 0 < message.size_bytes <= _BATCH_BYTES
        is_alone = message.is_alone or is_large
        if batch and (is_alone or len(batch) >= count or size_bytes + message.size_bytes > _BATCH_BYTES):
            yield batch
            batch, size_bytes = [], 0
        if is_alone:
            yield [message]
        else:
            batch.append(message)
            size_bytes += message.size_bytes
    if batch:
        yield batch
