"""Floor 3, imap: messages on their way into a mailbox."""

from dataclasses import dataclass

from syncd.errors import Reach
from syncd.imap.arguments import Argument, Literal, Streamed, date_time, flag_list, string
from syncd.imap.codes import appended
from syncd.imap.refusals import refusal
from syncd.imap.session import Session
from syncd.imap.types import Appended
from syncd.mail.flags import NONE, Flags


@dataclass(frozen=True, slots=True, repr=False)
class NewMessage:
    """A message to append; internaldate: seconds since 1970, None for the server's own time."""

    body: bytes | Streamed
    flags: Flags = NONE
    internaldate: int | None = None


async def append(session: Session, octets: bytes, message: NewMessage) -> Appended | None:
    """Append a message; see `ImapConnection.append`."""
    literal = Literal(message.body)
    arguments: list[Argument] = [string(octets)]
    if message.flags:
        arguments.append(flag_list(message.flags))
    if message.internaldate is not None:
        arguments.append(date_time(message.internaldate))
    wire, limits = session.wire, session.limits
    end = await session.attempt(
        "APPEND",
        *arguments,
        literal,
        is_pipelined=isinstance(message.body, bytes) and len(message.body) <= wire.non_sync_max_bytes,
        deadline_s=limits.command_s + literal.size_bytes / limits.bytes_per_s,
    )
    if end.kind != "OK":
        raise refusal("append", end, reach=Reach.MESSAGE)
    return appended(end.text)
