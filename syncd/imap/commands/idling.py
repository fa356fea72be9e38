"""Floor 3: IDLE, from its beginning to its DONE."""

import asyncio
from collections.abc import Awaitable

from syncd.imap.answers.refusals import refusal
from syncd.imap.commands.session import Session
from syncd.imap.wire.wire_command import WireCommand


async def idle(session: Session, *, timeout_s: float, until: asyncio.Event | None, is_alone: bool = False) -> None:
    """Wait for events; see `ImapConnection.idle`."""
    if session.events:
        return

    async def converse(command: WireCommand) -> None:
        if await session.wire.continuation() is None:
            return
        command.is_silent = True
        await _wait(session, command, until, timeout_s)
        command.is_silent = False
        if not command.is_over:
            await session.wire.say(b"DONE\r\n")
            # NOTE: only its tag answers it now, so that commands which may have company can be sent at once. But where
            # messages went, more of them may be told until then, and all are to be looked for together.
            has_cause = bool(session.events) or (until is not None and until.is_set())
            command.is_pipelined = has_cause and not (is_alone or session.events.has_losses)

    def note_company() -> None:
        session.behind_idle = next(iter(session.wire.in_flight.values()), None)

    deadline_s = timeout_s + session.limits.command_s
    command = await session.wire.begin("IDLE", deadline_s=deadline_s, converse=converse)
    if command.is_pipelined:
        command.on_end = note_company
    else:
        end = await session.wire.end_of(command)
        if end.kind != "OK":
            raise refusal("idle", end)


async def _wait(session: Session, command: WireCommand, until: asyncio.Event | None, timeout_s: float) -> None:
    ends: list[Awaitable[object]] = [session.events.wait(), command.over()]
    if until is not None:
        ends.append(until.wait())
    waits = [asyncio.ensure_future(end) for end in ends]
    try:
        await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
