"""The names of aioimaplib that `imap/wire/wire.py` builds on, most of them private."""

import asyncio
import inspect
from importlib.metadata import version
from pathlib import Path

from aioimaplib import aioimaplib

from syncd.imap.wire.wire import WireProtocol
from syncd.imap.wire.wire_command import WireCommand

ROOT = Path(inspect.getfile(WireProtocol)).parents[1]


def test_version_is_the_one_that_was_read() -> None:
    """Another version has to be read before it is used."""
    assert version("aioimaplib") == "2.0.3"


async def test_names_in_use_exist_and_mean_what_they_did() -> None:
    """What is called and what is overridden is there."""
    protocol = aioimaplib.IMAP4ClientProtocol(asyncio.get_running_loop())
    command = aioimaplib.Command("NOOP", "A1")

    assert None is protocol.transport
    assert (0, protocol.tagpre + "0", 1) == (protocol.tagnum, protocol.new_tag(), protocol.tagnum)
    assert asyncio.get_running_loop() is protocol.loop
    assert isinstance(command._event, asyncio.Event)
    assert None is command._exception
    assert repr(command) == "A1 NOOP"
    command.close(b"", "OK")
    await command.wait()
    for name in ("connection_made", "data_received", "connection_lost", "_handle_responses"):
        assert callable(getattr(aioimaplib.IMAP4ClientProtocol, name))


def test_only_the_wire_knows_the_library() -> None:
    """Nothing of syncd imports aioimaplib but the protocol and its command."""
    users = {
        path.name
        for path in ROOT.rglob("*.py")
        if "aioimaplib." in path.read_text().replace("import aioimaplib", "aioimaplib.")
    }

    assert {"wire.py", "wire_command.py"} == users


async def test_command_never_shows_its_arguments() -> None:
    """A repr in a log or traceback holds the name only."""
    command = WireCommand("LOGIN", "A1", (b"secret",), is_pipelined=False, deadline_s=1)

    assert repr(command) == "A1 LOGIN"
