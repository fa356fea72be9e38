"""One message appended as uploads are, which go many at a time."""

from syncd.imap.commands.appends import NewMessage, NotAppended
from syncd.imap.connection import ImapConnection
from syncd.imap.types import Appended
from syncd.imap.wire.arguments import Streamed
from syncd.mail.flags import NONE, Flags


async def append(
    connection: ImapConnection,
    octets: bytes,
    body: bytes | Streamed,
    *,
    flags: Flags = NONE,
    internaldate: int | None = None,
) -> Appended | None:
    """Append a message to a mailbox and return where the server says it is; RefusedError if it refuses."""
    (outcome,) = [one async for one in connection.append_many(octets, [NewMessage(body, flags, internaldate)])]
    if isinstance(outcome, NotAppended):
        raise outcome.error
    return outcome if isinstance(outcome, Appended) else None
