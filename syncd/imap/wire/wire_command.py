"""Floor 3: one command of a wire, from its being sent to its end."""

import asyncio
from collections.abc import Callable

from aioimaplib.aioimaplib import Command

from syncd.errors import ProtocolError, SyncdError
from syncd.imap.types import Tagged
from syncd.imap.wire.arguments import Argument


class OutOfOrderError(ProtocolError):
    """The server did a command before those that were sent before it (RFC 9051 §5.5)."""


class WireCommand(Command):  # type: ignore[misc]  # aioimaplib has no types
    """A command in flight; it never shows its arguments in a repr or log.

    is_pipelined: its answers are told apart by content, so that others like it may be in flight with it. is_silent: the
    server may rightly say nothing for long. on_turn: called once when it is the first in flight, so that what is told
    from then on is its answer; it must not be done before. on_end: called with its end, before anything that comes
    behind it is read.
    """

    def __init__(
        self,
        name: str,
        tag: str,
        arguments: tuple[Argument, ...],
        *,
        is_pipelined: bool,
        deadline_s: float,
        on_turn: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(name, tag)
        self.arguments = arguments
        self.is_pipelined = is_pipelined
        self.is_silent = False
        self.deadline_s = deadline_s
        self.deadline: asyncio.TimerHandle | None = None
        self.paused_s = 0.0
        self.responses = 0
        self.end: Tagged | None = None
        self.on_turn = on_turn
        self.on_end: Callable[[], None] | None = None

    @property
    def is_over(self) -> bool:
        return bool(self._event.is_set())

    async def over(self) -> None:
        """Wait for the end, whatever it is."""
        await self._event.wait()

    def begin_turn(self) -> None:
        on_turn, self.on_turn = self.on_turn, None
        if on_turn is not None:
            on_turn()

    def finish(self, end: Tagged) -> None:
        if self.on_turn is not None and end.kind == "OK":
            error = OutOfOrderError("the server did a command before others that it changes the meaning of")
            self.fail(error)
            raise error
        self.end = end
        if self.on_end is not None:
            self.on_end()
        self.close(b"", end.kind)

    def fail(self, error: SyncdError) -> None:
        self._exception = error
        self._event.set()
