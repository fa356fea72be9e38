"""Floor 3: waiting for a server's news of the selected mailbox, by IDLE where offered."""

import asyncio

from syncd.imap.connection import ImapConnection

RENEWAL_S = 9 * 60.0
"""An IDLE is ended and begun again this often: servers drop it after 30 minutes, and NAT forgets much sooner."""

PAUSE_S = 15.0
"""Where a server ends IDLE by itself, so long is waited before the next one."""


async def wait_for_news(
    connection: ImapConnection,
    *,
    wake: asyncio.Event,
    timeout_s: float,
    renewal_s: float = RENEWAL_S,
    is_alone: bool = False,
) -> bool:
    """Wait for events of the selected mailbox and tell whether there are any to drain.

    Ends at once when `wake` is set, and after `timeout_s` at the latest. Without IDLE the server is asked once, at the
    end. is_alone: what follows waits until the server has ended IDLE. Raises what a lost connection raises.
    """
    await connection.rest()
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    if "IDLE" in connection.capabilities and connection.selected is not None:
        while not wake.is_set() and (left := deadline - loop.time()) > 0:
            planned_end = loop.time() + min(left, renewal_s)
            if await connection.idle(timeout_s=min(left, renewal_s), until=wake, is_alone=is_alone):
                break
            if not wake.is_set() and loop.time() < planned_end:
                # NOTE: the server ended IDLE by itself; do not let it turn this into a race.
                await _is_woken(wake, min(PAUSE_S, planned_end - loop.time()))
    elif not await _is_woken(wake, timeout_s):
        await connection.noop()
    return connection.has_events


async def _is_woken(wake: asyncio.Event, timeout_s: float) -> bool:
    try:
        # NOTE: on Python 3.11, asyncio.wait_for loses a cancellation that comes together with the event.
        async with asyncio.timeout(timeout_s):
            await wake.wait()
    except TimeoutError:
        return False
    return True
