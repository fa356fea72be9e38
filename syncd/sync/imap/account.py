"""Floor 4: the task of one IMAP account: it owns the connection, and says when the server is read.

Theory. What devices changed is pushed first, and mailboxes that they made are made. Then comes a whole pass
(`reading`) when somebody asks or the poll is due, else only a look at the selected mailbox, if that has news. Of others
a server tells over a second connection (`listening`): those are looked at, or all where names have changed. At rest the
task waits in IDLE on INBOX, or for the poll where there is no IDLE, and a wake-up ends the wait; before resting, INBOX
is compared with what is known, since SELECT reports no event. An error that reaches no message and no mailbox ends the
connection and the run. The supervisor starts another run, and what was recorded is where it goes on.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import Connection

from syncd.config.accounts import ImapConfig
from syncd.errors import SyncdError
from syncd.imap.connection import ImapConnection
from syncd.imap.news.observe import Rung, offered_rung
from syncd.imap.news.push import wait_for_news
from syncd.imap.quirks import NONE, quirks_of
from syncd.imap.wire.endpoint import Endpoint
from syncd.imap.wire.limits import Limits
from syncd.log import log
from syncd.mail.mailbox import from_wire
from syncd.sasl.mechanisms import Secret
from syncd.store.files import refused_uploads
from syncd.store.mailboxes import mailbox_changes
from syncd.store.trees import troubles
from syncd.sync.accounts.connects import Connects
from syncd.sync.accounts.incoming_bodies import IncomingBodies
from syncd.sync.accounts.poll_timer import PollTimer, share_of
from syncd.sync.accounts.served_account import ServedAccount
from syncd.sync.activity import Link
from syncd.sync.at_rest import AtRest
from syncd.sync.imap.listing import is_as_known
from syncd.sync.imap.losses import Losses
from syncd.sync.imap.mailbox_changes import ImapMailboxChanges
from syncd.sync.imap.mailbox_failures import MailboxFailures, Work
from syncd.sync.imap.news_elsewhere import NewsElsewhere
from syncd.sync.imap.reading import ImapReading
from syncd.sync.imap.suspicions import SECOND_LOOK_S
from syncd.sync.requests import Asked, Requests
from syncd.sync.wakes import Wake
from syncd.values import replace

if TYPE_CHECKING:
    from syncd.imap.news.listener import Listener
    from syncd.sync.imap.listening import Listening

C = TypeVar("C", ImapConnection, "Listener")

_ASKED_S = 1.0
"""For how long after somebody has asked devices are likely to be at work for the same."""
_HEARS_OUT_S = 0.2


def endpoint_of(config: ImapConfig) -> Endpoint:
    """Return where an account's server is, and how a connection to it is protected."""
    return Endpoint(
        config.host,
        config.port,
        tls=config.tls.value,
        ca_file=config.ca_file,
        pin_sha256=config.pin_sha256,
        client_cert=config.client_cert,
        allow_plaintext=config.allow_plaintext,
    )


