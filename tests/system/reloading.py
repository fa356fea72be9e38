"""Edits of a running daemon's configuration, and what its log tells of them."""

import json
from collections.abc import Mapping
from typing import Any

from syncd.cli.commands.reload import told
from syncd.daemon.people.answers_json import RELOADED_JSON, REPORT_JSON
from tests.servers.daemon import Daemon, toml

Tables = dict[str, dict[str, Any]]


def reloaded(daemon: Daemon, tables: Mapping[str, Any]) -> str:
    """Edit the configuration and say so before the edit is noticed anyway; return what `syncd reload` tells then."""
    daemon.configure(tables)
    status, answer = daemon.request("POST", "/reload")
    assert status == 200, answer
    report = RELOADED_JSON.validate_json(answer)
    assert report.problems == ()
    return "".join(f"{line}\n" for line in told(report))


def sync(daemon: Daemon, *accounts: str) -> None:
    """Let a running daemon sync, without the half second of a command."""
    status, answer = daemon.request("POST", "/sync", json.dumps({"accounts": accounts}).encode())
    assert status == 200, answer
    assert REPORT_JSON.validate_json(answer).is_complete, answer


def put_in_place(daemon: Daemon, tables: Tables) -> None:
    """Edit the configuration as most editors do: another file takes the place of what was there."""
    keys = {"socket": str(daemon.socket), **tables.get("daemon", {})}
    store = {"url": f"sqlite:///{daemon.store}", **tables.get("store", {})}
    new = daemon.config_file.with_name("syncd.toml.new")
    new.write_text(toml({**tables, "store": store, "daemon": keys}))
    new.replace(daemon.config_file)


def logged(daemon: Daemon, event: str) -> list[dict[str, Any]]:
    """Return what was logged of one kind."""
    return [line for text in daemon.log().splitlines() if (line := json.loads(text))["event"] == event]


def connections(daemon: Daemon) -> dict[str, int]:
    """Count how often each IMAP account has connected."""
    names = [line["account"] for line in logged(daemon, "account_connected")]
    return {name: names.count(name) for name in names}
