"""The demo as a person runs it, with a small mailbox: it holds, it can fail, and it leaves nothing behind."""

import re
import shlex
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
STEPS = 12
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
    code, told = played(tmp_path, "--patience", "10", "--break-login")

    assert code == 1
    assert 'The step "First sync' in told
    assert "account_failed" in told
    assert "Traceback" not in told
    assert list(tmp_path.iterdir()) == []


def test_interrupted_demo_leaves_neither_process_nor_file(tmp_path: Path) -> None:
    """Ctrl-C in the middle ends the server, syncd and all of their children, and removes what they wrote."""
    with playing(tmp_path, "--patience", str(PATIENCE_S), "--break-login") as process:
        told_until(process, "First sync")
        assert becomes(lambda: len(descendants(process.pid)) > 2, within_s=PATIENCE_S)
        started = descendants(process.pid)

        process.send_signal(signal.SIGINT)

        assert process.wait(timeout=30) == 130
        assert process.stdout is not None
        assert "Traceback" not in process.stdout.read()
    assert_gone(started, tmp_path)


def test_kept_demo_can_be_looked_at_as_it_says_and_ends_without_a_trace(tmp_path: Path) -> None:
    """With KEEP=1 the printed command for the status works as it stands, and SIGTERM ends all of it."""
    with playing(tmp_path, "--patience", str(PATIENCE_S), "--keep") as process:
        told = told_until(process, "Press Ctrl-C")
        command = next(line.strip() for line in told if " status --config " in line)
        status = subprocess.run(shlex.split(command), cwd=CHECKOUT, capture_output=True, text=True, timeout=30)
        started = descendants(process.pid)

        process.terminate()

        assert process.wait(timeout=30) == 130
    assert (status.returncode, status.stdout.count("  in sync; ")) == (0, 3)
    assert_gone(started, tmp_path)


def told_until(process: subprocess.Popen[str], words: str) -> list[str]:
    """Return the lines that the demo tells, up to the first with these words."""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if _NO_SERVER in line:
            pytest.skip(line.strip())
        if words in line:
            return lines
    raise AssertionError("".join(lines))


def assert_gone(processes: frozenset[int], directory: Path) -> None:
    """Fail unless these processes end, and nothing is in the directory."""
    assert becomes(lambda: not any(Path(f"/proc/{pid}").exists() for pid in processes), within_s=5)
    assert list(directory.iterdir()) == []
