"""The stage of the story: a real Dovecot, two accounts on it, a configuration, and syncd as a process of its own."""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.demo.letters import ARCHIVE, INBOX, SENT
from tests.demo.replica import Replica
from tests.demo.waiting import StepFailedError
from tests.servers.dovecot import Dovecot

WORK, ISP = "work", "isp"
DEVICES = ("laptop", "phone", "nas")
MAILBOXES = (INBOX, ARCHIVE, SENT)
_LAYOUTS = {"laptop": "maildir++", "phone": "maildir++", "nas": "fs"}
_COMMAND_TIMEOUT_S = 60.0


class Stage:
    """Hold everything that the story plays with, below one directory."""

    def __init__(self, root: Path, server: Dovecot, *, password: str) -> None:
        self.root = root
        self.server = server
        self.config = root / "syncd.toml"
        self.log_file = root / "syncd.log"
        self._daemon: subprocess.Popen[bytes] | None = None
        _write_private(root / "password", password)
        _write_private(self.config, self._configuration())

    def replica(self, device: str, mailbox: str = INBOX, *, account: str = WORK) -> Replica:
        """Return a mailbox as a device has it."""
        parts = (account, *mailbox.split("/"))
        name = f".{'.'.join(parts)}" if _LAYOUTS[device] == "maildir++" else "/".join(parts)
        return Replica(self.root / device / name)

    def replicas(self, mailbox: str = INBOX, *, account: str = WORK) -> Mapping[str, Replica]:
        """Return a mailbox as each device has it."""
        return {device: self.replica(device, mailbox, account=account) for device in DEVICES}

    def command(self, *arguments: str) -> str:
        """Return the command line of a person for `arguments` of syncd."""
        return f"{Path(sys.executable).parent / 'syncd'} {' '.join(arguments)} --config {self.config}"

    def syncd(self, *arguments: str) -> str:
        """Run syncd to its end and return what it prints; StepFailedError when it reports a failure."""
        return self._run(*arguments, stdout=subprocess.PIPE)

    def show(self, *arguments: str) -> None:
        """Run syncd to its end and let it print to where we print."""
        sys.stdout.flush()
        self._run(*arguments, stdout=None)

    def start(self) -> None:
        """Start `syncd run`."""
        with self.log_file.open("wb") as log:
            self._daemon = subprocess.Popen(
                (sys.executable, "-m", "syncd", "run", "--config", str(self.config)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # NOTE: Ctrl-C is for the demo, which then ends syncd as a service manager does.
                start_new_session=True,
            )

    def check_alive(self) -> None:
        """Raise StepFailedError when syncd has ended by itself."""
        status = self._daemon.poll() if self._daemon else None
        if status is not None:
            raise StepFailedError(f"syncd ended by itself, with exit code {status}")

    def stop(self, *, patience_s: float) -> float:
        """Ask syncd to end and return how long that took; StepFailedError unless it ends well and in time."""
        self.check_alive()
        if self._daemon is None:
            return 0.0
        began = time.monotonic()
        self._daemon.terminate()
        try:
            status = self._daemon.wait(patience_s)
        except subprocess.TimeoutExpired as error:
            raise StepFailedError(f"syncd had not ended after {patience_s:g} s") from error
        self._daemon = None
        if status != 0:
            raise StepFailedError(f"syncd ended with exit code {status}")
        return time.monotonic() - began

    def clear(self) -> None:
        """End syncd, whatever it is doing."""
        if self._daemon is not None:
            self._daemon.kill()
            self._daemon.wait()

    def last_log_lines(self, count: int = 15) -> tuple[str, ...]:
        """Return the end of what syncd logged, for people; where it failed in its code stays in the file."""
        if not self.log_file.exists():
            return ()
        return tuple(map(_readable, self.log_file.read_text(errors="replace").splitlines()[-count:]))

    def _run(self, *arguments: str, stdout: int | None) -> str:
        name = f"syncd {' '.join(arguments)}"
        try:
            ended = subprocess.run(
                (sys.executable, "-m", "syncd", *arguments, "--config", str(self.config)),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.PIPE,
                text=True,
                timeout=_COMMAND_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired as error:
            raise StepFailedError(f"{name} did not end within {_COMMAND_TIMEOUT_S:g} s") from error
        if ended.returncode != 0:
            raise StepFailedError(f"{name} ended with {ended.returncode}: {ended.stderr.strip()}")
        return ended.stdout or ""

    def _configuration(self) -> str:
        return f"""\
[store]
url = "sqlite:///{self.root}/syncd.db"

[accounts.{WORK}]
type = "imap"
host = "{self.server.host}"
port = {self.server.imaps_port}
ca_file = "{self.server.ca_file}"
username = "{WORK}"
password_file = "password"

[accounts.{ISP}]
type = "pop3"
host = "{self.server.host}"
port = {self.server.pop3s_port}
ca_file = "{self.server.ca_file}"
username = "{ISP}"
password_file = "password"

{"".join(self._device(name) for name in DEVICES)}[daemon]
socket = "syncd.sock"
log_format = "json"
"""

    def _device(self, name: str) -> str:
        return f'[devices.{name}]\npath = "{name}"\nlayout = "{_LAYOUTS[name]}"\n\n'


@contextmanager
def set_stage(*, directory: Path | None, password: str) -> Iterator[Stage]:
    """Yield the stage with a server that runs and syncd that does not; at the end nothing of either is left."""
    root = Path(tempfile.mkdtemp(prefix="syncd-demo-", dir=directory))
    try:
        with Dovecot(root / "server") as server:
            stage = Stage(root, server, password=password)
            try:
                yield stage
            finally:
                stage.clear()
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def _readable(line: str) -> str:
    try:
        values = json.loads(line)
    except ValueError:
        return line
    shown = (
        f"{key}={value}" for key, value in values.items() if key not in {"event", "level", "timestamp", "exception"}
    )
    return f"{values.get('level', ''):8}{values.get('event', '')}  {' '.join(shown)}"
