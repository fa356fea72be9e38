"""Floor 4: the task of one POP3 account: its maildrop is polled and drained into the store.

Theory. To the devices the account has mailboxes like any other; the store is their server (`pop3/mailboxes`). Each
session is a chain of custody (`pop3.ingest`) whose links are the transactions below. Whose time on the server is over,
the next poll finds.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial

from sqlalchemy import Connection

from syncd.config.accounts import Pop3Config, Tls
from syncd.errors import SyncdError
from syncd.log import log
from syncd.pop3 import connection as wire
from syncd.pop3.custody import CustodyState, Known, Retrieved, Term, Verdict
from syncd.pop3.endpoint import Endpoint, Limits, Security
from syncd.pop3.ingest import Decide, IngestLimits, ingest
from syncd.pop3.spool import Body
from syncd.pop3.unnamed import Unnamed
from syncd.sasl.mechanisms import Secret
from syncd.store.bodies import bodies
from syncd.store.bodies.encoding import EncodedBody, encode
from syncd.store.mailboxes import custody
from syncd.store.mailboxes.custody import Arrival, CustodyRow
from syncd.store.trees import accounts
from syncd.store.trees.accounts import MailboxRow
from syncd.sync.accounts.connects import Connects
from syncd.sync.accounts.incoming_bodies import IncomingBodies
from syncd.sync.accounts.poll_timer import PollTimer, share_of
from syncd.sync.accounts.served_account import ServedAccount
from syncd.sync.accounts.successes import Successes
from syncd.sync.activity import Link
from syncd.sync.body_batches import encode_all, encoded_on_thread
from syncd.sync.pop3.mailboxes import Pop3Mailboxes
from syncd.sync.requests import Asked, Requests
from syncd.tls import client_context
from syncd.values import replace

_SESSIONS_MAX = 20
_DELETIONS = 2000
"""Of what stayed for a time, in one session: what is cut is begun anew by the next."""
_SECURITY = {Tls.IMPLICIT: Security.TLS, Tls.STARTTLS: Security.STLS, Tls.NONE: Security.PLAIN}


async def endpoint_of(config: Pop3Config) -> Endpoint:
    """Return where an account's server is, and how a line to it is protected.

    TrustError or SecretError for unusable files.
    """
    security = _SECURITY[config.tls]
    if security is Security.PLAIN:
        return Endpoint(config.host, config.port, security)
    is_pinned = config.pin_sha256 is not None
    settings = partial(client_context, config.ca_file, client_cert=config.client_cert, verifies=not is_pinned)
    return Endpoint(config.host, config.port, security, await asyncio.to_thread(settings), config.pin_sha256)


class Pop3Account:
    """Poll one POP3 account; `mailboxes` is the task that, beside it, is the server of its mailboxes."""

    def __init__(
        self,
        account: ServedAccount,
        config: Pop3Config,
        *,
        password: Callable[[], AbstractAsyncContextManager[Secret]],
        incoming: IncomingBodies,
        connects: Connects,
    ) -> None:
        """Enter `password` for each login; `requests` asks for a whole pass."""
        self.mailboxes = Pop3Mailboxes(account)
        self._account = account
        self._db = account.db
        self._activity = account.activity
        self._clock = account.clock
        self._config = config
        self._password = password
        self._incoming = incoming
        self._connects = connects
        self._timer = PollTimer(config.poll_interval_s, clock=account.clock, share=share_of(account.name))
        self._successes = Successes(account)
        self._unnamed = Unnamed()
        self._poll = asyncio.Event()
        self.requests = Requests(self._poll)

    def adjust(self, config: Pop3Config) -> None:
        """Go on with this configuration, which the same maildrop serves, and with what devices take by now."""
        before, self._config = self._config, config
        self._timer.adjust(config.poll_interval_s)
        if config.max_message_size_bytes != before.max_message_size_bytes:
            self.requests.hurry()
        self._poll.set()
        self.mailboxes.wake()

    async def run(self) -> None:
        """Poll the maildrop until cancelled; raises what a session ended with."""
        try:
            self._timer = timer = PollTimer(
                self._config.poll_interval_s, clock=self._clock, share=share_of(self._account.name)
            )
            while True:
                self._poll.clear()
                asked = self.requests.take()
                if asked is Asked.LOOK:
                    await self._hurry()
                await self.mailboxes.push()
                is_whole = asked is Asked.LOOK or timer.is_due or (asked and await self._successes.are_awaited())
                if is_whole:
                    timer.begin()
                    await self._drain()
                if is_whole or self.requests.close():
                    self.requests.answer()
                    self._incoming.rest()
                left_s = timer.left_s
                self._activity.polls_at = self._clock() + left_s
                with timer.waking(self._poll), self._activity.resting("idle", self._clock(), at_most_s=left_s):
                    await self._sleep(left_s)
        except SyncdError as error:
            self.requests.fail(error)
            raise

    async def _hurry(self) -> None:
        """Try again what was given up, and look again at what cannot be told apart: somebody asks."""
        self._unnamed.forget()
        if await self._db.read(partial(custody.troubled_keys, account_id=self._account.id)):
            await self._db.write(partial(custody.hurry, account_id=self._account.id))

    async def _sleep(self, longest_s: float) -> None:
        try:
            async with asyncio.timeout(longest_s):
                await self._poll.wait()
        except TimeoutError:
            pass

    async def _drain(self) -> None:
        """Run sessions until none of them leaves something that another could take."""
        await self.mailboxes.ensure()
        for _ in range(_SESSIONS_MAX):
            waiting = await self._session()
            if not waiting:
                break
        if await self._successes.record():
            self._account.wake_devices()

    async def _session(self) -> int:
        """Run one session; return how many messages another one could take."""
        await self._connects.turn(self._config.host, self._config.port, activity=self._activity, now=self._clock())
        self._activity.now("draining the maildrop", self._clock())
        connection = await wire.Connection.open(await endpoint_of(self._config), self._limits())
        async with connection:
            async with self._password() as secret:
                await connection.login(self._config.username, secret)
            self._activity.link = link = Link.over(connection.encryption, self._clock())
            self._activity.logged_in()
            inbox = await self._inbox()
            keeper = _Keeper(self._account, inbox.id, incoming=self._incoming, on_commit=self._on_commit)
            try:
                report = await ingest(
                    connection,
                    keeper,
                    spool=self._incoming.spool_directory,
                    limits=IngestLimits(max_tries=custody.TRIES_MAX, deletions=_DELETIONS),
                    term=lambda: Term(self._config.keep_s, self._clock()),
                    unnamed=self._unnamed,
                    on_plan=self._expect,
                )
            finally:
                self._activity.expect(0, 0)
                self._activity.link = replace(link, is_open=False)
        return report.waiting

    def _expect(self, messages: int, size_bytes: int) -> None:
        self._activity.expect(messages, size_bytes)
        self._activity.pace.begin(self._clock())
        self._incoming.encoder.expect(size_bytes)

    def _limits(self) -> Limits:
        return Limits(message_bytes=self._config.max_message_size_bytes)

    async def _inbox(self) -> MailboxRow:
        rows = await self._db.read(partial(accounts.mailboxes, account_id=self._account.id))
        return next(row for row in rows if row.name.is_inbox)

    def _on_commit(self, count: int, size_bytes: int) -> None:
        self._activity.took(self._clock(), count, size_bytes)
        log.info("bodies_committed", account=self._account.name, count=count)
        self._account.wake_devices()


class _Keeper:
    """Keep custody in the store, for `pop3.ingest`."""

    def __init__(
        self,
        account: ServedAccount,
        mailbox_id: int,
        *,
        incoming: IncomingBodies,
        on_commit: Callable[[int, int], None],
    ) -> None:
        self._account_id = account.id
        self._db = account.db
        self._mailbox_id = mailbox_id
        self._incoming = incoming
        self._on_commit = on_commit
        self._clock = account.clock

    async def standing(self) -> Sequence[Known]:
        rows = await self._db.read(partial(custody.standing_rows, account_id=self._account_id))
        return tuple(map(_known, rows))

    async def known(self, keys: Collection[str]) -> Sequence[Known]:
        rows = await self._db.read(partial(custody.custody_rows, account_id=self._account_id, keys=keys))
        return tuple(map(_known, rows))

    async def unlisted(self, keys: Collection[str]) -> None:
        await self._record_deletions(keys, CustodyState.UNLISTED)

    async def untroubled(self, keys: Collection[str]) -> None:
        await self._db.write(partial(custody.forget_troubles, account_id=self._account_id, keys=keys))

    async def encode(self, bodies: Sequence[Body]) -> Sequence[EncodedBody]:
        contents = [body.octets if body.octets is not None else partial(_encoded, body) for body in bodies]
        return await encoded_on_thread(partial(encode_all, self._incoming.encoder, contents))

    async def commit(self, batch: Sequence[EncodedBody], decide: Decide) -> Sequence[Retrieved]:
        digests = [one.facts.digest for one in batch]
        rows = await self._db.read(partial(custody.rows_of_digests, account_id=self._account_id, digests=set(digests)))
        retrieved = decide(digests, tuple(map(_known, rows)))
        new = [one for one, each in zip(batch, retrieved, strict=True) if _is_new(each)]
        await self._incoming.recent.room(sum(len(one.for_file) for one in new if one.for_file is not None))
        write = partial(self._write, batch=retrieved, new=new)
        ids, count = await self._db.write(write, weight_bytes=sum(one.stored_bytes for one in new))
        for body_id, one in zip(ids, new, strict=True):
            if one.for_file is not None:
                self._incoming.recent.put(body_id, one.for_file)
        self._on_commit(count, sum(each.size_bytes for each in retrieved))
        return retrieved

    async def deletion_asked(self, keys: Collection[str]) -> None:
        await self._record_deletions(keys, CustodyState.ASKED)

    async def deletion_confirmed(self, keys: Collection[str]) -> None:
        await self._record_deletions(keys, CustodyState.DELETED)

    async def _record_deletions(self, keys: Collection[str], state: CustodyState) -> None:
        record = partial(
            custody.record_deletions,
            account_id=self._account_id,
            keys=tuple(keys),
            state=state.value,
            deleted_at=self._clock() if state is CustodyState.DELETED else None,
        )
        await self._db.write(record)

    async def failed(self, row: Known, error: SyncdError) -> None:
        record = partial(
            custody.record_untaken,
            account_id=self._account_id,
            row=_custody_row(row),
            error=str(error),
            now=self._clock(),
        )
        await self._db.write(record)

    def _write(
        self, conn: Connection, *, batch: Sequence[Retrieved], new: Sequence[EncodedBody]
    ) -> tuple[Sequence[int], int]:
        """Return the rows of the new bodies, and how many messages came."""
        now = self._clock()
        body_ids = bodies.put_bodies(conn, new, now=now)
        ids = iter(body_ids)
        arrivals = [
            Arrival(
                row=_custody_row(each.row),
                body_id=next(ids) if _is_new(each) else None,
                size_bytes=each.size_bytes,
                replaces=each.verdict is Verdict.REPLACES,
                takes_over=each.takes_over,
            )
            for each in batch
        ]
        count = custody.record_arrivals(
            conn, account_id=self._account_id, mailbox_id=self._mailbox_id, arrivals=arrivals, now=now
        )
        return body_ids, count


def _is_new(each: Retrieved) -> bool:
    return each.verdict is not Verdict.SAME


def _encoded(body: Body) -> EncodedBody:
    """Return a body that lies in a file as the store wants it."""
    if body.facts is None:
        raise ValueError("a body in a file without its facts")
    return encode(body.facts, body.pieces())


def _known(row: CustodyRow) -> Known:
    state = CustodyState(row.state)
    return Known(row.key, state, row.size_bytes, row.digest, row.tries, row.since, row.is_troubled)


def _custody_row(known: Known) -> CustodyRow:
    return CustodyRow(known.key, known.state.value, known.size_bytes, known.digest, known.tries)
