"""`make bench` runs: every work, on a real server, with a few messages; no second counts here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.works import WORKS

ROOT = Path(__file__).parents[2]
OF_SYNCD_ALONE = {
    "first_sync": {"2 devices / 1 device", "2 devices / limit", "peak memory, 2 devices", "store / mail"},
    "unchanged": {"daemon, a round", "daemon, cpu of a round", "daemon, round trips", "daemon / limit"},
    "changes": set(),
    "latency": {"from a device's flag to the server, p99", "from the announcement to all devices, p99"},
    "pop3": {"syncd / limit"},
    "footprint": {"with large messages: peak memory", "2 accounts of 5 mailboxes: peak memory"},
}


@pytest.mark.timeout(300)
def test_every_work_gives_its_rows_and_nothing_is_lost(tmp_path: Path) -> None:
    """The whole bench runs to its end, which it does only where every message is where it should be."""
    table = tmp_path / "bench.json"
    command = [sys.executable, "-m", "tests.benchmarks", "--smoke", "--peers", "mbsync", "mpop"]
    command += ["--directory", str(tmp_path), "--json", str(table)]
    ended = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=280)

    assert ended.returncode == 0, ended.stderr[-3000:]
    report = json.loads(table.read_text())
    rows = {work: {row["measure"] for row in report["rows"] if row["work"] == work} for work in WORKS}
    assert OF_SYNCD_ALONE.keys() == rows.keys()
    for work, measures in OF_SYNCD_ALONE.items():
        assert measures <= rows[work]
    assert all(row["values"] and row["value"] > 0 for row in report["rows"])
    contenders = {cost["contender"] for cost in report["costs"]}
    for peer in ("mbsync", "mpop"):
        assert peer in contenders or any(reason.startswith(peer) for reason in report["absent"])
    assert "| work | setting | measure |" in ended.stdout
    assert [path.name for path in tmp_path.iterdir() if path != table] == []
