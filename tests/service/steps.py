"""What the story of the service does and looks at again and again: configuration, units, letters, files."""

import io
import json
import tarfile
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.demo.narrator import Narrator
from tests.demo.waiting import StepFailedError, wait_for
from tests.image.house import letter
from tests.service.machine import Machine

UNIT = "syncd.service"
CONFIG = "/etc/syncd/syncd.toml"
INBOX = "/srv/mail/laptop/.work.INBOX"
PROVIDER = "/srv/provider"
_PATIENCE_S = 120.0


class Steps:
    """Work on a machine with syncd, and tell of it; count: how many letters the account work has."""

    def __init__(self, machine: Machine, narrator: Narrator, *, count: int) -> None:
        self._machine = machine
        self._narrator = narrator
        self._count = count

    def _configure(self, text: str) -> None:
        """Save the configuration as an editor does that keeps owner and rights."""
        self._machine.put(CONFIG, text.encode(), mode=0o640)
        self._machine.shell(f"chgrp syncd {CONFIG}")

    def _drop_in(self, name: str, *lines: str) -> None:
        text = "\n".join(("[Service]", *lines, ""))
        self._machine.put(f"/etc/systemd/system/{UNIT}.d/{name}.conf", text.encode())
        self._machine.text("systemctl", "daemon-reload")

    def _show(self, field: str, *, unit: str = UNIT) -> str:
        return self._machine.text("systemctl", "show", f"--property={field}", "--value", unit)

    def _pid(self) -> int:
        return int(self._show("MainPID"))

    def _status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self._machine.text("syncd", "status", "--json"))
        return status

    def _modes(self, *paths: str) -> list[str]:
        return self._machine.text("stat", "--format=%U:%G %a", *paths).splitlines()

    def _deliver(self, user: str, numbers: range) -> None:
        """Put letters into the INBOX at the provider, as a delivery agent does."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for number in numbers:
                content = letter(number).replace(b"\r\n", b"\n")
                member = tarfile.TarInfo(f"{number}.letter")
                member.size, member.mtime = len(content), int(time.time())
                archive.addfile(member, io.BytesIO(content))
        box = f"{PROVIDER}/{user}/Maildir"
        script = f"mkdir -p {box}/new {box}/cur {box}/tmp && tar -x -C {box}/tmp --no-same-owner"
        self._machine.octets("sh", "-euc", script, given=packed.getvalue())
        self._machine.shell(f"chown -R provider: {PROVIDER} && mv {box}/tmp/*.letter {box}/new/")

    def _files(self, directory: str) -> list[str]:
        listed = self._machine.attempt("find", f"{directory}/new", f"{directory}/cur", "-type", "f")
        return listed.stdout.decode().splitlines()

    def _is_complete(self) -> bool:
        """Tell whether the device has every letter once, and no other."""
        packed = self._machine.octets("tar", "-c", "-C", INBOX, "new", "cur")
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            files = (archive.extractfile(member) for member in archive if member.isfile())
            found = Counter(file.read().replace(b"\r\n", b"\n") for file in files if file is not None)
        return found == Counter(letter(number).replace(b"\r\n", b"\n") for number in range(self._count))

    def _until(self, what: str, holds: Callable[[], bool], *, since: float | None = None) -> None:
        """Wait until something is so, and say how long that took."""
        began = time.monotonic() if since is None else since
        took = wait_for(what, {"machine": holds}, patience_s=_PATIENCE_S, since=began, every_s=0.02)
        self._narrator.took(what, took["machine"])

    def _check(self, is_so: bool, what: str) -> None:
        if not is_so:
            raise StepFailedError(f"not so: {what}")
        self._narrator.fact(what)
