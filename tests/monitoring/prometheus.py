"""A real Prometheus on loopback, installed or unpacked from Debian's package, that scrapes one daemon each second."""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.servers import debian
from tests.servers.identity import ServerUnavailable, server_identity
from tests.servers.ports import HOST, free_ports

_START_S = 60
_STOP_S = 20
_ANSWER_S = 30
_CONFIG = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: syncd
    static_configs: [{{targets: ["{target}"]}}]
"""


@dataclass(frozen=True, slots=True)
class Programs:
    """Where Prometheus is, and what looks at its files."""

    prometheus: Path
    promtool: Path


def find_programs() -> Programs:
    """Return what is installed, else what is unpacked from Debian's package; ServerUnavailable if neither is there."""
    server, tool = shutil.which("prometheus"), shutil.which("promtool")
    if server and tool:
        return Programs(Path(server), Path(tool))
    directory = debian.unpack(("prometheus",), identity=server_identity(), follow=()) / "usr/bin"
    return Programs(directory / "prometheus", directory / "promtool")


class Prometheus:
    """Run it on what a daemon shows at `target`, with rules; leaving the context ends it."""

    def __init__(self, programs: Programs, directory: Path, *, target: str, rules: Path) -> None:
        (port,) = free_ports(1)
        self._at = f"{HOST}:{port}"
        self._log = directory / "prometheus.log"
        config = directory / "prometheus.yml"
        config.write_text(_CONFIG.format(rules=rules, target=target))
        self._command = (
            str(programs.prometheus),
            f"--config.file={config}",
            f"--storage.tsdb.path={directory / 'prometheus'}",
            f"--web.listen-address={self._at}",
        )
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + _START_S
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.__exit__(None, None, None)
                raise ServerUnavailable(f"prometheus does not start: {self._log.read_text(errors='replace')[-500:]}")
            time.sleep(0.1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def ask(self, query: str) -> list[dict[str, Any]]:
        """Return the samples that a query gives now; ValueError with what Prometheus has against it."""
        found: list[dict[str, Any]] = self._get("query", query=query)["result"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """Return the rules as they are evaluated, with their health."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def _get(self, what: str, **parameters: str) -> Any:
        url = f"http://{self._at}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=_ANSWER_S) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error)["error"]) from error

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self._at}/-/ready", timeout=_ANSWER_S) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False
