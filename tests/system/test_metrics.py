"""What docs/metrics.md tells of a running daemon, and what watches it by that: rules and a dashboard."""

import json
import re
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.servers.daemon import ROOT, Daemon, wait_until
from tests.servers.dovecot import Dovecot
from tests.servers.ports import free_ports
from tests.system.mail import deliver, files, imap_account, letter, mark_seen, pop3_account

MakeDaemon = Callable[..., Daemon]
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "syncd.json"
UNITS = {"short", "s", "bytes", "percentunit"}
_PARTS = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count")}
_LABELS_OF_PARTS = {"le"}
_OWN = re.compile(r"\b(?:syncd|process)_[a-z0-9_]+\b")
_RULE = re.compile(
    r"""
      \ {6}-\ alert:\ (?P<alert>Syncd[A-Za-z]+)\n
      \ {8}expr:\ (?P<expr>[^'"\n#][^\n#]*)\n
      \ {8}for:\ [0-9]+[mhd]\n
      \ {8}labels:\n
      \ {10}severity:\ (?:info|warning|critical)\n
      \ {8}annotations:\n
      \ {10}summary:\ '[^'\n]+'\n
      \ {10}description:\ '[^'\n]+'\n
    """,
    re.VERBOSE,
)


class Documented(NamedTuple):
    """One row of the page."""

    kind: str
    labels: frozenset[str]


