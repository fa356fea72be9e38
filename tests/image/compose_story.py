"""The story of compose.yaml: each of its profiles comes up healthy, syncs, and stops; each step is checked."""

import imaplib
import os
import shutil
import ssl
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.demo.narrator import Narrator
from tests.demo.waiting import StepFailedError, wait_for
from tests.image.container import Container
from tests.image.docker import Docker
from tests.image.engine import EngineError
from tests.image.house import USER, letter, messages, replace
from tests.servers.certificates import write_certificates
from tests.servers.debian import CHECKOUT
from tests.servers.delivery import Delivery, append_all
from tests.servers.dovecot import PASSWORD
from tests.servers.ports import free_ports

UID = 10001
STOP_MAX_S = 10.0
_UP_S = 300
_PATIENCE_S = 60.0
_MESSAGES = 500
_LAPTOP_INBOX, _PHONE_INBOX = "/srv/mail/laptop/.work.INBOX", "/srv/mail/phone/work/INBOX"
# Not by the engine, which then takes it for stopped.
_KILL = 'for one in /proc/[0-9]*; do [ "$(cat "$one/comm")" = syncd ] && kill -KILL "${one#/proc/}"; done'
_PROVIDER = f"""
passdb {{
  driver = static
  args = password={PASSWORD}
}}
mail_location = maildir:~/Maildir
first_valid_uid = 100
namespace inbox {{
  inbox = yes
  mailbox Trash {{
    auto = create
  }}
}}
"""
"""What a provider has in the place of what deploy/dovecot serves."""
_ADDED = """
services:
  provider:
    image: syncd-dovecot
    hostname: imap.example.org
    networks: {{default: {{aliases: [imap.example.org]}}}}
    read_only: true
    tmpfs: [/tmp]
    ports: ["127.0.0.1:{provider_port}:10993"]
    volumes:
      - {root}/provider:/etc/dovecot/syncd:ro
      - {root}/tls:/run/secrets:ro
  dovecot:
    ports: !override ["127.0.0.1:{served_port}:10993"]
"""


