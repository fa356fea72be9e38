"""The programs that race: each brings one IMAP mailbox into three Maildirs."""

import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from tests.servers import debian
from tests.servers.dovecot import Dovecot
from tests.servers.identity import server_identity

DEVICES = ("laptop", "phone", "nas")


@dataclass(frozen=True, slots=True)
class Effort:
    """What a run took: seconds on the clock and on processors, and the memory of its largest process."""

    wall_s: float
    cpu_s: float
    peak_bytes: int

    def __add__(self, other: "Effort") -> "Effort":
        return Effort(self.wall_s + other.wall_s, self.cpu_s + other.cpu_s, max(self.peak_bytes, other.peak_bytes))

    def __str__(self) -> str:
        return f"{self.wall_s:6.2f} s wall {self.cpu_s:6.2f} s cpu {self.peak_bytes / 2**20:5.0f} MiB peak"


class Contender(Protocol):
    """A program under measurement."""

    name: str

    def prepare(self, server: Dovecot, user: str, directory: Path) -> None:
        """Write configuration for a first sync of the user's INBOX into `directory`/DEVICE, for every device."""

    def run(self, directory: Path) -> Effort:
        """Do the first sync."""


class Mbsync:
    """Debian's isync with its default FSync, one run for every Maildir, one after the other."""

    name = "mbsync"

    def prepare(self, server: Dovecot, user: str, directory: Path) -> None:
        for device in DEVICES:
            (directory / device).mkdir()
            (directory / f"{device}.rc").write_text(
                f"""
IMAPAccount account
Host {server.host}
Port {server.imap_port}
User {user}
Pass {server.password}
SSLType None
AuthMechs LOGIN

IMAPStore server
Account account

MaildirStore device
Path {directory / device}/
Inbox {directory / device}/INBOX
SubFolders Verbatim

Channel mail
Far :server:
Near :device:
Patterns INBOX
Create Near
SyncState *
"""
            )

    def run(self, directory: Path) -> Effort:
        program, library_path = _mbsync()
        runs = [
            _measure(
                (program, "-c", str(directory / f"{device}.rc"), "-q", "mail"),
                log_file=directory / "mbsync.log",
                LD_LIBRARY_PATH=library_path,
            )
            for device in DEVICES
        ]
        return sum(runs[1:], start=runs[0])


class Syncd:
    """`syncd sync` with three devices and no daemon."""

    name = "syncd"

    def prepare(self, server: Dovecot, user: str, directory: Path) -> None:
        (directory / "password").write_text(server.password)
        (directory / "password").chmod(0o600)
        devices = "".join(f'[devices.{device}]\npath = "{directory / device}"\n' for device in DEVICES)
        (directory / "syncd.toml").write_text(
            f"""
[store]
url = "sqlite:///{directory}/syncd.db"

[accounts.bench]
type = "imap"
host = "{server.host}"
port = {server.imap_port}
tls = "none"
username = "{user}"
password_file = "{directory}/password"
mailboxes = ["INBOX"]

[daemon]
socket = "{directory}/syncd.sock"

{devices}"""
        )

    def run(self, directory: Path) -> Effort:
        command = (sys.executable, "-m", "syncd", "sync")
        return _measure(command, log_file=directory / "syncd.log", SYNCD_CONFIG=str(directory / "syncd.toml"))


CONTENDERS: dict[str, Contender] = {contender.name: contender for contender in (Mbsync(), Syncd())}


@lru_cache(maxsize=1)
def _mbsync() -> tuple[str, str]:
    installed = shutil.which("mbsync")
    if installed:
        return installed, ""
    root = debian.unpack(("isync",), identity=server_identity())
    return str(root / "usr/bin/mbsync"), debian.library_path(root)


def _measure(command: tuple[str, ...], *, log_file: Path, **environment: str) -> Effort:
    os.sync()  # what others left to be written must not count here
    with log_file.open("ab") as log:
        began = time.monotonic()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | environment
        )
        with ThreadPoolExecutor(max_workers=1) as sampler:
            peak = sampler.submit(_peak_bytes, process.pid)
            _, status, usage = os.wait4(process.pid, 0)
            wall_s = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        said = log_file.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {said}")
    return Effort(wall_s, usage.ru_utime + usage.ru_stime, peak.result())


def _peak_bytes(pid: int) -> int:
    # NOTE: ru_maxrss will not do, it starts with the memory of the process that forked.
    peak_kib = 0
    while True:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return peak_kib * 1024
        found = re.search(r"VmHWM:\s*(\d+) kB", status)
        if not found:
            return peak_kib * 1024
        peak_kib = int(found[1])
        time.sleep(0.02)
