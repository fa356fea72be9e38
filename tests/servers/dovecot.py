"""A real Dovecot on loopback: any user, one password, masked capabilities, quick to start, stop, kill and fill.

Theory. Dovecot runs wholly as one unprivileged user (ourselves, or nobody when we are root), so nothing of it needs
root. An installed Dovecot is used when it serves IMAP and POP3; otherwise Debian's packages are unpacked. Two paths
that are compiled into the libraries of 2.3 are then overwritten with relative ones: Dovecot's processes work in their
`base_dir`, where links lead to the unpacked tree.
"""

import datetime
import imaplib
import os
import poplib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from tests.servers import debian
from tests.servers.certificates import write_certificates, write_self_signed
from tests.servers.delivery import Delivery, append_all
from tests.servers.dovecot_conf import SPECIAL_USE, ClientCertificates, Settings, Storage, render
from tests.servers.identity import Identity, ServerUnavailable, server_identity
from tests.servers.ports import HOST, free_ports

PASSWORD = "secret"
_TURN_TIMEOUT_S = 10
_STOP_TIMEOUT_S = 0.2  # the master itself would wait a second for helpers that have nothing left to do
_PACKAGES = ("dovecot-core", "dovecot-imapd", "dovecot-pop3d")
_COMPILED_PATHS = {b"/usr/lib/dovecot/modules": b"./modules", b"/usr/bin/doveconf": b"./doveconf"}


@dataclass(frozen=True, slots=True)
class Program:
    """Where a Dovecot's files are, and what its processes need to find their libraries."""

    master: Path
    doveconf: Path
    libexec: Path
    modules: Path
    library_path: str
    version: tuple[int, int]


@lru_cache(maxsize=1)
def find_program() -> Program:
    """Return the installed Dovecot, else one unpacked from Debian packages; ServerUnavailable if neither is usable."""
    return _installed() or _unpacked(server_identity())


