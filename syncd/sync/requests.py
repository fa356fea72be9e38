"""Floor 4: asking a task for one whole pass, and waiting until it has ended."""

import asyncio
import time
from enum import IntEnum


class Asked(IntEnum):
    """Say what is asked of a task: nothing, a pass over what is known to have changed, or to look at everything.

    A pass over what is known asks no server what is new.
    """

    NOTHING = 0
    PASS = 1
    LOOK = 2


class Requests:
    """Gather those who wait for a whole pass that begins after they asked."""

    def __init__(self, wake: asyncio.Event) -> None:
        """Set `wake` when somebody asks; `arrived` is set as long as somebody waits to be taken."""
        self._wake = wake
        self._waiting: list[asyncio.Future[None]] = []
        self._taken: list[asyncio.Future[None]] = []
        self._asked = Asked.NOTHING
        self._is_open = False
        self._has_begun = self._is_asked_anew = False
        self.arrived = asyncio.Event()
        self.passes = 0
        self.passes_s = 0.0
        """How many passes ended well, asked for or not, and how long they took together."""
        self._began = time.monotonic()

    @property
    def is_news(self) -> bool:
        """Tell whether anybody has asked since the last pass began: who goes on with one has looked already."""
        return self.arrived.is_set()

    @property
    def are_awaited(self) -> bool:
        """Tell whether somebody waits for the pass that has begun."""
        return bool(self._taken)

    async def ask(self, what: Asked = Asked.LOOK, *, joins: bool = False) -> None:
        """Return when the pass has ended; raise what ended the task instead.

        joins: a pass that has begun will do, for what it leaves is asked of the store after it.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if joins and self._is_open:
            self._taken.append(future)
            await future
            return
        self._waiting.append(future)
        self._call(what)
        await future

    def hurry(self) -> None:
        """Let a pass that looks at everything begin at once, for which nobody waits."""
        self._call(Asked.LOOK)

    def begin(self) -> None:
        """Begin to run: who asks from now on is told nothing of what was wrong before (`end`)."""
        self._taken += self._waiting
        self._waiting = []
        self._has_begun, self._is_asked_anew = True, False

    def take(self) -> Asked:
        """Begin a pass for all who wait so far; tell what they asked for, or those whose pass has not ended."""
        self._began = time.monotonic()
        self._taken += self._waiting
        self._waiting = []
        self._is_asked_anew = False
        self.arrived.clear()
        self._is_open = True
        return self._asked

    def close(self) -> bool:
        """Let nobody join the pass any more, and tell whether somebody waits for it."""
        self._is_open = False
        return self.are_awaited

    def answer(self) -> None:
        """End the pass for those for whom it began, and those who joined it."""
        self._is_open = False
        self.passes += 1
        self.passes_s += time.monotonic() - self._began
        taken, self._taken = self._taken, []
        if not self.is_news:  # else what was asked since is for the next pass
            self._asked = Asked.NOTHING
        for future in taken:
            if not future.done():
                future.set_result(None)

    def inherit(self, other: "Requests") -> None:
        """Let those who wait for another task wait for this one, which takes its place and counts on."""
        self.passes, self.passes_s = other.passes, other.passes_s
        if waiting := other._taken + other._waiting:
            other._taken, other._waiting = [], []
            self._waiting += waiting
            self._asked = max(self._asked, other._asked)
            self.arrived.set()
            self._wake.set()

    def end(self, error: BaseException) -> None:
        """Tell who waits why the task ended; who has asked since it began, and for no pass yet, is for the next run.

        Of a task that does not say when it begins, all are told.
        """
        if not self._is_asked_anew:
            self.fail(error)
            return
        later, asked, self._waiting = self._waiting, self._asked, []
        self.fail(error)
        self._waiting, self._asked, self._is_asked_anew = later, asked, True
        self.arrived.set()

    def fail(self, error: BaseException) -> None:
        """Tell all who wait that the task ended for good."""
        waiting, self._taken, self._waiting = self._taken + self._waiting, [], []
        self._is_open = False
        self._asked = Asked.NOTHING
        self._is_asked_anew = False
        self.arrived.clear()
        for future in waiting:
            if not future.done():
                future.set_exception(error)

    def _call(self, what: Asked) -> None:
        self._asked = max(self._asked, what)
        self._is_asked_anew = self._has_begun
        self.arrived.set()
        self._wake.set()
