"""A real PostgreSQL on loopback, without fsync, that gives every test a fresh database."""

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql

from tests.servers import debian
from tests.servers.identity import ServerUnavailable, server_identity
from tests.servers.ports import HOST, free_ports

USER = "syncd"
_START_TIMEOUT_S = 30
_STOP_TIMEOUT_S = 10
_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "100",
    "shared_buffers": "32MB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


@dataclass(frozen=True, slots=True)
class Program:
    """Where PostgreSQL's programs are, and what they need to find their libraries."""

    directory: Path
    library_path: str


@lru_cache(maxsize=1)
def find_program() -> Program:
    """Return the newest PostgreSQL installed, else one unpacked from Debian packages."""
    return _newest_below(Path("/usr/lib/postgresql"), "") or _unpacked()


class Postgres:
    """Run a PostgreSQL cluster of its own; leaving the context removes it."""

    def __init__(self) -> None:
        self._identity = server_identity(preferred=("postgres",))
        self._program = find_program()
        self._process: subprocess.Popen[bytes] | None = None
        self._password = secrets.token_hex(16)
        (self.port,) = free_ports(1)
        self._home = Path(tempfile.mkdtemp(prefix="syncd-postgres-", dir="/tmp"))
        self._identity.give(self._home)
        self._data = self._home / "data"
        self.log_file = self._home / "postgres.log"

    def __enter__(self) -> Self:
        try:
            self._initialize()
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self._home, ignore_errors=True)

    def start(self) -> None:
        """Start the server and return when it answers."""
        settings = (word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}"))
        self._process = self._popen("postgres", "-D", str(self._data), "-p", str(self.port), *settings)
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                psycopg.connect(self._url("postgres"), connect_timeout=5).close()
            except psycopg.OperationalError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise ServerUnavailable(f"postgresql did not start: {self._last_words()}") from error
                time.sleep(0.01)
            else:
                return

    def stop(self) -> None:
        """End the server at once, as a crash would; what was committed is there after `start`."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGQUIT)
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None

    def url(self, name: str, *, template: str = "template0", encoding: str = "UTF8") -> str:
        """Make a fresh database of this name, empty or as `template` is, and return its URL."""
        database, model = sql.Identifier(name), sql.Identifier(template)
        make = sql.SQL("CREATE DATABASE {} ENCODING {} TEMPLATE {}")
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(database))
            connection.execute(make.format(database, sql.Literal(encoding), model))
        return self._url(name)

    def _url(self, name: str) -> str:
        return f"postgresql://{USER}:{self._password}@{HOST}:{self.port}/{name}"

    def _initialize(self) -> None:
        password_file = self._home / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(self._password)
        self._identity.give(password_file)
        made = self._popen(
            "initdb",
            f"--pgdata={self._data}",
            f"--username={USER}",
            f"--pwfile={password_file}",
            "--auth=password",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        )
        if made.wait() != 0:
            raise ServerUnavailable(f"initdb failed: {self._last_words()}")

    def _popen(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "LD_LIBRARY_PATH": self._program.library_path}
        command = (str(self._program.directory / program), *arguments)
        with self.log_file.open("ab") as output:
            return self._identity.popen(command, environment=environment, output=output, cwd=self._home)

    def _last_words(self) -> str:
        return self.log_file.read_text(errors="replace")[-2000:]


def _newest_below(directory: Path, library_path: str) -> Program | None:
    versions = [found.parent for found in directory.glob("*/bin/postgres") if (found.parent / "initdb").exists()]
    newest = max(versions, key=lambda found: float(found.parent.name), default=None)
    return Program(newest, library_path) if newest else None


def _unpacked() -> Program:
    # NOTE: LLVM is a hundred megabytes for a compiler that is switched off.
    root = debian.unpack(
        ("postgresql",),
        identity=server_identity(preferred=("postgres",)),
        follow=("lib", "postgresql-"),
        skip=("libllvm", "postgresql-common"),
    )
    program = _newest_below(root / "usr/lib/postgresql", debian.library_path(root))
    if program is None:
        raise ServerUnavailable(f"no postgres program in the packages below {root}")
    return program
