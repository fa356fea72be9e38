"""Floor 3, imap: messages on their way into a mailbox, with an outcome for each of them.

Theory. MULTIAPPEND takes all of a batch or nothing (RFC 3502), so after a NO each message is sent again alone, and only
the guilty one stays refused. A large or streamed body is sent alone from the beginning: sending it twice costs more
than a round trip, and a stream can be read once.
"""

from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from dataclasses import dataclass

from syncd.errors import Reach, RefusedError
from syncd.imap.arguments import Argument, Literal, Streamed, date_time, flag_list, string
from syncd.imap.codes import appended, appended_all
from syncd.imap.refusals import OF_MAILBOX, refusal
from syncd.imap.session import Session
from syncd.imap.types import Appended, Tagged
from syncd.log import log
from syncd.mail.flags import NONE, Flags

_BATCH_MESSAGES = 100
_BATCH_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, repr=False)
class NewMessage:
    """A message to append; internaldate: seconds since 1970, None for the server's own time."""

    body: bytes | Streamed
    flags: Flags = NONE
    internaldate: int | None = None

    @property
    def size_bytes(self) -> int:
        return len(self.body) if isinstance(self.body, bytes) else self.body.size_bytes


@dataclass(frozen=True, slots=True)
class Accepted:
    """The server has the message; under which UID it did not say, or not in a way that can be right."""


@dataclass(frozen=True, slots=True)
class NotAppended:
    """The server refused this message; it has nothing of it."""

    error: RefusedError


AppendOutcome = Appended | Accepted | NotAppended


async def append(session: Session, octets: bytes, message: NewMessage) -> Appended | None:
    """Append a message; see `ImapConnection.append`."""
    end = await _send(session, octets, (message,))
    if end.kind != "OK":
        raise refusal("append", end, reach=Reach.MESSAGE)
    return appended(end.text)


async def append_many(
    session: Session, octets: bytes, messages: Iterable[NewMessage]
) -> AsyncGenerator[AppendOutcome, None]:
    """Yield an outcome for each message; see `ImapConnection.append_many`."""
    is_trusted = "MULTIAPPEND" in session.capabilities
    for batch in _batches(messages):
        if is_trusted and len(batch) > 1:
            end = await _send(session, octets, batch)
            if end.kind == "OK":
                for place in appended_all(end.text, len(batch)) or (None,) * len(batch):
                    yield place or Accepted()
                continue
            if end.text.code in OF_MAILBOX:
                for _ in batch:
                    yield NotAppended(refusal("append", end, reach=Reach.MESSAGE))
                continue
        has_refused = False
        for message in batch:
            outcome = await _alone(session, octets, message)
            has_refused = has_refused or isinstance(outcome, NotAppended)
            yield outcome
        if is_trusted and len(batch) > 1 and not has_refused:
            # NOTE: it refused together what it takes one by one, and would have every further batch sent twice.
            log.info("multiappend_contradicted")
            is_trusted = False


async def _alone(session: Session, octets: bytes, message: NewMessage) -> AppendOutcome:
    try:
        return await append(session, octets, message) or Accepted()
    except RefusedError as error:
        return NotAppended(error)


async def _send(session: Session, octets: bytes, messages: Sequence[NewMessage]) -> Tagged:
    arguments: list[Argument] = [string(octets)]
    for message in messages:
        if message.flags:
            arguments.append(flag_list(message.flags))
        if message.internaldate is not None:
            arguments.append(date_time(message.internaldate))
        arguments.append(Literal(message.body))
    wire, limits = session.wire, session.limits
    size_bytes = sum(message.size_bytes for message in messages)
    is_unasked = all(isinstance(one.body, bytes) and len(one.body) <= wire.non_sync_max_bytes for one in messages)
    return await session.attempt(
        "APPEND",
        *arguments,
        is_pipelined=is_unasked,
        deadline_s=limits.command_s + size_bytes / limits.bytes_per_s,
    )


def _batches(messages: Iterable[NewMessage]) -> Iterator[list[NewMessage]]:
    batch: list[NewMessage] = []
    size_bytes = 0
    for message in messages:
        # NOTE: an empty literal would cancel the whole of a MULTIAPPEND (RFC 3502 §6.3.11).
        is_alone = isinstance(message.body, Streamed) or not 0 < message.size_bytes <= _BATCH_BYTES
        if batch and (is_alone or len(batch) >= _BATCH_MESSAGES or size_bytes + message.size_bytes > _BATCH_BYTES):
            yield batch
            batch, size_bytes = [], 0
        if is_alone:
            yield [message]
        else:
            batch.append(message)
            size_bytes += message.size_bytes
    if batch:
        yield batch
