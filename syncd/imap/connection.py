"""Floor 3: the verbs of IMAP on one connection, for one task that owns it."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable

from syncd.errors import Reach, RefusedError, TooSlowError
from syncd.imap.commands import appends, bodies, idling, mailbox_commands, message_commands, rows
from syncd.imap.commands.appends import AppendOutcome, NewMessage
from syncd.imap.commands.headers import Header
from syncd.imap.commands.parts import Parts, Place
from syncd.imap.commands.rows import Items
from syncd.imap.commands.selected import Selected
from syncd.imap.commands.session import Session
from syncd.imap.types import (
    Copied,
    FetchRow,
    ListEntry,
    MailboxEvents,
    Resync,
    SelectResult,
    StatusRow,
    StoreResult,
)
from syncd.imap.wire.arguments import string
from syncd.imap.wire.endpoint import Endpoint
from syncd.imap.wire.limits import Limits
from syncd.imap.wire.spool import Spool
from syncd.imap.wire.wire_command import OutOfOrderError
from syncd.mail.flags import NONE, Flags
from syncd.mail.mailbox import SpecialUse
from syncd.mail.uidset import UidSet
from syncd.sasl.mechanisms import Secret


class ImapConnection:
    """Speak IMAP: mailbox names are a server's own octets; every wait has a deadline.

    After ConnectionLostError, TooSlowError or a cancelled command the connection is closed and stays so (`is_usable`).
    Commands may come from several tasks; they take their turn. Leaving an iterator of `fetch_rows`, `fetch_bodies` or
    `fetch_headers` before its end closes the connection: close iterators with `contextlib.aclosing`.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._parts = Parts(session)
        self._selected = Selected(session, self._parts)

    @classmethod
    async def open(cls, endpoint: Endpoint, limits: Limits | None = None) -> "ImapConnection":
        """Connect, verify and greet.

        Raises UnreachableError, TrustError, TooSlowError, ConnectionLostError or ProtocolError, with nothing left open.
        """
        return cls(await Session.open(endpoint, limits or Limits()))

    # Session.

    @property
    def capabilities(self) -> frozenset[str]:
        """Return what the server offers now, in upper case; it changes with encryption and login."""
        return self._session.capabilities

    @property
    def encryption(self) -> ssl.SSLObject | None:
        """Return what encrypts the connection, None where nothing does."""
        return self._session.encryption

    def offers(self, name: str) -> bool:
        """Tell whether the server has MOVE, UIDPLUS or UNSELECT, by name or as a part of IMAP4rev2."""
        return self._session.offers(name)

    @property
    def enabled(self) -> frozenset[str]:
        """Return what ENABLE really enabled, in upper case, but for what was refused since."""
        return self._session.usable

    @property
    def refused(self) -> frozenset[str]:
        return self._session.refused

    def trusts(self, name: str) -> bool:
        """Tell whether an extension was not refused when it was used over this connection."""
        return self._session.trusts(name)

    @property
    def is_usable(self) -> bool:
        return self._session.wire.failure is None

    @property
    def is_in_order(self) -> bool:
        """Tell whether the connection did not end because the server did commands out of their order."""
        return not isinstance(self._session.wire.failure, OutOfOrderError)

    @property
    def is_deaf_behind_idle(self) -> bool:
        """Tell whether the connection ended because what came right behind DONE was never answered."""
        behind = self._session.behind_idle
        return isinstance(self._session.wire.failure, TooSlowError) and behind is not None and behind.end is None

    @property
    def selected(self) -> bytes | None:
        """Return the octets of the selected mailbox."""
        return self._selected.octets

    @property
    def selection(self) -> SelectResult | None:
        """Return what SELECT said of the selected mailbox, without QRESYNC's answer.

        Using it instead of selecting again keeps the events that were not drained yet.
        """
        return self._selected.result

    @property
    def exists(self) -> int:
        """Return how many messages the selected mailbox has by the server's reports so far."""
        return self._session.events.exists

    @property
    def has_events(self) -> bool:
        """Tell whether the server reported what was not drained yet."""
        return bool(self._session.events)

    @property
    def has_losses(self) -> bool:
        """Tell whether messages may have gone by what was not drained yet."""
        return self._session.events.has_losses

    async def login(self, username: str, secret: Secret) -> None:
        """Log in by AUTHENTICATE or LOGIN and read the capabilities anew.

        Raises LoginRefusedError, or RefusedError with a code where waiting may help. Nothing to do after PREAUTH.
        """
        await self._session.login(username, secret)

    async def enable(self, *names: str) -> frozenset[str]:
        """Enable those extensions that are offered (RFC 5161) and return all that is enabled; one may be `refused`."""
        wanted = [name for name in names if name in self.capabilities and name not in self.enabled]
        if wanted and "ENABLE" in self.capabilities:
            try:
                await self._session.command("ENABLE", *(name.encode() for name in wanted), is_pipelined=True)
            except RefusedError as error:
                self._session.refuse(wanted, error)
        return self.enabled

    async def identify(self) -> None:
        """Say who we are (ID, RFC 2971) where that is offered; some servers refuse SELECT without it."""
        if "ID" in self.capabilities:
            await self._session.command("ID", b'("name" "syncd")', is_pipelined=True)

    async def noop(self) -> None:
        """Give the server a moment to report; see `drain_events`."""
        await self._session.command("NOOP")

    async def logout(self) -> None:
        """Say good-bye, without waiting long for the answer, and close."""
        await self._session.logout()

    async def aclose(self) -> None:
        """Close at once; whoever waits for a command gets ConnectionLostError."""
        await self._session.aclose()

    # Mailboxes.

    async def list_mailboxes(self, *, with_status: bool = False) -> tuple[ListEntry, ...]:
        """List all mailboxes, with special uses, and with their counts in the same round trip where offered."""
        return await mailbox_commands.list_mailboxes(self._session, with_status=with_status)

    async def list_and_select(self, octets: bytes, *, qresync: Resync | None = None) -> tuple[ListEntry, ...]:
        """Do what `list_mailboxes` with counts does and what `select` does, in the same round trip.

        A mailbox that is refused is not `selected` afterwards. What it says is returned by `resync`.
        NOTE: where they are pipelined, Dovecot's STATUS and NOOP tell of the selected mailbox what was seen already.
        """
        await self.settled()
        listing = mailbox_commands.list_mailboxes(self._session, with_status=True, is_pipelined=True)
        selecting = self.select(octets, qresync=qresync, is_pipelined=True)
        listed, selected = await asyncio.gather(listing, selecting, return_exceptions=True)
        if isinstance(selected, BaseException) and not isinstance(selected, RefusedError):
            raise selected
        if isinstance(listed, BaseException):
            raise listed
        return listed

    async def status(self, octets: bytes) -> StatusRow:
        """Return the counts of a mailbox that is not the selected one (RFC 3501 §6.3.10)."""
        return await mailbox_commands.status(self._session, octets)

    async def create(self, octets: bytes, *, special_use: SpecialUse | None = None) -> None:
        """Make a mailbox; one that is there already is fine.

        special_use: a wish, which only a server with CREATE-SPECIAL-USE is told, and may decline (RFC 6154 §3).
        """
        await mailbox_commands.create(self._session, octets, special_use)

    async def subscribe(self, octets: bytes) -> None:
        """Put a mailbox on the list of those that the user's programs show (RFC 3501 §6.3.6)."""
        await self._session.command("SUBSCRIBE", string(octets), reach=Reach.MAILBOX)

    async def unsubscribe(self, octets: bytes) -> None:
        """Take a mailbox off that list (RFC 3501 §6.3.7)."""
        await self._session.command("UNSUBSCRIBE", string(octets), reach=Reach.MAILBOX)

    async def rename(self, octets: bytes, new: bytes) -> None:
        """Rename a mailbox, and with it those inside (RFC 9051 §6.3.6); it should not be the selected one."""
        await self._session.command("RENAME", string(octets), string(new), reach=Reach.MAILBOX)

    async def delete(self, octets: bytes) -> None:
        """Delete a mailbox with all that is in it; one that is not there is fine.

        Only whoever has just seen that it is empty, and has not selected it, may call this (RFC 3501 §6.3.4).
        """
        await mailbox_commands.delete(self._session, octets)

    async def select(
        self,
        octets: bytes,
        *,
        qresync: Resync | None = None,
        read_only: bool = False,
        is_pipelined: bool = False,
        is_anew: bool = False,
        is_behind: bool = False,
    ) -> SelectResult:
        """Select a mailbox, with mod-sequences where they are offered; the events of the one before are forgotten.

        is_anew: it is this one, and its events are not. is_behind: pipelined, while bodies of the mailbox before are
        still under way. qresync: only once QRESYNC is `enabled`. Where a parameter is refused, the mailbox is selected
        without, and the result `is_plain`; CONDSTORE is not asked for there again, unless that was of the moment.
        """
        return await self._selected.select(
            octets,
            qresync=qresync,
            read_only=read_only,
            is_pipelined=is_pipelined or is_behind,
            is_anew=is_anew,
            is_behind=is_behind,
        )

    async def resync(self, octets: bytes, qresync: Resync | None) -> SelectResult:
        """Select a mailbox, unless just that was the last that was sent: then return, once, what it said."""
        if (resynced := self._selected.take_resynced(octets, qresync)) is not None:
            return resynced
        result = await self.select(octets, qresync=qresync)
        self._selected.forget_resynced()
        return result

    async def unselect(self) -> None:
        """Leave the selected mailbox without expunging anything."""
        await self.settled()
        if self.selected is None:
            return
        if self.offers("UNSELECT"):
            await self._session.command("UNSELECT")
        else:
            # NOTE: CLOSE expunges what is \Deleted, except in a mailbox that is selected read-only.
            await self.select(self.selected, read_only=True)
            await self._session.command("CLOSE")
        self._selected.leave()

    def drain_events(self) -> MailboxEvents:
        """Return what the server reported unasked of the selected mailbox since the last call."""
        self._selected.forget_resynced()  # it is older
        return self._session.events.drain()

    # Messages.

    async def search_uids(self, criteria: str) -> UidSet:
        """Return the UIDs that match search keys (RFC 3501 §6.4.4), which the caller wrote itself.

        An OK without an answer is ProtocolError: it must not pass for "none".
        """
        return await message_commands.search_uids(self._session, criteria)

    def fetch_rows(
        self,
        uids: UidSet,
        *,
        items: Items = Items.FLAGS,
        changed_since: int | None = None,
        is_pipelined: bool = False,
        is_behind: bool = False,
    ) -> AsyncGenerator[tuple[FetchRow, ...], None]:
        """Yield the rows of those `uids` that exist, in batches of about a thousand, as they arrive.

        changed_since: only rows with a higher MODSEQ (CONDSTORE). is_pipelined: beside others. is_behind: those of the
        mailbox of a SELECT that was sent like that.
        """
        how = {"is_pipelined": is_pipelined or is_behind, "is_behind": is_behind}
        return rows.fetch_rows(self._session, uids, items=items, changed_since=changed_since, **how)

    async def settled(self) -> None:
        """Return when nothing is under way that `fetch_ahead` asked for: before a pipelined SELECT it must not be."""
        await self._parts.settled()

    async def rest(self) -> None:
        """Forget what `fetch_ahead` asked for and nobody wanted."""
        await self._parts.rest()

    def fetch_ahead(
        self, wanted: Iterable[bodies.Wanted], *, behind: Callable[[], Coroutine[None, None, None]] | None = None
    ) -> None:
        """Ask for bodies of the selected mailbox that are about to be wanted: `fetch_bodies` has them then.

        Few and small ones, for they are in memory until then, or until `rest`. behind: what is asked of another mailbox
        as soon as all of them are asked for; it raises nothing.
        """
        self._parts.fetch_ahead(wanted, behind=behind)

    @property
    def has_bodies_ahead(self) -> bool:
        """Tell whether any that `fetch_ahead` asked for are not wanted yet."""
        return self._parts.has_ahead

    def fetch_bodies(
        self,
        wanted: Iterable[bodies.Wanted],
        *,
        spool: Callable[[int], Spool],
        window_bytes: int = bodies.WINDOW_BYTES,
        place: Place | None = None,
        selecting: bodies.SelectFirst | None = None,
    ) -> AsyncGenerator[bodies.Body | bodies.NoBody, None]:
        """Yield one outcome for each wanted UID, in the order of arrival, by pipelined `BODY.PEEK[]`.

        spool: makes, on a thread, the place for a body of that many octets; bodies above the limit for literals in
        memory (1 MiB) go there as they arrive. window_bytes: memory for what is asked for and not yet yielded.
        selecting: sends a pipelined SELECT first, whose error is raised; nothing is yielded where it tells of another
        mailbox than `place`, which is by default the selected one.
        """
        return self._parts.bodies(wanted, spool=spool, window_bytes=window_bytes, place=place, selecting=selecting)

    def fetch_headers(self, uids: UidSet) -> AsyncGenerator[Header | bodies.NoBody, None]:
        """Yield one outcome for each UID, in the order of arrival, by pipelined `BODY.PEEK[HEADER]`.

        `mail.message.facts_of` finds the same header digest and Message-ID in a header as in its whole message.
        """
        return self._parts.headers(uids)

    async def store_flags(
        self, uids: UidSet, *, add: Flags = NONE, remove: Flags = NONE, unchanged_since: int | None = None
    ) -> StoreResult:
        """Add and remove flags.

        unchanged_since: leave out messages with a higher MODSEQ and name them as modified (RFC 7162 §3.1.3).
        """
        return await message_commands.store_flags(
            self._session, uids, add=add, remove=remove, unchanged_since=unchanged_since
        )

    async def copy(self, uids: UidSet, target: bytes) -> Copied | None:
        """Copy messages to a mailbox, and return where they are by the server's word, None when it gave none to trust.

        Raises CopyRefusedError.
        """
        return await message_commands.copy(self._session, uids, target)

    async def move(self, uids: UidSet, target: bytes) -> Copied | None:
        """Move messages like `copy` and expunge in one (RFC 6851); ValueError where MOVE is not offered."""
        return await message_commands.move(self._session, uids, target)

    async def expunge_uids(self, uids: UidSet) -> None:
        """Expunge those of `uids` that have \\Deleted, and no others (RFC 4315 §2.1).

        ValueError where UIDPLUS is not offered. RefusedError leaves open how many are gone.
        """
        await message_commands.expunge_uids(self._session, uids)

    async def expunge_deleted(self) -> None:
        """Expunge every message of the selected mailbox that has \\Deleted, whoever gave it.

        Only `expunges` may call this, once it knows that all of them are ours.
        """
        await self._session.command("EXPUNGE", reach=Reach.MAILBOX)

    async def append_limit(self, octets: bytes) -> int | None:
        """Return the size of the largest message that a mailbox takes (RFC 7889), None if the server does not say."""
        return await mailbox_commands.append_limit(self._session, octets)

    def append_many(
        self, octets: bytes, messages: Iterable[NewMessage], *, behind: Callable[[], None] | None = None
    ) -> AsyncGenerator[AppendOutcome, None]:
        """Yield an outcome for each message, in their order; few commands by MULTIAPPEND, and several of them at once.

        behind: called when all that is left is sent, unless the server is to give leave: to say what comes behind it.
        After a refusal that reaches the whole mailbox the others are not sent, and get that. Whoever leaves it early,
        or gets an error other than a refusal, knows nothing of the messages whose outcome was not yielded.
        """
        return appends.append_many(self._session, octets, messages, behind=behind)

    # Push.

    async def idle(self, *, timeout_s: float, until: asyncio.Event | None = None, is_alone: bool = False) -> bool:
        """Wait in IDLE (RFC 2177) for events, at most `timeout_s`, and tell whether there are any to drain.

        until: ends the wait when set. What follows need not wait for the server to say that IDLE has ended, but where
        messages went, or is_alone. Returns at once when events are undrained already, and when the server ends IDLE.
        """
        await idling.idle(self._session, timeout_s=timeout_s, until=until, is_alone=is_alone)
        return self.has_events