class ComposeStory:
    """Play it in a directory of its own, below which compose.yaml and all around it are as in a checkout."""

    def __init__(self, docker: Docker, root: Path, narrator: Narrator) -> None:
        self._docker = docker
        self._narrator = narrator
        self._root = root
        self._place = root / "deploy" / "docker"
        self._project = f"syncd-image-test-{os.getpid()}"
        self._provider_port, self._served_port = free_ports(2)
        self._syncd = Container(docker.engine, f"{self._project}-syncd-1", "syncd", {})
        self._count = 0

    def play(self) -> None:
        """Play all of it, in its order, and leave no container, network or volume."""
        self._lay_out()
        try:
            self._runs_with_a_file()
            self._serves()
            self._runs_with_postgresql()
        except (EngineError, StepFailedError):
            self._narrator.say(self._docker.attempt(*self._words("logs", "--tail=15"), timeout_s=60).stdout.decode())
            raise
        finally:
            self._docker.attempt(*self._words("down", "--volumes", "--timeout=1", every=True), timeout_s=_UP_S)

    def _lay_out(self) -> None:
        """Make what a person makes: the configuration, and the secrets; and a provider, which a person has."""
        shutil.copytree(CHECKOUT / "deploy", self._root / "deploy")
        tls, provider = self._root / "tls", self._root / "provider"
        for directory in (tls, provider):
            directory.mkdir()
            directory.chmod(0o755)
        write_certificates(tls)
        for name, made in (("tls.crt", "server.pem"), ("tls.key", "server.key"), ("users", None)):
            replace(tls / name, (tls / made).read_bytes() if made else "")
        replace(provider / "syncd.conf", _PROVIDER)
        ports = {"provider_port": self._provider_port, "served_port": self._served_port}
        (self._root / "added.yaml").write_text(_ADDED.format(root=self._root, **ports))
        config = self._place / "config"
        text = (config / "syncd.toml").read_text()
        replace(config / "ca.pem", (tls / "ca.pem").read_bytes())
        host = 'host = "imap.example.org"\n'
        replace(config / "syncd.toml", text.replace(host, f'{host}port = 10993\nca_file = "ca.pem"\n', 1))
        self._secret("syncd", "work", f"{PASSWORD}\n")
        served = {"tls.crt": tls / "tls.crt", "tls.key": tls / "tls.key"}
        for name, file in served.items():
            self._secret("dovecot", name, file.read_text())
        self._secret("dovecot", "users", f"{USER}:{{PLAIN}}other\n")

    def _secret(self, service: str, name: str, text: str) -> None:
        directory = self._place / "secrets" / service
        directory.mkdir(parents=True, exist_ok=True)
        file = directory / name
        file.write_text(text)
        for path, mode in ((directory, 0o700), (file, 0o400)):
            path.chmod(mode)
            os.chown(path, UID, UID)

    def _runs_with_a_file(self) -> None:
        self._narrator.begin("By compose: syncd, with its store in a file")
        self._up()
        self._deliver(_MESSAGES)
        self._is_synced()
        began = time.monotonic()
        self._docker.engine.attempt("exec", self._syncd.name, "sh", "-c", _KILL)
        self._until("killed, it is started again", lambda: self._restarts() == 1, since=began)
        self._until("and answers", lambda: self._attempt("exec", "-T", "syncd", "syncd", "health"), since=began)
        self._deliver(5)
        self._is_synced()
        self._stop()

    def _serves(self) -> None:
        self._narrator.begin("By compose: and a Dovecot over the replicas (--profile serve)")
        self._up("serve")
        self._is_synced()
        trusted = ssl.create_default_context(cafile=self._root / "tls" / "ca.pem")
        with imaplib.IMAP4_SSL("localhost", self._served_port, ssl_context=trusted) as phone:
            phone.login(USER, "other")
            self._check(phone.select("INBOX")[1] == [b"%d" % self._count], f"a program finds {self._count:,} messages")
            phone.uid("STORE", "1", "+FLAGS", r"(\Flagged)")
        self._until("the provider has a flag that it sets", lambda: self._flagged_by_provider() == 1)
        self._stop("serve")

    def _runs_with_postgresql(self) -> None:
        self._narrator.begin("By compose: the store in a PostgreSQL (--profile postgres)")
        self._compose("down", "--volumes", every=True)
        self._count = 0
        self._secret("syncd", "syncd_store__url", "postgresql://syncd:tr0ub4dor@postgres/syncd\n")
        directory = self._place / "secrets" / "postgres"
        directory.mkdir()
        replace(directory / "password", "tr0ub4dor\n")
        self._up("postgres")
        self._deliver(_MESSAGES)
        self._is_synced()
        self._check(self._syncd.shell("find /var/lib/syncd -name '*.db'") == "", "there is no store in a file")
        self._stop("postgres")

    def _up(self, *profiles: str) -> None:
        began = time.monotonic()
        self._compose("up", "--detach", "--wait", profiles=profiles)
        self._narrator.took("it is up, and healthy", time.monotonic() - began)
        self._check(self._syncd.state("Health.Status") == "healthy", "by its health check")

    def _stop(self, *profiles: str) -> None:
        began = time.monotonic()
        self._compose("stop", profiles=profiles)
        took, code = time.monotonic() - began, self._syncd.state("ExitCode")
        self._check(code == "0" and took < STOP_MAX_S, f"all of it ended, {took:.1f} s after it was asked to")

    def _deliver(self, count: int) -> None:
        """Append letters at the provider."""
        deliveries = [Delivery(letter(number)) for number in range(self._count, self._count + count)]
        with self._at_provider() as client:
            append_all(client, "INBOX", deliveries)
        self._count += count

    def _is_synced(self) -> None:
        self._until("everything is synced", lambda: self._attempt("exec", "-T", "syncd", "syncd", "sync"))
        wanted = Counter(map(letter, range(self._count)))
        for directory in (_LAPTOP_INBOX, _PHONE_INBOX):
            self._check(messages(self._syncd, directory) == wanted, f"each of {self._count} is in {directory}, once")

    def _restarts(self) -> int:
        return int(self._docker.engine.text("inspect", "--format={{.RestartCount}}", self._syncd.name))

    def _flagged_by_provider(self) -> int:
        with self._at_provider() as client:
            client.select("INBOX", readonly=True)
            return len(client.search(None, "FLAGGED")[1][0].split())

    def _at_provider(self) -> imaplib.IMAP4_SSL:
        trusted = ssl.create_default_context(cafile=self._root / "tls" / "ca.pem")
        client = imaplib.IMAP4_SSL("localhost", self._provider_port, ssl_context=trusted)
        # On the network of the containers it is known by another name, which its certificate has as well.
        client.login(USER, PASSWORD)
        return client

    def _words(self, *words: str, profiles: tuple[str, ...] = (), every: bool = False) -> tuple[str, ...]:
        chosen = ("serve", "postgres") if every else profiles
        files = (f"--file={self._place / 'compose.yaml'}", f"--file={self._root / 'added.yaml'}")
        return (f"--project-name={self._project}", *files, *(f"--profile={one}" for one in chosen), *words)

    def _attempt(self, *words: str) -> bool:
        return self._docker.attempt(*self._words(*words), timeout_s=_PATIENCE_S).returncode == 0

    def _compose(self, *words: str, profiles: tuple[str, ...] = (), every: bool = False) -> None:
        done = self._docker.attempt(*self._words(*words, profiles=profiles, every=every), timeout_s=_UP_S)
        if done.returncode != 0:
            raise EngineError(f"compose {' '.join(words)}: {done.stderr.decode(errors='replace').strip()[-1000:]}")

    def _until(self, what: str, holds: Callable[[], bool], *, since: float | None = None) -> None:
        began = time.monotonic() if since is None else since
        took = wait_for(what, {"container": holds}, patience_s=_PATIENCE_S, since=began, every_s=0.1)
        self._narrator.took(what, took["container"])

    def _check(self, is_so: bool, what: str) -> None:
        if not is_so:
            raise StepFailedError(f"not so: {what}")
        self._narrator.fact(what)
