"""Floor 6: what a person does so that a provider grants access, told step by step."""

import asyncio
import contextlib
import os
import sys
from typing import TYPE_CHECKING

from syncd.cli.screen.words import count
from syncd.cli.terminal import complain, say
from syncd.errors import SyncdError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from syncd.config.oauth import Application
    from syncd.oauth.grants import Grant

_BROWSER_S = 900.0
_LINE_MAX_BYTES = 16 * 1024
_WAITING_MAX = 16


def granted(name: str, application: "Application", username: str, *, browser: bool, port: int) -> "Grant":
    """Return what a person grants; ProviderError where it is refused, SyncdError where nobody does it in time.

    browser: in one that comes back to this machine, and not by a code, where the provider has both.
    """
    if browser or application.device_url is None:
        return asyncio.run(_by_browser(name, application, username, port))
    return asyncio.run(_by_code(name, application, username))


async def _by_code(name: str, application: "Application", username: str) -> "Grant":
    from syncd.oauth.provider import Provider

    provider = Provider(application)
    code = await provider.device_code()
    say(f"{name}: in a browser, on any machine, open {code.page} and enter")
    say(f"    {code.user_code}")
    minutes = count(max(round(code.lives_s / 60), 1), "minute")
    say(f"{name}: log in there as {username}; waiting for that, {minutes} at most")
    return await provider.of_device(code)


async def _by_browser(name: str, application: "Application", username: str, port: int) -> "Grant":
    from syncd.oauth.browser import came_back
    from syncd.oauth.provider import Provider

    provider = Provider(application)
    addresses: asyncio.Queue[str] = asyncio.Queue(_WAITING_MAX)
    with _pasted(addresses):
        async with came_back(addresses, host=application.redirect_host, port=port) as redirect_url:
            asked = provider.authorization(redirect_url, username)
            say(f"{name}: open this in a browser, and log in there as {username}:")
            say(f"    {asked.url}")
            say(f"{name}: it ends at {redirect_url} on this machine; waiting for that")
            say(f"{name}: a browser on another machine shows an error at the end: paste the address that it is at then")
            try:
                async with asyncio.timeout(_BROWSER_S):
                    while True:
                        try:
                            return await provider.of_browser(asked, await addresses.get())
                        except ValueError as error:
                            complain(f"{name}: {error}")
            except TimeoutError:
                raise SyncdError("nobody came back from a browser in time") from None


@contextlib.contextmanager
def _pasted(addresses: "asyncio.Queue[str]") -> "Iterator[None]":
    """Put what a person types or pastes into a queue, line by line, as long as there is anybody to do that."""
    loop, line = asyncio.get_running_loop(), bytearray()

    def read() -> None:
        try:
            octets = os.read(file, _LINE_MAX_BYTES)
        except OSError:
            octets = b""  # as of a terminal that is somebody else's now
        if not octets:
            loop.remove_reader(file)
        *lines, rest = (line + (octets or b"\n")).split(b"\n")
        line[:] = rest[:_LINE_MAX_BYTES]
        for one in lines:
            text = one.decode("utf-8", "replace").strip()
            if text and not addresses.full():
                addresses.put_nowait(text)

    file = -1
    with contextlib.suppress(OSError, ValueError, AttributeError):  # it is closed, or of a kind that nobody types into
        loop.add_reader(sys.stdin.fileno(), read)
        file = sys.stdin.fileno()
    try:
        yield
    finally:
        if file >= 0:
            loop.remove_reader(file)
