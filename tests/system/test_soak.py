"""`make soak` and `make idle` run: a short life and a few accounts, on a real server and a scripted one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.soak.idle import Idle, markdown, rows_of

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(300)
def test_short_life_loses_nothing_and_is_sampled(tmp_path: Path) -> None:
    """A round runs to its end, which it does only where every message is everywhere, once."""
    samples = tmp_path / "samples.json"
    command = [sys.executable, "-m", "tests.soak", "--smoke", "--directory", str(tmp_path), "--json", str(samples)]

    ended = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=280)

    assert ended.returncode == 0, f"{ended.stdout[-3000:]}{ended.stderr[-3000:]}"
    assert "| descriptors | " in ended.stdout
    assert len(json.loads(samples.read_text())) == 1
    assert [path.name for path in tmp_path.iterdir()] == [samples.name]


@pytest.mark.timeout(300)
def test_accounts_at_rest_are_measured_and_news_reaches_their_device(tmp_path: Path) -> None:
    """All connect to the scripted server and rest; what comes to one of them is on the device soon."""
    rest = next(Idle(tmp_path / "idle", 3, 2, is_tls=True, watch_s=0.2, news=1).measure())

    assert (rest.counted.connections, rest.counted.idling) == (3, 3)
    assert min(rest.memory.uss_kib, rest.descriptors, rest.threads, rest.came_cpu_s, rest.news_cpu_s) > 0
    table = markdown(rows_of(3, {False: rest, True: rest}, [rest, rest], [rest, rest]))
    assert "| for each account, KiB | 0.0 | 0.0 | 128 | held |\n" in table
