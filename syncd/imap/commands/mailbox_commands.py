"""Floor 3: the commands that concern mailboxes as a whole, and what selecting one says."""

from contextlib import suppress

from syncd.errors import ProtocolError, Reach, RefusedError
from syncd.imap.answers.collectors import Counting, Listing
from syncd.imap.answers.refusals import refusal
from syncd.imap.commands.session import Session
from syncd.imap.types import ListEntry, Resync, StatusRow
from syncd.imap.wire.arguments import Argument, string
from syncd.log import log
from syncd.mail.mailbox import SpecialUse


async def list_mailboxes(session: Session, *, with_status: bool, is_pipelined: bool = False) -> tuple[ListEntry, ...]:
    """List all mailboxes; see `ImapConnection.list_mailboxes`."""
    options = [b"SPECIAL-USE"] if "SPECIAL-USE" in session.capabilities else []
    if with_status and "LIST-STATUS" in session.capabilities:
        options.append(b"STATUS " + _status_items(session))
    is_extended = "LIST-EXTENDED" in session.capabilities or "LIST-STATUS" in session.capabilities
    if options and is_extended:
        listing = Listing()
        try:
            request = b"RETURN (" + b" ".join(options) + b")"
            await session.command("LIST", b'""', b'"*"', request, collector=listing, is_pipelined=is_pipelined)
        except RefusedError:
            log.info("extended_list_refused")
        else:
            return _entries(session, listing)
    listing = Listing()
    await session.command("LIST", b'""', b'"*"', collector=listing, is_pipelined=is_pipelined)
    return _entries(session, listing)


async def status(session: Session, octets: bytes) -> StatusRow:
    """Return the counts of a mailbox; see `ImapConnection.status`."""
    collector = Counting(octets)
    await session.command("STATUS", string(octets), _status_items(session), collector=collector, reach=Reach.MAILBOX)
    if collector.row is None:
        raise ProtocolError("the server gave no status of a mailbox", reach=Reach.MAILBOX)
    return collector.row


async def append_limit(session: Session, octets: bytes) -> int | None:
    """Return the size of the largest message that a mailbox takes; see `ImapConnection.append_limit`."""
    for capability in session.capabilities:
        name, _, value = capability.partition("=")
        if name == "APPENDLIMIT" and value.isascii() and value.isdecimal():
            return int(value)
    if "APPENDLIMIT" in session.capabilities and octets not in session.append_limits:
        collector = Counting(octets)
        with suppress(RefusedError):
            await session.command("STATUS", string(octets), b"(APPENDLIMIT)", collector=collector)
        session.append_limits[octets] = collector.row.append_limit if collector.row is not None else None
    return session.append_limits.get(octets)


async def create(session: Session, octets: bytes, special_use: SpecialUse | None) -> None:
    """Make a mailbox; see `ImapConnection.create`."""
    uses: list[Argument] = []
    if special_use is not None and "CREATE-SPECIAL-USE" in session.capabilities:
        uses.append(f"(USE ({special_use.value}))".encode())
    end = await session.attempt("CREATE", string(octets), *uses)
    if end.text.code == "USEATTR" and uses:
        # NOTE: the mailbox was not made then (RFC 6154 §3), and it matters more than its use.
        end = await session.attempt("CREATE", string(octets))
    if end.kind != "OK" and end.text.code != "ALREADYEXISTS":
        raise refusal("create", end, reach=Reach.MAILBOX)


async def delete(session: Session, octets: bytes) -> None:
    """Delete a mailbox; see `ImapConnection.delete`."""
    end = await session.attempt("DELETE", string(octets))
    if end.kind != "OK" and end.text.code != "NONEXISTENT":
        raise refusal("delete", end, reach=Reach.MAILBOX)


def select_parameters(session: Session, qresync: Resync | None) -> tuple[Argument, ...]:
    """Return what SELECT says beside the name (RFC 7162 §3.2.5, §3.1.8)."""
    if qresync is not None:
        return (b"(QRESYNC (%d %d))" % (qresync.uidvalidity, qresync.highestmodseq),)
    return (b"(CONDSTORE)",) if "CONDSTORE" in session.capabilities and session.trusts("CONDSTORE") else ()


def _entries(session: Session, listing: Listing) -> tuple[ListEntry, ...]:
    before, session.listing = session.listing, listing
    return listing.entries(before)


def _status_items(session: Session) -> bytes:
    items = [b"MESSAGES", b"UIDNEXT", b"UIDVALIDITY"]
    if session.capabilities & {"CONDSTORE", "QRESYNC"}:
        items.append(b"HIGHESTMODSEQ")
    if "OBJECTID" in session.capabilities:
        items.append(b"MAILBOXID")
    return b"(%s)" % b" ".join(items)
