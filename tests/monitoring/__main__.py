"""`python -m tests.monitoring`: exit code 0 only if Prometheus takes every rule and every query of the dashboard."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.demo.narrator import Narrator
from tests.demo.waiting import StepFailedError, wait_for
from tests.monitoring.prometheus import Programs, Prometheus, find_programs
from tests.servers.daemon import Daemon
from tests.servers.debian import CHECKOUT
from tests.servers.dovecot import Dovecot
from tests.servers.identity import ServerUnavailable
from tests.servers.ports import HOST, free_ports
from tests.system.mail import deliver, imap_account, pop3_account

_ALERTS = CHECKOUT / "deploy" / "prometheus" / "alerts.yml"
_DASHBOARD = CHECKOUT / "deploy" / "grafana" / "syncd.json"
_VARIABLES = {"$instance": ".*", "$__rate_interval": "30s"}
_WRONG = {"SyncdLoginRefused", "SyncdNeverSynced"}
"""The alerts of an account whose login is refused; what is slow here may raise others."""
_PATIENCE_S = 90.0


def main() -> int:
    """Do what was asked for and return the exit code."""
    narrator = Narrator(())
    try:
        with tempfile.TemporaryDirectory(prefix="syncd-monitoring-test-", dir="/tmp") as directory:
            _play(find_programs(), Path(directory), narrator)
    except ServerUnavailable as error:
        narrator.say(f"FAILED: no Prometheus can be had here: {error}")
        return 1
    except StepFailedError as error:
        narrator.say(f"FAILED: {error}")
        return 1
    narrator.say()
    narrator.say("Every rule and every query is one.")
    return 0


def _play(programs: Programs, root: Path, narrator: Narrator) -> None:
    narrator.begin("The rules are such as Prometheus takes")
    checked = subprocess.run((programs.promtool, "check", "rules", _ALERTS), capture_output=True, text=True)
    _check(narrator, checked.returncode == 0, (checked.stdout + checked.stderr).strip().splitlines()[-1].strip())
    narrator.begin("A daemon is watched that has two accounts, and one whose login is refused")
    (port,) = free_ports(1)
    with (
        Dovecot(root / "server") as server,
        Daemon(root / "syncd", _configuration(server, root, port)) as daemon,
        Prometheus(programs, root, target=f"{HOST}:{port}", rules=_ALERTS) as prometheus,
    ):
        for first, scrapes in ((0, 2), (100, 8)):  # a rate is of something that goes on
            deliver(server, "ana", 100, first=first)
            daemon.syncd("sync", "work", "isp")
            _await_scrapes(prometheus, scrapes)
        _ask_everything(prometheus, narrator)
        _judge_rules(prometheus, narrator)


def _configuration(server: Dovecot, root: Path, port: int) -> Mapping[str, Mapping[str, object]]:
    accounts = {
        "work": imap_account(server, "ana"),
        "isp": pop3_account(server, "isp"),
        "wrong": imap_account(server, "ben", password="not-the-one"),
    }
    devices = {name: {"path": str(root / name)} for name in ("laptop", "phone")}
    return {"accounts": accounts, "devices": devices, "daemon": {"listen": f"{HOST}:{port}"}}


def _ask_everything(prometheus: Prometheus, narrator: Narrator) -> None:
    narrator.begin("Each query of the dashboard is answered, and with figures")
    for title, query in _queries():
        began = time.monotonic()
        while not (found := _asked(prometheus, title, query)) and time.monotonic() - began < _PATIENCE_S:
            time.sleep(0.5)
        shown = found[0]["value"][1] if found else "none"
        _check(narrator, bool(found), f"{title}: {len(found)} figures, the first {shown}")


def _asked(prometheus: Prometheus, title: str, query: str) -> list[dict[str, Any]]:
    try:
        return prometheus.ask(query)
    except ValueError as error:
        raise StepFailedError(f"{title}: {query}: {error}") from error


def _judge_rules(prometheus: Prometheus, narrator: Narrator) -> None:
    narrator.begin("Each alert is evaluated")
    rules = prometheus.rules()
    bad = [f"{rule['name']}: {rule.get('lastError', rule['health'])}" for rule in rules if rule["health"] != "ok"]
    _check(narrator, bool(rules) and not bad, "; ".join(bad) or f"{len(rules)} rules, without an error")

    def is_seen() -> bool:
        return {rule["name"] for rule in prometheus.rules() if rule.get("state") != "inactive"} >= _WRONG

    since = time.monotonic()
    what = f"what is wrong is seen: {', '.join(sorted(_WRONG))}"
    wait_for(what, {"prometheus": is_seen}, patience_s=_PATIENCE_S, since=since, every_s=0.2)
    narrator.fact(what)


def _queries() -> Iterator[tuple[str, str]]:
    def panels(those: list[dict[str, object]]) -> Iterator[dict[str, object]]:
        for one in those:
            yield one
            yield from panels(one.get("panels", []))  # type: ignore[arg-type]  # as Grafana's JSON has them

    for panel in panels(json.loads(_DASHBOARD.read_text())["panels"]):
        for target in panel.get("targets", ()):  # type: ignore[attr-defined]
            query: str = target["expr"]
            for name, value in _VARIABLES.items():
                query = query.replace(name, value)
            yield str(panel["title"]), query


def _await_scrapes(prometheus: Prometheus, count: int) -> None:
    def are_made() -> bool:
        found = prometheus.ask('sum(count_over_time(up{job="syncd"}[1h]))')
        return bool(found) and int(found[0]["value"][1]) >= count

    since = time.monotonic()
    wait_for("the daemon is scraped", {"prometheus": are_made}, patience_s=_PATIENCE_S, since=since, every_s=0.2)


def _check(narrator: Narrator, is_so: bool, what: str) -> None:
    if not is_so:
        raise StepFailedError(f"not so: {what}")
    narrator.fact(what)


if __name__ == "__main__":
    sys.exit(main())
