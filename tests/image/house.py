"""What the image is tested with: a real Dovecot, directories for configuration and secrets, volumes, containers."""

import io
import os
import re
import shutil
import sqlite3
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from tests.image.container import Container
from tests.image.engine import Engine
from tests.servers.daemon import toml
from tests.servers.delivery import Delivery
from tests.servers.dovecot import Dovecot

USER = "ana"
_LINE = b"x" * 70 + b"\r\n"
_BODY_LINES = 50
_LOGIN = re.compile(r"imap-login: .*Login: user=<ana>")
_ENDED = re.compile(r"imap\(ana\).*(?:Disconnected|Logged out|Connection closed).* body_count=(\d+)")


class House:
    """Hold the server, what is mounted, and the containers, which are removed in the end."""

    def __init__(self, engine: Engine, root: Path, server: Dovecot, ends: ExitStack) -> None:
        self.engine = engine
        self.root = root
        self.server = server
        self._ends = ends
        self.containers: list[Container] = []
        self._prefix = f"syncd-image-test-{os.getpid()}"

    def directory(self, name: str, files: Mapping[str, str | bytes]) -> Path:
        """Make a directory with files that every user can read, to be mounted."""
        directory = self.root / name
        directory.mkdir()
        directory.chmod(0o755)
        for file, content in files.items():
            replace(directory / file, content)
        return directory

    def configuration(self, devices: Mapping[str, Mapping[str, object]], **tables: object) -> str:
        """Return a configuration with the account on the server, by TLS; its password is in /run/secrets."""
        account = {
            "type": "imap",
            "host": self.server.host,
            "port": self.server.imaps_port,
            "ca_file": "/etc/syncd/ca.pem",
            "username": USER,
            "password_file": "/run/secrets/work",
        }
        return toml({**tables, "accounts": {"work": account}, "devices": devices})

    def volume(self, name: str) -> str:
        """Return the name of a volume that is gone afterwards, when the containers that use it are."""
        volume = f"{self._prefix}-{name}"
        self._ends.callback(self.engine.attempt, "volume", "rm", "--force", volume)
        return volume

    def container(self, name: str, image: str, mounts: Mapping[str, str], *arguments: str) -> Container:
        """Return a container that does not run yet; volumes of it have to be named before."""
        container = Container(self.engine, f"{self._prefix}-{name}", image, mounts, arguments)
        self._ends.callback(container.remove)
        self.containers.append(container)
        return container

    def deliver(self, first: int, count: int) -> None:
        """Append letters `first` and following to the INBOX."""
        numbers = range(first, first + count)
        self.server.deliver_all(USER, "INBOX", [Delivery(letter(number)) for number in numbers])

    def bodies_in_store(self, volume: str) -> int:
        """Count the messages that are safe in the store, which nobody uses meanwhile."""
        packing = ("tar", "--create", "--directory=/store", "--exclude=*.sock", ".")
        options = (
            "--rm",
            "--network=none",
            f"--volume={volume}:/store",
            *self.engine.run_options,
            f"--entrypoint={packing[0]}",
        )
        packed = self.engine.octets("run", *options, "syncd", *packing[1:])
        with tempfile.TemporaryDirectory(dir=self.root) as copied:
            with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
                archive.extractall(copied, filter="data")
            with closing(sqlite3.connect(Path(copied) / "syncd.db")) as store:
                (count,) = store.execute("SELECT count(*) FROM body").fetchone()
        return int(count)

    def fetched_bodies(self) -> int | None:
        """Count the bodies that the server has given out to sessions that are over; None while one goes on."""
        ended = [int(count) for count in _ENDED.findall(self._log())]
        return sum(ended) if len(ended) == self.logins() else None

    def logins(self) -> int:
        """Count the sessions that were ever opened on the server."""
        return len(_LOGIN.findall(self._log()))

    def _log(self) -> str:
        return self.server.log_file.read_text(errors="replace")


@contextmanager
def build_house(engine: Engine) -> Iterator[House]:
    """Yield a house with a server that runs; at the end nothing of it is left."""
    with ExitStack() as ends:
        root = Path(tempfile.mkdtemp(prefix="syncd-image-test-", dir="/tmp"))
        ends.callback(shutil.rmtree, root, ignore_errors=True)
        root.chmod(0o711)
        server = ends.enter_context(Dovecot(root / "server"))
        yield House(engine, root, server, ends)


def letter(number: int) -> bytes:
    """Return a message that no other number gives."""
    head = f"From: ana@example.org\r\nSubject: letter {number}\r\nMessage-ID: <{number}@example.org>\r\n\r\n"
    return head.encode() + _LINE * _BODY_LINES


def replace(file: Path, content: str | bytes) -> None:
    """Write a file as editors do: another one is put in its place."""
    fresh = file.with_name(f".{file.name}.new")
    fresh.write_bytes(content.encode() if isinstance(content, str) else content)
    fresh.chmod(0o644)
    fresh.rename(file)


def messages(container: Container, directory: str) -> Counter[bytes]:
    """Return the message files below a Maildir in a running container, by their octets, with CRLF."""
    packed = container.engine.octets("exec", container.name, "tar", "-c", "-C", directory, "new", "cur")
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        files = (archive.extractfile(member) for member in archive if member.isfile())
        return Counter(file.read().replace(b"\n", b"\r\n") for file in files if file is not None)