def documented() -> dict[str, Documented]:
    """Return what the page says there is, by name."""
    rows = re.findall(r"^\| `([a-z_]+)` \| ([a-z]+) \| ([^|]*)\| [^|]+ \|$", page(), re.MULTILINE)
    return {name: Documented(kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def page() -> str:
    """Return the page."""
    return (ROOT / "docs" / "metrics.md").read_text()


def exported(families: Mapping[str, Metric]) -> dict[str, Documented]:
    """Return what a scrape has, as the page should say it."""
    return {
        name: Documented(
            one.type, frozenset(label for sample in one.samples for label in sample.labels) - _LABELS_OF_PARTS
        )
        for name, one in families.items()
    }


class Scraped:
    """Read the metrics of a daemon, as they are each time that they are asked for."""

    def __init__(self, port: int) -> None:
        self.port = port

    def get(self, path: str) -> tuple[int, str]:
        """Return status and text of an answer."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=20) as response:
            return response.status, response.read().decode()

    def families(self) -> dict[str, Metric]:
        """Return what is exported, by the name that its samples have, or theirs begin with."""
        found = text_string_to_metric_families(self.get("/metrics")[1])
        return {f"{one.name}_total" if one.type == "counter" else one.name: one for one in found}

    def samples(self) -> dict[tuple[str, ...], float]:
        """Return the values by the name of the sample and the values of its labels, in the order of these."""
        return {
            (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
            for one in self.families().values()
            for sample in one.samples
        }


def test_metrics_are_those_of_the_page_and_say_what_was_done(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """After real work every metric is there with its type and labels, none is there in secret, and the figures fit."""
    deliver(dovecot, mail_user, 30)
    deliver(dovecot, f"{mail_user}p", 3)
    accounts = {
        "work": imap_account(dovecot, mail_user),
        "isp": pop3_account(dovecot, f"{mail_user}p"),
        "closed": imap_account(dovecot, f"{mail_user}c") | {"password": "wrong"},
    }
    began, scraped = time.time(), Scraped(free_ports(1)[0])
    everything_delivered = {("syncd_device_messages_delivered_total", device): 33.0 for device in ("laptop", "phone")}

    hooks = {"on_auth_error": ["true"], "on_new_mail": ["false"]}
    with make_daemon(accounts, hooks=hooks, listen=f"127.0.0.1:{scraped.port}") as daemon:
        laptop = tmp_path / "laptop"
        wait_until(lambda: scraped.samples().items() >= everything_delivered.items(), 30, "the first sync")
        mark_seen(files(laptop, "work.INBOX")[0])
        files(laptop, "work.INBOX")[1].unlink()
        dovecot.deliver(mail_user, "INBOX", b"From: a@example.org\r\nSubject: later\r\n\r\nlate\r\n")
        is_settled = {
            ("syncd_account_messages_received_total", "work"): 32,  # the deleted one appears in Trash
            ("syncd_account_messages_received_total", "isp"): 3,
            ("syncd_device_messages_delivered_total", "phone"): 34,
            ("syncd_account_changes_sent_total", "work", "store"): 1,
            ("syncd_account_changes_sent_total", "work", "move"): 1,
            ("syncd_account_changes_sent_total", "isp", "dele"): 3,
            ("syncd_device_changes_total", "rename", "phone"): 1,
            ("syncd_device_waiting_messages", "laptop"): 0,
            ("syncd_device_unsynced_messages", "laptop"): 0,
            ("syncd_account_login_refused", "closed"): 1,
            ("syncd_account_push", "work"): 1,
            ("syncd_hook_runs_total", "on_auth_error", "succeeded"): 1,
            ("syncd_hook_failing", "on_new_mail"): 1,
        }
        wait_until(lambda: is_settled.items() <= scraped.samples().items(), 60, "it is told what was done")
        families, samples = scraped.families(), scraped.samples()
        probes = [scraped.get("/healthz"), scraped.get("/readyz")]
        status = daemon.status()

    assert exported(families) == documented()
    assert probes == [(200, "ok\n"), (200, "ok\n")]
    assert samples[("syncd_account_messages_received_total", "closed")] == 0
    assert samples[("syncd_account_logins_total", "closed", "refused")] >= 1
    assert samples[("syncd_account_logins_total", "work", "accepted")] == 1
    assert samples[("syncd_account_failing", "closed")] == samples[("syncd_account_failures_total", "closed")] == 1
    assert samples[("syncd_account_push", "isp")] == samples[("syncd_account_failing", "isp")] == 0
    for account in ("work", "isp"):
        assert began < samples[("syncd_account_last_success_timestamp_seconds", account)] < time.time()
        assert samples[("syncd_account_round_seconds_count", account)] >= 1
        assert 0 < samples[("syncd_account_round_seconds_sum", account)] < 120
    assert ("syncd_account_last_success_timestamp_seconds", "closed") not in samples
    for device in ("laptop", "phone"):
        states = {key[2]: value for key, value in samples.items() if key[:2] == ("syncd_device_state", device)}
        assert states == {"new": 0, "active": 1, "away": 0, "foreign": 0, "adopting": 0}
        assert began < samples[("syncd_device_last_settled_timestamp_seconds", device)] < time.time()
        assert samples[("syncd_device_round_seconds_count", device)] >= 1
    commits = samples[("syncd_store_commit_seconds_count",)]
    assert 5 < commits == samples[("syncd_store_commit_seconds_bucket", "+Inf")]
    assert 0 < samples[("syncd_store_commit_seconds_sum",)] < 60
    assert samples[("syncd_build_info", status["daemon"]["version"])] == 1
    assert began < samples[("syncd_config_last_reload_success_timestamp_seconds",)] < time.time()
    assert 50_000 < samples[("syncd_store_bytes",)] < 50_000_000
    assert not [key for key in samples if "INBOX" in key or mail_user in key], "a label names what it should not"


def test_troubles_are_counted_while_they_last(
    make_dovecot: Callable[..., Dovecot], mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """What the alerts wait for comes with each trouble, and goes with it; what a server changed is counted, too."""
    server, scraped = make_dovecot(), Scraped(free_ports(1)[0])
    deliver(server, mail_user, 60)
    deliver(server, mail_user, 2, mailbox="Old", first=60)
    deliver(server, mail_user, 3, mailbox="Archive", first=70)
    server.deliver(f"{mail_user}p", "INBOX", letter(0) + b"much\r\n" * 1000)
    (closed,) = (path for path in server.mail_dir.rglob("Old/dbox-Mails"))
    closed.chmod(0)
    isp = {**pop3_account(server, f"{mail_user}p"), "max_message_size": "1KB"}
    tables = {
        "accounts": {"work": imap_account(server, mail_user), "isp": isp},
        "devices": {name: {"path": str(tmp_path / name)} for name in ("laptop", "phone")},
        "daemon": {"listen": f"127.0.0.1:{scraped.port}"},
    }

    with make_daemon(tables["accounts"], listen=f"127.0.0.1:{scraped.port}") as daemon:
        daemon.syncd("sync")
        for file in files(tmp_path / "laptop", "work.INBOX")[:35]:
            file.unlink()
        (tmp_path / "phone").rename(tmp_path / "elsewhere")
        with server.imap(mail_user) as client:
            client.select("Archive")
            client.store("1", "+FLAGS", r"(\Flagged)")
            client.store("2", "+FLAGS", r"(\Deleted)")
            client.expunge()
        daemon.syncd("sync")
        daemon.configure({**tables, "guard": {"cuont": 30}})
        lasting = {
            ("syncd_account_failing_mailboxes", "work"): 1,
            ("syncd_account_set_aside_messages", "isp"): 1,
            ("syncd_account_held_messages", "work"): 35,
            ("syncd_device_failing", "phone"): 1,
            ("syncd_device_state", "phone", "away"): 1,
            ("syncd_device_state", "phone", "active"): 0,
            ("syncd_config_last_reload_successful",): 0,
        }
        wait_until(lambda: lasting.items() <= scraped.samples().items(), 60, "every trouble is counted")
        samples = scraped.samples()
        closed.chmod(0o700)
        (tmp_path / "elsewhere").rename(tmp_path / "phone")
        isp["max_message_size"] = "1MB"
        daemon.configure(tables)
        daemon.syncd("reload")
        daemon.syncd("holds", "discard", "--all")
        daemon.syncd("sync")
        is_over = {key: float(key[0].endswith("successful") or key[-1] == "active") for key in lasting}
        wait_until(lambda: is_over.items() <= scraped.samples().items(), 60, "no trouble is counted any more")

    assert samples[("syncd_account_changes_received_total", "work", "store")] == 1
    assert samples[("syncd_account_changes_received_total", "work", "vanish")] == 1
    assert samples[("syncd_device_failures_total", "phone")] >= 1
    assert samples[("syncd_account_held_messages", "isp")] == samples[("syncd_device_failing", "laptop")] == 0


def rules() -> dict[str, str]:
    """Return the expressions of the rules by name; AssertionError where a line is not as those of all others."""
    head, *rest = re.split(r"^(?= {6}- alert:)", ALERTS.read_text(), flags=re.MULTILINE)
    assert re.fullmatch(r"# [^\n]+\ngroups:\n  - name: syncd\n    rules:\n", head)
    found = [_RULE.fullmatch(rule.rstrip("\n") + "\n") for rule in rest]
    assert all(found), f"not understood: {rest[found.index(None)]}"
    return {rule["alert"]: rule["expr"] for rule in found if rule is not None}


def panels() -> Iterator[tuple[str, str]]:
    """Yield title and expression of everything that the dashboard shows."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def sample_names() -> set[str]:
    """Return the names that an expression may use."""
    return {f"{name}{part}" for name, (kind, _) in documented().items() for part in _PARTS.get(kind, ("",))}


@pytest.mark.parametrize(("where", "expression"), [*rules().items(), *panels()])
def test_rules_and_dashboard_ask_for_what_there_is(where: str, expression: str) -> None:
    """An alert on a metric that is called otherwise by now would never come."""
    asked = set(_OWN.findall(expression)) | set(re.findall(r"\bup\b", expression))

    assert asked, where
    assert asked - sample_names() - {"up"} == set()
    assert expression.count("(") == expression.count(")")
    selected = re.findall(r"(\w+)(=~|!~|!=|=)", expression)
    known = {label for one in documented().values() for label in one.labels} | {"instance", "job"}
    assert {label for label, _ in selected} <= known


def test_every_trouble_that_is_told_has_an_alert() -> None:
    """What a person should do something about is not only shown to who looks."""
    expressions = " ".join(rules().values())

    for name in (
        "syncd_account_login_refused",
        "syncd_account_last_success_timestamp_seconds",
        "syncd_account_held_messages",
        "syncd_account_set_aside_messages",
        'syncd_device_state{state="away"}',
        "syncd_config_last_reload_successful",
        "syncd_store_bytes",
        "syncd_hook_failing",
    ):
        assert name in expressions


def test_dashboard_is_one_that_grafana_imports() -> None:
    """Panels have numbers of their own, do not cover each other, and know where their data is."""
    dashboard = json.loads(DASHBOARD.read_text())
    drawn = [panel for panel in dashboard["panels"] if panel["type"] != "row"]

    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    cells = [
        (x, y)
        for panel in dashboard["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    sources = [one["datasource"] for panel in drawn for one in (panel, *panel["targets"])]
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)
    for panel in drawn:
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0, panel["title"]
        assert all('instance=~"$instance"' in target["expr"] for target in panel["targets"]), panel["title"]
    assert {panel["title"] for panel in drawn if panel["fieldConfig"]["defaults"]["unit"] == "bytes"} == {
        panel["title"] for panel in drawn if "_bytes" in panel["targets"][0]["expr"]
    }
    assert [one["name"] for one in dashboard["templating"]["list"]] == ["datasource", "instance"]
