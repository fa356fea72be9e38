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

    from syncd.config.accounts import ImapConfig, Pop3Config
    from syncd.oauth.grants import Grant
    from syncd.oauth.provider import Provider

_BROWSER_S = 900.0
_LINE_MAX_BYTES = 16 * 1024


def granted(name: str, account: "ImapConfig | Pop3Config", *, port: int) -> "Grant":
    """Return what a person grants; ProviderError where it is refused, SyncdError where nobody does it in time."""
    from syncd.config.oauth import application_of
    from syncd.oauth.provider import Provider

    application = application_of(account)
    provider = Provider(application)
    if application.device_url is not None:
        return asyncio.run(_by_code(name, provider, account.username))
    return asyncio.run(_by_browser(name, provider, account.username, port))


async def _by_code(name: str, provider: "Provider", username: str) -> "Grant":
    code = await provider.device_code()
    say(f"{name}: in a browser, on any machine, open {code.page} and enter")
    say(f"    {code.user_code}")
    minutes = count(max(round(code.lives_s / 60), 1), "minute")
    say(f"{name}: log in there as {username}; waiting for that, {minutes} at most")
    return await provider.of_device(code)


async def _by_browser(name: str, provider: "Provider", username: str, port: int) -> "Grant":
    from syncd.oauth.browser import came_back

    addresses: asyncio.Queue[str] = asyncio.Queue()
    with _pasted(addresses):
        async with came_back(addresses, port=port) as redirect_url:
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
        octets = os.read(file, _LINE_MAX_BYTES)
        if not octets:
            loop.remove_reader(file)
        *lines, rest = (line + octets).split(b"\n")
        line[:] = rest[:_LINE_MAX_BYTES]
        for one in lines:
            if text := one.decode("utf-8", "replace").strip():
                addresses.put_nowait(text)

    try:
        file = sys.stdin.fileno()
        loop.add_reader(file, read)
    except (OSError, ValueError, AttributeError):  # it is closed, or of a kind that nobody types into
        yield
        return
    try:
        yield
    finally:
        loop.remove_reader(file)
