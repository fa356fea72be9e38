"""The steps of a walk in which people and programs make, rename and remove mailboxes, on the server and on devices.

Each new name is one that no mailbox had, but for mailboxes inside: two may make the same one. What a device renames or
removes, it does to the directory and to those inside, as mail programs do; where they lie side by side, one by one.
"""

import random
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from syncd.mail.mailbox import MailboxName
from tests.walk.faults import Faults
from tests.walk.ledger import WEB, Deed, Ledger, Verb
from tests.walk.mailboxes import MailboxDeed, Mailboxes, MailboxVerb, inside_of, is_in
from tests.walk.world import MAILBOXES, World

_SUBDIRS = ("tmp", "new", "cur")
_INNER = ("in", "deep/in")
_OUTER = ("", "", "Projects/", "Trash/")
_MAILBOXES_MAX = 6


class MailboxSteps:
    """Change mailboxes, and tell the ledgers."""

    def __init__(
        self,
        world: World,
        faults: Faults,
        ledger: Ledger,
        rng: random.Random,
        *,
        device: Callable[[], str | None],
        tell: Callable[[str], None],
    ) -> None:
        """Call `device` for one that is there."""
        self.mailboxes = Mailboxes({*MAILBOXES, "Junk"})
        self._world = world
        self._faults = faults
        self._ledger = ledger
        self._rng = rng
        self._device = device
        self._tell = tell
        self._number = 0

    # On the server.

    def web_make(self) -> None:
        if self._faults.is_server_up:
            name = self._new_name(self._world.mailboxes_of_server())
            if name is not None and self._world.change_mailbox("CREATE", name):
                self._deed(MailboxDeed(WEB, MailboxVerb.MAKE, name))

    def web_rename(self) -> None:
        if self._faults.is_server_up:
            here = self._world.mailboxes_of_server()
            if (name := self._chosen(here)) is not None:
                to = self._fresh_name()
                if self._world.change_mailbox("RENAME", name, to):
                    self._deed(MailboxDeed(WEB, MailboxVerb.RENAME, name, to, self._untaken(to)))

    def web_remove(self) -> None:
        """Delete a mailbox and those inside, innermost first, for a server keeps the name of one around others."""
        if not self._faults.is_server_up:
            return
        here = self._world.mailboxes_of_server()
        name = self._chosen(here)
        if name is None or not self._may_all(WEB, name, [(one.mailbox, one.key) for one in self._world.on_server()]):
            return
        for one in sorted((one for one in here if one == name or is_in(one, name)), reverse=True):
            keys = [found.key for found in self._world.on_server() if found.mailbox == one]
            if self._world.change_mailbox("DELETE", one):
                self._deed(MailboxDeed(WEB, MailboxVerb.REMOVE, one))
                for key in keys:
                    self._ledger.deed(key, Deed(WEB, Verb.EXPUNGE, one, is_whole=True))

    # On a device.

    def make(self) -> None:
        device = self._device()
        if device is not None:
            name = self._new_name(self._world.mailboxes_of_device(device))
            if name is None or not self._world.takes(device, name):
                return
            if not (directory := self._directory(device, name)).exists():
                for subdir in _SUBDIRS:
                    (directory / subdir).mkdir(parents=True)
                self._deed(MailboxDeed(device, MailboxVerb.MAKE, name))

    def rename(self) -> None:
        device = self._device()
        if device is not None and (name := self._chosen_on(device)) is not None:
            to = self._fresh_name()
            if not self._world.takes(device, to):
                return
            if not self._moved(self._directories(device, name, to)):
                return
            self._deed(MailboxDeed(device, MailboxVerb.RENAME, name, to, self._untaken(to)))
            for one in self._world.on_device(device):
                if one.mailbox == to or is_in(one.mailbox, to):
                    before = name + inside_of(one.mailbox, to)
                    self._ledger.deed(one.key, Deed(device, Verb.MOVE, before, one.mailbox, is_whole=True))

    def remove(self) -> None:
        device = self._device()
        if device is not None and (name := self._chosen_on(device)) is not None:
            found = [one for one in self._world.on_device(device) if one.mailbox == name or is_in(one.mailbox, name)]
            out = self._world.house.directory / "out"
            if not self._moved([(old, out / old.name) for old, _ in self._directories(device, name, name)]):
                return
            shutil.rmtree(out)
            self._deed(MailboxDeed(device, MailboxVerb.REMOVE, name))
            for one in found:
                self._ledger.deed(one.key, Deed(device, Verb.DELETE, one.mailbox, is_whole=True))

    def _directories(self, device: str, name: str, to: str) -> list[tuple[Path, Path]]:
        """Return which directories are to be renamed for a mailbox to be called otherwise."""
        outer = self._directory(device, name), self._directory(device, to)
        if self._world.house.config.devices[device].layout.value == "fs":
            return [outer]
        inner = [one for one in sorted(self._world.mailboxes_of_device(device)) if is_in(one, name)]
        return [
            outer,
            *((self._directory(device, one), self._directory(device, to + inside_of(one, name))) for one in inner),
        ]

    def _moved(self, directories: Iterable[tuple[Path, Path]]) -> bool:
        """Rename directories, as many as are still there, and tell whether any was.

        What is only around them goes along: nothing follows from a mailbox that went from an empty directory, since a
        disk may be mounted there at other times.
        """
        has_moved = False
        for old, new in directories:
            new.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                old.rename(new)
                has_moved = True
                with suppress(OSError):
                    for around in old.parents:
                        around.rmdir()
        return has_moved

    def _directory(self, device: str, name: str) -> Path:
        layout = self._world.layout(device)
        return self._world.house.config.devices[device].path / layout.directory(
            "work", MailboxName(tuple(name.split("/")))
        )

    # Choices.

    def _new_name(self, here: frozenset[str]) -> str | None:
        others = [one for one in here if is_free(one)]
        if len(others) >= _MAILBOXES_MAX:
            return None
        if others and self._rng.random() < 0.4:
            name = f"{self._rng.choice(sorted(others))}/{self._rng.choice(_INNER)}"
            return None if name in here or name.count("/") > 3 else name
        return self._fresh_name()

    def _fresh_name(self) -> str:
        self._number += 1
        return f"{self._rng.choice(_OUTER)}Box{self._number}"

    def _chosen(self, here: frozenset[str]) -> str | None:
        free = sorted(filter(is_free, here))
        return self._rng.choice(free) if free else None

    def _chosen_on(self, device: str) -> str | None:
        """Choose a mailbox of which all messages may be moved or deleted by a device."""
        name = self._chosen(self._world.mailboxes_of_device(device))
        if name is None:
            return None
        places = [(one.mailbox, one.key) for one in self._world.on_device(device)]
        return name if self._may_all(device, name, places) else None

    def _untaken(self, name: str) -> frozenset[str]:
        return frozenset(one for one in self._world.house.config.devices if not self._world.takes(one, name))

    def _may_all(self, actor: str, name: str, places: list[tuple[str, str]]) -> bool:
        keys = [key for mailbox, key in places if mailbox == name or is_in(mailbox, name)]
        return all(not key.startswith("strange") and self._ledger.entries[key].may_be_placed(actor) for key in keys)

    def _deed(self, deed: MailboxDeed) -> None:
        self.mailboxes.deed(deed)
        self._tell(str(deed))


def is_free(name: str) -> bool:
    """Tell whether a mailbox is one of those that come and go, and not about to be deleted by the engine."""
    return "Box" in name and "(" not in name
