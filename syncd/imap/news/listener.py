"""Floor 3: a connection that does nothing but listen: it is told what happens in a user's mailboxes (NOTIFY, RFC 5465).

Decision. It is not the one that fetches. Where a line is slower than Dovecot 2.3, that writes what it tells into the
middle of a literal; it tells nothing of what happens to a mailbox that is selected for a moment, and nothing at all
after a second SET. Here nothing is selected, nothing is fetched, and SET is said once.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from syncd.errors import ConnectionLostError, RefusedError
from syncd.imap.answers.elsewhere import KEPT_MAX, Elsewhere
from syncd.imap.commands import idling
from syncd.imap.commands.session import Session
from syncd.imap.news.push import PAUSE_S, RENEWAL_S
from syncd.imap.types import Status, StatusRow, Untagged
from syncd.imap.wire.endpoint import Endpoint
from syncd.imap.wire.limits import Limits
from syncd.sasl.mechanisms import Secret

_NEEDED = frozenset({"NOTIFY", "CONDSTORE", "IDLE"})
_EVENTS = b"(personal (MessageNew MessageExpunge FlagChange MailboxName))"
_OVERFLOW = "NOTIFICATIONOVERFLOW"


def can_tell(capabilities: frozenset[str]) -> bool:
    """Tell whether a server that offers these, after login, can be listened to.

    Not without mod-sequences: nobody could tell news from what syncd itself did there.
    """
    return capabilities >= _NEEDED


class Listener:
    """Let a server tell what happens in all mailboxes of a user."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._is_stopped = asyncio.Event()
        self._told_of: set[bytes] | None = set()
        """The mailboxes that were told of so far, until listening has begun."""

    @classmethod
    async def open(cls, endpoint: Endpoint, limits: Limits | None = None) -> "Listener":
        """Connect, verify and greet; raises what `ImapConnection.open` does."""
        return cls(await Session.open(endpoint, limits or Limits()))

    async def login(self, username: str, secret: Secret) -> None:
        """Log in; raises what `ImapConnection.login` does."""
        await self._session.login(username, secret)

    async def listen(self, told: Elsewhere, *, on_begin: Callable[[frozenset[bytes]], None]) -> None:
        """Gather what is told until `stop`; raises RefusedError if nothing is, or what ends the connection.

        How all mailboxes are is told first, so that nothing is missed between the last look and this. `on_begin`
        gets the octets of the mailboxes that were told then, and are told of from then on.
        """
        session = self._session
        if not can_tell(session.capabilities):
            raise RefusedError("the server does not offer NOTIFY any more")
        with session.collecting(self), session.collecting(told):
            await self._enable_condstore()
            await session.command("NOTIFY", b"SET", b"STATUS", _EVENTS)
            names, self._told_of = self._told_of, None
            on_begin(frozenset(names or ()))
            while not self._is_stopped.is_set():
                session.events.clear()  # with nothing selected there are none, whatever a server says
                await self._idle()
        await session.logout()

    def stop(self) -> None:
        """End the connection with the words that are due, so that the server does not count it any more."""
        self._is_stopped.set()

    async def _idle(self) -> None:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + RENEWAL_S
        await idling.idle(self._session, timeout_s=RENEWAL_S, until=self._is_stopped)
        with suppress(TimeoutError):
            # NOTE: a server that ends IDLE by itself must not turn this into a race.
            async with asyncio.timeout(min(ends_at - loop.time(), PAUSE_S)):
                await self._is_stopped.wait()

    async def _enable_condstore(self) -> None:
        """Ask for mod-sequences: Cyrus tells none to who has not said that they mean anything to him."""
        if "ENABLE" in self._session.capabilities:
            with suppress(RefusedError):  # then what is told without one is looked at
                await self._session.command("ENABLE", b"CONDSTORE")

    def take(self, response: Untagged) -> bool:
        """Hear, before another collector does, of which mailboxes is told, and when nothing is from now on."""
        match response:
            case StatusRow(octets=octets) if self._told_of is not None and len(self._told_of) < KEPT_MAX:
                self._told_of.add(octets)
            case Status() if response.text.code == _OVERFLOW:  # RFC 5465 §5.8
                error = ConnectionLostError("the server tells of mailboxes no more: too much happened")
                self._session.wire.fail_all(error)
        return False

    async def aclose(self) -> None:
        """Close at once."""
        await self._session.aclose()