class ImapAccount:
    """Keep the server tree of one IMAP account; `run` serves it for as long as the connection holds."""

    def __init__(
        self,
        account: ServedAccount,
        config: ImapConfig,
        *,
        password: Callable[[], AbstractAsyncContextManager[Secret]],
        incoming: IncomingBodies,
        connects: Connects,
        limits: Limits | None = None,
        second_look_s: float = SECOND_LOOK_S,
        listens: bool = False,
    ) -> None:
        """Enter `password` for each login; `requests` asks for a whole pass.

        listens: hear of all mailboxes over a second connection where the server can tell of them.
        """
        self._account = account
        self._db = account.db
        self._activity = account.activity
        self._clock = account.clock
        self._halves = account.wakes.halves
        self._config = config
        self._password = password
        self._incoming = incoming
        self._connects = connects
        self._limits = limits or Limits()
        self._timer = PollTimer(config.poll_interval_s, clock=account.clock, share=share_of(account.name))
        self._losses = Losses()
        self._failures = MailboxFailures(account.db, account.name, self._losses)
        self._reading = ImapReading(
            account,
            config.mailboxes,
            incoming=incoming,
            losses=self._losses,
            failures=self._failures,
            second_look_s=second_look_s,
        )
        self._push = self._reading.push
        self._elsewhere = NewsElsewhere(self._reading.mailboxes.known)
        self._can_listen = listens
        self._listening: Listening | None = None
        self._unread: set[int] = set()
        """The mailboxes that were told of and could not be read since."""
        self._at_rest = AtRest(account.db)
        self._is_connected = False
        self._quirks = NONE
        self._refused: frozenset[str] = frozenset()
        """What the server announces, and refused in connections before."""
        self._idles_alone = False
        """Whether the server lost what came right behind the end of IDLE: older releases of Stalwart do."""
        self._changes = ImapMailboxChanges(account, config.mailboxes, list_mailboxes=self._reading.mailboxes.list)
        self.requests = Requests(account.wake)

    def adjust(self, config: ImapConfig) -> None:
        """Go on with this configuration, which the same connection serves, and with what devices take by now."""
        self._config = config
        self._timer.adjust(config.poll_interval_s)
        self._changes.patterns = config.mailboxes
        self._reading.adjust(config.mailboxes)
        self._at_rest.forget()
        if self._is_connected:  # else a login that was refused would be tried again with each edit
            self.requests.hurry()

    async def run(self) -> None:
        """Connect and serve the account until cancelled; raises what ended the connection."""
        try:
            is_again = False
            while True:
                # NOTE: the connection before, or the process, may have ended between two halves.
                self._halves.begin(self._account.name)
                connection = await self._connect()
                self._is_connected = True
                try:
                    await self._serve(connection, is_again=is_again)
                except asyncio.CancelledError:
                    await asyncio.shield(connection.logout())
                    raise
                except SyncdError as error:
                    if connection.is_usable or not self._losses.may_connect_at_once():
                        raise
                    log.warning("connection_lost", account=self._account.name, error=str(error))
                    is_again = True
                finally:
                    listening, self._listening = self._listening, None
                    if listening is not None:
                        listening.cancel()
                    self._is_connected, self._activity.link = False, None
                    self._refused |= connection.refused
                    self._idles_alone |= connection.is_deaf_behind_idle
                    self._reading.end(connection)
                    self._incoming.rest()
                    await connection.aclose()
                    if listening is not None:
                        await listening.ended()
                        self._can_listen &= not listening.is_in_vain
        except SyncdError as error:
            self.requests.fail(error)
            raise
        finally:
            self._halves.end(self._account.name)

    async def _connect(self) -> ImapConnection:
        await self._connects.turn(self._config.host, self._config.port, activity=self._activity, now=self._clock())
        self._activity.now("connecting", self._clock())
        config = self._config
        connection = await self._log_in(ImapConnection)
        try:
            extension = "QRESYNC" if "QRESYNC" in connection.capabilities else "CONDSTORE"
            # In one round trip.
            wanted = frozenset({extension}) - self._refused
            await asyncio.gather(connection.identify(), connection.enable(*wanted))
        except BaseException:
            await connection.aclose()
            raise
        self._quirks = quirks_of(config.host, connection.capabilities)
        self._reading.begin(self._quirks)
        self._elsewhere.forget()
        rung, has_push = self._rung_of(connection), "IDLE" in connection.capabilities
        self._activity.link = Link.over(connection.encryption, self._clock(), rung=rung, has_push=has_push)
        self._activity.logged_in()
        log.info("account_connected", account=self._account.name)
        return connection

    async def _log_in(self, kind: type[C]) -> C:
        """Return a connection of this kind, opened and logged in."""
        connection = await kind.open(endpoint_of(self._config), self._limits)
        try:
            async with self._password() as secret:
                await connection.login(self._config.username, secret)
        except BaseException:
            await connection.aclose()
            raise
        return connection

    def _listen(self, connection: ImapConnection) -> None:
        """Begin to hear of other mailboxes, at the first rest of a connection."""
        from syncd.imap.news.listener import Listener, can_tell  # noqa: PLC0415  # a sync by itself listens to nobody
        from syncd.sync.imap.listening import Listening  # noqa: PLC0415

        if self._config.max_connections == 1 or not can_tell(connection.capabilities):
            return

        async def connect() -> Listener:
            await self._connects.turn_beside(self._config.host, self._config.port)
            return await self._log_in(Listener)

        self._listening = Listening(self._account, self._elsewhere, connect=connect)

    def _rung_of(self, connection: ImapConnection) -> str:
        rung = offered_rung(connection.capabilities, self._quirks, enabled=connection.enabled)
        if rung is Rung.CONDSTORE and not connection.trusts("CONDSTORE"):
            rung = Rung.LISTING
        return rung.name.lower()

    async def _serve(self, connection: ImapConnection, *, is_again: bool) -> None:
        """Serve until the connection ends; is_again: it takes the place of another in the middle of what was asked."""
        wake = self._account.wake
        is_first, has_news, was_put_off = True, False, False
        loop = asyncio.get_running_loop()
        asked_until = loop.time()
        while True:
            wake.clear()
            asked = self.requests.take()
            asked_until = loop.time() + _ASKED_S if asked else asked_until
            is_new = not (is_first and is_again)
            rests = not is_first and bool(self._at_rest) and self._is_quiet
            await self._elsewhere.compare()
            is_poll = self._timer.is_due and not (asked or is_first or self._elsewhere.heard)
            is_due = self._timer.is_due or self._elsewhere.due.is_listing
            if not rests:
                if asked and is_new:
                    self._failures.end_waits()
                if asked is Asked.LOOK and is_new and await self._at_rest.is_anything_pending():
                    await self._db.write(partial(_hurry, account_id=self._account.id))
                self._at_rest.begin()
                with self._halves.unseen(self._account.name):
                    await self._push.push(connection)
                    await self._reading.follow(connection)
                    is_due |= await self._changes.run(connection)
                is_due = is_due or await self._reading.is_due()
            if asked is Asked.LOOK or is_first or is_due:
                self._timer.begin()
                is_first = False
                before = await self._reading.mailboxes.known()
                async with self._elsewhere.passing():
                    if await self._reading.run_pass(connection, is_at_rest=rests) and self._is_quiet:
                        await self._at_rest.end()
                if is_poll and self._listening is not None:
                    self._listening.polled(before, await self._reading.mailboxes.known())
                await self._reading.look_again(connection, waits=bool(asked) or self.requests.are_awaited)
                self.requests.answer()
            else:
                if self.requests.close():  # a look has asked the server before: what is left is what the store knows
                    await self._reading.fetch_lacking(connection)
                    await self._reading.look_again(connection, waits=True)
                    self.requests.answer()
                # NOTE: events are mostly of what we did: who has asked meanwhile waits for no look at them, and who has
                # woken us for one at most.
                has_news |= connection.has_events
                is_woken = self._push.has_to_follow or not self._answers(wake)
                is_put_off = self.requests.is_news or (is_woken and not was_put_off)
                if has_news and not is_put_off:
                    await self._reading.look_at_selected(connection)
                was_put_off = has_news and is_put_off
                await self._look_elsewhere(connection)
            await self._reading.follow(connection)
            await self._reading.restore(connection)
            has_news = self._answers(wake) and await self._rest(connection, wake, hears_out=loop.time() < asked_until)

    async def _look_elsewhere(self, connection: ImapConnection) -> None:
        """Read the mailboxes that the server has told of, and those that could not be read when it had."""
        again = {id_ for id_ in self._unread if not self._failures.is_waiting(id_, Work.READ)}
        told = () if (due := self._elsewhere.due).is_listing else due.mailboxes  # then a pass comes at once
        if wanted := again.union(told):
            with self._elsewhere.looking_at(wanted):
                await self._reading.look_at(connection, wanted)
            self._unread = {id_ for id_ in wanted | self._unread if self._failures.is_failing(id_, Work.READ)}

    def _answers(self, wake: Wake) -> bool:
        """Tell whether nothing is left to do for who has woken us; they hear of it."""
        if wake.is_set() or self._push.has_made_mailboxes or self._push.may_go_on:
            return False
        wake.answered()
        return True

    @property
    def _is_quiet(self) -> bool:
        """Tell whether nothing that the task has in memory is waited for or wanted."""
        return self._reading.is_quiet and self._changes.wait_s() is None

    async def _rest(self, connection: ImapConnection, wake: asyncio.Event, *, hears_out: bool) -> bool:
        """Wait in INBOX until there is something to do; tell whether INBOX has news that were no events."""
        if await self._select_inbox(connection):
            return True
        if hears_out:
            await self._hear_out(wake)
        self._incoming.rest()
        if self._can_listen and self._listening is None:
            self._listen(connection)
        waits_s = (
            self._timer.left_s,
            self._elsewhere.wait_s(),
            self._failures.shortest_wait_s(),
            self._push.wait_s(),
            self._changes.wait_s(),
            self._reading.second_look_s(),
        )
        timeout_s = min(wait_s for wait_s in waits_s if wait_s is not None)
        self._activity.polls_at = self._clock() + self._timer.left_s
        self._activity.watched = _watched(connection)
        if (link := self._activity.link) is not None:  # by now the rung may be a lower one
            self._activity.link = replace(link, rung=self._rung_of(connection))
        with self._timer.waking(wake), self._activity.resting("idle", self._clock(), at_most_s=timeout_s):
            await wait_for_news(connection, wake=wake, timeout_s=timeout_s, is_alone=self._idles_alone)
        return False

    async def _hear_out(self, wake: asyncio.Event) -> None:
        """Wait a moment for devices that are at work: who asks us for a pass has mostly asked them as well.

        NOTE: IDLE cannot be ended before the server has said that it is begun, which is a round trip.
        """
        devices = self._account.takers.devices_of(self._account.name)

        async def they_rest() -> None:
            for device in devices:
                await self._account.wakes.device(device).rest()

        ends = (asyncio.ensure_future(wake.wait()), asyncio.ensure_future(they_rest()))
        try:
            await asyncio.wait(ends, timeout=_HEARS_OUT_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()

    async def _select_inbox(self, connection: ImapConnection) -> bool:
        """Have INBOX selected if it can be, and tell whether it is to be looked at."""
        for mailbox in await self._reading.mailboxes.synced():
            if not mailbox.name.is_inbox or self._failures.is_waiting(mailbox.id, Work.READ):
                continue
            has_failed = self._failures.is_failing(mailbox.id, Work.READ)
            selected = connection.selection if connection.selected == mailbox.wire_name and not has_failed else None
            if selected is not None and self._reading.has_observed(connection):
                continue
            async with self._failures.kept(connection, mailbox, Work.READ):
                if selected is None:
                    selected = await connection.select(mailbox.wire_name)
                # NOTE: who wrote there, or fetched bodies, may have selected it only for that.
                return has_failed or not mailbox.is_listed or not is_as_known(mailbox, selected)
        return False


def _watched(connection: ImapConnection) -> str | None:
    """Return the name of the mailbox of which the server tells news while we rest."""
    if "IDLE" not in connection.capabilities or connection.selected is None:
        return None
    return str(from_wire(connection.selected, None))


def _hurry(conn: Connection, *, account_id: int) -> None:
    troubles.hurry_bodies(conn, account_id=account_id)
    refused_uploads.hurry(conn, account_id=account_id)
    mailbox_changes.hurry(conn, account_id=account_id)
