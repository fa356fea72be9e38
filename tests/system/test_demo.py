"""The demo as a person runs it, with a small mailbox: it holds, it can fail, and it leaves nothing behind."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PATIENCE_S = 45
STEPS = 8
_NO_SERVER = "There is no mail server"


@contextmanager
def playing(directory: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Run the demo with a small mailbox below `directory`."""
    command = (sys.executable, "-u", "-m", "tests.demo", "--messages", "60", "--pop3-messages", "5")
    with subprocess.Popen(
        (*command, "--directory", str(directory), *options),
        cwd=CHECKOUT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def played(directory: Path, *options: str) -> tuple[int, str]:
    """Return the exit code of the demo and what it told."""
    with playing(directory, *options) as process:
        told, _ = process.communicate(timeout=100)
    if _NO_SERVER in told:
        pytest.skip(told.strip().splitlines()[-1].strip())
    return process.returncode, told


def descendants(pid: int) -> frozenset[int]:
    """Return the processes that a process has started, and those that they have."""
    children = frozenset(
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    )
    return children.union(*map(descendants, children))


def becomes(condition: Callable[[], bool], *, within_s: float) -> bool:
    """Tell whether a condition holds before the time is over."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_every_step_holds_and_nothing_is_left(tmp_path: Path) -> None:
    """`make demo` is true: exit code 0, every step told with its time, no file behind."""
    code, told = played(tmp_path, "--patience", str(PATIENCE_S))

    assert code == 0, told
    assert [int(number) for number in re.findall(r"^ *(\d+)  \S", told, re.MULTILINE)] == list(range(1, STEPS + 1))
    assert "Every step held" in told
    assert list(tmp_path.iterdir()) == []


def test_step_that_does_not_hold_is_named_with_the_log(tmp_path: Path) -> None:
    """With a wrong password no mail comes: the demo says which step failed, shows the log, and does not exit with 0."""
    code, told = played(tmp_path, "--patience", "3", "--break-login")

    assert code == 1
    assert 'The step "First sync' in told
    assert "account_failed" in told
    assert "Traceback" not in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_demo_leaves_neither_process_nor_file(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C in the middle ends the server, syncd and all of their children, and removes what they wrote."""
    with playing(tmp_path, "--patience", str(PATIENCE_S), "--break-login") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if _NO_SERVER in line:
                pytest.skip(line.strip())
            if "First sync" in line:
                break
        assert becomes(lambda: len(descendants(process.pid)) > 2, within_s=PATIENCE_S)
        started = descendants(process.pid)

        process.send_signal(number)

        assert process.wait(timeout=30) == 130
        assert "Traceback" not in process.stdout.read()
    assert becomes(lambda: not any(Path(f"/proc/{pid}").exists() for pid in started), within_s=5)
    assert list(tmp_path.iterdir()) == []
