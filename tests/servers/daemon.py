"""syncd as a process: a configuration, the daemon on it, and the commands a person types beside it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.servers.forked import Forked

ROOT = Path(__file__).parents[2]
START_S = 30.0
STOP_S = 10.0
_LOOKS_APART_S = (0.01, 0.25)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STILL_AT_WORK = re.compile(r"^[\w-]+: .*; [\d,]+ of [\d,]+ messages.*\n", re.MULTILINE)


class Daemon:
    """Run `syncd run` on a configuration; entering starts it and waits until it answers, leaving stops it.

    `config` is the TOML as nested values; store and socket get a place in `directory` unless it names others. The
    commands (`syncd`, `sync`, `status`) work while no daemon runs, too. `through` is a program, with arguments, that
    runs them instead of Python directly; where it `is_forked` they need not import anything first (`Forked`). A store
    of `is_made` is at the head already when the daemon, or a `sync`, is the first to need one.
    """

    def __init__(
        self,
        directory: Path,
        config: Mapping[str, Any],
        *,
        environment: Mapping[str, str] | None = None,
        through: Sequence[str] = (),
        is_made: bool = False,
        is_forked: bool = False,
    ):
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        # NOTE: a socket's path has 107 octets at most, and pytest's directories are long.
        self._socket_dir = tempfile.TemporaryDirectory(prefix="syncd-test-", dir="/tmp")
        self.socket = Path(self._socket_dir.name) / "run" / "syncd.sock"
        self.store = directory / "syncd.db"
        self.config_file = directory / "syncd.toml"
        self.log_file = directory / "daemon.log"
        self._environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(directory), **(environment or {})}
        self._through = tuple(through)
        self._is_made = is_made
        self._is_forked = is_forked
        self._process: subprocess.Popen[bytes] | Forked | None = None
        self.configure(config)

    def configure(self, config: Mapping[str, Any]) -> None:
        """Write another configuration; a running daemon does not mind."""
        whole = {name: dict(table) for name, table in config.items()}
        self._is_made &= "url" not in whole.get("store", {})
        whole["store"] = {"url": f"sqlite:///{self.store}", **whole.get("store", {})}
        whole["daemon"] = {"socket": str(self.socket), **whole.get("daemon", {})}
        self.config_file.write_text(toml(whole))
        self.config_file.chmod(0o600)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            self.discard()

    def discard(self) -> None:
        """Let nothing of the daemon run, and remove its socket."""
        self.kill()
        self._socket_dir.cleanup()

    @property
    def pid(self) -> int:
        return self._running().pid

    def start(self) -> None:
        """Start the daemon and return when it answers; AssertionError with its last words if it ends instead."""
        self.launch()
        wait_until(lambda: self._answers() or self._running().poll() is not None, START_S, "the daemon answers")
        if self._running().poll() is not None:
            raise AssertionError(f"the daemon ended: {self.log()[-3000:]}")

    def launch(self, *, log: int | None = None) -> None:
        """Start the daemon without waiting for anything; log: a descriptor to write to instead of the log's file."""
        assert self._process is None, "it runs already"
        self._make_store()
        with self.log_file.open("ab") as file:
            self._process = self._begun("run", stdout=log or file.fileno(), stderr=log or file.fileno())

    def stop(self) -> int | None:
        """End the daemon by SIGTERM, and return its exit code; None if none was running."""
        if self._process is None:
            return None
        self._process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self, timeout_s: float = STOP_S) -> int:
        """Wait until the daemon has ended by itself, and return its exit code."""
        code = self._running().wait(timeout_s)
        self._process = None
        return code

    def kill(self) -> None:
        """End the daemon between any two instructions."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def log(self) -> str:
        """Return everything that daemons of this object have logged."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def syncd(self, *arguments: str, timeout_s: float = 110.0) -> subprocess.CompletedProcess[str]:
        """Run a command with this configuration to its end, without a terminal.

        How far it is, which it says every ten seconds, is left out: how long it takes is the machine's matter.
        """
        with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
            process = self._begun(*arguments, stdout=stdout.fileno(), stderr=stderr.fileno())
            try:
                code = process.wait(timeout_s)
            except BaseException:
                process.kill()
                process.wait()
                raise
            stdout.seek(0)
            stderr.seek(0)
            told = _STILL_AT_WORK.sub("", stderr.read())
            return subprocess.CompletedProcess([*arguments], code, stdout.read(), told)

    def sync(self, *accounts: str) -> subprocess.CompletedProcess[str]:
        """Run `syncd sync`; AssertionError unless everything was synced."""
        self._make_store()
        ended = self.syncd("sync", *accounts)
        assert ended.returncode == 0, f"{ended.stdout}{ended.stderr}{self.log()[-3000:]}"
        return ended

    def status(self) -> dict[str, Any]:
        """Return what `syncd status --json` shows, straight from the socket while the daemon runs."""
        if self._process is not None:
            answer: dict[str, Any] = json.loads(self.request("GET", "/status")[1])
            return answer
        ended = self.syncd("status", "--json")
        assert ended.returncode == 0, ended.stderr
        stored: dict[str, Any] = json.loads(ended.stdout)
        return stored

    def account(self, name: str) -> dict[str, Any]:
        """Return the status of one account."""
        return next(one for one in self.status()["accounts"] if one["name"] == name)

    def device(self, name: str) -> dict[str, Any]:
        """Return the status of one device."""
        return next(one for one in self.status()["devices"] if one["name"] == name)

    def request(self, method: str, target: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Return status and body of an answer of the control socket."""
        connection = _UnixConnection(self.socket)
        try:
            connection.request(method, target, body)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def _make_store(self) -> None:
        if self._is_made:
            from tests.servers.made_stores import (
                make_sqlite_store,
            )  # who makes none need not load what is needed for it

            make_sqlite_store(self.store)
            self._is_made = False  # one that gets lost is made again by syncd itself

    def _begun(self, *arguments: str, stdout: int, stderr: int) -> subprocess.Popen[bytes] | Forked:
        whole = (*arguments, "--config", str(self.config_file))
        if self._is_forked:
            return Forked(whole, directory=ROOT, environment=self._environment, stdout=stdout, stderr=stderr)
        return subprocess.Popen(
            [*self._through, sys.executable, "-m", "syncd", *whole],
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )

    def _answers(self) -> bool:
        try:
            return self.request("GET", "/health")[0] == 200
        except OSError:
            return False

    def _running(self) -> subprocess.Popen[bytes] | Forked:
        assert self._process is not None, "no daemon was started"
        return self._process


class _UnixConnection(HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(60)
        self.sock.connect(str(self._path))


def wait_until(condition: Callable[[], object], timeout_s: float, what: str) -> float:
    """Return the seconds until `condition` held; AssertionError when it did not in time.

    NOTE: it looks for a fifth of the time at most, lest looking takes the processor from what is waited for.
    """
    began = looked = time.monotonic()
    while not condition():
        now = time.monotonic()
        if now - began > timeout_s:
            raise AssertionError(f"not within {timeout_s:g} s: {what}")
        time.sleep(min(max(_LOOKS_APART_S[0], 4 * (now - looked)), _LOOKS_APART_S[1]))
        looked = time.monotonic()
    return time.monotonic() - began


def toml(values: Mapping[str, Any], path: tuple[str, ...] = ()) -> str:
    """Return nested values as TOML, tables last."""
    lines = [f"[{'.'.join(map(_key, path))}]"] if path else []
    lines += [f"{_key(key)} = {_value(value)}" for key, value in values.items() if not isinstance(value, Mapping)]
    tables = [toml(value, (*path, key)) for key, value in values.items() if isinstance(value, Mapping)]
    return "\n".join((*lines, *tables)) + "\n"


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else json.dumps(key)


def _value(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value if isinstance(value, bool | int | float) else str(value))
