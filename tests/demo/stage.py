"""The stage of the story: a real Dovecot, two accounts on it, a configuration, and syncd as a process of its own."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.demo.letters import ARCHIVE, INBOX, SENT
from tests.demo.replica import Replica
from tests.demo.waiting import StepFailedError
from tests.servers.daemon import Daemon
from tests.servers.dovecot import Dovecot

WORK, ISP = "work", "isp"
DEVICES = ("laptop", "phone", "nas")
MAILBOXES = (INBOX, ARCHIVE, SENT)
_LAYOUTS = {"laptop": "maildir++", "phone": "maildir++", "nas": "fs"}
_COMMAND_TIMEOUT_S = 60.0
_NOT_SHOWN = frozenset({"event", "level", "timestamp", "exception"})


class Stage:
    """Hold everything that the story plays with, below one directory."""

    def __init__(self, root: Path, server: Dovecot, *, password: str) -> None:
        self.root = root
        self.server = server
        secret = root / "password"
        secret.touch(mode=0o600)
        secret.write_text(password)
        self.daemon = Daemon(root, self._configuration())

    def replica(self, device: str, mailbox: str = INBOX, *, account: str = WORK) -> Replica:
        """Return a mailbox as a device has it."""
        parts = (account, *mailbox.split("/"))
        name = f".{'.'.join(parts)}" if _LAYOUTS[device] == "maildir++" else "/".join(parts)
        return Replica(self.root / device / name)

    def replicas(self, mailbox: str = INBOX, *, account: str = WORK) -> Mapping[str, Replica]:
        """Return a mailbox as each device has it."""
        return {device: self.replica(device, mailbox, account=account) for device in DEVICES}

    def command(self, *arguments: str) -> str:
        """Return what a person types to run syncd with `arguments` here."""
        installed = Path(sys.executable).with_name("syncd")
        program = str(installed) if installed.exists() else f"{sys.executable} -m syncd"
        return f"{program} {' '.join(arguments)} --config {self.daemon.config_file}"

    def sync(self, account: str) -> None:
        """Run `syncd sync` on an account to its end."""
        ended = self.daemon.syncd("sync", account, timeout_s=_COMMAND_TIMEOUT_S)
        if ended.returncode != 0:
            raise StepFailedError(f"syncd sync {account} ended with {ended.returncode}: {ended.stderr.strip()}")

    def plan(self) -> int:
        """Return how many changes `syncd plan` says are to be brought to servers."""
        told = self.daemon.syncd("plan", timeout_s=_COMMAND_TIMEOUT_S).stdout
        return told.count("store flags") + told.count("append file")

    def show_status(self) -> None:
        """Run `syncd status`, and let it print to where we print."""
        sys.stdout.flush()
        command = (sys.executable, "-m", "syncd", "status", "--config", str(self.daemon.config_file))
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, timeout=_COMMAND_TIMEOUT_S)
        if ended.returncode != 0:
            raise StepFailedError(f"syncd status ended with {ended.returncode}")

    def check_alive(self) -> None:
        """Raise StepFailedError when syncd has ended by itself."""
        ended = os.waitid(os.P_PID, self.daemon.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is not None:
            raise StepFailedError(f"syncd ended by itself, with exit code {ended.si_status}")

    def stop(self, *, within_s: float) -> float:
        """Ask syncd to end and return how long that took; StepFailedError unless it ends well and in time."""
        self.check_alive()
        began = time.monotonic()
        try:
            code = self.daemon.stop()
        except subprocess.TimeoutExpired as error:
            raise StepFailedError("syncd did not end") from error
        took_s = time.monotonic() - began
        if code != 0 or took_s > within_s:
            raise StepFailedError(f"syncd ended after {took_s:.1f} s with exit code {code}")
        return took_s

    def last_log_lines(self, count: int = 15) -> tuple[str, ...]:
        """Return the end of what syncd logged, for people; where in its code something failed stays in the file."""
        lines = [line for line in self.daemon.log().splitlines() if not line.startswith((" ", "Traceback"))]
        return tuple(map(_readable, lines[-count:]))

    def _configuration(self) -> Mapping[str, Any]:
        server, password = self.server, "password"
        account = {"host": server.host, "ca_file": str(server.ca_file), "password_file": password}
        return {
            "accounts": {
                WORK: {"type": "imap", "username": WORK, "port": server.imaps_port, **account},
                ISP: {"type": "pop3", "username": ISP, "port": server.pop3s_port, **account},
            },
            "devices": {device: {"path": device, "layout": layout} for device, layout in _LAYOUTS.items()},
        }


@contextmanager
def set_stage(*, directory: Path | None, password: str) -> Iterator[Stage]:
    """Yield the stage with a server that runs and syncd that does not; at the end nothing of either is left."""
    with ExitStack() as ends:
        root = Path(tempfile.mkdtemp(prefix="syncd-demo-", dir=directory))
        ends.callback(shutil.rmtree, root, ignore_errors=True)
        server = Dovecot(root / "server")
        ends.push(server)  # before it starts, so that an interrupted start is cleaned up, too
        server.start()
        stage = Stage(root, server, password=password)
        ends.push(stage.daemon)
        ends.callback(stage.daemon.kill)
        yield stage


def _readable(line: str) -> str:
    try:
        values = json.loads(line)
    except ValueError:
        return line
    shown = (f"{key}={value}" for key, value in values.items() if key not in _NOT_SHOWN)
    return f"{values.get('level', ''):8}{values.get('event', '')}  {' '.join(shown)}"
