"""What goes wrong in a walk, or goes otherwise: restarts, cut wires, devices that go away and that select otherwise.

A device that is out of the configuration for a while is as it was: nobody uses it then.
"""

import random
from collections.abc import Callable, Mapping
from pathlib import Path

from syncd.config.model import DeviceConfig
from tests.contract.sync.house import House
from tests.contract.sync.tap import Tap
from tests.servers.dovecot import Dovecot
from tests.servers.identity import ServerUnavailable

_COMMANDS = (b" APPEND ", b"UID MOVE", b"UID COPY", b"UID STORE", b"UID EXPUNGE", b"SELECT")
_SELECTIONS = (("*",), ("*",), ("*", "!Archive"), ("*", "!*Box*"), ("*", "!Trash*", "!Projects*"))
_CUT_MAX_BYTES = 3000
_STARTS_MAX = 5


class Faults:
    """Break things, and mend them all at once. away: the devices whose roots are not there."""

    def __init__(
        self, house: House, server: Dovecot, tap: Tap, rng: random.Random, *, tell: Callable[[str], None]
    ) -> None:
        self.away: set[str] = set()
        self.is_server_up = True
        self._is_broken = False
        self._out: dict[str, DeviceConfig] = {}
        self._house = house
        self._server = server
        self._tap = tap
        self._rng = rng
        self._tell = tell

    def take_broken(self) -> bool:
        """Tell whether anything but a device was interrupted since the last call."""
        was_broken, self._is_broken = self._is_broken, False
        return was_broken

    async def restart(self) -> None:
        """Leave the house and enter it again."""
        self._tell("restart")
        self._is_broken = True
        await self._house.__aexit__()
        await self._house.__aenter__()

    async def select_otherwise(self) -> None:
        """Let a device take other mailboxes from now on; only at rest, for what it did in others may not be heard."""
        device, patterns = self._rng.choice(list(self._house.config.devices)), self._rng.choice(_SELECTIONS)
        self._tell(f"{device} takes {' '.join(patterns)}")
        devices = self._house.config.devices
        await self._configure({**devices, device: devices[device].model_copy(update={"mailboxes": patterns})})

    async def take_out_or_put_back(self) -> None:
        """Take a device out of the configuration, or put it back."""
        devices = self._house.config.devices
        here = [device for device in devices if device not in self.away]
        if self._out:
            await self._put_back()
        elif len(here) > 1:
            device = self._rng.choice(here)
            self._tell(f"{device} is out of the configuration")
            self._is_broken = True
            self._out = {device: devices[device]}
            await self._configure({name: one for name, one in devices.items() if name != device})

    async def _put_back(self) -> None:
        if self._out:
            self._tell(f"{' '.join(self._out)} is in the configuration again")
            out, self._out = self._out, {}
            await self._configure({**self._house.config.devices, **out})

    async def _configure(self, devices: Mapping[str, DeviceConfig]) -> None:
        await self._house.__aexit__()
        self._house.config = self._house.config.model_copy(update={"devices": devices})
        await self._house.__aenter__()

    def stop_or_start(self) -> None:
        """Stop the server, in an orderly way or not, or start it again."""
        self._tell("stop the server" if self.is_server_up else "start the server")
        self._is_broken = True
        if self.is_server_up:
            self._rng.choice([self._server.stop, self._server.kill])()
        else:
            self._start()
        self.is_server_up = not self.is_server_up

    def _start(self) -> None:
        """Start the server; the last processes of one that was killed may hold its sockets a moment longer."""
        for _ in range(_STARTS_MAX - 1):
            try:
                self._server.start()
            except ServerUnavailable:
                continue
            return
        self._server.start()

    def cut_wire(self) -> None:
        """Let the connection end after some octets of the server, or after a command whose answer is lost."""
        self._is_broken = True
        if self._rng.random() < 0.5:
            self._tap.cut_after_bytes = self._rng.randrange(_CUT_MAX_BYTES)
            self._tell(f"cut the wire after {self._tap.cut_after_bytes} octets of the server")
        else:
            command, losses = self._rng.choice(_COMMANDS), iter([True])
            self._tap.drops = lambda line: command in line and next(losses, False)
            self._tell(f"cut the wire after {command.decode().strip()}")

    def go_or_come(self) -> None:
        """Take a device away, or bring it back."""
        device = self._rng.choice(list(self._house.config.devices))
        if device in self.away:
            self._bring_back(device)
        else:
            self._tell(f"{device} goes away")
            root, elsewhere = self._roots(device)
            root.rename(elsewhere)
            self.away.add(device)

    async def mend(self) -> None:
        """Let everything be there, and no wire be cut any more."""
        await self._put_back()
        for device in sorted(self.away):
            self._bring_back(device)
        if not self.is_server_up:
            self.stop_or_start()
        self._tap.cut_after_bytes = None
        self._tap.drops = lambda line: False

    def _bring_back(self, device: str) -> None:
        self._tell(f"{device} comes back")
        root, elsewhere = self._roots(device)
        elsewhere.rename(root)
        self.away.remove(device)

    def _roots(self, device: str) -> tuple[Path, Path]:
        root = self._house.config.devices[device].path
        return root, root.with_name(f"{device}-away")
