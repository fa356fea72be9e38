"""The chain of custody, whole and interrupted at any point: nothing lost, nothing twice."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import structlog

from syncd.errors import StoreError, SyncdError
from syncd.pop3.custody import CustodyState, Retrieved
from syncd.pop3.ingest import Decide, IngestLimits, IngestReport
from syncd.pop3.spool import Body
from syncd.values import replace
from tests.unit.pop3.drains import CONTENTS, Watched, has_files, mails, session, sessions
from tests.unit.pop3.ledger import Ledger, Octets
from tests.unit.pop3.scripted import CUT, QUICK, STALL, Mail, Reply, ScriptedServer, Session, Then


async def test_plain_session_stores_deletes_and_confirms(tmp_path: Path) -> None:
    """Everything in INBOX once, the server empty, every row confirmed, every octet counted."""
    ledger = Ledger()
    async with ScriptedServer(mails()) as server:
        report = await session(server, ledger, tmp_path)

        assert server.mails == []
    size = sum(len(octets) for octets in CONTENTS.elements())
    assert report == IngestReport(retrieved=6, deleted=6, bytes=size)
    assert ledger.contents == CONTENTS
    assert {row.state for row in ledger.rows.values()} == {CustodyState.DELETED}
    assert ledger.batches == [2, 2, 2]


async def test_commit_of_a_batch_overlaps_the_retrieval_of_the_next_and_dele_waits_for_both(tmp_path: Path) -> None:
    """The second batch arrives while the first is being committed; no DELE before the last commit."""
    second_came = asyncio.Event()
    at_dele: list[int] = []

    class Slow(Ledger):
        async def commit(self, batch: Sequence[Octets], decide: Decide) -> Sequence[Retrieved]:
            if not self.batches:
                async with asyncio.timeout(5):
                    await second_came.wait()
            return await super().commit(batch, decide)

    ledger = Slow()

    def hook(session: Session, line: str) -> Reply | None:
        if line == "RETR 4":
            second_came.set()
        if line.startswith("DELE"):
            at_dele.append(len(ledger.inbox))
        return None

    async with ScriptedServer(mails(), capabilities="UIDL", hook=hook) as server:
        await session(server, ledger, tmp_path)

    assert at_dele == [6] * 6


async def test_what_came_of_a_batch_is_encoded_while_more_of_it_comes(tmp_path: Path) -> None:
    """The first are encoded before the last is asked for, and all are one commit, in their order."""
    handed_over: list[int] = []
    at_last: list[int] = []

    class Watching(Ledger):
        async def encode(self, bodies: Sequence[Body]) -> Sequence[Octets]:
            handed_over.append(len(bodies))
            return await super().encode(bodies)

    def hook(session: Session, line: str) -> Reply | None:
        if line == "RETR 6":
            at_last.extend(handed_over)
        return None

    ledger = Watching()
    async with ScriptedServer(mails(), capabilities="UIDL", hook=hook) as server:
        await session(server, ledger, tmp_path, batches=IngestLimits(encoded_bytes=11))

    assert [at_last, handed_over] == [[2, 1], [2, 1, 3]]
    assert ledger.batches == [6]
    assert [ledger.inbox[number] for number in sorted(ledger.inbox)] == [mail.octets for mail in mails()]


async def test_large_messages_pass_through_the_spool_and_leave_nothing_there(tmp_path: Path) -> None:
    """Spool files live until their batch is committed."""
    ledger = Ledger()
    async with ScriptedServer(mails()) as server:
        await session(server, ledger, tmp_path, limits=replace(QUICK, spool_above_bytes=100))

    assert ledger.contents == CONTENTS
    assert not has_files(tmp_path)


FAULTS = {
    "before": CUT,
    "stall": STALL,
    "half": None,
    "after": None,
    "garbage": Reply(b"garbage\r\n", Then.CUT),
}
POLLS_MAX = 10


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("capabilities", ["PIPELINING UIDL", "UIDL"])
@pytest.mark.parametrize("deletes_without_quit", [False, True])
async def test_session_broken_at_any_command_loses_nothing_and_repeats_nothing(
    fault: str, capabilities: str, deletes_without_quit: bool, tmp_path: Path
) -> None:
    """Whatever command is cut, before or after it took effect or in its answer, the next polls put it right."""
    nth, has_more = 0, True
    while has_more:
        nth += 1
        count = 0

        def break_nth(session: Session, line: str, nth: int = nth) -> Reply | None:
            nonlocal count
            count += 1
            if count != nth:
                return None
            reply = FAULTS[fault]
            if reply is not None:
                return reply
            answer = server.answer(session, line)  # of this round
            return Reply(answer[: len(answer) // 2] if fault == "half" else answer, Then.CUT)

        ledger = Ledger()
        watched = Watched(ledger, break_nth)
        async with ScriptedServer(mails(), capabilities=capabilities, hook=watched) as server:
            watched.server = server
            server.deletes_without_quit = deletes_without_quit
            # NOTE: on a busy machine such patience ends other sessions, too, and their messages wait for another poll.
            limits = replace(QUICK, inactivity_s=0.05) if fault == "stall" else QUICK
            results = await sessions(server, ledger, tmp_path, count=3, limits=limits)
            while server.mails and len(results) < POLLS_MAX:
                results += await sessions(server, ledger, tmp_path, count=1, limits=limits)

            assert ledger.contents == CONTENTS, f"broken at command {nth}"
            assert server.mails == [], f"broken at command {nth}"
            assert watched.violations == []
            has_more = count > nth and isinstance(results[0], SyncdError)
    assert nth > 15


@pytest.mark.parametrize("fails", ["encode", "commit"])
async def test_store_that_fails_at_any_batch_stops_the_session_and_loses_nothing(tmp_path: Path, fails: str) -> None:
    """No DELE once a batch was not encoded or not committed, and the error is the store's own."""

    class Full(Ledger):
        left = 0

        def _fail(self, at: str) -> None:
            self.left -= at == fails
            if self.left == 0 and at == fails:
                raise StoreError("disk full")

        async def encode(self, bodies: Sequence[Body]) -> Sequence[Octets]:
            self._fail("encode")
            return await super().encode(bodies)

        async def commit(self, batch: Sequence[Octets], decide: Decide) -> Sequence[Retrieved]:
            self._fail("commit")
            return await super().commit(batch, decide)

    for nth in (1, 2, 3):
        ledger = Full()
        ledger.left = nth
        async with ScriptedServer(mails()) as server:
            with pytest.raises(StoreError, match="disk full"):
                await session(server, ledger, tmp_path, limits=replace(QUICK, spool_above_bytes=100))
            await server.idle()
            assert not {"DELE", "QUIT"} & set(server.commands)
            assert len(server.mails) == 6
            assert not has_files(tmp_path)

            await session(server, ledger, tmp_path)

            assert ledger.contents == CONTENTS
            assert server.mails == []