class Dovecot:
    """Run a Dovecot whose users all have the password `PASSWORD`; each user has its own mail below `mail_dir`.

    `capability` replaces what IMAP announces (see `capabilities.without`); `separator` is the hierarchy delimiter.
    `self_signed_for` is the only name of a certificate that no authority signed. `client_certificates`: EXTERNAL is
    offered, and a certificate of `ca_directory` says who somebody is; where one is needed nobody logs in without.
    `special_use` are the mailboxes that each user has from the start, called by their use.
    Ports, certificates and mail stay the same over `stop` or `kill` and `start`; leaving the context ends everything.
    """

    host = HOST
    password = PASSWORD

    def __init__(
        self,
        root_dir: Path,
        *,
        capability: str | None = None,
        tls: bool = True,
        separator: Literal["/", "."] = "/",
        storage: Storage = "sdbox",
        extra_config: str = "",
        certificate_left: datetime.timedelta = datetime.timedelta(days=1),
        self_signed_for: str = "",
        client_certificates: ClientCertificates = "no",
        special_use: Sequence[str] = SPECIAL_USE,
    ) -> None:
        self._identity = server_identity()
        self._program = find_program()
        self._process: subprocess.Popen[bytes] | None = None
        self.imap_port, self.imaps_port, self.pop3_port, self.pop3s_port = free_ports(4)
        root_dir.mkdir(parents=True, exist_ok=True)
        # NOTE: sockets have short paths at most (108 octets), and pytest's directories are closed to other users.
        self._home = Path(tempfile.mkdtemp(prefix="syncd-dovecot-", dir="/tmp"))
        self._base_dir = self._home / "base"
        self._base_dir.mkdir()
        self.mail_dir = self._make_mail_dir(root_dir)
        self.log_file = self._home / "dovecot.log"
        self.ca_file = self._home / "ca.pem"
        self.certificate_file = self._home / "server.pem"
        write_certificates(self._home, left=certificate_left)
        if self_signed_for:
            write_self_signed(self._home, self_signed_for)
        for name in ("modules", "doveconf"):
            (self._base_dir / name).symlink_to(getattr(self._program, name))
        self._config = self._home / "dovecot.conf"
        settings = Settings(
            identity=self._identity,
            home=self._home,
            base_dir=self._base_dir,
            mail_dir=self.mail_dir,
            log_file=self.log_file,
            libexec_dir=self._program.libexec,
            modules_dir=self._program.modules,
            imap_port=self.imap_port,
            imaps_port=self.imaps_port if tls else 0,
            pop3_port=self.pop3_port,
            pop3s_port=self.pop3s_port if tls else 0,
            password=PASSWORD,
            capability=capability,
            separator=separator,
            storage=storage,
            client_certificates=client_certificates,
            special_use=special_use,
        )
        self._config.write_text(render(settings, self._program.version) + extra_config)
        for path in (self._home, *self._home.iterdir()):
            if not path.is_symlink():
                self._identity.give(path)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        shutil.rmtree(self._home, ignore_errors=True)

    def start(self) -> None:
        """Start the server and return when it accepts connections."""
        environment = {"PATH": "/usr/bin:/bin", "LD_LIBRARY_PATH": self._program.library_path}
        command = (str(self._program.master), "-F", "-c", str(self._config))
        with (self._home / "start.log").open("wb") as output:
            self._process = self._identity.popen(command, environment=environment, output=output, cwd=self._base_dir)
        process = self._process
        self._wait_until(lambda: self._is_listening() or process.poll() is not None)
        if not self._is_listening():
            self.kill()
            raise ServerUnavailable(f"dovecot did not start: {self._last_words()}")

    def stop(self) -> None:
        """End the server in an orderly way; its clients are told and disconnected."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            pass
        self.kill()

    def kill(self) -> None:
        """End all processes of the server at once, as a crash would."""
        if self._process is None:
            return
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()
        self._process = None
        # NOTE: the last of its children may hold the listening sockets a moment longer, those in files as well, by
        # which the next one would take it for running.
        self._wait_until(self._is_silent)

    def change_password(self, password: str) -> None:
        """Let this be the password of all users from now on; who is logged in stays so."""
        is_setting = re.compile(rf"(password ?= ?){re.escape(self.password)}$", re.MULTILINE)
        self._config.write_text(is_setting.sub(rf"\g<1>{password}", self._config.read_text()))
        self.password = password
        if self._process is not None:
            self._process.send_signal(signal.SIGHUP)
            self._wait_until(lambda: self._takes(password))

    def _takes(self, password: str) -> bool:
        client = imaplib.IMAP4(HOST, self.imap_port, timeout=30)
        try:
            return client.login("anybody", password)[0] == "OK"
        except imaplib.IMAP4.error:
            return False
        finally:
            client.shutdown()

    def restart(self) -> None:
        """Stop and start again, on the same ports with the same mail."""
        self.stop()
        self.start()

    @property
    def ca_directory(self) -> Path:
        """Return where the authority is that signs for this server, and for its people."""
        return self._home

    def renew_certificate(self) -> None:
        """Show another certificate from now on, of an authority that is another one as well."""
        write_certificates(self._home)
        self.restart()

    def until_logged(self, text: str) -> None:
        """Return once its log holds `text`: it is written by another process than those that answer."""
        self._wait_until(lambda: text in self.log_file.read_text())
        assert text in self.log_file.read_text()

    def imap(self, user: str) -> imaplib.IMAP4:
        """Return a connection of the standard library that is logged in as `user`."""
        client = imaplib.IMAP4(HOST, self.imap_port, timeout=30)
        client.login(user, self.password)
        return client

    def pop3(self, user: str) -> poplib.POP3:
        """Return a connection of the standard library that is logged in as `user`."""
        client = poplib.POP3(HOST, self.pop3_port, timeout=30)
        client.user(user)
        client.pass_(self.password)
        return client

    def tls_context(self) -> ssl.SSLContext:
        """Return a client context that trusts this server only."""
        return ssl.create_default_context(cafile=str(self.ca_file))

    def deliver(
        self,
        user: str,
        mailbox: str,
        message: bytes,
        *,
        flags: tuple[str, ...] = (),
        internaldate: datetime.datetime | None = None,
    ) -> int:
        """Append one message and return its UID; `internaldate` is aware, None is now."""
        return self.deliver_all(user, mailbox, (Delivery(message, flags, internaldate),))[0]

    def deliver_all(self, user: str, mailbox: str, deliveries: Iterable[Delivery]) -> tuple[int, ...]:
        """Append many messages quickly, making the mailbox if needed, and return their UIDs."""
        with self.imap(user) as client:
            return append_all(client, mailbox, deliveries)

    def save_mail(self, user: str, to: Path) -> None:
        """Copy everything that a stopped server keeps of a user, as a backup does."""
        _copy(self.mail_dir / user, to)

    def restore_mail(self, user: str, saved: Path) -> None:
        """Set a user of a stopped server back to what `save_mail` copied."""
        shutil.rmtree(self.mail_dir / user)
        _copy(saved, self.mail_dir / user)

    def _make_mail_dir(self, root_dir: Path) -> Path:
        link = root_dir / "mail"
        if self._identity.can_reach(root_dir):
            link.mkdir(exist_ok=True)
            self._identity.give(link)
            return link
        mail_dir = self._home / "mail"
        mail_dir.mkdir()
        link.unlink(missing_ok=True)
        link.symlink_to(mail_dir)
        return mail_dir

    def _is_listening(self) -> bool:
        return all(map(_accepts, (self.imap_port, self.pop3_port)))

    def _is_silent(self) -> bool:
        own = (path for path in self._base_dir.rglob("*") if path.is_socket())
        return not any(map(_accepts, (self.imap_port, self.pop3_port))) and not any(map(_is_served, own))

    def _wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _TURN_TIMEOUT_S
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.002)

    def _last_words(self) -> str:
        logs = (self._home / "start.log", self.log_file)
        return " ".join(log.read_text(errors="replace")[-2000:] for log in logs if log.exists())


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)  # with owners, which shutil forgets


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def _installed() -> Program | None:
    master = shutil.which("dovecot", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    doveconf = shutil.which("doveconf", path=f"{os.environ.get('PATH', '')}:/usr/bin")
    libexec = Path("/usr/lib/dovecot")
    if not master or not doveconf or not all((libexec / name).exists() for name in ("imap", "pop3", "imap-login")):
        return None
    version = _version(Path(master), library_path="")
    return Program(Path(master), Path(doveconf), libexec, libexec / "modules", library_path="", version=version)


def _unpacked(identity: Identity) -> Program:
    root = debian.unpack(_PACKAGES, identity=identity, finish=_make_relocatable)
    libexec = root / "usr/lib/dovecot"
    master = root / "usr/sbin/dovecot"
    library_path = debian.library_path(root, "usr/lib/dovecot", "usr/lib/dovecot/modules/old-stats")
    return Program(
        master=master,
        doveconf=root / "usr/bin/doveconf",
        libexec=libexec,
        modules=libexec / "modules",
        library_path=library_path,
        version=_version(master, library_path=library_path),
    )


def _version(master: Path, *, library_path: str) -> tuple[int, int]:
    asked = subprocess.run([master, "--version"], capture_output=True, text=True, env={"LD_LIBRARY_PATH": library_path})
    found = re.match(r"(\d+)\.(\d+)\.", asked.stdout)
    if not found:
        raise ServerUnavailable(f"{master} does not say its version: {asked.stdout}{asked.stderr}".strip())
    return int(found[1]), int(found[2])


def _make_relocatable(root: Path) -> None:
    for library in (root / "usr/lib/dovecot").glob("libdovecot*.so.*"):
        if library.is_symlink():
            continue
        octets = library.read_bytes()
        for compiled, relative in _COMPILED_PATHS.items():
            octets = octets.replace(compiled + b"\0", relative.ljust(len(compiled) + 1, b"\0"))
        library.write_bytes(octets)
