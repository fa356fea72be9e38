"""Floor 5: telling the service manager that started us how we are (sd_notify(3), sd_watchdog_enabled(3)).

Theory. READY is sent once the store is open and every task has been started. From then on a line of STATUS is sent when
it has changed, and WATCHDOG at a third of the time that the manager waits for it: by the event loop, after the thread
that writes to the store has answered, and unless a task is overdue (`vigil`). Whoever hangs is thus not fed, and killed
and started again; nobody else is, since a kill that helps nobody is worse than a late one.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

from syncd.config.problems import brief, printable
from syncd.daemon.process.logs import secrets
from syncd.daemon.process.vigil import Vigil
from syncd.log import log
from syncd.store.engine.database import Database
from syncd.sync.activity import Activities, Activity

_STATUS_STEP_S = 5.0
_START_STEP_S = 15.0
_START_EXTENSION_S = 60
_FEEDS_PER_WAIT = 3


def notify(*lines: str) -> None:
    """Send lines such as READY=1 as one datagram; nothing happens where no service manager asked for it."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):  # an abstract socket
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            channel.sendto("\n".join(lines).encode(), address)
        except OSError:
            pass  # a manager that is gone cannot be told


def notify_status(text: str, *lines: str) -> None:
    """Send what a person reads in `systemctl status`, with what may not be shown taken out."""
    notify(*lines, f"STATUS={printable(secrets.redacted(text))}")


@asynccontextmanager
async def starting(*, step_s: float = _START_STEP_S) -> AsyncIterator[None]:
    """Ask for more time again and again while inside: a large store that is upgraded is copied first."""
    asking = asyncio.create_task(_ask_for_time(step_s))
    try:
        yield
    finally:
        asking.cancel()


async def _ask_for_time(step_s: float) -> None:
    while True:
        await asyncio.sleep(step_s)
        notify_status("opening the store", f"EXTEND_TIMEOUT_USEC={_START_EXTENSION_S * 1_000_000}")


async def keep_told(summary: Callable[[], str]) -> None:
    """Send a line of STATUS whenever it has become another one."""
    told = ""
    while True:
        line = summary()
        if line != told:
            notify_status(line)
            told = line
        await asyncio.sleep(_STATUS_STEP_S)


async def feed_watchdog(db: Database, activities: Activities) -> None:
    """Tell the watchdog, where there is one, that all goes on; return at once where there is none."""
    wait_s = watchdog_s(os.environ, os.getpid())
    if wait_s is None:
        return
    vigil = Vigil()
    overdue: tuple[str, ...] = ()
    while True:
        await db.answered()
        were_overdue, overdue = overdue, vigil.overdue(activities, now=asyncio.get_running_loop().time())
        if not overdue:
            notify("WATCHDOG=1")
        elif overdue != were_overdue:
            log.error("watchdog_starved", overdue=overdue)
        await asyncio.sleep(wait_s / _FEEDS_PER_WAIT)


def watchdog_s(environment: Mapping[str, str], pid: int) -> float | None:
    """Return how long the manager waits for a sign of life; None where it waits for none, or for one of another."""
    wait_us, whose = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", str(pid))
    if whose != str(pid) or not (wait_us.isascii() and wait_us.isdigit()) or int(wait_us) == 0:
        return None
    return int(wait_us) / 1_000_000


def summary_of(activities: Activities, problems: Sequence[str] = ()) -> str:
    """Return how everybody is in one line, with the first reason why somebody fails; problems: of the configuration."""
    edit = [f"the configuration cannot be used: {brief(problems[0])}"] if problems else []
    return "; ".join((*edit, _summary("account", activities.accounts), _summary("device", activities.devices)))


def _summary(kind: str, those: Mapping[str, Activity]) -> str:
    failing = [(name, one.error) for name, one in those.items() if one.error is not None]
    idle = sum(one.error is None and one.doing == "idle" for one in those.values())
    counts = ((idle, "idle"), (len(those) - idle - len(failing), "busy"), (len(failing), "failing"))
    text = ", ".join((_counted(len(those), kind), *_told(counts)))
    if failing:
        text += f": {failing[0][0]}: {brief(failing[0][1] or '')}"
    return text


def _told(counts: Iterable[tuple[int, str]]) -> Iterable[str]:
    return (f"{count} {what}" for count, what in counts if count)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
