"""Floor 3: which mailbox a connection has selected, what SELECT said of it, and to whom that was told already."""

import asyncio

from syncd.errors import Reach, RefusedError, SyncdError
from syncd.imap.answers.collectors import Selecting
from syncd.imap.answers.refusals import OF_MAILBOX, OF_THE_MOMENT, refusal
from syncd.imap.commands import mailbox_commands
from syncd.imap.commands.parts import Parts
from syncd.imap.commands.rows import fetch_new_rows
from syncd.imap.commands.session import Session
from syncd.imap.types import NEW_MAX, Resync, SelectResult
from syncd.imap.wire.arguments import Argument, string
from syncd.mail.uidset import EMPTY, UID_MAX, UidSet
from syncd.values import replace


class Selected:
    """Select mailboxes over one session; see the methods of `ImapConnection`."""

    def __init__(self, session: Session, parts: Parts) -> None:
        self.octets: bytes | None = None
        """The name of the selected mailbox."""
        self.result: SelectResult | None = None
        """What SELECT said of it, without QRESYNC's answer."""
        self._session = session
        self._parts = parts
        self._resynced: tuple[object, SelectResult] | None = None
        self._plain: set[bytes] = set()
        """Mailboxes that have refused CONDSTORE, and are selected without."""

    async def select(
        self,
        octets: bytes,
        *,
        qresync: Resync | None,
        read_only: bool,
        is_pipelined: bool,
        is_anew: bool,
        is_behind: bool,
    ) -> SelectResult:
        """Select a mailbox; see `ImapConnection.select`."""
        how = {"is_pipelined": is_pipelined, "is_anew": is_anew, "is_behind": is_behind}
        verb, extension = "EXAMINE" if read_only else "SELECT", "CONDSTORE" if qresync is None else "QRESYNC"
        parameters = mailbox_commands.select_parameters(self._session, qresync)
        if not parameters or (qresync is None and octets in self._plain):
            return await self._select(octets, verb, **how)
        try:
            if qresync is None or qresync.uidnext is None or is_anew or is_behind:
                result = await self._select(octets, verb, *parameters, **how)
            else:
                result = await self._select_with_new(
                    octets, verb, *parameters, uidnext=qresync.uidnext, is_pipelined=is_pipelined
                )
        except RefusedError as error:
            if error.code in OF_MAILBOX:
                raise
            # NOTE: some servers take no parameter, or not all that they announce; the mailbox may still be there.
            plain = await self._select(octets, verb, **how)
            is_of_the_moment = error.code in OF_THE_MOMENT
            if qresync is None and not is_of_the_moment:
                self._plain.add(octets)
            self._session.refuse((extension,), error)
            return replace(plain, is_plain=True, is_of_the_moment=is_of_the_moment)
        self._session.grant(extension)
        if qresync is not None:
            self._resynced = self._moment(octets, qresync), result
        return result

    def take_resynced(self, octets: bytes, qresync: Resync | None) -> SelectResult | None:
        """Return once what was said to just this, if it was the last that was sent and nothing was reported since."""
        resynced, self._resynced = self._resynced, None
        if qresync is None or resynced is None or self._session.events:
            return None
        return resynced[1] if resynced[0] == self._moment(octets, qresync) else None

    def forget_resynced(self) -> None:
        """Let whoever asks again hear what is new since then."""
        self._resynced = None

    def leave(self) -> None:
        """Note that no mailbox is selected any more."""
        self.octets = self.result = self._parts.place = None
        self._session.events.clear()

    async def _select_with_new(
        self, octets: bytes, verb: str, *parameters: Argument, uidnext: int, is_pipelined: bool
    ) -> SelectResult:
        """Fetch the rows of messages that may be new in the round trip in which their mailbox is selected.

        NOTE: a server does FETCH after SELECT, for that says of which mailbox it is (RFC 9051 §5.5). Where it is said
        beside a LIST, the mailbox is the one that was selected before, and LIST may end last.
        """
        await self._parts.settled()
        is_behind = not is_pipelined  # IDLE may be about to end, of another mailbox
        uids = UidSet.span(uidnext, min(uidnext + NEW_MAX - 1, UID_MAX))
        fetching = asyncio.ensure_future(fetch_new_rows(self._session, uids, is_in_turn=is_behind))
        try:  # SELECT is said at once, and the task speaks when it is
            selected = await self._select(
                octets, verb, *parameters, is_pipelined=True, is_anew=False, is_behind=is_behind
            )
        except SyncdError:
            await asyncio.gather(fetching, return_exceptions=True)  # to leave it would end the connection
            raise
        except BaseException:
            fetching.cancel()
            await asyncio.gather(fetching, return_exceptions=True)
            raise
        return replace(selected, new=await fetching)

    async def _select(
        self, octets: bytes, verb: str, *parameters: Argument, is_pipelined: bool, is_anew: bool, is_behind: bool
    ) -> SelectResult:
        # NOTE: what is sent beside a pipelined SELECT would come before it if that waited: `settled` is called before.
        if not is_pipelined:
            await self._parts.settled()
        self._parts.place = None
        if not is_anew and not is_behind:
            self._session.events.begin_anew()
        self._session.has_modseqs = None
        self.octets = self.result = self._resynced = None
        collector = Selecting(self._session.events, is_anew=is_anew)
        end = await self._session.attempt(
            verb,
            string(octets),
            *parameters,
            collector=collector,
            is_pipelined=is_pipelined,
            is_in_turn=is_behind,
            on_turn=self._session.events.begin_anew if is_behind else None,  # until then they are of another mailbox
        )
        if end.kind != "OK":
            raise refusal("select", end, reach=Reach.MAILBOX)
        result = collector.result(end)
        self.octets, self.result = octets, replace(result, rows=(), vanished=EMPTY)
        self._parts.place = octets, result.uidvalidity
        self._session.has_modseqs = result.highestmodseq is not None
        return result

    def _moment(self, octets: bytes, qresync: Resync | None) -> object:
        return self._session.wire.tagnum, octets, qresync