async def test_no_batch_is_larger_than_its_bound(tmp_path: Path) -> None:
    """What would go over it waits for the next batch; only a message that is larger itself is a batch of its own."""
    sizes_bytes: list[int] = []

    class Measured(Ledger):
        async def commit(self, batch: Sequence[Octets], decide: Decide) -> Sequence[Retrieved]:
            sizes_bytes.append(sum(len(body.octets) for body in batch))
            return await super().commit(batch, decide)

    ledger = Measured()
    async with ScriptedServer(mails()) as server:
        await session(server, ledger, tmp_path, batches=IngestLimits(batch_bytes=20))

    assert ledger.contents == CONTENTS
    assert sizes_bytes == [5 + 6, 11 + 6 + 0, 5002]


async def test_cancelled_session_drops_the_connection_and_loses_nothing(tmp_path: Path) -> None:
    """Shutting down in the middle of a commit is like a cut."""
    committing = asyncio.Event()

    class Stuck(Ledger):
        is_stuck = True

        async def commit(self, batch: Sequence[Octets], decide: Decide) -> Sequence[Retrieved]:
            if self.is_stuck:
                committing.set()
                await asyncio.Event().wait()
            return await super().commit(batch, decide)

    ledger = Stuck()
    async with ScriptedServer(mails()) as server:
        task = asyncio.create_task(session(server, ledger, tmp_path, limits=replace(QUICK, spool_above_bytes=100)))
        await committing.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.idle()
        assert "QUIT" not in server.commands
        assert not has_files(tmp_path)

        ledger.is_stuck = False
        await session(server, ledger, tmp_path)
        assert ledger.contents == CONTENTS


async def test_new_mail_during_the_session_waits_for_the_next_one(tmp_path: Path) -> None:
    """What was not listed is neither retrieved nor deleted."""

    def arrive(session: Session, line: str) -> Reply | None:
        if line == "QUIT" and session.number == 1:
            server.mails.append(Mail("late", b"late\r\n"))
        return None

    ledger = Ledger()
    async with ScriptedServer(mails(), hook=arrive) as server:
        await session(server, ledger, tmp_path)
        assert [mail.uidl for mail in server.mails] == ["late"]

        await session(server, ledger, tmp_path)

        assert server.mails == []
    assert ledger.contents == CONTENTS + Counter([b"late\r\n"])


async def test_logs_are_counts_only(tmp_path: Path) -> None:
    """No UIDL, no text of the server, no content."""

    def refuse(session: Session, line: str) -> Reply | None:
        return Reply(b"-ERR broken mail of someone@example.org\r\n") if line == "RETR 2" else None

    async with ScriptedServer(mails(), hook=refuse) as server:
        with structlog.testing.capture_logs() as logs:
            await session(server, Ledger(), tmp_path)

    assert [log["event"] for log in logs] == ["maildrop_ingested"]
    assert not any(word in str(logs) for word in ("uidl-", "example.org", "twin", "secret"))
